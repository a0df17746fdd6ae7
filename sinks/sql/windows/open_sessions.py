"""The sessions that are open: a batch's records are merged with those of their keys, by one writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select

from kafka_stream.sinks.sql.sink import SqlSink
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.windows.event_time.combining import chosen
from kafka_stream.sinks.sql.windows.event_time.definitions import Session
from kafka_stream.sinks.sql.windows.event_time.lateness import Placed
from kafka_stream.sinks.sql.windows.event_time.sessions import Stretch, merged, sessions_of
from kafka_stream.sinks.sql.windows.keyed import is_one_of
from kafka_stream.sinks.sql.windows.open_panes import Added, Chosen
from kafka_stream.sinks.sql.windows.rows import Closed
from kafka_stream.sinks.sql.windows.standing import Standing
from kafka_stream.sinks.sql.windows.tables import FIRST, LAST, WindowTables

_KEYS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class _OfKey:
    """A key as it was first given, and its sessions."""

    key: Any
    stretches: list[Stretch]


class OpenSessions:
    """What is kept of open sessions: a row for each."""

    adds_alone = True
    """Whether nobody else may write while records are added: what is there is read, and joined."""

    def __init__(self, tables: WindowTables, definition: Session, standing: Standing) -> None:
        self.place = definition
        self._tables = tables
        self._standing = standing
        self._gap_us = definition.gap_us
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
        return Added(of, sessions_of(chosen(of), self._gap_us, self._tables.plan.parts) if of else {})

    def add(self, added: Added, transaction: StatefulTransaction) -> None:
        """Merge them with what is open."""
        by_key: dict[Any, list[Stretch]] = added.changes
        new: dict[Any, _OfKey] = {}
        for key, form in zip(by_key, self._standing.forms(list(by_key)), strict=True):
            new.setdefault(form, _OfKey(key, [])).stretches.extend(by_key[key])
        forms = list(new)
        for begin in range(0, len(forms), _KEYS_AT_ONCE):
            self._merge(transaction, {form: new[form] for form in forms[begin : begin + _KEYS_AT_ONCE]})

    def closed(self, transaction: StatefulTransaction, after_us: int | None, until_us: int) -> list[Closed]:
        """The sessions that end not behind ``until_us``."""
        ended = self._tables.open.c[LAST] <= until_us - self._gap_us
        return [
            Closed(one.first, one.last + self._gap_us, of.key, one.parts)
            for of in self._read(transaction.connection, ended).values()
            for one in of.stretches
        ]

    def forget(self, transaction: StatefulTransaction, until_us: int) -> None:
        """Delete the sessions that end not behind this time."""
        ended = self._tables.open.c[LAST] <= until_us - self._gap_us
        transaction.connection.execute(delete(self._tables.open).where(ended))

    def _merge(self, transaction: StatefulTransaction, new: dict[Any, _OfKey]) -> None:
        values = self._tables.key_values
        of_keys = is_one_of(self._tables.open, self._tables.key, [values(of.key) for of in new.values()])
        stored = self._read(transaction.connection, of_keys)
        gone: list[tuple[Any, ...]] = []
        rows: list[tuple[Any, ...]] = []
        for form, of in new.items():
            key, before = values(of.key), stored[form].stretches if form in stored else []
            after = merged([*before, *of.stretches], self._gap_us, self._tables.plan.parts)
            kept = {one.first for one in after}
            gone += [(*key, one.first) for one in before if one.first not in kept]
            rows += [(*key, one.first, one.last, *one.parts) for one in after if one not in before]
        if gone:
            names = (*self._tables.key, FIRST)
            transaction.connection.execute(delete(self._tables.open).where(is_one_of(self._tables.open, names, gone)))
        self._sink.write(self._sink.prepare(rows), transaction)

    def _read(self, connection: Connection, where: ColumnElement[bool]) -> dict[Any, _OfKey]:
        """The sessions of each key, by the form in which keys are compared."""
        table, width, parts = self._tables.open, len(self._tables.key), self._tables.plan.parts
        names = [*self._tables.key, FIRST, LAST, *(part.name for part in parts)]
        rows = connection.execute(select(*(table.c[name] for name in names)).where(where)).all()
        keys = [self._tables.key_of(row[:width]) for row in rows]
        reads = [part.values.read for part in parts]
        found: dict[Any, _OfKey] = {}
        for row, key, form in zip(rows, keys, self._standing.forms(keys), strict=True):
            kept = [convert(value) for convert, value in zip(reads, row[width + 2 :], strict=True)]
            found.setdefault(form, _OfKey(key, [])).stretches.append(Stretch(row[width], row[width + 1], kept))
        return found
