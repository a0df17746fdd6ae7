"""A statement for many rows, as a driver takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Connection, Dialect, LargeBinary
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from kafka_stream.sinks.sql.rows import Values

_CHUNK = 10_000
"""Rows handed to the driver at once: bounds its copies of them, and costs no round trip worth mentioning."""


@dataclass(frozen=True, slots=True)
class Converter:
    """What SQLAlchemy makes of a column's values; those of the classes ``leaves`` the driver takes as they are."""

    convert: Callable[[Any], Any]
    leaves: frozenset[type]

    @classmethod
    def of(cls, type_: TypeEngine[Any], dialect: Dialect) -> Converter | None:
        """The converter of a type; ``None`` if it leaves all values alone."""
        found = type_.dialect_impl(dialect)
        convert = found.bind_processor(dialect)
        if convert is None:
            return None
        # SQLAlchemy's own for bytes puts the driver's class for bytes around them.
        wraps = getattr(type(found), "bind_processor", None) is LargeBinary.bind_processor
        return cls(convert, frozenset({bytes, type(None)} if wraps else ()))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement whose parameters go to the driver as they are.

    SQLAlchemy's own handling of a row costs more than SQLite's insert of it.
    """

    sql: str
    names: tuple[str, ...] | None  # for drivers that take parameters by name
    converters: tuple[tuple[int, Converter], ...]
    order: tuple[int, ...] | None = None  # which of a row's values goes where, if not each in its place

    @classmethod
    def of(cls, compiled: SQLCompiler, types: Sequence[TypeEngine[Any]], dialect: Dialect) -> Prepared | None:
        """A statement of the parameters ``v0``, ``v1``, … of these types; ``None`` if it has others, too."""
        names = tuple(f"v{i}" for i in range(len(types)))
        if not set(compiled.params) <= set(names):
            return None
        converters = [Converter.of(type_, dialect) for type_ in types]
        order = tuple(map(names.index, compiled.positiontup or ())) if dialect.positional else None
        return cls(
            compiled.string,
            None if dialect.positional else names,
            tuple((i, converter) for i, converter in enumerate(converters) if converter is not None),
            None if order == tuple(range(len(types))) else order,
        )

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Execute it for each row."""
        for chunk in chunks(rows):
            parameters: Sequence[Any] = self._placed(self._converted(chunk))
            if (names := self.names) is not None:
                parameters = [dict(zip(names, row, strict=True)) for row in parameters]
            # One row by itself: psycopg's pipeline takes longer to open and close than the row.
            connection.exec_driver_sql(self.sql, parameters if len(parameters) > 1 else parameters[0]).close()

    def counted(self, connection: Connection, rows: Sequence[Values]) -> int:
        """Execute it for each row, all at once; the number of rows that were found."""
        parameters: Sequence[Any] = self._placed(self._converted(rows))
        if (names := self.names) is not None:
            parameters = [dict(zip(names, row, strict=True)) for row in parameters]
        result = connection.exec_driver_sql(self.sql, parameters if len(parameters) > 1 else parameters[0])
        return len(result.fetchall()) if result.returns_rows else result.rowcount

    def _placed(self, rows: Sequence[Values]) -> Sequence[Values]:
        return rows if self.order is None else [tuple(row[i] for i in self.order) for row in rows]

    def _converted(self, rows: Sequence[Values]) -> Sequence[Values]:
        needed = [
            (position, converter.convert)
            for position, converter in self.converters
            if not converter.leaves.issuperset(map(type, map(itemgetter(position), rows)))
        ]
        return [_with_converted(row, needed) for row in rows] if needed else rows


def _with_converted(row: Values, converters: Sequence[tuple[int, Callable[[Any], Any]]]) -> Values:
    values = list(row)
    for position, convert in converters:
        values[position] = convert(values[position])
    return tuple(values)


@dataclass(frozen=True, slots=True)
class Composed:
    """A statement that SQLAlchemy must compute values for: columns whose default is a Python value or function."""

    statement: Any
    names: tuple[str, ...]

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Execute it for each row."""
        for chunk in chunks(rows):
            connection.execute(self.statement, [dict(zip(self.names, row, strict=True)) for row in chunk]).close()


Statement: TypeAlias = Prepared | Composed


def chunks(rows: Sequence[Values], size: int = _CHUNK) -> Iterator[Sequence[Values]]:
    """Consecutive rows, so many at once."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
