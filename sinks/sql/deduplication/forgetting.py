"""How far time has come in each partition, and the rows that can be forgotten since nothing that is to come is near.

What is forgotten lies twice ``within`` behind the least of the partitions' largest times. So it takes a record that
comes more than ``within`` behind the largest time of its own partition to find its key forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, Table, case, delete, func, literal_column, select, text

from kafka_stream.sinks.sql.deduplication.seen_rows import BY_KEY
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.stateful.upsert import upsert
from kafka_stream.types import TopicPartition

LEAST_STEP = 1_000
"""Rows that are forgotten in a step, at the most; where a batch has noted more, twice as many as it has."""
_LEAST_IDLE_S = 60.0
_INTERVAL_S = 1.0
_DELETED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """The largest time of a partition, ``None`` if it had no record yet, and whether it is read to its end for long."""

    event_time_us: int | None
    is_idle: bool = False


def horizon_us(partitions: Sequence[Progress | None], within_us: int) -> int | None:
    """What lies before this can be forgotten; ``None`` if it cannot be told. Idle partitions are left out."""
    times = [None if it is None else it.event_time_us for it in partitions if it is None or not it.is_idle]
    known = [time_us for time_us in times if time_us is not None]
    return min(known) - 2 * within_us if known and len(known) == len(times) else None


class Forgetting:
    """One sink's. It moves the partitions' times with each batch, and forgets a few rows now and then."""

    def __init__(self, state: str, within_us: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._within_us = within_us
        self._clock = clock
        self._idle_after_s = max(within_us / 1_000_000, _LEAST_IDLE_S)
        self._noted = 0
        self._stepped_at = float("-inf")

    def after(self, largest: Mapping[TopicPartition, int], noted: int, transaction: StatefulTransaction) -> None:
        """A batch had these largest times, and has noted so many keys."""
        self._noted += noted
        moved = {tp: Progress(at) for tp, at in largest.items()}
        if self._noted < LEAST_STEP and self._clock() - self._stepped_at < _INTERVAL_S:
            self._move(moved, transaction)
            return
        known = self._known(transaction)
        self._move(moved, transaction)
        latest = [_later(known.get(tp), moved.get(tp)) for tp in transaction.partitions()]
        horizon = horizon_us(latest, self._within_us)
        if horizon is not None:
            self._forget(horizon, max(LEAST_STEP, 2 * self._noted), transaction)
        self._noted, self._stepped_at = 0, self._clock()

    def tick(self, caught_up_s: Mapping[TopicPartition, float], transaction: StatefulTransaction) -> None:
        """Owned partitions that were read to their end for so long are not waited for, until something is unread."""
        known = self._known(transaction)
        moved: dict[TopicPartition, Progress] = {}
        for partition in transaction.claimed.epochs:
            before, since_s = known.get(partition, Progress(None)), caught_up_s.get(partition)
            is_idle = since_s is not None and (before.is_idle or since_s >= self._idle_after_s)
            if is_idle != before.is_idle:
                moved[partition] = Progress(before.event_time_us, is_idle)
        self._move(moved, transaction)

    def _known(self, transaction: StatefulTransaction) -> dict[TopicPartition, Progress]:
        table = transaction.tables.watermarks
        query = select(table.c.topic, table.c.partition, table.c.event_time_us, table.c.is_idle)
        mine = (table.c.stream == transaction.claimed.stream, table.c.state == self._state)
        rows = transaction.connection.execute(query.where(*mine))
        return {TopicPartition(row.topic, row.partition): Progress(row.event_time_us, row.is_idle) for row in rows}

    def _move(self, moved: Mapping[TopicPartition, Progress], transaction: StatefulTransaction) -> None:
        """Of partitions that are claimed by this transaction, so that nobody else writes them."""
        if not moved:
            return
        table, connection = transaction.tables.watermarks, transaction.connection
        fixed = {
            "stream": transaction.claimed.stream,
            "state": self._state,
            "watermark_us": None,
            "changed_at": datetime.now(UTC),
        }
        rows = [
            {
                **fixed,
                "topic": tp.topic,
                "partition": tp.partition,
                "event_time_us": moved[tp].event_time_us,
                "is_idle": moved[tp].is_idle,
            }
            for tp in sorted(moved)
        ]

        def changes(new: Any) -> Mapping[str, Any]:
            old_us, new_us = table.c.event_time_us, new.event_time_us
            is_later = new_us.is_not(None) & (old_us.is_(None) | (old_us < new_us))
            latest = case((is_later, new_us), else_=old_us)
            return {"is_idle": new.is_idle, "changed_at": new.changed_at, "event_time_us": latest}

        connection.execute(upsert(connection.dialect, table, changes), rows)

    def _forget(self, before_us: int, most: int, transaction: StatefulTransaction) -> None:
        """Rows that somebody else has in hand are left for another time."""
        table, connection = transaction.tables.seen, transaction.connection
        mine = (table.c.stream == transaction.claimed.stream, table.c.state == self._state)
        old = (*mine, table.c.time_us < before_us)
        if connection.dialect.name == "postgresql":  # by where they are: no keys go back and forth
            rows: Any = (
                select(literal_column("ctid")).select_from(table).where(*old).order_by(table.c.time_us).limit(most)
            )
            found = func.array(rows.with_for_update(skip_locked=True).scalar_subquery())
            connection.execute(delete(table).where(literal_column("ctid") == func.any(found)))
            return
        query = select(table.c.key_hash).where(*old).order_by(table.c.time_us).limit(most)
        keys = sorted(connection.execute(query.with_for_update(skip_locked=True)).scalars())
        for begin in range(0, len(keys), _DELETED_AT_ONCE):
            chunk = keys[begin : begin + _DELETED_AT_ONCE]
            if connection.dialect.name in ("mysql", "mariadb"):
                values = {f"key_{number}": key for number, key in enumerate(chunk)}
                fixed = {"stream": transaction.claimed.stream, "state": self._state}
                connection.execute(_joined_deletion(connection.dialect, table, list(values)), {**fixed, **values})
            else:
                connection.execute(delete(table).where(*mine, table.c.key_hash.in_(chunk)))


def _joined_deletion(dialect: Dialect, table: Table, names: Sequence[str]) -> Any:
    """Finds each row by its whole key. Another plan would also look at rows that somebody has in hand, and wait."""
    given = " UNION ALL ".join(f"SELECT :{name} AS key_hash" for name in names)
    seen = f"{dialect.identifier_preparer.format_table(table)} AS seen {BY_KEY}"
    return text(
        f"DELETE seen FROM ({given}) AS given STRAIGHT_JOIN {seen} "
        "ON seen.stream = :stream AND seen.state = :state AND seen.key_hash = given.key_hash"
    )


def _later(known: Progress | None, moved: Progress | None) -> Progress | None:
    if known is None or moved is None:
        return known or moved
    times = [it.event_time_us for it in (known, moved) if it.event_time_us is not None]
    return Progress(max(times, default=None))


__all__ = ["LEAST_STEP", "Forgetting", "Progress", "horizon_us"]
