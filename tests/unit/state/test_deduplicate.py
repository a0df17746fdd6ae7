"""``Deduplicate`` in a stream: what reaches the sinks behind it, what is counted, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream import Batch, DirectStream
from kafka_stream.errors import ProcessingError
from kafka_stream.failures.breaker import DeadLetters
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress
from kafka_stream.sinks.sql import Deduplicate, SqlSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import TopicPartition

ORDERS = sa.Table(
    "orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("who", sa.Text, nullable=False)
)
MINUTE_MS = 60_000


class Shop:
    """A topic of orders, and a database in which each may be once."""

    def __init__(self, folder: Path) -> None:
        self.kafka = MemoryKafka({"orders": 2})
        self.url = f"sqlite:///{folder / 'shop.db'}"
        self.engine = sa.create_engine(self.url)
        ORDERS.create(self.engine)

    def produce(self, number: Any, who: str | None = "ada", *, minute: int = 0, partition: int = 0) -> None:
        value = json.dumps({"id": number, "who": who})
        self.kafka.produce("orders", value, key=str(number), partition=partition, timestamp_ms=minute * MINUTE_MS)

    def stream(self, *sinks: Any, **settings: Any) -> DirectStream:
        return DirectStream(
            **{
                "name": "orders",
                "topics": ["orders"],
                "kafka": self.kafka,
                "store": self.url,
                "prepare": lambda batch: batch.decoded(json.loads),
                "sink": list(sinks) or [Deduplicate(lambda order: order["id"], "1 hour"), SqlSink(ORDERS, rows_of)],
                **settings,
            }
        )

    def rows(self, table: str = "orders") -> list[Any]:
        with self.engine.connect() as connection:
            return sorted(map(tuple, connection.exec_driver_sql(f"SELECT * FROM {table}")))


def rows_of(orders: Any) -> list[Any]:
    return [(order["id"], order["who"]) for _, order in orders]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    found = Shop(tmp_path)
    yield found
    found.engine.dispose()


class Reports(StreamListener):
    """What the batches have said of duplicates."""

    def __init__(self) -> None:
        self.duplicates: list[int] = []

    def on_batch(self, progress: BatchProgress) -> None:
        self.duplicates.append(progress.duplicates)


def test_the_first_goes_on_across_batches_partitions_and_restarts(shop: Shop) -> None:
    for number in (1, 2, 1):
        shop.produce(number)
    reports = Reports()
    summary = shop.stream(max_records_per_batch=2, listeners=[reports]).run(until="latest")
    assert (summary.records, summary.duplicates, sum(reports.duplicates)) == (3, 1, 1)
    shop.produce(2, "mary", partition=1, minute=59)
    shop.produce(3)
    stream = shop.stream()
    assert stream.run(until="latest").duplicates == 1
    assert stream.status().duplicates == 1
    assert shop.rows() == [(1, "ada"), (2, "ada"), (3, "ada")]


def test_one_goes_on_again_when_the_time_is_over(shop: Shop) -> None:
    written: list[int] = []

    def write(orders: Any, transaction: Any) -> None:
        written.extend(order["minute"] for _, order in orders)

    for minute in (0, 59, 60, 119, 120):
        value = json.dumps({"id": 1, "minute": minute})
        shop.kafka.produce("orders", value, partition=0, timestamp_ms=minute * MINUTE_MS)
    shop.stream(Deduplicate(lambda order: order["id"], "1 hour"), write, max_records_per_batch=1).run(until="latest")
    assert written == [0, 60, 120]


def test_the_time_may_be_made_of_the_record(shop: Shop) -> None:
    for number, minute in ((1, 0), (2, 30), (3, 61)):
        shop.produce(number, f"ada {minute}")

    def time(order: Any) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=int(order["who"].split()[1]))

    shop.stream(Deduplicate(lambda _: "all", "1 hour", time=time), SqlSink(ORDERS, rows_of)).run(until="latest")
    assert [number for number, _ in shop.rows()] == [1, 3]


def test_sinks_before_it_get_all_records_and_several_behind_it_the_same(shop: Shop) -> None:
    got: dict[str, list[int]] = {"before": [], "one": [], "other": []}

    def taking(name: str) -> Any:
        def write(orders: Any, transaction: Any) -> None:
            while orders and isinstance(orders, list):
                got[name].append(orders.pop(0)[1]["id"])
            got[name] += [order["id"] for _, order in orders]

        return write

    for number in (1, 1, 2):
        shop.produce(number)
    deduplicate = Deduplicate(lambda order: order["id"], "1 hour")
    shop.stream(taking("before"), deduplicate, taking("one"), taking("other")).run(until="latest")
    assert got == {"before": [1, 1, 2], "one": [1, 2], "other": [1, 2]}


def test_a_batch_stays_a_batch_and_a_sink_gets_none_that_is_empty(shop: Shop) -> None:
    got: list[tuple[int, int]] = []

    def write(batch: Batch, transaction: Any) -> None:
        got.append((len(batch), sum(map(len, batch.ranges))))

    sinks = Deduplicate(lambda record: record.key(), "1 hour"), write
    for numbers in ((1, 1, 2), (2, 1), (3,)):
        for number in numbers:
            shop.produce(number)
        shop.stream(*sinks, prepare=None).run(until="latest")
    assert got == [(2, 3), (1, 1)]


def test_two_behind_each_other_each_keep_back_theirs(shop: Shop) -> None:
    for number, who in ((1, "ada"), (1, "mary"), (2, "ada"), (3, "grace")):
        shop.produce(number, who)
    by_id, by_who = (
        Deduplicate(lambda order: order["id"], "1 hour", name="ids"),
        Deduplicate(lambda order: order["who"], "1 hour", name="people"),
    )
    summary = shop.stream(by_id, by_who, SqlSink(ORDERS, rows_of)).run(until="latest")
    assert shop.rows() == [(1, "ada"), (3, "grace")]
    assert summary.duplicates == 2
    assert {row[1] for row in shop.rows("kafka_stream_states")} == {"ids", "people"}


# Records that fail


def test_a_duplicate_that_those_behind_could_not_take_is_no_failure(shop: Shop) -> None:
    """Whether it is one is not known before the transaction, and then it does not matter what they say of it."""
    shop.produce(1)
    shop.stream().run(until="latest")
    shop.produce(1, None)
    assert shop.stream().run(until="latest").duplicates == 1
    shop.produce(2, None)
    with pytest.raises(ProcessingError):
        shop.stream().run(until="latest")


def test_a_record_that_fails_is_not_seen(shop: Shop) -> None:
    """The next one with its key goes on, and so does the letter's own replay."""
    shop.produce(1, None)
    shop.produce(2)
    shop.produce(1)
    shop.produce(1)
    settings = {"on_error": "dead-letter", "dead_letters": DeadLetters(keep_key_order=False)}
    summary = shop.stream(**settings).run(until="latest")
    assert (summary.dead_letters, summary.duplicates) == (1, 1)
    assert shop.rows() == [(1, "ada"), (2, "ada")]


@pytest.mark.parametrize("when", ["prepare", "write"])
def test_a_record_that_is_rejected_is_not_seen(shop: Shop, when: str) -> None:
    def reject(batch: Batch) -> list[tuple[int, str]]:
        orders = [(record, json.loads(record.value() or b"")) for record in batch]
        for record, order in orders:
            if order["who"] == "test":
                batch.reject(record, "a test")
        return rows_of((record, order) for record, order in orders if order["who"] != "test")

    def write(batch: Batch, transaction: Any) -> None:
        transaction.connection.execute(
            ORDERS.insert(), [dict(zip(("id", "who"), it, strict=True)) for it in reject(batch)]
        )

    for who in ("test", "ada", "ada"):
        shop.produce(1, who)
    shop.produce(2)
    behind = SqlSink(ORDERS, reject) if when == "prepare" else write
    settings = {"on_error": "dead-letter", "dead_letters": DeadLetters(keep_key_order=False), "prepare": None}
    summary = shop.stream(Deduplicate(lambda it: it.key(), "1 hour"), behind, **settings).run(until="latest")
    assert (summary.dead_letters, summary.duplicates) == (1, 1)
    assert shop.rows() == [(1, "ada"), (2, "ada")]


def test_a_duplicate_is_not_rejected(shop: Shop) -> None:
    def reject_mary(batch: Batch) -> list[tuple[int, str]]:
        orders = [(record, json.loads(record.value() or b"")) for record in batch]
        for record, order in orders:
            if order["who"] == "mary":
                batch.reject(record, "not mary")
        return rows_of((record, order) for record, order in orders if order["who"] != "mary")

    sinks = Deduplicate(lambda it: it.key(), "1 hour"), SqlSink(ORDERS, reject_mary)
    for who in ("ada", "mary"):
        shop.produce(1, who)
        summary = shop.stream(*sinks, on_error="dead-letter", prepare=None).run(until="latest")
    assert (summary.dead_letters, summary.duplicates) == (0, 1)


def test_what_parts_of_a_batch_keep_back_is_counted_once(shop: Shop) -> None:
    """The search tries some parts that fail after they were deduplicated, and others twice."""
    for number in (1, 1, 2, 9, 2, 3, 3, 3):
        shop.produce(number, None if number == 9 else "ada")
    summary = shop.stream(on_error="dead-letter").run(until="latest")
    assert (summary.records, summary.dead_letters, summary.duplicates) == (8, 1, 4)
    assert shop.rows() == [(1, "ada"), (2, "ada"), (3, "ada")]


# What is kept, and what is forgotten


def test_what_is_kept_can_be_read_by_people(shop: Shop) -> None:
    shop.produce(7, minute=3, partition=1)
    shop.stream().run(until="latest")
    (row,) = shop.rows("kafka_stream_seen")
    assert row[:2] == ("orders", "deduplicate")
    assert row[3:8] == ("7", "orders", 1, 0, 3 * MINUTE_MS * 1_000)
    (state,) = shop.rows("kafka_stream_states")
    assert state[:4] == ("orders", "deduplicate", "seen", "kafka_stream_seen")
    assert json.loads(state[4])["within_us"] == 3_600_000_000


def test_old_keys_are_forgotten(shop: Shop) -> None:
    for minute in (0, 60, 121, 200):
        shop.produce(minute, minute=minute)
        shop.produce(minute + 1, minute=minute, partition=1)
        shop.stream().run(until="latest")
    assert sorted(int(row[3]) for row in shop.rows("kafka_stream_seen")) == [121, 122, 200, 201]


def test_what_was_seen_of_some_partitions_can_be_cleared(shop: Shop) -> None:
    for number in (1, 2, 3):
        shop.produce(number, partition=number % 2)
    stream = shop.stream()
    stream.run(until="latest")
    (sink,) = stream.sinks
    cleared: list[Any] = []

    def clear(orders: Any, transaction: Any) -> None:
        cleared.append(sink.clear(transaction, [TopicPartition("orders", 1)]))  # type: ignore[attr-defined]

    shop.produce(4)
    shop.stream(clear).run(until="latest")
    assert cleared == [{"kafka_stream_seen": 2}]
    assert [(row[3], row[5]) for row in shop.rows("kafka_stream_seen")] == [("2", 0)]
    assert [row[3] for row in shop.rows("kafka_stream_watermarks")] == [0]
