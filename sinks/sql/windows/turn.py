"""One batch, or one tick: what is late, what is added, how far the watermark comes, and what closes.

The order of locks is always the same: the sink's row, its panes in key order, its watermarks, its windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kafka_stream.batch import Batch
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.windows.closing import Closing
from kafka_stream.sinks.sql.windows.event_time.lateness import NEVER, Placed
from kafka_stream.sinks.sql.windows.event_time.watermarks import Mark, Marks
from kafka_stream.sinks.sql.windows.late_records import LateRecord, LateTable, counts, late_records, reject
from kafka_stream.sinks.sql.windows.ledger import Ledger
from kafka_stream.sinks.sql.windows.open_panes import Added, OpenPanes
from kafka_stream.sinks.sql.windows.open_sessions import OpenSessions
from kafka_stream.sinks.sql.windows.options import Options
from kafka_stream.sinks.sql.windows.retention import Retention
from kafka_stream.sinks.sql.windows.rows import Corrections
from kafka_stream.sinks.sql.windows.standing import Standing
from kafka_stream.sinks.sql.windows.tables import WindowTables
from kafka_stream.types import TopicPartition

Open: TypeAlias = OpenPanes | OpenSessions


@dataclass(frozen=True, slots=True)
class _Locked:
    """What a turn goes by: the watermarks before it, and what is closed, neither of which others change now."""

    transaction: StatefulTransaction
    marks: Marks
    closed_us: int | None
    may_close: bool

    def floor_us(self, partition: TopicPartition) -> int:
        """What has passed for a partition."""
        watermark_us = self.marks.of(partition).watermark_us
        return max(it for it in (watermark_us, self.closed_us, NEVER) if it is not None)


class Turns:
    """Batches and ticks, one after the other."""

    def __init__(
        self, tables: WindowTables, opened: Open, ledger: Ledger, options: Options, standing: Standing
    ) -> None:
        self._late_table = LateTable(tables)
        self._open = opened
        self._ledger = ledger
        self._options = options
        self._standing = standing
        self._closing = Closing(tables, options.on_close, standing.where)
        self._retention = None if options.retention_us is None else Retention(tables, options.retention_us)
        self._begun: StatefulTransaction | None = None
        self._has_begun = False

    def write(
        self, placed: Sequence[Placed], added: Added, batch: Batch | None, transaction: StatefulTransaction
    ) -> None:
        """A batch's records."""
        self._begin(transaction)
        self._standing.check_keys(placed)
        now = self._locked(transaction, lambda marks: marks.after(placed, self._options.lateness_us))
        late = [it for one in placed for it in self._late(one, now)]
        taken = [one for one in late if self._is_taken(one, now.closed_us)]
        self._keep_late(late, batch, now)
        corrected = self._add(placed, added, taken, now)
        changed = now.marks.after(placed, self._options.lateness_us)
        self._ledger.keep(transaction, changed)
        self._close(now, now.marks.changed(changed), corrected)

    def tick(self, caught_up_s: Mapping[TopicPartition, float], transaction: StatefulTransaction) -> None:
        """Time has passed."""
        self._begin(transaction)
        marks, closed_us = self._ledger.read(transaction)
        owned = [one.topic_partition for one in transaction.claimed.ranges]
        changed = marks.ticked(owned, caught_up_s, self._options.idle_after_s)
        self._ledger.keep(transaction, changed)
        if self._closable(marks.changed(changed), closed_us) is not None:
            now = self._locked(transaction, lambda _: changed)
            self._close(now, now.marks.changed(changed), Corrections())
        elif self._retention is not None and self._retention.has_more and closed_us is not None:
            self._retention.step(transaction, closed_us)

    def _begin(self, transaction: StatefulTransaction) -> None:
        self._standing.look(transaction.connection)
        self._has_begun = self._has_begun or (self._begun is not None and self._begun.is_committed)
        if not self._has_begun:
            self._ledger.begin(transaction)
        self._begun = None if self._has_begun or transaction.in_attempt else transaction

    def _locked(
        self, transaction: StatefulTransaction, changes: Callable[[Marks], Mapping[TopicPartition, Mark]]
    ) -> _Locked:
        """The sink's row is locked: alone, where this turn is going to close something, else beside others.

        Which of them it is has to be known before: who shares a lock with others cannot get it for himself.
        """
        marks, closed_us = self._ledger.read(transaction)
        if not self._open.adds_alone and self._closable(marks.changed(changes(marks)), closed_us) is None:
            return _Locked(transaction, marks, self._ledger.lock_shared(transaction), may_close=False)
        closed_us = self._ledger.lock_alone(transaction)
        return _Locked(transaction, self._ledger.read(transaction)[0], closed_us, may_close=True)

    def _closable(self, marks: Marks, closed_us: int | None) -> int | None:
        """Until when windows can be closed, if that is more than what is closed."""
        watermark_us = marks.stream_watermark_us
        if watermark_us is None:
            return None
        until_us = self._open.closable(watermark_us)
        return until_us if closed_us is None or until_us > closed_us else None

    def _late(self, one: Placed, now: _Locked) -> Iterator[LateRecord]:
        return late_records(one, now.floor_us(one.events.partition), self._options.lateness_us)

    def _is_taken(self, one: LateRecord, closed_us: int | None) -> bool:
        """Whether a late record goes into its windows all the same."""
        if self._options.late != "update" or self._options.retention_us is None:
            return False
        return closed_us is None or one.deadline_us > closed_us - self._options.retention_us

    def _keep_late(self, late: Sequence[LateRecord], batch: Batch | None, now: _Locked) -> None:
        if not late:
            return
        self._ledger.count_late(now.transaction, counts(late, self._open.spans))
        if self._options.late == "dead-letter":
            reject(late, batch, self._standing.where)
        else:
            left = [one for one in late if not self._is_taken(one, now.closed_us)]
            self._late_table.keep(left, now.transaction)

    def _add(self, placed: Sequence[Placed], added: Added, taken: Sequence[LateRecord], now: _Locked) -> Corrections:
        """As it was combined before the transaction, if no other records are left out than was thought."""
        left_out = {one.events.partition: one.late_at(now.floor_us(one.events.partition)) for one in placed}
        for late in taken:
            left_out[late.of.events.partition] -= {late.place}
        of = [(one, left_out[one.events.partition]) for one in placed]
        if any(without != one.late for one, without in of):
            added = self._open.prepare(of)
        return self._open.add(added, {one.cell for one in taken}, now.closed_us, now.transaction)

    def _close(self, now: _Locked, marks: Marks, corrected: Corrections) -> None:
        until_us = self._closable(marks, now.closed_us) if now.may_close else None
        closed = [] if until_us is None else self._open.closed(now.transaction, now.closed_us, until_us)
        self._closing.write(closed, corrected, now.transaction)
        if until_us is None:
            return
        self._open.forget(now.transaction, until_us)
        self._ledger.close(now.transaction, until_us)
        if self._retention is not None:
            self._retention.step(now.transaction, until_us)
