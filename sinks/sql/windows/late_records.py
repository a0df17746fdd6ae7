"""What becomes of records that come too late: each is counted, and none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.errors import RecordError
from kafka_stream.sinks.sql.sink import SqlSink
from kafka_stream.sinks.sql.stateful.moments import moment
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.windows.event_time.combining import Cell
from kafka_stream.sinks.sql.windows.event_time.lateness import Placed
from kafka_stream.sinks.sql.windows.tables import WindowTables


@dataclass(frozen=True, slots=True)
class LateRecord:
    """A record by its place, and the watermark, in microseconds, that had passed its pane."""

    of: Placed
    place: int
    passed_us: int

    @property
    def message(self) -> Message:
        """The record."""
        return self.of.events.messages[self.place]

    @property
    def deadline_us(self) -> int:
        """When it was late from."""
        return self.of.deadlines[self.place]

    @property
    def cell(self) -> Cell:
        """Its pane and key."""
        return self.of.starts[self.place], self.of.events.keys[self.place]


def late_records(one: Placed, floor_us: int, lateness_us: int) -> Iterator[LateRecord]:
    """Those of one partition, in their order."""
    places = one.late_at(floor_us)
    if not places:
        return
    seen = floor_us
    for place, time in enumerate(one.events.times):
        if place in places:
            yield LateRecord(one, place, seen)
        seen = max(seen, time - lateness_us)


class LateTable:
    """Keeps records in the table of late ones; one that is there already, as after a reset, stays as it was."""

    def __init__(self, tables: WindowTables) -> None:
        self._tables = tables
        self._sink = SqlSink(tables.late, list, "ignore", key=("topic", "partition", "offset"))

    def keep(self, late: Iterable[LateRecord], transaction: StatefulTransaction) -> None:
        """Keep these."""
        rows = [_row(one, self._tables) for one in late]
        self._sink.write(self._sink.prepare(rows), transaction)


def _row(one: LateRecord, tables: WindowTables) -> tuple[Any, ...]:
    events, message = one.of.events, one.message
    return (
        events.partition.topic,
        events.partition.partition,
        message.offset(),
        *tables.key_values(events.keys[one.place]),
        moment(events.times[one.place]),
        moment(one.passed_us),
        message.value(),
    )


def reject(late: Iterable[LateRecord], batch: Batch | None, where: str) -> None:
    """Make dead letters of them.

    Raises:
        RecordError: there is no batch to reject them from, or the stream keeps no dead letters.
    """
    for one in late:
        time, passed = moment(one.of.events.times[one.place]), moment(one.passed_us)
        reason = f"late for {where}: of {time.isoformat()}, when the watermark was {passed.isoformat()}"
        if batch is None:
            raise RecordError.of(one.message, reason)
        batch.reject(one.message, reason)


Spans: TypeAlias = Callable[[Placed, int], Iterable[tuple[int, int]]]
"""From a record, by its place, to the windows that it belongs to, by start and end."""


def counts(late: Iterable[LateRecord], spans: Spans) -> Counter[tuple[int, int]]:
    """How many are late for each window."""
    found: Counter[tuple[int, int]] = Counter()
    for one in late:
        found.update(spans(one.of, one.place))
    return found
