"""``WindowSink`` on real servers: two members, a topic that grows, new code with another column, idle partitions."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from integration_tests.engine import wait_until
from integration_tests.pairings import store_url
from integration_tests.servers import KafkaServer, random_name
from integration_tests.streams import WAIT_S
from kafka_stream import DirectStream
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql import Count, Max, Session, Sliding, Sum, Tumbling, WindowSink
from kafka_stream.sinks.sql.windows import reading
from tests.window_model import Sent, Setup, rows

SEED = 20_261_127
WINDOWS = {
    "tumbling": (Tumbling("60s"), Setup(60, 60, lateness=20)),
    "sliding": (Sliding("60s", every="20s"), Setup(60, 20, lateness=20)),
    "sessions": (Session("15s"), Setup(gap=15, lateness=20)),
}
_MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def _tables(*more: sa.Column[Any]) -> tuple[sa.MetaData, sa.Table, sa.Table]:
    """The table of windows, and one of what ``on_close`` was told, which takes everything."""
    metadata = sa.MetaData()
    visits = sa.Table(
        "visits",
        metadata,
        sa.Column("page", sa.String(20), primary_key=True),
        sa.Column("window_start", _MOMENT, primary_key=True),
        sa.Column("window_end", _MOMENT, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("total", sa.BigInteger),
        *more,
    )
    told = sa.Table(
        "told",
        metadata,
        sa.Column("page", sa.String(20)),
        sa.Column("start_us", sa.BigInteger),
        sa.Column("n", sa.Integer),
    )
    return metadata, visits, told


@pytest.fixture(autouse=True)
def _windows_close_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 3)


@dataclass
class Members:
    """Members of one stream, each with a sink of its own, of one version of the code."""

    kafka: KafkaServer
    url: str
    topic: str
    name: str
    window: Any

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url)
        self.store = SqlOffsetStore(self.url)
        self.store.open()

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()
        self.engine.dispose()

    def _sink(self, more: Mapping[str, Any], idle_after: str) -> WindowSink:
        columns = [sa.Column(name, sa.BigInteger) for name in more]
        self.metadata, self.visits, self.told = _tables(*columns)
        told = self.told

        def tell(closed: list[dict[str, Any]], transaction: Any) -> None:
            found = [{"page": it["page"], "start_us": _us(it["window_start"]), "n": it["records"]} for it in closed]
            transaction.connection.execute(sa.insert(told), found)

        return WindowSink(
            self.visits,
            self.window,
            key=lambda visit: visit["page"],
            time=lambda visit: datetime.fromtimestamp(visit["at"], UTC),
            aggregates={"records": Count(), "total": Sum("seconds"), **more},
            allowed_lateness="20s",
            on_close=tell,
            idle_after=idle_after,
        )

    def members(
        self, count: int, more: Mapping[str, Any] | None = None, idle_after: str = "10 minutes"
    ) -> Iterator[DirectStream]:
        """So many, which run as long as they are entered."""
        for number in range(count):
            sink = self._sink(more or {}, idle_after)
            if number == 0:
                self._migrate()
            yield DirectStream(
                name=self.name,
                topics=[self.topic],
                kafka={"bootstrap.servers": self.kafka.bootstrap_servers, "log_level": 0},
                store=SqlOffsetStore(self.url),
                prepare=lambda batch: list(batch.decoded(json.loads)),
                sink=sink,
                max_records_per_batch=37,
            )

    def _migrate(self) -> None:
        """As Alembic would: tables and columns that are missing."""
        self.metadata.create_all(self.engine)
        inspector = sa.inspect(self.engine)
        with self.engine.begin() as connection:
            for table in self.metadata.sorted_tables:
                there = {it["name"] for it in inspector.get_columns(table.name)}
                for column in table.columns:
                    if column.name not in there:
                        connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} BIGINT"))

    def read(self, table: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(self.metadata.tables[table])).mappings())

    def next_offsets(self) -> dict[int, int]:
        """Where the stream stands."""
        return {it.partition: position.next_offset for it, position in self.store.positions(self.name).items()}


class Topic:
    """Records of a topic, as they are sent."""

    def __init__(self, kafka: KafkaServer) -> None:
        self.kafka = kafka
        self.name = kafka.create_topic(partitions=2)
        self.sent: dict[int, list[Sent]] = {0: [], 1: []}
        self.chance = random.Random(SEED)

    def send(self, records: int, begin: int, length: int) -> None:
        """To each partition, over so many seconds of event time; some out of order, some too late."""
        for partition, before in self.sent.items():
            made: list[Sent] = []
            for number in range(records):
                at = begin + number * length // records - self.chance.choice([0, 0, 3, 18, 30, 90])
                page, value = f"page {self.chance.randrange(4)}", self.chance.randrange(100)
                made.append(Sent(partition, len(before) + len(made), (page,), max(at, begin), value))
            values = [json.dumps({"page": it.key[0], "at": it.at, "seconds": it.value}) for it in made]
            self.kafka.produce(self.name, values, partition=partition)
            before += made

    def grow(self) -> None:
        """Two partitions more."""
        self.kafka.add_partitions(self.name, 4)
        self.sent |= {2: [], 3: []}

    def ends(self) -> dict[int, int]:
        return {partition: len(records) for partition, records in self.sent.items()}


def _us(at: datetime) -> int:
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _on_time(setup: Setup, records: Sequence[Sent]) -> list[Sent]:
    found, largest = [], None
    for sent in records:
        due = sent.at + 1 if setup.gap is not None else sent.at - sent.at % setup.every + setup.every
        if largest is None or due > largest - setup.lateness:
            found.append(sent)
        largest = sent.at if largest is None else max(largest, sent.at)
    return found


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("store", ["postgres", "mariadb"])
def test_every_window_closes_once_whoever_reads_and_however_the_code_and_the_topic_change(
    kafka: KafkaServer, store: str, kind: str, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    window, setup = WINDOWS[kind]
    topic = Topic(kafka)
    members = Members(kafka, store_url(store, tmp_path, request), topic.name, random_name("stream"), window)
    request.addfinalizer(members.close)
    topic.send(400, begin=1_000_000, length=1_200)
    with ExitStack() as running:
        streams = [running.enter_context(it) for it in members.members(2)]
        assert wait_until(lambda: members.next_offsets() == topic.ends(), WAIT_S), [it.status() for it in streams]
        topic.grow()
        assert wait_until(lambda: len(members.next_offsets()) == 4, WAIT_S), [it.status() for it in streams]
        topic.send(200, begin=1_001_300, length=600)
        assert wait_until(lambda: members.next_offsets() == topic.ends(), WAIT_S), [it.status() for it in streams]
    topic.send(100, begin=1_002_000, length=300)
    latest = max(sent.at for records in topic.sent.values() for sent in records) - setup.lateness
    end = latest if setup.gap is not None else latest - latest % setup.every
    on_time = [sent for records in topic.sent.values() for sent in _on_time(setup, records)]
    expected = {(it["key"][0], it["start"]): it for it in rows(setup, on_time).values() if it["end"] <= end}
    with ExitStack() as running:
        streams = [running.enter_context(it) for it in members.members(1, {"longest": Max("seconds")}, "1s")]
        assert wait_until(lambda: len(members.read("visits")) >= len(expected), WAIT_S), streams[0].status()
    found = {(it["page"], _us(it["window_start"]) / 1e6): it for it in members.read("visits")}
    assert {key: (it["records"], it["total"]) for key, it in found.items()} == {
        key: (it["records"], it["total"]) for key, it in expected.items()
    }
    told = Counter((it["page"], it["start_us"] / 1e6, it["n"]) for it in members.read("told"))
    assert told == Counter((*key, it["records"]) for key, it in expected.items())
    kept = {(it["partition"], it["offset"]) for it in members.read("visits_late")}
    assert kept == {(it.partition, it.offset) for of in topic.sent.values() for it in {*of} - {*on_time}} != set()
    new = {key: it["longest"] for key, it in found.items() if key[1] >= 1_002_000}
    assert new == {key: it["most"] for key, it in expected.items() if key[1] >= 1_002_000} != {}
