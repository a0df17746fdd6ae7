"""What streams of these tests are made of: rows of a table in SQLite, of a topic in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from kafka_stream import DirectStream
from kafka_stream.batch import Batch
from kafka_stream.errors import (
    RecordError,
    StoreUnavailable,
)
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress
from kafka_stream.sinks.sql import SqlSink

TABLE = sa.Table(
    "results",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("record_offset", sa.Integer, nullable=False),
    sa.Column("value", sa.Text, sa.CheckConstraint("value <> 'refused'"), nullable=False),
)
RECORDS, PARTITIONS = 400, 2


def prepared(batch: Batch) -> list[dict[str, Any]]:
    """A row of each record; some words make it fail."""
    rows = []
    for message in batch:
        value = (message.value() or b"").decode()
        if value == "broken":
            raise RecordError.of(message, "it is broken")
        if value == "rejected":
            batch.reject(message, "it is not wanted")
            continue
        rows.append({"partition": message.partition(), "record_offset": message.offset(), "value": value})
    return rows


def given(rows: Any) -> Any:
    """What ``prepare`` gave."""
    return rows


def write(rows: list[dict[str, Any]], transaction: Any) -> None:
    """By a function of one's own."""
    if rows:
        transaction.connection.execute(TABLE.insert(), rows)


class Away(SqlSink):
    """Its server is away now and then."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.left = [True, False, True, True]

    def write_overlapping(self, prepared: Any, transaction: Any, go_on: Callable[[], None]) -> None:
        super().write_overlapping(prepared, transaction, go_on)
        if self.left and self.left.pop(0):
            raise StoreUnavailable("gone for a moment")


class Progress(StreamListener):
    """What batches told of themselves."""

    def __init__(self) -> None:
        self.batches: list[BatchProgress] = []

    def on_batch(self, progress: BatchProgress) -> None:
        self.batches.append(progress)


def found(engine: sa.Engine) -> list[tuple[int, int]]:
    """In the order in which they were written."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(TABLE.c.partition, TABLE.c.record_offset).order_by(TABLE.c.number))
        return [(partition, offset) for partition, offset in rows]


def assert_exactly_once(engine: sa.Engine, *, without: Sequence[tuple[int, int]] = ()) -> None:
    rows = found(engine)
    for partition in range(PARTITIONS):
        expected = [n for n in range(RECORDS // PARTITIONS) if (partition, n) not in without]
        assert [offset for number, offset in rows if number == partition] == expected


StreamOf = Callable[..., DirectStream]
