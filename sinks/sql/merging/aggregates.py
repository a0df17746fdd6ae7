"""How one column of an old row and one of a new row become one value: what ``Merge`` is told of a column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Enum,
    FromClause,
    Interval,
    LargeBinary,
    String,
    Time,
    Uuid,
    case,
    func,
    or_,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

_NOT_ADDED = (ARRAY, JSON, Boolean, Date, DateTime, Interval, LargeBinary, String, Time, Uuid)
_NOT_ORDERED = (ARRAY, JSON, Enum)


class Aggregate(ABC):
    """What ``Merge`` does with one column."""

    @abstractmethod
    def expression(self, column: str, old: FromClause, new: FromClause) -> Any:
        """What the column of that key becomes."""

    def objection(self, type_: TypeEngine[Any]) -> str | None:
        """Why it cannot be of a column of that type; ``None`` if it can."""
        return None

    @property
    def told(self) -> str:
        """Its name."""
        return "computed" if isinstance(self, OfColumn) else type(self).__name__.lower()


@dataclass(frozen=True, slots=True)
class Add(Aggregate):
    """The sum, as SQL's SUM: a NULL is no value, and of NULLs alone it is NULL. Of numbers."""

    def expression(self, column: str, old: FromClause, new: FromClause) -> Any:
        """The sum, or the one that is there."""
        return func.coalesce(old.c[column] + new.c[column], old.c[column], new.c[column])

    def objection(self, type_: TypeEngine[Any]) -> str | None:
        """Only numbers have a sum that is the same on all databases."""
        return "Add is of numbers" if isinstance(_kept_as(type_), _NOT_ADDED) else None


class _Ordered(Aggregate):
    def objection(self, type_: TypeEngine[Any]) -> str | None:
        """Where databases have no order, or each its own, there is no extreme."""
        if not isinstance(_kept_as(type_), _NOT_ORDERED):
            return None
        return f"{type(self).__name__} is of values that all databases put in one order"


@dataclass(frozen=True, slots=True)
class Greatest(_Ordered):
    """The greatest, as SQL's MAX: a NULL is no value, and of NULLs alone it is NULL. Texts go by their collation."""

    def expression(self, column: str, old: FromClause, new: FromClause) -> Any:
        """Of equal ones the old one; GREATEST is not the same everywhere."""
        return case((or_(old.c[column].is_(None), new.c[column] > old.c[column]), new.c[column]), else_=old.c[column])


@dataclass(frozen=True, slots=True)
class Least(_Ordered):
    """The least, as SQL's MIN: a NULL is no value, and of NULLs alone it is NULL. Texts go by their collation."""

    def expression(self, column: str, old: FromClause, new: FromClause) -> Any:
        """Of equal ones the old one."""
        return case((or_(old.c[column].is_(None), new.c[column] < old.c[column]), new.c[column]), else_=old.c[column])


@dataclass(frozen=True, slots=True)
class Latest(Aggregate):
    """The value of the row whose ``by`` is the greatest; of equal ones the later record's, also if it is NULL.

    A NULL in ``by`` is before everything else. The column ``by`` is merged by ``Greatest``, whether ``Merge`` names it
    or not, and a row that has the one column has to have the other.
    """

    by: str

    def expression(self, column: str, old: FromClause, new: FromClause) -> Any:
        """``by`` is the key of a column here."""
        is_later = or_(old.c[self.by].is_(None), new.c[self.by] >= old.c[self.by])
        return case((is_later, new.c[column]), else_=old.c[column])


@dataclass(frozen=True, slots=True)
class Computed(Aggregate):
    """What a function of both rows gives: ``Computed(lambda old, new: old.c.amount + new.c.fee)``.

    Both are what SQLAlchemy makes of the table (``FromClause``), the old one with its columns as they were before. The
    expression is made once. NULLs are SQL's: a sum with one is NULL. A row that has the column has to have all that is
    read of the new row.
    """

    function: Callable[[FromClause, FromClause], Any]

    def expression(self, column: str, old: FromClause, new: FromClause) -> Any:
        """What the function says."""
        return self.function(old, new)


@dataclass(frozen=True, slots=True)
class OfColumn(Aggregate):
    """What a function of the column's old and new value gives: a lambda in ``Merge``."""

    function: Callable[[ColumnElement[Any], ColumnElement[Any]], Any]

    def expression(self, column: str, old: FromClause, new: FromClause) -> Any:
        """What the function says."""
        return self.function(old.c[column], new.c[column])


def _kept_as(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """What a type of a user's own is put around."""
    return type_.impl_instance if isinstance(type_, TypeDecorator) else type_
