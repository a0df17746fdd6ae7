"""Changes that need not be written, because another one of their key in the same batch decides alone: pure.

A batch is still refused exactly if its changes one by one are: left out is only what the database takes whatever else
it may hold. That is so in a table where nothing but types, NOT NULLs and its key refuses a row, of values of known
classes that fit their columns. Where one is left out that may not fit, nothing is, and the database is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import Dialect

from kafka_stream.sinks.sql.facts import ColumnFacts, TableFacts
from kafka_stream.sinks.sql.fitting import fitting
from kafka_stream.sinks.sql.rows import Key, Layout, Resolution
from kafka_stream.sinks.sql.target import Target

Keyed: TypeAlias = tuple[Layout | None, Sequence[Any], Sequence[Key]]
"""A run, and its keys in comparable form."""

_NO_CHANGE: Final = object()


class Folding:
    """Folds the changes of batches whose keys Python tells apart, and which may change places."""

    def __init__(self, target: Target, on_conflict: Resolution, facts: TableFacts, dialect: Dialect) -> None:
        self._target = target
        self._folds = on_conflict in ("ignore", "update") and facts.bare and facts.takes_unicode
        self._last_decides = on_conflict == "update"
        self._stands_alone = facts.stands_alone
        self._all_columns = set(facts.columns)
        with_default = {column.name for column in target.columns.values() if column.default is not None}
        self._needed = with_default | {name for name, it in facts.columns.items() if not it.is_optional}
        self._fits = {
            name: fitting(column, facts.columns.get(column.name, ColumnFacts()), dialect)
            for name, column in target.columns.items()
            if name not in target.key
        }

    def of(self, keyed: Sequence[Keyed]) -> Sequence[Keyed]:
        """What is left of the runs; it comes to the same."""
        if not self._folds or not _repeat(keyed):
            return keyed
        kept, left_out = self._split(keyed)
        return kept if all(self._fit(layout, rows) for layout, rows in left_out.items()) else keyed

    def _split(self, keyed: Sequence[Keyed]) -> tuple[list[Keyed], dict[Layout, list[Any]]]:
        """What decides and what does not; of this the rows, for a delete cannot be refused here."""
        layouts = {layout for layout, _, _ in keyed}
        decided_by = {it: {other for other in layouts if self._decides(other, it)} for it in layouts}
        beside: dict[Key, Any] = {}
        kept: list[Keyed] = []
        left_out = defaultdict[Layout, list[Any]](list)
        for layout, values, keys in self._in_turn(keyed):
            deciding, mine, others = decided_by[layout], list[int](), list[int]()
            for number in self._in_turn(range(len(keys))):
                if beside.get(keys[number], _NO_CHANGE) in deciding:
                    others.append(number)
                else:
                    beside[keys[number]] = layout
                    mine.append(number)
            if layout is not None and others:
                left_out[layout] += [values[number] for number in others]
            if mine:
                mine = list(self._in_turn(mine))
                kept.append((layout, [values[number] for number in mine], [keys[number] for number in mine]))
        return list(self._in_turn(kept)), left_out

    def _in_turn(self, these: Sequence[Any]) -> Iterable[Any]:
        """From the end on where the last change of a key decides."""
        return reversed(these) if self._last_decides else these

    def _decides(self, other: Layout | None, layout: Layout | None) -> bool:
        """Whether a change is nothing beside the next one of its key that is written: after it, or before it."""
        if other is None and layout is None:
            return True
        if layout is None:
            return self._last_decides and self._stands_alone and self._names(other) == self._all_columns
        if any(self._fits.get(name, _takes) is None for name in layout.columns):
            return False
        if not self._needed <= self._names(layout) and other is not layout:
            return False  # it may be refused where the other one is not
        if other is None:
            return self._last_decides and self._stands_alone
        return not self._last_decides or set(layout.columns) <= set(other.columns)

    def _names(self, layout: Layout | None) -> set[str]:
        """The database's names of the columns of a layout."""
        return {self._target.columns[name].name for name in layout.columns} if layout else set()

    def _fit(self, layout: Layout, rows: Sequence[Any]) -> bool:
        """Whether the database takes all these; their keys are those of rows that are written."""
        for position, name in enumerate(layout.columns):
            fits = self._fits.get(name, _takes)
            if fits is None or not fits(list(map(itemgetter(position), rows))):
                return False
        return True


def _takes(_: Sequence[Any]) -> bool:
    """In place of a check of values that are known to fit."""
    return True


def _repeat(keyed: Sequence[Keyed]) -> bool:
    """Whether a key comes twice."""
    return len(set(chain.from_iterable(keys for _, _, keys in keyed))) < sum(len(keys) for _, _, keys in keyed)
