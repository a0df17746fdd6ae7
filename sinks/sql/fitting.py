"""Pure: which values a column takes for certain, whatever else there is. Those of other classes may be taken, too."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from operator import attrgetter
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Uuid,
)
from sqlalchemy.types import TypeEngine

from kafka_stream.sinks.sql.facts import ColumnFacts, Kind
from kafka_stream.sinks.sql.keys import is_plain

Fits: TypeAlias = Callable[[Sequence[Any]], bool]

_ZONES = {type(None), dt.timezone, ZoneInfo}
_MOST_DIGITS = 1_000
"""Of a decimal: far fewer than any database keeps before it rounds."""

# What columns of a kind are declared as, and the class of their values.
_DECLARED: Mapping[Kind, tuple[type[TypeEngine[Any]], type]] = {
    Kind.BOOLEAN: (Boolean, bool),
    Kind.BYTES: (LargeBinary, bytes),
    Kind.DATE: (Date, dt.date),
    Kind.DECIMAL: (Numeric, decimal.Decimal),
    Kind.FLOAT: (Float, float),
    Kind.INTEGER: (Integer, int),
    Kind.TEXT: (String, str),
    Kind.TIMESTAMP: (DateTime, dt.datetime),
    Kind.TIMESTAMP_WITH_ZONE: (DateTime, dt.datetime),
    Kind.UUID: (Uuid, uuid.UUID),
}


def fitting(column: Column[Any], facts: ColumnFacts, dialect: Dialect) -> Fits | None:
    """What tells whether a column takes all of some values for certain; ``None`` if that is never known."""
    declared: Any = column.type
    if not is_plain(column, dialect):
        return None
    if isinstance(declared, Uuid) and facts.kind is Kind.TEXT:
        return _all_of(uuid.UUID, facts, None)
    expected, known = _DECLARED.get(facts.kind, (None, None))
    if expected is None or known is None or not isinstance(declared, expected) or isinstance(declared, Enum):
        return None
    if facts.kind is Kind.FLOAT:  # a number may be too small for one of fewer bits
        is_single = isinstance(declared, REAL) or getattr(declared, "precision", None) is not None
        return None if is_single else _all_of(known, facts, lambda values: all(map(isfinite, values)))
    if facts.kind in (Kind.INTEGER, Kind.DECIMAL):
        largest = _largest(declared, facts, dialect)
        return None if largest is None else _all_of(known, facts, _within(largest, known))
    if facts.kind is Kind.TEXT:
        return _all_of(known, facts, lambda values: _are_short_and_plain(values, facts.longest))
    return _all_of(known, facts, _have_known_zones if known is dt.datetime else None)


def _all_of(known: type, facts: ColumnFacts, condition: Fits | None) -> Fits:
    def fits(values: Sequence[Any]) -> bool:
        classes = set(map(type, values))
        if type(None) in classes:
            if not facts.nullable:
                return False
            values = [value for value in values if value is not None]
            classes.discard(type(None))
        return classes <= {known} and (condition is None or not values or condition(values))

    return fits


def _largest(declared: Any, facts: ColumnFacts, dialect: Dialect) -> int | None:
    """The bound of numbers: a driver may send them as what the column is declared to be, not as what it is."""
    if facts.largest is None or dialect.name == "sqlite":
        return facts.largest
    if isinstance(declared, Integer):
        bits = 16 if isinstance(declared, SmallInteger) else 64 if isinstance(declared, BigInteger) else 32
        return int(min(facts.largest, 2 ** (bits - 1) - 1))
    if declared.precision is None:
        return facts.largest
    return int(min(facts.largest, 10 ** max(declared.precision - (declared.scale or 0), 0) - 1))


def _within(largest: int, known: type) -> Fits:
    def are_within(values: Sequence[Any]) -> bool:
        if known is decimal.Decimal and not _are_plain_decimals(values):
            return False
        return bool(-largest <= min(values) and max(values) <= largest)

    return are_within


def _are_plain_decimals(values: Sequence[decimal.Decimal]) -> bool:
    return (
        all(map(decimal.Decimal.is_finite, values))
        and max(map(len, map(str, values))) <= _MOST_DIGITS
        and min(map(decimal.Decimal.adjusted, values)) >= -_MOST_DIGITS
    )


def _are_short_and_plain(values: Sequence[str], longest: int | None) -> bool:
    """Whether none is cut, and the driver can send them: no zero bytes, no halves of a character."""
    if longest is not None and max(map(len, values)) > longest:
        return False
    together = "".join(values)
    if "\0" in together:
        return False
    try:
        together.encode()
    except UnicodeEncodeError:
        return False
    return True


def _have_known_zones(values: Sequence[dt.datetime]) -> bool:
    return set(map(type, map(attrgetter("tzinfo"), values))) <= _ZONES
