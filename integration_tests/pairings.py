"""Every pairing of an offset store and a sink that the guarantee's table promises something for, on real servers."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import sqlalchemy as sa
from kazoo.client import KazooClient

from integration_tests.servers import KafkaServer, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.service_sinks import RESULTS

Record = tuple[int, int, str | None, str | None]

THROUGH_TRANSACTION = {
    "postgres": "sql sink",
    "mariadb": "sql sink",
    "sqlite": "sql sink",
    "kafka": "kafka sink",
    "zookeeper": "zookeeper sink",
}
PAIRINGS = [
    *THROUGH_TRANSACTION.items(),
    *((store, "jsonl files") for store in THROUGH_TRANSACTION),
    *((store, "parquet files") for store in ("kafka", "zookeeper")),
    *((store, "keyed records") for store in THROUGH_TRANSACTION),
]


def committed_records(kafka: KafkaServer, topic: str) -> Counter[Record]:
    """What an independent read-committed consumer reads."""
    return Counter(
        (partition, offset, None if key is None else key.decode(), None if value is None else value.decode())
        for partition, offset, key, value in kafka.read_committed(topic)
    )


@dataclass(frozen=True)
class Pairing:
    """Where a service's positions are and where its results go, and how to read those."""

    store: str
    sink: str
    target: str
    guarantee: str
    kafka: KafkaServer

    @classmethod
    def made(cls, names: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Pairing:
        """The pairing with places of its own: a database, a chroot, a topic, a folder."""
        store, sink = names
        kafka: KafkaServer = request.getfixturevalue("kafka")
        target = str(tmp_path / "results")
        if sink == "sql sink":
            target = ""
        elif sink == "kafka sink":
            target = kafka.create_topic(partitions=3)
        url = store_url(store, tmp_path, request)
        if sink == "sql sink":
            with closing(_Engine(url)) as engine:
                RESULTS.create(engine.engine)
        through = THROUGH_TRANSACTION[store] == sink
        return cls(url, sink, target, "exactly-once" if through else "effectively-once", kafka)

    def settings(self, topic: str) -> ServiceSettings:
        """A service that reads a topic into it, under a name of its own."""
        return ServiceSettings(
            bootstrap_servers=self.kafka.bootstrap_servers,
            store=self.store,
            topic=topic,
            stream=random_name("stream"),
            handler=self.sink,
            target=self.target,
            guarantee=self.guarantee,
        )

    def results(self) -> Counter[Record]:
        """Every record that is in the results, with how often it is."""
        return Counter(
            (row["partition"], row["record_offset"], row["record_key"], row["value"]) for row in self._rows()
        )

    def _rows(self) -> Iterable[Mapping[str, Any]]:
        folder = Path(self.target)
        if self.sink == "sql sink":
            with closing(_Engine(self.store)) as engine, engine.engine.connect() as connection:
                return [dict(row) for row in connection.execute(RESULTS.select()).mappings()]
        if self.sink == "kafka sink":
            return [json.loads(value or b"") for _, _, _, value in self.kafka.read_committed(self.target)]
        if self.sink == "zookeeper sink":
            return _znodes(self.store)
        if self.sink == "jsonl files":
            lines = (line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines())
            return [json.loads(line) for line in lines]
        if self.sink == "parquet files":
            return [row for file in folder.glob("*.parquet") for row in pyarrow.parquet.read_table(file).to_pylist()]
        if not folder.exists():
            return []
        with closing(sqlite3.connect(folder)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM records")]


class _Engine:
    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)

    def close(self) -> None:
        self.engine.dispose()


def store_url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Where a store of a kind is, with a place of its own."""
    if store == "sqlite":
        return f"sqlite:///{tmp_path / 'service.db'}"
    if store == "kafka":
        return f"kafka://{request.getfixturevalue('kafka').bootstrap_servers}"
    if store == "zookeeper":
        return f"zookeeper://{request.getfixturevalue('zookeeper')}"
    url: str = request.getfixturevalue(store).url
    return url


def _znodes(store: str) -> list[Mapping[str, Any]]:
    client = KazooClient(store.removeprefix("zookeeper://"))
    client.start()
    try:
        names = [name for name in client.get_children("/") if name.startswith("results-")]
        pending = [client.get_async(f"/{name}") for name in names]
        return [json.loads(one.get()[0]) for one in pending]
    finally:
        client.stop()
        client.close()
