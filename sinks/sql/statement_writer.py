"""A statement per row: how changes get into a table where there is no faster way than ``INSERT``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    LargeBinary,
    bindparam,
    delete,
    insert,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from kafka_stream.sinks.sql.changes import Changes, OnConflict
from kafka_stream.sinks.sql.rows import Values
from kafka_stream.sinks.sql.target import Target

_INSERTS: dict[str, Callable[[Any], Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
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

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Execute it for each row."""
        for chunk in chunks(rows):
            parameters: Sequence[Any] = self._converted(chunk)
            if (names := self.names) is not None:
                parameters = [dict(zip(names, row, strict=True)) for row in parameters]
            # One row by itself: psycopg's pipeline takes longer to open and close than the row.
            connection.exec_driver_sql(self.sql, parameters if len(parameters) > 1 else parameters[0]).close()

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
Inserted: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What an INSERT's ``values`` takes: a row, or several."""


class StatementWriter:
    """DELETE and INSERT … ON CONFLICT, a row each, in the driver's batches (psycopg's pipeline, SQLite's loop).

    A statement per row keeps the order in which rows are locked.
    """

    def __init__(
        self, target: Target, on_conflict: OnConflict, conflict_key: tuple[str, ...], dialect: Dialect
    ) -> None:
        self._target = target
        self._on_conflict = on_conflict
        self._conflict_key = conflict_key
        self._dialect = dialect
        self._statements: dict[tuple[str, ...], Statement] = {}

    def encode(self, changes: Changes) -> Changes:
        """Nothing can be done before the transaction."""
        return changes

    def write(self, connection: Connection, changes: Changes, go_on: Callable[[], None]) -> None:
        """Write deletes, then rows. Rows that several statements touch are locked first, in key order."""
        if not changes.encoded:
            go_on()  # many requests, with Python's work between them
        if changes.contended:
            self._lock(connection, changes.contended)
        if changes.deletes:
            self._delete(connection, changes.deletes)
        for columns, rows in changes.groups:
            self._insert_rows(connection, columns, rows, changes.encoded.get(columns))

    def _insert_rows(
        self, connection: Connection, columns: tuple[str, ...], rows: Sequence[Values], encoded: Any
    ) -> None:
        """``encoded`` is what ``encode`` has made of the rows, if anything."""
        self._statement(("insert", *columns), partial(self._insert, columns)).run(connection, rows)

    def _statement(self, name: tuple[str, ...], compose: Callable[[], Statement]) -> Statement:
        """A statement, composed at its first use."""
        if (statement := self._statements.get(name)) is None:
            statement = self._statements[name] = compose()
        return statement

    def _lock(self, connection: Connection, keys: Sequence[Values]) -> None:
        """Nothing to do where there is one writer, as in SQLite."""

    def _delete(self, connection: Connection, keys: Sequence[Values]) -> None:
        deleting = delete(self._target.table).where(*self._key_matches())
        self._statement(("delete",), lambda: self._composed(deleting, self._target.key)).run(connection, keys)

    def _key_matches(self) -> Iterator[ColumnElement[bool]]:
        columns = [self._target.table_columns[name] for name in self._target.key]
        return (column == bindparam(f"v{i}", type_=column.type) for i, column in enumerate(columns))

    def _insert(self, columns: tuple[str, ...]) -> Statement:
        of = self._target.columns
        parameters = {name: f"v{i}" for i, name in enumerate(columns)}
        values = {of[n].key: bindparam(p, type_=of[n].type) for n, p in parameters.items()}
        return self._composed(self._insert_of(columns, values), columns)

    def _insert_of(self, columns: tuple[str, ...], values: Inserted) -> ClauseElement:
        statement = _INSERTS.get(self._dialect.name, insert)(self._target.table).values(values)
        return self._resolving_conflicts(statement, columns)

    def _resolving_conflicts(self, statement: Any, columns: tuple[str, ...]) -> ClauseElement:
        of = self._target.columns
        if self._on_conflict == "ignore":
            statement = statement.on_conflict_do_nothing(index_elements=self._conflict_columns() or None)
        elif self._on_conflict == "update":
            updated = {of[n].key: statement.excluded[of[n].key] for n in columns if n not in self._target.key}
            if updated:
                statement = statement.on_conflict_do_update(index_elements=self._conflict_columns(), set_=updated)
            else:
                statement = statement.on_conflict_do_nothing(index_elements=self._conflict_columns())
        return statement  # type: ignore[no-any-return]

    def _composed(self, statement: ClauseElement, columns: tuple[str, ...]) -> Statement:
        """The statement as the driver takes it, unless it has more parameters than the row: Python-side defaults."""
        compiled = statement.compile(dialect=self._dialect)
        assert isinstance(compiled, SQLCompiler)
        names = tuple(f"v{i}" for i in range(len(columns)))
        in_order = tuple(compiled.positiontup or ()) if self._dialect.positional else names
        if set(compiled.params) != set(names) or in_order != names:
            return Composed(statement, names)
        types = [self._target.table_columns[name].type for name in columns]
        converters = [Converter.of(type_, self._dialect) for type_ in types]
        return Prepared(
            compiled.string,
            None if self._dialect.positional else names,
            tuple((i, converter) for i, converter in enumerate(converters) if converter is not None),
        )

    def _conflict_columns(self) -> list[Any]:
        return [self._target.columns[name] for name in self._conflict_key]


def chunks(rows: Sequence[Values], size: int = _CHUNK) -> Iterator[Sequence[Values]]:
    """Consecutive rows, so many at once."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
