"""What a batch costs beside its records: statements that do not grow, rows of the partitions it moves, no request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pymysql.cursors
import pytest
from sqlalchemy import create_engine

from integration_tests.servers import KafkaServer
from kafka_stream import DirectStream, TopicPartition
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import OLDER, STREAM, TOPIC, commit, epochs_of

PARTITIONS = [TopicPartition(TOPIC, number) for number in range(200)]
RECORDS = 2_000


class CountedByPsycopg(psycopg.Cursor[Any]):
    """Remembers how many rows each statement was about."""

    rows: ClassVar[list[int]] = []

    def execute(self, *arguments: Any, **options: Any) -> Any:
        answer = super().execute(*arguments, **options)
        self.rows.append(self.rowcount)
        return answer


class CountedByPyMySQL(pymysql.cursors.Cursor):
    """The same."""

    rows: ClassVar[list[int]] = []

    def execute(self, query: Any, args: Any = None) -> int:
        answer = super().execute(query, args)
        self.rows.append(self.rowcount)
        return answer


@pytest.fixture(
    params=[("postgres", "cursor_factory", CountedByPsycopg), ("mariadb", "cursorclass", CountedByPyMySQL)],
    ids=lambda param: param[0],
)
def counted(request: pytest.FixtureRequest) -> Iterator[tuple[SqlOffsetStore, list[int]]]:
    """A store, and the rows of its statements."""
    database, option, cursor = request.param
    engine = create_engine(request.getfixturevalue(database).url, connect_args={option: cursor})
    store = SqlOffsetStore(engine)
    store.open()
    yield store, cursor.rows
    engine.dispose()


def test_a_batch_costs_the_same_statements_and_the_rows_of_the_partitions_that_it_moves(
    counted: tuple[SqlOffsetStore, list[int]],
) -> None:
    store, rows = counted
    epochs = epochs_of(store.take_over(STREAM, OLDER, PARTITIONS, {}))
    offsets = dict.fromkeys(PARTITIONS, 0)
    costs = {}
    for moved in (200, 1, 7, 200):  # the first batch of a connection may ask for more
        rows.clear()
        commit(store, OLDER, {tp: (offsets[tp], offsets[tp] + 1) for tp in PARTITIONS[:moved]}, epochs)
        costs[moved] = list(rows)
        offsets |= {tp: offsets[tp] + 1 for tp in PARTITIONS[:moved]}
    for moved in (7, 200):
        rows_of_each = list(zip(costs[1], costs[moved], strict=True))
        growing = [many for one, many in rows_of_each if many != one]
        assert len(growing) >= 2, "a claim and an advance"
        assert growing == [moved] * len(growing)


def test_a_batch_asks_the_broker_for_nothing_but_records(kafka: KafkaServer, tmp_path: Path) -> None:
    topic = kafka.create_topic(partitions=4)
    kafka.produce(topic, [(str(n), "a value") for n in range(RECORDS)])
    by_client: dict[str, Counter[str]] = {}

    def count(text: str) -> None:
        statistics = json.loads(text)
        requests = Counter[str]()
        for broker in statistics["brokers"].values():
            requests.update(broker["req"])
        by_client[statistics["name"]] = requests

    stream = DirectStream(
        name="counted",
        topics=[topic],
        kafka={"bootstrap.servers": kafka.bootstrap_servers, "statistics.interval.ms": 100, "stats_cb": count},
        store=f"sqlite:///{tmp_path}/offsets.db",
        sink=lambda batch, transaction: None,
        assignment="static",
        max_records_per_batch=1,
    )
    assert stream.run(until="latest").batches == RECORDS
    requests = sum(by_client.values(), Counter())
    assert requests["Fetch"] > 0, by_client
    assert requests.total() - requests["Fetch"] < RECORDS / 10, by_client
