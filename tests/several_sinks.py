"""A stream into two tables and a function; run as a program, it is killed between two of them in its second batch.

``python -m tests.several_sinks sqlite:///results.db 1`` dies after the first of them has written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.sql import SqlTransaction
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing import MemoryKafka

METADATA = sa.MetaData()
FIRST, SECOND, THIRD = TABLES = [
    sa.Table(name, METADATA, sa.Column("partition", sa.Integer), sa.Column("at", sa.Integer))
    for name in ("first", "second", "third")
]
"""Without any key, so that a repeated row shows."""

RECORDS = [(number % 2, number // 2) for number in range(10)]
"""Partition and offset of everything in the topic."""

Interruption = Callable[[Any, SqlTransaction], None]
Places = list[tuple[int, int]]


def prepare(batch: Batch) -> Places:
    places = [(message.partition(), message.offset()) for message in batch]
    return [(partition, offset) for partition, offset in places if partition is not None and offset is not None]


def write_third(places: Places, transaction: SqlTransaction) -> None:
    transaction.connection.execute(sa.insert(THIRD), [{"partition": p, "at": o} for p, o in places])


def stream(url: str, **options: Any) -> DirectStream:
    """Three places for each record; ``interrupted`` and ``after`` put a function behind that many of them."""
    interruption: Interruption | None = options.pop("interrupted", None)
    after: int = options.pop("after", 0)
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    engine.dispose()
    kafka = MemoryKafka({"orders": 2})
    kafka._topics["orders"].id = "the same topic in every process"
    for partition, offset in RECORDS:
        kafka.produce("orders", str(offset), partition=partition)
    sinks: list[Any] = [SqlSink(FIRST, lambda places: places), SqlSink(SECOND, lambda places: places), write_third]
    if interruption is not None:
        sinks.insert(after, interruption)
    settings: dict[str, Any] = {"prepare": prepare, "sink": sinks, "max_records_per_batch": 4, **options}
    return DirectStream(name="several", topics=["orders"], kafka=kafka, store=url, assignment="static", **settings)


def stored(url: str) -> list[Places]:
    """What each table holds, sorted."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = [sorted((p, o) for p, o in connection.execute(sa.select(table))) for table in TABLES]
    engine.dispose()
    return rows


class KillInSecondBatch:
    def __init__(self) -> None:
        self.batches = 0

    def __call__(self, places: Places, transaction: SqlTransaction) -> None:
        self.batches += 1
        if self.batches == 2:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    stream(sys.argv[1], interrupted=KillInSecondBatch(), after=int(sys.argv[2])).run(until="latest")
