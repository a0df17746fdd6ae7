"""The sinks of the pairings' tests, by name: each keeps partition, offset, key and value of every record.

Where the place can hold a record twice it does, so that a repeated effect shows.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from kafka_stream import Batch
from kafka_stream.offset_stores.zookeeper import ZooKeeperTransaction
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.sinks.sql import Deduplicate, SqlSink
from kafka_stream.sinks.zookeeper import Create, ZooKeeperSink
from kafka_stream.types import Writes

RESULTS = sa.Table(
    "pairing_results",
    sa.MetaData(),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("record_offset", sa.BigInteger, nullable=False),
    sa.Column("record_key", sa.String(100)),
    sa.Column("value", sa.String(100)),
)
"""Without any key."""
MORE_RESULTS = RESULTS.to_metadata(sa.MetaData(), name="more_results")
"""For a second sink."""


def rows(batch: Batch) -> Iterator[dict[str, Any]]:
    """A row per record."""
    for message in batch:
        key, value = message.key(), message.value()
        yield {
            "partition": message.partition(),
            "record_offset": message.offset(),
            "record_key": key.decode() if isinstance(key, bytes) else key,
            "value": None if value is None else value.decode(),
        }


def group_of(message: Any) -> bytes:
    """What the records of one value are known by: all that follows "of"."""
    group: bytes = message.value().partition(b" of ")[2]
    return group


def deduplicated(_: str) -> Any:
    """Of each group one record, in two tables."""
    return [Deduplicate(group_of, "1 day"), SqlSink(RESULTS, rows), SqlSink(MORE_RESULTS, rows)]


def messages(batch: Batch) -> Iterator[Mapping[str, Any]]:
    """A message per record; where it came from is its value."""
    for row in rows(batch):
        yield {"key": row["record_key"], "value": json.dumps(row).encode()}


def znodes(batch: Batch) -> Iterator[Create]:
    """A znode per record, which cannot be created twice."""
    for row in rows(batch):
        yield Create(f"/results-{row['partition']}-{row['record_offset']}", json.dumps(row).encode())


def write_batch(batch: Batch, transaction: ZooKeeperTransaction) -> None:
    """A znode per batch, of a name that no other has: what is repeated is there twice."""
    records = [[row["partition"], row["record_offset"]] for row in rows(batch)]
    transaction.create(f"/batch-{uuid.uuid4().hex}", json.dumps(records).encode())


def write_rows_of_batch(batch: Batch, transaction: ZooKeeperTransaction) -> None:
    """A znode per batch with all of its rows, of a name that no other has."""
    transaction.create(f"/rows-{uuid.uuid4().hex}", json.dumps(list(rows(batch))).encode())


class KeyedSink:
    """A user's sink in a place of its own, idempotent by record: a repeat replaces what it had written."""

    writes = Writes.IDEMPOTENT_BY_RECORD
    needs = None

    def __init__(self, path: str) -> None:
        self._path = path

    def describe(self) -> str:
        return f"records in {self._path}"

    def prepare(self, prepared: Batch) -> list[dict[str, Any]]:
        return list(rows(prepared))

    def write(self, prepared: Iterable[dict[str, Any]], transaction: object) -> None:
        with sqlite3.connect(self._path, timeout=30) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS records (partition, record_offset, record_key, value, "
                "PRIMARY KEY (partition, record_offset))"
            )
            connection.executemany(
                "INSERT OR REPLACE INTO records VALUES (:partition, :record_offset, :record_key, :value)",
                prepared,
            )
        connection.close()


SINKS: Mapping[str, Callable[[str], Any]] = {
    "deduplicated": deduplicated,
    "sql sink": lambda target: SqlSink(RESULTS, rows),
    "kafka sink": lambda target: KafkaSink(target, messages),
    "zookeeper sink": lambda target: ZooKeeperSink(znodes),
    "znode per batch": lambda target: write_batch,
    "rows per batch": lambda target: write_rows_of_batch,
    "jsonl files": lambda target: FileSink(target, rows),
    "parquet files": lambda target: FileSink(target, rows, format="parquet"),
    "keyed records": KeyedSink,
}


def slow_rows(batch: Batch) -> list[dict[str, Any]]:
    """A row per record, and time enough to be killed in."""
    time.sleep(0.02)
    return list(rows(batch))


def as_given(prepared: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The rows, for the table."""
    return prepared


def as_messages(prepared: Sequence[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows, as messages."""
    for row in prepared:
        yield {"key": row["record_key"], "value": json.dumps(row).encode()}


def rows_on_spark(frame: Any) -> Any:
    """A row per record of a DataFrame."""
    return frame.selectExpr(
        "partition", "offset AS record_offset", "CAST(key AS STRING) AS record_key", "CAST(value AS STRING) AS value"
    )


PREPARED: Mapping[str, tuple[Callable[[Any], Any], Callable[[str], Any]]] = {
    "prepared rows": (slow_rows, lambda target: SqlSink(RESULTS, as_given)),
    "rows on spark": (rows_on_spark, lambda target: SqlSink(RESULTS, pa.Table.to_pylist)),
    "prepared messages": (slow_rows, lambda target: KafkaSink(target, as_messages)),
}
"""The same with a ``prepare``, which workers can import."""
