"""Batches of which a record fails, into PostgreSQL, and what it costs that one might.

The records are in memory, so that a batch is one however fast it is read; the sink has seen its table before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from confluent_kafka import Message

from benchmarks import tables
from benchmarks.clients import Watcher
from benchmarks.measurement import Outcome, Stopwatch, Task
from benchmarks.records import records
from kafka_stream import Batch, DirectStream
from kafka_stream.engine import planner
from kafka_stream.errors import RecordError
from kafka_stream.observe.prometheus import PrometheusListener
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import OffsetRange, Phase

TOPIC = "records"
_BEFORE = 1_000
"""Records of a batch before the clock begins."""


def batch(task: Task) -> Outcome:
    """One batch; the option ``at`` says where the record is that fails, from 0 to 1, and ``where`` in what."""
    where, at = task.options.get("where"), task.options.get("at", 0.0)
    failing = _BEFORE + int(at * (task.records - 1)) if where else None
    return _measured(task, failing, where, task.records, "dead-letter")


def unharmed(task: Task) -> Outcome:
    """Batches of ``size`` records in which nothing fails, with ``on_error``, and with ``metrics`` or without."""
    listeners = [PrometheusListener()] if task.options.get("metrics") else []
    return _measured(task, None, None, int(task.options["size"]), task.options.get("on_error", "stop"), listeners)


def _measured(
    task: Task,
    failing: int | None,
    where: str | None,
    size: int,
    on_error: Any,
    listeners: Sequence[StreamListener] = (),
) -> Outcome:
    tables.create(task.database)
    planner.FIRST_BATCH_RECORDS = size  # type: ignore[attr-defined] # else it would learn first how many it can do
    kafka, watch = MemoryKafka({TOPIC: 1}), Stopwatch(task)
    watcher = _WhenToldTo(watch)
    stream = DirectStream(
        name="failing",
        topics=[TOPIC],
        kafka=kafka,
        store=task.database,
        prepare=_decoding(failing) if where == "prepare" else None,
        sink=SqlSink(tables.RESULTS, _rows_of_pairs if where == "prepare" else tables.rows),
        max_records_per_batch=size,
        assignment="static",
        on_error=on_error,
        listeners=[watcher, *listeners],
    )
    _produce(kafka, _BEFORE)
    stream.run(until="latest")
    if where == "COPY":
        assert failing is not None
        _take(task.database, failing)
    _produce(kafka, task.records)
    watcher.is_on = True
    stream.run(until="latest")
    if watcher.batches != -(-task.records // size):
        raise RuntimeError(f"{task.records} records came in {watcher.batches} batches, not of {size} each")
    return watch.outcome({"records": _found(stream, task.database, failing, where)}, batches=watcher.batches)


class _WhenToldTo(Watcher):
    """Lets the first batches pass."""

    is_on = False

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        if self.is_on:
            super().on_phase(phase, ranges)

    def on_batch(self, progress: BatchProgress) -> None:
        if self.is_on:
            super().on_batch(progress)


def _produce(kafka: MemoryKafka, count: int) -> None:
    for record in records(count):
        kafka.produce(TOPIC, record.value, key=record.key)


def _decoding(failing: int | None) -> Callable[[Batch], list[tuple[Message, bytes]]]:
    """A ``prepare`` that cannot decode one of the records, and says which one."""

    def prepare(batch: Batch) -> list[tuple[Message, bytes]]:
        decoded: list[tuple[Message, bytes]] = []
        for message in batch:
            value = message.value()
            assert value is not None
            if message.offset() == failing:
                raise RecordError.of(message, "its value could not be decoded")
            decoded.append((message, value))
        return decoded

    return prepare


def _rows_of_pairs(pairs: Iterable[tuple[Message, bytes]]) -> list[Any]:
    return [(m.partition(), m.offset(), m.key(), value) for m, value in pairs]


def _take(database: str, offset: int) -> None:
    """Insert a row with the key of a record's."""
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.RESULTS).values((0, offset, b"", b"")))
    engine.dispose()


def _found(stream: DirectStream, database: str, failing: int | None, where: str | None) -> int:
    """How many records there are results or letters of, as far as they were measured."""
    letters = 0
    if failing is not None:
        store: Any = stream.store
        offsets = [letter.id.offset for letter in store.letters(stream.name)]
        if offsets != [failing]:
            raise RuntimeError(f"dead letters of {offsets}, not of {failing}")
        letters = 1 if where == "prepare" else 0  # else another row is in its place
    return tables.found(database)["records"] - _BEFORE + letters
