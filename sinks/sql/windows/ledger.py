"""What a sink keeps in the store's tables: watermarks, what is closed, and how many records were late."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, select, update

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.stateful.registry import register
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.stateful.upsert import upsert
from kafka_stream.sinks.sql.windows.event_time.watermarks import Mark, Marks
from kafka_stream.types import TopicPartition

Span = tuple[int, int]
"""A window's start and end, in microseconds."""


@dataclass(frozen=True)
class Ledger:
    """The rows of one sink, of the stream whose transaction it is given."""

    described: StateDescription

    def begin(self, transaction: StatefulTransaction) -> None:
        """Say what is kept here.

        Raises:
            ConfigurationError: what is open was made by other windows.
        """
        states = transaction.tables.states
        found = transaction.connection.execute(
            select(states.c.kind, states.c.table_name, states.c.details).where(self._mine(states, transaction))
        ).first()
        if found is not None:
            self._check(found.kind, found.table_name, json.loads(found.details))
        register(transaction, self.described)

    def _check(self, kind: str, table: str, details: Mapping[str, Any]) -> None:
        name, mine = self.described.name, self.described.details["window"]
        if table != self.described.table:
            raise ConfigurationError(
                f"the WindowSink {name!r} writes to {self.described.table}, but the stream keeps {table} under "
                "that name: give the sink a name of its own"
            )
        if kind != self.described.kind or details.get("window", mine) != mine:
            what = details.get("window", f"state of the kind {kind!r}")
            raise ConfigurationError(
                f"the WindowSink {name!r} is of {mine}, but the stream keeps {what} under that name, and what is open "
                "cannot become the other: give the sink a table and a name of its own, or clear it "
                "(`kafka-stream offsets reset --with-state-reset`)"
            )

    def read(self, transaction: StatefulTransaction) -> tuple[Marks, int | None]:
        """The watermarks, and what is closed; both may grow before the sink is locked."""
        marks = transaction.tables.watermarks
        read = select(marks.c.topic, marks.c.partition, marks.c.event_time_us, marks.c.watermark_us, marks.c.is_idle)
        found = {
            TopicPartition(topic, partition): Mark(event_time_us, watermark_us, bool(is_idle))
            for topic, partition, event_time_us, watermark_us, is_idle in transaction.connection.execute(
                read.where(self._mine(marks, transaction))
            )
        }
        states = transaction.tables.states
        closed = transaction.connection.execute(
            select(states.c.closed_until_us).where(self._mine(states, transaction))
        ).scalar()
        return Marks(transaction.partitions(), found), closed

    def lock_shared(self, transaction: StatefulTransaction) -> int | None:
        """What is closed; nothing more is, before the transaction ends."""
        return self._lock(transaction, read=True)

    def lock_alone(self, transaction: StatefulTransaction) -> int | None:
        """What is closed; nobody else writes into these windows before the transaction ends."""
        return self._lock(transaction, read=False)

    def _lock(self, transaction: StatefulTransaction, *, read: bool) -> int | None:
        states = transaction.tables.states
        locking = select(states.c.closed_until_us).where(self._mine(states, transaction)).with_for_update(read=read)
        found = transaction.connection.execute(locking).first()
        if found is None:  # it was said in a transaction that was not committed, or was cleared
            register(transaction, self.described)
            return None
        closed: int | None = found.closed_until_us
        return closed

    def keep(self, transaction: StatefulTransaction, marks: Mapping[TopicPartition, Mark]) -> None:
        """Watermarks of partitions that are claimed by this transaction, so that nobody else writes them."""
        rows = [
            {
                "stream": transaction.claimed.stream,
                "state": self.described.name,
                "topic": partition.topic,
                "partition": partition.partition,
                "event_time_us": mark.event_time_us,
                "watermark_us": mark.watermark_us,
                "is_idle": mark.is_idle,
                "changed_at": datetime.now(UTC),
            }
            for partition, mark in sorted(marks.items())
        ]
        if rows:
            changed = ("event_time_us", "watermark_us", "is_idle", "changed_at")
            table, connection = transaction.tables.watermarks, transaction.connection
            connection.execute(upsert(connection.dialect, table, lambda new: {it: new[it] for it in changed}), rows)

    def count_late(self, transaction: StatefulTransaction, counts: Mapping[Span, int]) -> None:
        """So many more records were late for these windows."""
        rows = [
            {
                "stream": transaction.claimed.stream,
                "state": self.described.name,
                "window_start_us": start_us,
                "window_end_us": end_us,
                "late": count,
            }
            for (start_us, end_us), count in sorted(counts.items())
        ]
        if rows:
            table, connection = transaction.tables.late, transaction.connection
            adding = upsert(connection.dialect, table, lambda new: {"late": table.c.late + new["late"]})
            connection.execute(adding, rows)

    def close(self, transaction: StatefulTransaction, until_us: int) -> None:
        """All windows that end not behind this time are closed."""
        states = transaction.tables.states
        closing = update(states).where(self._mine(states, transaction))
        transaction.connection.execute(closing.values(closed_until_us=until_us, changed_at=datetime.now(UTC)))

    def clear(self, transaction: StatefulTransaction) -> None:
        """Delete all of it."""
        tables = transaction.tables
        for table in (tables.late, tables.watermarks, tables.states):
            transaction.connection.execute(delete(table).where(self._mine(table, transaction)))

    def _mine(self, table: Table, transaction: StatefulTransaction) -> ColumnElement[bool]:
        return (table.c.stream == transaction.claimed.stream) & (table.c.state == self.described.name)
