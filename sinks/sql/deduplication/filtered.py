"""``Deduplicated``: the sinks behind a ``Deduplicate``, as one sink that gives them what is no duplicate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, tuple_

from kafka_stream.callables import deferred, discard
from kafka_stream.errors import ProcessingError
from kafka_stream.protocols import (
    ConvertingSink,
    FilteredSink,
    OverlappingSink,
    Sink,
    StateDescription,
    StatefulSink,
    TickingSink,
    workers_part,
)
from kafka_stream.sinks.sql.deduplication.forgetting import Forgetting
from kafka_stream.sinks.sql.deduplication.passing import Passing
from kafka_stream.sinks.sql.deduplication.postgres_rows import PostgresRows
from kafka_stream.sinks.sql.deduplication.preparing import OnWorkers, Prepared, Preparing
from kafka_stream.sinks.sql.deduplication.reading import Reader, Records
from kafka_stream.sinks.sql.deduplication.seen_rows import SeenRows, StatementRows
from kafka_stream.sinks.sql.into_database import IntoDatabase
from kafka_stream.sinks.sql.postgres.copying import psycopg_of
from kafka_stream.sinks.sql.stateful.registration import Registration
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.types import TopicPartition

_TICK_S = 10.0


class Deduplicated(IntoDatabase):
    """What it remembers of batches is only whether the register has its row."""

    def __init__(self, reader: Reader, within_us: int, described: StateDescription, sinks: Sequence[Sink]) -> None:
        self._preparing = Preparing(described.name, reader, within_us, [(it.describe(), it) for it in sinks])
        self._described = described
        self._sinks = tuple(sinks)
        self._forgetting = Forgetting(described.name, within_us)
        self._registration: Registration | None = None
        self.duplicates = 0
        """How many records the last ``write`` that succeeded has kept back."""

    def describe(self) -> str:
        """Where what goes on is written."""
        return f"{', '.join(sink.describe() for sink in self._sinks)}, behind Deduplicate {self._described.name!r}"

    # ------------------------------------------------------------------------------------------------------- prepare

    def prepare(self, prepared: Any) -> Prepared:
        """Read keys and times, and have the sinks behind prepare what goes on if no key was seen before.

        What they raise is kept until it is known that they do get those records.

        Raises:
            RecordError: a record has no key or no time.
            ProcessingError: there are no records in it.
        """
        return self._preparing.prepare(prepared)

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``: what those behind have found out."""
        return sum(sink.work_changed for sink in self._sinks if isinstance(sink, ConvertingSink))

    def for_workers(self) -> OnWorkers:
        """See ``ConvertingSink``: with what workers have of those behind."""
        behind = [(sink.describe(), workers_part(sink)) for sink in self._sinks]
        return OnWorkers(replace(self._preparing, behind=behind))

    # --------------------------------------------------------------------------------------------------------- write

    def write(self, prepared: Prepared, transaction: StatefulTransaction) -> None:
        """As ``write_overlapping``."""
        self.write_overlapping(prepared, transaction, lambda: None)

    def write_overlapping(
        self, prepared: Prepared, transaction: StatefulTransaction, go_on: Callable[[], None]
    ) -> None:
        """Note what is new, and have the sinks behind write what goes on."""
        go_on()
        passing = self._noted(prepared, transaction)
        behind = prepared.behind
        if passing.kept_back != prepared.passing.kept_back:
            behind = self._preparing.prepared_behind(prepared.records, passing)
        if behind.failure is not None:
            raise behind.failure
        for sink, value in zip(self._sinks if behind.values else (), behind.values, strict=True):
            _write(sink, value, transaction, go_on)
        filtered = self._sinks if behind.values else ()
        self.duplicates = len(passing.kept_back) + sum(
            sink.duplicates for sink in filtered if isinstance(sink, FilteredSink)
        )
        prepared.records.take_rejections(behind.given)

    def _noted(self, prepared: Prepared, transaction: StatefulTransaction) -> Passing:
        rows, passing = self._seen_rows(transaction), prepared.passing
        remembered = rows.note(prepared.rows)
        if remembered:
            passing = prepared.places.passing(remembered)
            changed = {key: passing.last[key] for key in remembered if key in passing.last}
            if changed:
                rows.change(self._preparing.rows(prepared, changed))
        if not transaction.in_attempt:
            if self._registration is None:
                self._registration = Registration(replace(self._described, table=transaction.tables.seen.fullname))
            self._registration.through(transaction)
            largest = _largest(prepared.records, prepared.times)
            self._forgetting.after(largest, len(prepared.rows) - len(remembered), transaction)
        return passing

    def _seen_rows(self, transaction: StatefulTransaction) -> SeenRows:
        driver = psycopg_of(transaction.connection)
        if driver is not None:
            return PostgresRows(transaction, driver, self._described.name)
        return StatementRows(transaction, self._described.name)

    # ---------------------------------------------------------------------------------------------------------- time

    @property
    def tick_interval_s(self) -> float:
        """The shortest of those behind, or its own."""
        return min([_TICK_S, *(sink.tick_interval_s for sink in self._ticking)])

    def tick(self, caught_up_s: Mapping[TopicPartition, float], transaction: StatefulTransaction) -> None:
        """Note which partitions are idle, and have time pass for those behind."""
        self._forgetting.tick(caught_up_s, transaction)
        for sink in self._ticking:
            sink.tick(caught_up_s, transaction)

    @property
    def _ticking(self) -> Sequence[TickingSink]:
        return [sink for sink in self._sinks if isinstance(sink, TickingSink)]

    # --------------------------------------------------------------------------------------------------------- state

    def states(self) -> Sequence[StateDescription]:
        """Its own, and those of the sinks behind."""
        behind = (state for sink in self._sinks if isinstance(sink, StatefulSink) for state in sink.states())
        return (self._described, *behind)

    def clear(self, transaction: StatefulTransaction, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
        """Forget what has gone on of these partitions, and have the sinks behind clear theirs."""
        cleared: dict[str, int] = {}
        mine = [tuple(partition) for partition in partitions]
        for table in (transaction.tables.seen, transaction.tables.watermarks):
            result = transaction.connection.execute(
                delete(table).where(
                    table.c.stream == transaction.claimed.stream,
                    table.c.state == self._described.name,
                    tuple_(table.c.topic, table.c.partition).in_(mine),
                )
            )
            if table is transaction.tables.seen:
                cleared[table.fullname] = result.rowcount
        for sink in self._sinks:
            if isinstance(sink, StatefulSink):
                for name, count in sink.clear(transaction, partitions).items():
                    cleared[name] = cleared.get(name, 0) + count
        return cleared


def _write(sink: Sink, value: Any, transaction: StatefulTransaction, go_on: Callable[[], None]) -> None:
    outcome: Any = (  # whatever waits to be run is a user's mistake
        sink.write_overlapping(value, transaction, go_on)  # type: ignore[func-returns-value]
        if isinstance(sink, OverlappingSink)
        else sink.write(value, transaction)  # type: ignore[func-returns-value]
    )
    if (what := deferred(outcome)) is not None:
        discard(outcome)
        raise ProcessingError(
            f"{sink.describe()} returned {what}, which nobody runs: what it was to write was not written, and nothing "
            "of the batch was committed; write with plain calls before it returns"
        )


def _largest(records: Records, times: Sequence[int]) -> Mapping[TopicPartition, int]:
    found: dict[tuple[Any, Any], int] = {}
    for message, time in zip(records.messages, times, strict=True):
        where = message.topic(), message.partition()
        if time > found.get(where, time - 1):
            found[where] = time
    return {TopicPartition(*where): time for where, time in found.items()}


__all__ = ["Deduplicated"]
