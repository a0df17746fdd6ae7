"""What is made of a window's records: ``Count``, ``Sum``, ``Min``, ``Max``, ``Mean``, and what is kept for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from enum import Enum, auto
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, Column, Double, Numeric
from sqlalchemy.types import TypeEngine

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.stateful.functions import checked_function
from kafka_stream.sinks.sql.windows.event_time.values import EXACT, Kind, Values, values_of

Of: TypeAlias = Callable[[Any], Any] | str
"""A function of a record's value, or the name of an item of it; what it gives of ``None`` is left out, as in SQL."""

_DIGITS_OF_MEAN = 6
"""So many more than the column's are kept of what a mean is made of."""


_MEANS_DIGITS = 16
"""Of a mean in a column that keeps as many as it gets."""


class Fold(Enum):
    """How a part of one pane and that of another become that of both. What is ``None`` is of nothing."""

    COUNT = auto()
    COUNT_VALUES = auto()
    SUM = auto()
    LEAST = auto()
    GREATEST = auto()

    @property
    def adds(self) -> bool:
        """Whether it is by addition."""
        return self in (Fold.COUNT, Fold.COUNT_VALUES, Fold.SUM)

    def of(self, one: Any, other: Any) -> Any:
        """The part of both."""
        if one is None or other is None:
            return other if one is None else one
        if self.adds:
            return one + other
        return min(one, other) if self is Fold.LEAST else max(one, other)


@dataclass(frozen=True, slots=True)
class Part:
    """What is kept of an aggregate in each pane: a column of the table of open panes."""

    name: str
    fold: Fold
    type: TypeEngine[Any]
    values: Values
    argument: int | None = None
    """Which of the record's values it is of; ``None`` for a count of records."""

    @property
    def can_be_subtracted(self) -> bool:
        """Whether the part of a pane can be taken away again, and leaves no trace."""
        return self.fold.adds and self.values.is_exact


Final: TypeAlias = Callable[[Sequence[Any]], Any]
"""From the parts of a window to the value of a column of the user's table."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All aggregates of a sink: ``arguments`` are what is asked of each record's value, with what they are for."""

    parts: tuple[Part, ...]
    finals: dict[str, Final]
    arguments: tuple[tuple[str, Callable[[Any], Any], Values], ...]


class _Aggregate:
    """What all have in common."""

    def __init__(self, of: Of) -> None:
        said = f"{type(self).__name__}(of)"
        if not callable(of) and not isinstance(of, str):
            raise ConfigurationError(f"{said} takes a function of a record's value, or the name of an item, not {of!r}")
        self.of = of if isinstance(of, str) else checked_function(of, f"the function of {said}", "value")

    @property
    def argument(self) -> Callable[[Any], Any]:
        """What is asked of a record's value."""
        return itemgetter(self.of) if isinstance(self.of, str) else self.of

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.of if isinstance(self.of, str) else getattr(self.of, '__name__', '…')})"


class Count:
    """How many records the window has."""

    def __repr__(self) -> str:
        return "Count()"


class Sum(_Aggregate):
    """The sum of what ``of`` gives; ``None`` if it gives nothing but ``None``.

    Into a column of decimal numbers each value is taken with the digits that the column keeps, rounded half up, so
    that the sum is exact. Sums of floats depend on the order in which they are taken, in their last digits.
    """


class Min(_Aggregate):
    """The least of what ``of`` gives: a number, a date or a time with its zone; ``None`` if it gives only ``None``."""


class Max(_Aggregate):
    """The greatest of what ``of`` gives; see ``Min``."""


class Mean(_Aggregate):
    """The mean of what ``of`` gives; ``None`` if it gives nothing but ``None``. Sum and count of it are kept.

    Into a column of decimal numbers each value is taken with six digits more than the column keeps.
    """


Aggregate: TypeAlias = Count | Sum | Min | Max | Mean


class Planner:
    """Puts the aggregates of a sink together; ``where`` begins what it refuses."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._parts: list[Part] = []
        self._finals: dict[str, Final] = {}
        self._arguments: list[tuple[str, Callable[[Any], Any], Values]] = []

    def add(self, name: str, aggregate: Any, column: Column[Any]) -> None:
        """One aggregate into one column.

        Raises:
            ConfigurationError: it is none, or the column does not hold what it gives.
        """
        if not isinstance(aggregate, Count | Sum | Min | Max | Mean):
            raise ConfigurationError(
                f"{self._where}: {name!r} is {aggregate!r}; aggregates are Count(), Sum(of), Min(of), Max(of), Mean(of)"
            )
        values = values_of(column.type)
        if values is None or not (values.is_number or isinstance(aggregate, Min | Max)):
            takes = "numbers, dates or times with a zone" if isinstance(aggregate, Min | Max) else "numbers"
            raise ConfigurationError(
                f"{self._where}: {aggregate!r} goes into {name!r}, a column of {column.type!r}; it takes one of {takes}"
            )
        if isinstance(aggregate, Count):
            self._count(name, column, values)
        elif isinstance(aggregate, Mean):
            self._mean(name, aggregate, values)
        else:
            fold = {Sum: Fold.SUM, Min: Fold.LEAST, Max: Fold.GREATEST}[type(aggregate)]
            place = self._part(name, fold, column.type, values, self._argument(name, aggregate, values))
            self._finals[name] = itemgetter(place)

    def plan(self) -> Plan:
        """What was added."""
        names = [part.name for part in self._parts]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigurationError(
                f"{self._where}: two aggregates need the column {twice[0]!r} for what is open; name one otherwise"
            )
        return Plan(tuple(self._parts), self._finals, tuple(self._arguments))

    def _count(self, name: str, column: Column[Any], values: Values) -> None:
        if values.kind is not Kind.INTEGER:
            raise ConfigurationError(
                f"{self._where}: Count() goes into {name!r}, a column of {column.type!r}; it takes one of integers"
            )
        self._finals[name] = _FinalCount(self._part(name, Fold.COUNT, column.type, values))

    def _mean(self, name: str, aggregate: Mean, values: Values) -> None:
        if values.kind is Kind.INTEGER:
            raise ConfigurationError(
                f"{self._where}: {aggregate!r} goes into {name!r}, a column of integers, which a mean is not"
            )
        summed, type_ = _sum_of_mean(values)
        argument = self._argument(name, aggregate, summed)
        total = self._part(f"{name}_sum", Fold.SUM, type_, summed, argument)
        count = self._part(f"{name}_count", Fold.COUNT_VALUES, BigInteger(), Values(Kind.INTEGER), argument)
        self._finals[name] = _FinalMean(total, count, values)

    def _argument(self, name: str, aggregate: _Aggregate, values: Values) -> int:
        self._arguments.append((f"{aggregate!r} for {name!r}", aggregate.argument, values))
        return len(self._arguments) - 1

    def _part(self, name: str, fold: Fold, type_: TypeEngine[Any], values: Values, argument: int | None = None) -> int:
        self._parts.append(Part(name, fold, type_, values, argument))
        return len(self._parts) - 1


@dataclass(frozen=True, slots=True)
class _FinalCount:
    place: int

    def __call__(self, parts: Sequence[Any]) -> int:
        return parts[self.place] or 0  # none: they are older than the column


@dataclass(frozen=True, slots=True)
class _FinalMean:
    total: int
    count: int
    values: Values

    def __call__(self, parts: Sequence[Any]) -> Any:
        return mean(parts[self.total], parts[self.count], self.values)


def _sum_of_mean(values: Values) -> tuple[Values, TypeEngine[Any]]:
    """What is added up for a mean in such a column."""
    if values.kind is Kind.REAL:
        return values, Double()
    digits = min((_MEANS_DIGITS if values.digits is None else values.digits) + _DIGITS_OF_MEAN, 30)
    return Values(Kind.DECIMAL, digits), Numeric(28 + digits, digits)


def mean(total: Any, count: int | None, values: Values) -> Any:
    """A sum by a count, with the digits of a column; ``None`` of nothing."""
    if not count:
        return None
    if isinstance(total, Decimal):
        with localcontext(EXACT):
            exact = total / count
        return exact.quantize(
            Decimal(1).scaleb(-_MEANS_DIGITS if values.digits is None else -values.digits), context=EXACT
        )
    return total / count
