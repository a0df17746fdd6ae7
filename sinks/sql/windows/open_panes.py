"""The panes that are open, of tumbling and sliding windows: records are added to them, and windows made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select

from kafka_stream.protocols import WorkersPart
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.windows.adding import Adding
from kafka_stream.sinks.sql.windows.event_time.aggregates import Part
from kafka_stream.sinks.sql.windows.event_time.combining import Cell, Combined, by_pane, chosen
from kafka_stream.sinks.sql.windows.event_time.definitions import Sliding, Tumbling
from kafka_stream.sinks.sql.windows.event_time.lateness import Placed
from kafka_stream.sinks.sql.windows.event_time.sliding import Pane, WindowsOfPanes
from kafka_stream.sinks.sql.windows.keyed import is_one_of
from kafka_stream.sinks.sql.windows.reading import read_in_steps
from kafka_stream.sinks.sql.windows.rows import Closed, Corrections
from kafka_stream.sinks.sql.windows.standing import Standing
from kafka_stream.sinks.sql.windows.tables import PANE, WindowTables

Chosen = Sequence[tuple[Placed, frozenset[int]]]
"""Of each partition its records, and the places of those that are left out."""


@dataclass(frozen=True)
class Added:
    """The records of a batch, ready to be added as long as no others than these are left out."""

    of: Chosen
    changes: Any


@dataclass(frozen=True)
class PanesOf:
    """Brings records together by pane and key, to be added by ``adding``, or by what workers have of it; pure."""

    parts: Sequence[Part]
    key_columns: int
    adding: WorkersPart

    def prepare(self, of: Chosen) -> Added:
        """What is to be added."""
        found = by_pane(chosen(of), self.parts) if of else ()
        return Added(of, self.adding.prepare([row for start, it in found for row in self._rows(start, it)]))

    def _rows(self, start: int, found: Combined) -> Iterable[tuple[Any, ...]]:
        keys = [found.cells] if self.key_columns == 1 else zip(*found.cells, strict=True)
        return zip(repeat(start, len(found.cells)), *keys, *found.parts, strict=True)


class OpenPanes:
    """What is kept of open windows: a row for each pane and key. Everything in it is for one window definition."""

    adds_alone = False
    """Whether nobody else may write while records are added."""

    def __init__(
        self, tables: WindowTables, definition: Tumbling | Sliding, standing: Standing, kept_us: int = 0
    ) -> None:
        """``kept_us`` is for how long panes stay behind the last window that needs them."""
        self._tables = tables
        self._standing = standing
        self.place = definition.panes
        self._panes = definition.panes
        self._per_window = definition.panes_per_window
        self._kept_us = kept_us
        self._windows = WindowsOfPanes(definition.panes, definition.panes_per_window, tables.plan.parts)
        self._adding = Adding(tables)
        self._combining = PanesOf(tables.plan.parts, len(tables.key), self._adding)

    def closable(self, watermark_us: int) -> int:
        """The last end of a window at or before a watermark."""
        return self._panes.starts([watermark_us])[0]

    def spans(self, one: Placed, place: int) -> Iterator[tuple[int, int]]:
        """The windows that a record belongs to, by start and end."""
        start = one.starts[place]
        for number in range(self._per_window):
            yield self._panes.shifted(start, number + 1 - self._per_window), self._panes.shifted(start, number + 1)

    def prepare(self, of: Chosen) -> Added:
        """Combined by pane and key; pure."""
        return self._combining.prepare(of)

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``."""
        return self._adding.work_changed

    def for_workers(self) -> PanesOf:
        """What has ``prepare`` in common with this, and can be pickled."""
        return replace(self._combining, adding=self._adding.for_workers())

    def add(
        self, added: Added, late: Collection[Cell], closed_us: int | None, transaction: StatefulTransaction
    ) -> Corrections:
        """Add them to what is kept; ``late`` are the panes and keys of those among them that are late."""
        self._adding.write(added.changes, transaction.connection)
        ended = {(start, key) for start, key in late if closed_us is not None and start < closed_us}
        if closed_us is None or not ended:
            return Corrections()
        return Corrections(self._corrected(transaction, ended, closed_us))

    def closed(self, transaction: StatefulTransaction, after_us: int | None, until_us: int) -> Iterator[Closed]:
        """The windows that end behind ``after_us`` and not behind ``until_us``; they are read as they are taken."""
        table = self._tables.open
        reached = [table.c[PANE] < until_us]
        if after_us is not None:
            reached.append(table.c[PANE] >= self._panes.shifted(after_us, 1 - self._per_window))
        return self._made(self._read(transaction.connection, reached), after_us, until_us)

    def forget(self, transaction: StatefulTransaction, until_us: int) -> None:
        """Delete the panes that no window needs which ends behind this time."""
        oldest_us = self._panes.shifted(until_us, 1 - self._per_window) - self._kept_us
        transaction.connection.execute(delete(self._tables.open).where(self._tables.open.c[PANE] < oldest_us))

    def _corrected(self, transaction: StatefulTransaction, cells: Collection[Cell], until_us: int) -> list[Closed]:
        """The windows that these panes are of, and that do not end behind ``until_us``."""
        starts, keys = [start for start, _ in cells], [key for _, key in cells]
        ends = {
            (form, self._panes.shifted(start, number))
            for start, form in zip(starts, self._standing.forms(keys), strict=True)
            for number in range(1, self._per_window + 1)
        }
        table = self._tables.open
        of_keys = is_one_of(table, self._tables.key, [self._tables.key_values(key) for key in set(keys)])
        first = self._panes.shifted(min(starts), 1 - self._per_window)
        reached = [table.c[PANE] < until_us, table.c[PANE] >= first, of_keys]
        made = list(self._made(self._read(transaction.connection, reached), None, until_us))
        forms = self._standing.forms([one.key for one in made])
        return [one for one, form in zip(made, forms, strict=True) if (form, one.end_us) in ends]

    def _read(self, connection: Connection, where: Iterable[ColumnElement[bool]]) -> Iterator[tuple[Any, list[Pane]]]:
        """Each key with its panes in order of time, one after the other: not all of them are there at once."""
        table, width, parts = self._tables.open, len(self._tables.key), self._tables.plan.parts
        keys = [table.c[name] for name in self._tables.key]
        order = [*keys, table.c[PANE]] if self._per_window > 1 else []  # of one pane there is nothing to bring together
        read = select(table.c[PANE], *keys, *(table.c[part.name] for part in parts)).where(*where).order_by(*order)
        reads = [part.values.read for part in parts]
        found: tuple[Any, Any, list[Pane]] | None = None
        for rows in read_in_steps(connection, read):
            of_rows = [self._tables.key_of(row[1 : width + 1]) for row in rows]
            for row, key, form in zip(rows, of_rows, self._standing.forms(of_rows), strict=True):
                if found is None or form != found[0] or self._per_window == 1:
                    if found is not None:
                        yield found[1:]
                    found = (form, key, [])
                pane = [convert(value) for convert, value in zip(reads, row[width + 1 :], strict=True)]
                found[2].append((row[0], pane))
        if found is not None:
            yield found[1:]

    def _made(self, panes: Iterable[tuple[Any, list[Pane]]], after_us: int | None, until_us: int) -> Iterator[Closed]:
        for key, of_key in panes:
            for start, end, parts in self._windows.closed(of_key, after_us, until_us):
                yield Closed(start, end, key, parts)
