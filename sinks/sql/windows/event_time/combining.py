"""Pure: the records of one batch, combined by pane and key, or into sessions, before the database sees them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import localcontext
from itertools import chain, compress
from typing import Any, TypeAlias

from kafka_stream.sinks.sql.windows.event_time.aggregates import Fold, Part
from kafka_stream.sinks.sql.windows.event_time.lateness import Placed
from kafka_stream.sinks.sql.windows.event_time.values import EXACT

Cell: TypeAlias = tuple[int, Any]
"""The start of a pane, and a key."""

Parts: TypeAlias = list[Any]
"""What is kept of each aggregate, in the order of the plan."""


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


def by_cell(records: Columns, parts: Sequence[Part]) -> dict[Cell, Parts]:
    """What the records come to, by pane and key."""
    cells = list(zip(records.starts, records.keys, strict=True))
    counts = Counter(cells)
    with localcontext(EXACT):
        found = [
            counts if part.argument is None else _FOLDS[part.fold](cells, records.columns[part.argument])
            for part in parts
        ]
    return {cell: [of.get(cell) for of in found] for cell in counts}


def _counted(cells: Sequence[Cell], values: Sequence[Any]) -> dict[Cell, Any]:
    return Counter(cell for cell, value in zip(cells, values, strict=True) if value is not None)


def _summed(cells: Sequence[Cell], values: Sequence[Any]) -> dict[Cell, Any]:
    sums: dict[Cell, Any] = defaultdict(int)
    for cell, value in zip(cells, values, strict=True):
        if value is not None:
            sums[cell] += value
    return sums


def _least(cells: Sequence[Cell], values: Sequence[Any]) -> dict[Cell, Any]:
    found: dict[Cell, Any] = {}
    for cell, value in zip(cells, values, strict=True):
        if value is not None and (cell not in found or value < found[cell]):
            found[cell] = value
    return found


def _greatest(cells: Sequence[Cell], values: Sequence[Any]) -> dict[Cell, Any]:
    found: dict[Cell, Any] = {}
    for cell, value in zip(cells, values, strict=True):
        if value is not None and (cell not in found or value > found[cell]):
            found[cell] = value
    return found


_FOLDS: dict[Fold, Callable[[Sequence[Cell], Sequence[Any]], dict[Cell, Any]]] = {
    Fold.COUNT_VALUES: _counted,
    Fold.SUM: _summed,
    Fold.LEAST: _least,
    Fold.GREATEST: _greatest,
}


def folded(one: Sequence[Any], other: Sequence[Any], parts: Sequence[Part]) -> Parts:
    """The parts of both."""
    return [part.fold.of(a, b) for part, a, b in zip(parts, one, other, strict=True)]
