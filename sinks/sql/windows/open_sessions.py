"""The sessions that are open: a batch's records are merged with those of their keys, by one writer at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, select

from kafka_stream.sinks.sql.sink import SqlSink
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.windows.event_time.aggregates import Part
from kafka_stream.sinks.sql.windows.event_time.combining import Cell, chosen
from kafka_stream.sinks.sql.windows.event_time.definitions import Session
from kafka_stream.sinks.sql.windows.event_time.lateness import NEVER, Placed
from kafka_stream.sinks.sql.windows.event_time.sessions import Stretch, merged, sessions_of
from kafka_stream.sinks.sql.windows.keyed import is_one_of
from kafka_stream.sinks.sql.windows.open_panes import Added, Chosen
from kafka_stream.sinks.sql.windows.reading import read_in_steps
from kafka_stream.sinks.sql.windows.rows import Closed, Corrections
from kafka_stream.sinks.sql.windows.standing import Standing
from kafka_stream.sinks.sql.windows.tables import FIRST, LAST, WindowTables

_KEYS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class _OfKey:
    """A key as it was first given, and its sessions."""

    key: Any
    stretches: list[Stretch]


@dataclass(frozen=True, slots=True)
class _Change:
    """The sessions of a key that had records, before and after them."""

    key: Any
    before: Sequence[Stretch]
    after: Sequence[Stretch]

    @property
    def gone(self) -> list[int]:
        """The starts of those that begin earlier now."""
        kept = {one.first for one in self.after}
        return [one.first for one in self.before if one.first not in kept]

    @property
    def new(self) -> list[Stretch]:
        """Those that are new, or have become others."""
        return [one for one in self.after if one not in self.before]


@dataclass(frozen=True, slots=True)
class SessionsOf:
    """Brings the records of each key together in sessions; pure."""

    parts: Sequence[Part]
    gap_us: int

    def prepare(self, of: Chosen) -> Added:
        """What is to be merged with the sessions that are kept."""
        return Added(of, sessions_of(chosen(of), self.gap_us, self.parts) if of else {})


class OpenSessions:
    """What is kept of open sessions: a row for each."""

    adds_alone = True
    """Whether nobody else may write while records are added: what is there is read, and joined."""

    def __init__(self, tables: WindowTables, definition: Session, standing: Standing, kept_us: int = 0) -> None:
        """``kept_us`` is for how long sessions stay behind their close."""
        self.place = definition
        self._tables = tables
        self._standing = standing
        self._gap_us = definition.gap_us
        self._combining = SessionsOf(tables.plan.parts, definition.gap_us)
        self._kept_us = kept_us
        self._sink = SqlSink(tables.open, list, "update")

    def closable(self, watermark_us: int) -> int:
        """Sessions end anywhere."""
        return watermark_us

    def spans(self, one: Placed, place: int) -> Iterator[tuple[int, int]]:
        """For a late record, which has no session: the stretch, of those that are a gap long, that its time is in."""
        begin = one.starts[place] - one.starts[place] % self._gap_us
        yield begin, begin + self._gap_us

    def prepare(self, of: Chosen) -> Added:
        """Combined into sessions; pure."""
        return self._combining.prepare(of)

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``: nothing is found out for workers."""
        return 0

    def for_workers(self) -> SessionsOf:
        """What has ``prepare`` in common with this, and can be pickled."""
        return self._combining

    def add(
        self, added: Added, late: Collection[Cell], closed_us: int | None, transaction: StatefulTransaction
    ) -> Corrections:
        """Merge them with what is kept; which of them are late is seen by the closed sessions that they change."""
        by_key: dict[Any, list[Stretch]] = added.changes
        new: dict[Any, _OfKey] = {}
        for key, form in zip(by_key, self._standing.forms(list(by_key)), strict=True):
            new.setdefault(form, _OfKey(key, [])).stretches.extend(by_key[key])
        forms, changes = list(new), list[_Change]()
        for begin in range(0, len(forms), _KEYS_AT_ONCE):
            some = {form: new[form] for form in forms[begin : begin + _KEYS_AT_ONCE]}
            changes += self._merge(transaction, some)
        return self._corrections(changes, NEVER if closed_us is None else closed_us)

    def closed(self, transaction: StatefulTransaction, after_us: int | None, until_us: int) -> Iterator[Closed]:
        """The sessions that end behind ``after_us`` and not behind ``until_us``; they are read as they are taken."""
        last = self._tables.open.c[LAST]
        ended = last <= until_us - self._gap_us
        if after_us is not None:
            ended &= last > after_us - self._gap_us
        for rows in read_in_steps(transaction.connection, self._rows(ended)):
            for key, stretch in self._stretches(rows):
                yield self._closed(key, stretch)

    def forget(self, transaction: StatefulTransaction, until_us: int) -> None:
        """Delete the sessions that end not behind this time, and are not kept for late records."""
        ended = self._tables.open.c[LAST] <= until_us - self._gap_us - self._kept_us
        transaction.connection.execute(delete(self._tables.open).where(ended))

    def _merge(self, transaction: StatefulTransaction, new: dict[Any, _OfKey]) -> list[_Change]:
        of_keys = is_one_of(
            self._tables.open, self._tables.key, [self._tables.key_values(of.key) for of in new.values()]
        )
        stored = self._read(transaction.connection, of_keys)
        changes = []
        for form, of in new.items():
            before = stored.get(form, _OfKey(of.key, []))
            after = merged([*before.stretches, *of.stretches], self._gap_us, self._tables.plan.parts)
            changes.append(_Change(before.key, before.stretches, after))
        self._write(transaction, changes)
        return changes

    def _write(self, transaction: StatefulTransaction, changes: Sequence[_Change]) -> None:
        values = self._tables.key_values
        gone = [(*values(of.key), first) for of in changes for first in of.gone]
        if gone:
            names = (*self._tables.key, FIRST)
            transaction.connection.execute(delete(self._tables.open).where(is_one_of(self._tables.open, names, gone)))
        rows = [(*values(of.key), one.first, one.last, *one.parts) for of in changes for one in of.new]
        self._sink.write(self._sink.prepare(rows), transaction)

    def _corrections(self, changes: Sequence[_Change], closed_us: int) -> Corrections:
        """What has changed of sessions that were closed, and which of them are no more, or not as they were."""
        ended_us = closed_us - self._gap_us
        return Corrections(
            [self._closed(of.key, one) for of in changes for one in of.new if one.last <= ended_us],
            [
                (of.key, one.first)
                for of in changes
                for one in of.before
                if one.last <= ended_us and not any(it.first == one.first and it.last <= ended_us for it in of.after)
            ],
        )

    def _closed(self, key: Any, one: Stretch) -> Closed:
        return Closed(one.first, one.last + self._gap_us, key, one.parts)

    def _read(self, connection: Connection, where: ColumnElement[bool]) -> dict[Any, _OfKey]:
        """The sessions of each key, by the form in which keys are compared."""
        read = self._stretches(connection.execute(self._rows(where)).all())
        found: dict[Any, _OfKey] = {}
        for (key, stretch), form in zip(read, self._standing.forms([key for key, _ in read]), strict=True):
            found.setdefault(form, _OfKey(key, [])).stretches.append(stretch)
        return found

    def _rows(self, where: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        table, parts = self._tables.open, self._tables.plan.parts
        names = [*self._tables.key, FIRST, LAST, *(part.name for part in parts)]
        return select(*(table.c[name] for name in names)).where(where)

    def _stretches(self, rows: Sequence[Row[*tuple[Any, ...]]]) -> list[tuple[Any, Stretch]]:
        width, reads = len(self._tables.key), [part.values.read for part in self._tables.plan.parts]
        found = []
        for row in rows:
            kept = [convert(value) for convert, value in zip(reads, row[width + 2 :], strict=True)]
            found.append((self._tables.key_of(row[:width]), Stretch(row[width], row[width + 1], kept)))
        return found
