"""Pure: the records of one batch, combined by pane and key, or into sessions, before the database sees them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import localcontext
from itertools import chain, compress, groupby
from typing import Any, TypeAlias

from kafka_stream.sinks.sql.windows.event_time.aggregates import Fold, Part
from kafka_stream.sinks.sql.windows.event_time.lateness import Placed
from kafka_stream.sinks.sql.windows.event_time.values import EXACT

Cell: TypeAlias = tuple[int, Any]
"""The start of a pane, and a key."""

Parts: TypeAlias = list[Any]
"""What is kept of each aggregate, in the order of the plan."""


_FEW = 6
"""Panes of a batch whose records are looked through once for each of them."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Records of all partitions, in the columns that are combined."""

    starts: Sequence[int]
    keys: Sequence[Any]
    columns: Sequence[Sequence[Any]]


def chosen(placed: Iterable[tuple[Placed, frozenset[int]]]) -> Columns:
    """The records of these partitions without those at these places."""
    kept = [(one, _selection(one, without)) for one, without in placed]
    width = len(kept[0][0].events.columns) if kept else 0
    return Columns(
        _joined((one.starts, selection) for one, selection in kept),
        _joined((one.events.keys, selection) for one, selection in kept),
        [_joined((one.events.columns[number], selection) for one, selection in kept) for number in range(width)],
    )


def _selection(one: Placed, without: frozenset[int]) -> list[bool] | None:
    if not without:
        return None
    selection = [True] * len(one.starts)
    for place in without:
        selection[place] = False
    return selection


def _joined(columns: Iterable[tuple[Sequence[Any], list[bool] | None]]) -> Sequence[Any]:
    found = [column if selection is None else list(compress(column, selection)) for column, selection in columns]
    return found[0] if len(found) == 1 else list(chain.from_iterable(found))


@dataclass(frozen=True, slots=True)
class Combined:
    """What records come to by cell: the cells, and each part of all of them."""

    cells: Sequence[Any]
    parts: Sequence[Sequence[Any]]


def by_pane(records: Columns, parts: Sequence[Part]) -> Iterator[tuple[int, Combined]]:
    """What the records come to by key, pane by pane."""
    starts = set(records.starts)
    if len(starts) == 1:
        yield starts.pop(), combined(records.keys, records.columns, parts)
        return
    if len(starts) > _FEW:
        yield from _by_many_panes(records, parts)
        return
    for start in sorted(starts):
        is_in = [it == start for it in records.starts]
        columns = [list(compress(column, is_in)) for column in records.columns]
        yield start, combined(list(compress(records.keys, is_in)), columns, parts)


def _by_many_panes(records: Columns, parts: Sequence[Part]) -> Iterator[tuple[int, Combined]]:
    found = combined(list(zip(records.starts, records.keys, strict=True)), records.columns, parts)
    rows = sorted(zip(found.cells, *found.parts, strict=True), key=lambda row: row[0][0])
    for start, of in groupby(rows, key=lambda row: row[0][0]):
        cells, *columns = zip(*of, strict=True)
        yield start, Combined([key for _, key in cells], columns)


def combined(cells: Sequence[Any], columns: Sequence[Sequence[Any]], parts: Sequence[Part]) -> Combined:
    """What records come to, each of which is in one of these cells."""
    counts = Counter(cells)
    with localcontext(EXACT):
        found = [
            counts if part.argument is None else _FOLDS[part.fold](cells, columns[part.argument]) for part in parts
        ]
    return Combined(list(counts), [list(map(of.get, counts)) for of in found])


def _counted(cells: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
    return Counter(cell for cell, value in zip(cells, values, strict=True) if value is not None)


def _summed(cells: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
    sums: dict[Any, Any] = defaultdict(int)
    if type(None) in set(map(type, values)):
        is_there = [value is not None for value in values]
        cells, values = list(compress(cells, is_there)), list(compress(values, is_there))
    for cell, value in zip(cells, values, strict=True):
        sums[cell] += value
    return sums


def _least(cells: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for cell, value in zip(cells, values, strict=True):
        if value is not None and (cell not in found or value < found[cell]):
            found[cell] = value
    return found


def _greatest(cells: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for cell, value in zip(cells, values, strict=True):
        if value is not None and (cell not in found or value > found[cell]):
            found[cell] = value
    return found


_FOLDS: dict[Fold, Callable[[Sequence[Any], Sequence[Any]], dict[Any, Any]]] = {
    Fold.COUNT_VALUES: _counted,
    Fold.SUM: _summed,
    Fold.LEAST: _least,
    Fold.GREATEST: _greatest,
}


def folded(one: Sequence[Any], other: Sequence[Any], parts: Sequence[Part]) -> Parts:
    """The parts of both."""
    return [part.fold.of(a, b) for part, a, b in zip(parts, one, other, strict=True)]
