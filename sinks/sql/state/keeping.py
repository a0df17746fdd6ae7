"""Pure: what a row will be when it is read back, known without reading it; or that this is not known.

A column may round, cut, pad, convert and compute. So only values of exactly one class are known, in columns that are
declared and kept as this class.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any, TypeAlias

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
    String,
    Uuid,
)
from sqlalchemy.types import TypeEngine

from kafka_stream.sinks.sql.facts import ColumnFacts, Kind, TableFacts
from kafka_stream.sinks.sql.keys import is_plain
from kafka_stream.sinks.sql.rows import Layout, Values
from kafka_stream.sinks.sql.state.reading import columns_read
from kafka_stream.sinks.sql.target import Target

Keep: TypeAlias = Callable[[Any], bool]
"""Whether a value is read back as it was written."""

_DECLARED: Mapping[Kind, Sequence[tuple[type[TypeEngine[Any]], type]]] = {
    Kind.BOOLEAN: ((Boolean, bool),),
    Kind.BYTES: ((LargeBinary, bytes),),
    Kind.DATE: ((Date, dt.date),),
    Kind.DECIMAL: ((Numeric, decimal.Decimal),),
    Kind.FLOAT: ((Float, float),),
    Kind.INTEGER: ((Integer, int), (BigInteger, int), (Boolean, bool)),
    Kind.TEXT: ((String, str),),
    Kind.TEXT_OF_WORDS: ((String, str),),
    Kind.TEXT_WITHOUT_CASE: ((String, str),),
    Kind.TIMESTAMP: ((DateTime, dt.datetime),),
    Kind.UUID: ((Uuid, uuid.UUID),),
}


class Keeping:
    """What is known of the rows of a table."""

    def __init__(self, target: Target, names: Sequence[str], facts: TableFacts, dialect: Dialect) -> None:
        self._read = columns_read(target, names)
        columns = {name: target.columns[name] for name in self._read}
        kept = {name: _keep(it, facts.columns.get(it.name, ColumnFacts()), dialect) for name, it in columns.items()}
        self._places: dict[Layout, list[int]] = {}
        self._kept = None if facts.row_by_row or None in kept.values() else kept

    def row(self, layout: Layout, values: Values) -> Values | None:
        """The columns of a row that was written, as they will be read; ``None`` if that is not known."""
        kept = self._kept
        if kept is None or len(layout.columns) < len(kept):
            return None
        for name, value in zip(layout.columns, values, strict=True):
            if name not in kept:
                continue
            if (keep := kept[name]) is None or not (value is None or keep(value)):
                return None
        if layout not in self._places:
            self._places[layout] = list(map(layout.columns.index, self._read))
        return tuple([values[place] for place in self._places[layout]])


def _keep(column: Column[Any], facts: ColumnFacts, dialect: Dialect) -> Keep | None:
    """What tells whether a column gives a value back as it is; ``None`` if that is never known."""
    if not is_plain(column, dialect) or isinstance(column.type, Enum):
        return None
    declared = column.type
    if isinstance(declared, REAL) or (isinstance(declared, Float) and declared.precision is not None):
        return None  # of fewer bits than Python's
    known = next((of for kind, of in _DECLARED.get(facts.kind, ()) if isinstance(declared, kind)), None)
    if known is None or _python_type(declared) is not known:
        return None
    if known is str:
        return _is_text
    if known is float:
        return _is_number
    if known is decimal.Decimal:
        return None if facts.digits is None or facts.digits < 0 else partial(_has_digits, digits=facts.digits)
    if known is dt.datetime:
        return _is_moment
    return lambda value: type(value) is known


def _python_type(declared: TypeEngine[Any]) -> type | None:
    try:
        return declared.python_type
    except NotImplementedError:
        return None


def _is_text(value: Any) -> bool:
    """Spaces at the end may be cut."""
    return type(value) is str and not value.endswith(" ")


def _is_number(value: Any) -> bool:
    return type(value) is float and isfinite(value)


def _has_digits(value: Any, digits: int) -> bool:
    """Whether it has as many as the column gives: another one is equal, but not written so."""
    return type(value) is decimal.Decimal and value.as_tuple().exponent == -digits and not value.is_signed()


def _is_moment(value: Any) -> bool:
    return type(value) is dt.datetime and value.tzinfo is None and not value.fold
