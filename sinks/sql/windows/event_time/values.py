"""Pure: what a column can add up or compare, and values as it keeps them, so that it is all one where batches end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from enum import Enum, auto
from math import isfinite
from typing import Any

from sqlalchemy import Date, DateTime, Float, Integer, Numeric
from sqlalchemy.types import TypeDecorator, TypeEngine

EXACT = Context(prec=400, rounding=ROUND_HALF_UP)
"""For sums of ``Decimal``: of digits that columns keep, none is lost."""


class Kind(Enum):
    """What a column's values are."""

    INTEGER = auto()
    DECIMAL = auto()
    REAL = auto()
    DATE = auto()
    MOMENT = auto()


@dataclass(frozen=True, slots=True)
class Values:
    """Values of one column: ``digits`` are those behind the point of a decimal number, where they are limited."""

    kind: Kind
    digits: int | None = None

    @property
    def is_number(self) -> bool:
        """Whether they can be added."""
        return self.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.REAL)

    @property
    def is_exact(self) -> bool:
        """Whether what was added can be subtracted, and nothing is left of it."""
        return self.kind in (Kind.INTEGER, Kind.DECIMAL)

    def taken(self, given: Sequence[Any]) -> Sequence[Any] | None:
        """The values as the column keeps them, ``None`` among them as it is; ``None`` if one of them is not for it."""
        classes = set(map(type, given))
        classes.discard(type(None))
        if classes <= _AS_THEY_ARE[self.kind]:
            return None if self.kind is Kind.REAL and not all(map(isfinite, filter(None, given))) else given
        if not classes <= _TAKEN[self.kind]:
            return None
        take = self._take()
        try:
            return [None if value is None else take(value) for value in given]
        except (ArithmeticError, ValueError):
            return None

    def read(self, stored: Any) -> Any:
        """A value that the database gave."""
        if self.kind is Kind.MOMENT and isinstance(stored, dt.datetime) and stored.tzinfo is None:
            return stored.replace(tzinfo=dt.UTC)
        return int(stored) if self.kind is Kind.INTEGER and stored is not None else stored

    def _take(self) -> Callable[[Any], Any]:
        if self.kind is Kind.DECIMAL:
            return self._decimal
        if self.kind is Kind.MOMENT:
            return _in_utc
        return int if self.kind is Kind.INTEGER else _finite

    def _decimal(self, value: Any) -> Decimal:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        if not number.is_finite():
            raise InvalidOperation
        return number if self.digits is None else number.quantize(Decimal(1).scaleb(-self.digits), context=EXACT)


_AS_THEY_ARE: dict[Kind, set[type]] = {
    Kind.INTEGER: {int},
    Kind.DECIMAL: set(),
    Kind.REAL: {float},
    Kind.DATE: {dt.date},
    Kind.MOMENT: set(),
}
_TAKEN: dict[Kind, set[type]] = {
    Kind.INTEGER: {int, bool},
    Kind.DECIMAL: {int, Decimal, float},
    Kind.REAL: {int, float, Decimal},
    Kind.DATE: {dt.date},
    Kind.MOMENT: {dt.datetime},
}


def _finite(value: Any) -> float:
    """What is no number has no place among others that all databases agree about."""
    if not isfinite(number := float(value)):
        raise ValueError("not a finite number")
    return number


def _in_utc(at: dt.datetime) -> dt.datetime:
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return at.astimezone(dt.UTC)


def values_of(type_: TypeEngine[Any]) -> Values | None:
    """Of a column that is declared so; ``None`` if what it holds is neither added up nor compared here."""
    found = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    if isinstance(found, Integer):
        return Values(Kind.INTEGER)
    if isinstance(found, Float) or (isinstance(found, Numeric) and not found.asdecimal):
        return Values(Kind.REAL)
    if isinstance(found, Numeric):
        digits = found.scale if found.scale is not None or found.precision is None else 0
        return Values(Kind.DECIMAL, digits)
    if isinstance(found, Date):
        return Values(Kind.DATE)
    return Values(Kind.MOMENT) if is_moment(found) else None


def is_moment(type_: TypeEngine[Any]) -> bool:
    """Whether a column keeps a time with its zone, or belongs to a database that has no zones: it keeps UTC there."""
    found = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    own = type(found).__module__.startswith(("sqlalchemy.dialects.mysql", "sqlalchemy.dialects.sqlite"))
    return isinstance(found, DateTime) and (bool(found.timezone) or own)
