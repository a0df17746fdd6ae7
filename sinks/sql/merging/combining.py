"""Rows of one key become one, before the database sees them: pure, and column by column.

Only what comes to the same is done: sums of numbers that are exact, extremes of values that Python puts in the order
that the database has, in a table where nothing but types, NOT NULLs and its key refuses a row. What a column would not
take is left to the database, row by row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, localcontext
from operator import attrgetter, gt, lt
from typing import Any, TypeAlias

from sqlalchemy import Dialect

from kafka_stream.sinks.sql.facts import ColumnFacts, Kind, TableFacts
from kafka_stream.sinks.sql.fitting import Fits, fitting
from kafka_stream.sinks.sql.merging.aggregates import Add, Aggregate, Greatest, Latest, Least
from kafka_stream.sinks.sql.rows import Key, Values
from kafka_stream.sinks.sql.target import Target

Column: TypeAlias = Sequence[Any]
Places: TypeAlias = Sequence[int]
"""Of each row, which of the keys it has."""
Others: TypeAlias = Iterable[tuple[int, Any]]
"""The values behind a key's first, each with the place of its key."""

_ADDED = {Kind.DECIMAL, Kind.FLOAT, Kind.INTEGER}
_ORDERED = {*_ADDED, Kind.BOOLEAN, Kind.BYTES, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_WITH_ZONE}
_EXACT = Context(prec=10_000, traps=[Inexact])


@dataclass(frozen=True, slots=True)
class Repeated:
    """The first row of each key, and the others behind them, in their order, with the key of each."""

    first: Mapping[Key, Values]
    rows: Sequence[Values]
    keys: Sequence[Key]

    @classmethod
    def of(cls, rows: Sequence[Values], keys: Sequence[Key]) -> Repeated:
        """Which rows are what."""
        first: dict[Key, Values] = {}
        others, of_others = list[Values](), list[Key]()
        for key, row in zip(keys, rows, strict=True):
            if key in first:
                others.append(row)
                of_others.append(key)
            else:
                first[key] = row
        return cls(first, others, of_others)


class Combining:
    """Combines rows whose keys Python tells apart. Safe to use from several threads."""

    def __init__(
        self, target: Target, aggregates: Mapping[str, Aggregate], facts: TableFacts, dialect: Dialect
    ) -> None:
        self._target = target
        self._aggregates = aggregates
        self._combines = facts.bare and facts.takes_unicode
        self._facts = {name: facts.columns.get(it.name, ColumnFacts()) for name, it in target.columns.items()}
        self._fits: Mapping[str, Fits | None] = {
            name: fitting(column, self._facts[name], dialect)
            for name, column in target.columns.items()
            if name not in target.key
        }
        self._rounds = dialect.name == "sqlite"  # decimals become floats there

    def of(self, names: Sequence[str], repeated: Repeated) -> Mapping[Key, Values] | None:
        """A row for each key in place of several; ``None`` where that might come to something else.

        Rows that are alone are not looked at.
        """
        if not self._combines or not all(self._can_combine(name, names) for name in names):
            return None
        places: dict[Key, int] = {}
        for key in repeated.keys:
            places.setdefault(key, len(places))
        rows = [*map(repeated.first.__getitem__, places), *repeated.rows]
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        if not all(self._takes(name, column) for name, column in columns.items()):
            return None
        later = list(map(places.__getitem__, repeated.keys))
        try:
            combined = [self._column(name, columns, len(places), later) for name in names]
        except Inexact:
            return None
        if not all(self._fits_still(name, column) for name, column in zip(names, combined, strict=True)):
            return None
        return {**repeated.first, **dict(zip(places, zip(*combined, strict=True), strict=True))}

    def _can_combine(self, name: str, names: Sequence[str]) -> bool:
        if name in self._target.key:
            return True
        if self._fits[name] is None:
            return False
        how, kind = self._aggregates.get(name), self._facts[name].kind
        if isinstance(how, Add):
            return kind in _ADDED
        if isinstance(how, Greatest | Least):
            return kind in _ORDERED
        if isinstance(how, Latest):
            by = self._facts[how.by]
            return how.by in names and by.kind in _ORDERED and not (self._rounds and by.kind is Kind.DECIMAL)
        return how is None

    def _takes(self, name: str, column: Column) -> bool:
        """Whether the database takes these for certain, and as they are."""
        if name in self._target.key:
            return True
        fits = self._fits[name]
        return fits is not None and fits(column) and self._is_kept(name, column)

    def _is_kept(self, name: str, column: Column) -> bool:
        how, facts = self._aggregates.get(name), self._facts[name]
        if how is None or (isinstance(how, Latest) and how.by != name):
            return True  # nothing is made of it
        if facts.kind is Kind.DECIMAL and facts.digits is not None:
            return all(it is None or it.as_tuple().exponent >= -facts.digits for it in column)
        if facts.kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_WITH_ZONE):
            zones = set(map(type, map(attrgetter("tzinfo"), filter(None, column))))
            return zones <= ({type(None)} if facts.kind is Kind.TIMESTAMP else {dt.timezone})
        return True

    def _fits_still(self, name: str, column: Column) -> bool:
        """Whether sums are not too large."""
        fits = self._fits.get(name)
        return fits is None or not isinstance(self._aggregates.get(name), Add) or fits(column)

    def _column(self, name: str, columns: Mapping[str, Column], keys: int, later: Places) -> Column:
        how, column = self._aggregates.get(name), columns[name]
        first, others = column[:keys], zip(later, column[keys:], strict=True)
        if isinstance(how, Add):
            return _sums(list(first), others, set(map(type, column)))
        if isinstance(how, Greatest | Least):
            return _extremes(list(first), others, gt if isinstance(how, Greatest) else lt)
        if isinstance(how, Latest):
            return [column[number] for number in _latest(columns[how.by], keys, later)]
        return first


def _sums(sums: list[Any], others: Others, classes: set[type]) -> Column:
    if Decimal in classes:
        with localcontext(_EXACT):
            return _sums_beside_nulls(sums, others)
    if type(None) in classes:
        return _sums_beside_nulls(sums, others)
    for place, value in others:
        sums[place] += value
    return sums


def _sums_beside_nulls(sums: list[Any], others: Others) -> Column:
    for place, value in others:
        if value is not None:
            known = sums[place]
            sums[place] = value if known is None else known + value
    return sums


def _extremes(extremes: list[Any], others: Others, is_beyond: Callable[[Any, Any], bool]) -> Column:
    """Of equal ones the first, as the database keeps it."""
    for place, value in others:
        if value is not None:
            known = extremes[place]
            if known is None or is_beyond(value, known):
                extremes[place] = value
    return extremes


def _latest(by: Column, keys: int, later: Places) -> Sequence[int]:
    """The number of the row of each key that is the latest; of equal ones the last."""
    latest, times = list(range(keys)), list(by[:keys])
    for number, place in enumerate(later, keys):
        time, known = by[number], times[place]
        if known is None or (time is not None and time >= known):
            times[place] = time
            latest[place] = number
    return latest
