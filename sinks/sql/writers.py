"""How changes get into a table, chosen by dialect: the seam where a faster way than INSERT fits in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from kafka_stream.errors import ConfigurationError
from sinks.sql.changes import Changes, OnConflict
from sinks.sql.rows import Values
from sinks.sql.target import Target

_CHUNK = 10_000
"""Rows handed to the driver at once: bounds its copies of them, and costs no round trip worth mentioning."""


class Writer(Protocol):
    """Writes changes into one table through connections of one dialect."""

    def write(self, connection: Connection, changes: Changes) -> None:
        """Write deletes, then rows, in the order given, in the connection's transaction."""


def writer_for(target: Target, on_conflict: OnConflict, conflict_key: tuple[str, ...], dialect: Dialect) -> Writer:
    """The fastest writer there is for a dialect.

    Raises:
        ConfigurationError: there is none that can handle conflicts.
    """
    if on_conflict != "error" and dialect.name not in _INSERTS:
        raise ConfigurationError(
            f'on_conflict="{on_conflict}" of the SqlSink for table {target.name} works on {" and ".join(_INSERTS)}, '
            f'not on {dialect.name}; use on_conflict="error", or a function that writes what {dialect.name} understands'
        )
    return StatementWriter(target, on_conflict, conflict_key, dialect)


_INSERTS: dict[str, Callable[[Any], Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement whose parameters go to the driver as they are.

    SQLAlchemy's own handling of a row costs more than SQLite's insert of it.
    """

    sql: str
    names: tuple[str, ...] | None  # for drivers that take parameters by name
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        for chunk in _chunks(rows):
            parameters: Sequence[Any] = [self._convert(row) for row in chunk] if self.converters else chunk
            if (names := self.names) is not None:
                parameters = [dict(zip(names, row, strict=True)) for row in parameters]
            connection.exec_driver_sql(self.sql, parameters).close()

    def _convert(self, row: Values) -> Values:
        values = list(row)
        for position, convert in self.converters:
            values[position] = convert(values[position])
        return tuple(values)


@dataclass(frozen=True, slots=True)
class _Composed:
    """A statement that SQLAlchemy must compute values for: columns whose default is a Python value or function."""

    statement: Any
    names: tuple[str, ...]

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        for chunk in _chunks(rows):
            connection.execute(self.statement, [dict(zip(self.names, row, strict=True)) for row in chunk]).close()


class StatementWriter:
    """DELETE and INSERT … ON CONFLICT, a row each, in the driver's batches (psycopg's pipeline, SQLite's loop).

    A statement per row keeps the order in which rows are locked. On PostgreSQL it is also no slower than statements
    of many rows.
    """

    def __init__(
        self, target: Target, on_conflict: OnConflict, conflict_key: tuple[str, ...], dialect: Dialect
    ) -> None:
        self._target = target
        self._on_conflict = on_conflict
        self._conflict_key = conflict_key
        self._dialect = dialect
        self._statements: dict[tuple[str, ...], _Prepared | _Composed] = {}

    def write(self, connection: Connection, changes: Changes) -> None:
        """Write deletes, then rows. Rows that several statements touch are locked first, in key order."""
        if changes.contended and self._dialect.name == "postgresql":
            self._statement(("lock",), self._lock).run(connection, changes.contended)
        if changes.deletes:
            self._statement(("delete",), self._delete).run(connection, changes.deletes)
        for columns, rows in changes.groups:
            self._statement(("insert", *columns), partial(self._insert, columns)).run(connection, rows)

    def _statement(self, name: tuple[str, ...], compose: Callable[[], _Prepared | _Composed]) -> _Prepared | _Composed:
        """A statement, composed at its first use."""
        if (statement := self._statements.get(name)) is None:
            statement = self._statements[name] = compose()
        return statement

    def _lock(self) -> _Prepared | _Composed:
        return self._composed(
            select(literal_column("1")).where(*self._key_matches()).with_for_update(), self._target.key
        )

    def _delete(self) -> _Prepared | _Composed:
        return self._composed(delete(self._target.table).where(*self._key_matches()), self._target.key)

    def _key_matches(self) -> Iterator[ColumnElement[bool]]:
        columns = [self._target.table_columns[name] for name in self._target.key]
        return (column == bindparam(f"v{i}", type_=column.type) for i, column in enumerate(columns))

    def _insert(self, columns: tuple[str, ...]) -> _Prepared | _Composed:
        of = self._target.columns
        parameters = {name: f"v{i}" for i, name in enumerate(columns)}
        statement = _INSERTS.get(self._dialect.name, insert)(self._target.table)
        statement = statement.values({of[n].key: bindparam(p, type_=of[n].type) for n, p in parameters.items()})
        if self._on_conflict == "ignore":
            statement = statement.on_conflict_do_nothing(index_elements=self._conflict_columns() or None)
        elif self._on_conflict == "update":
            updated = {of[n].key: statement.excluded[of[n].key] for n in columns if n not in self._target.key}
            if updated:
                statement = statement.on_conflict_do_update(index_elements=self._conflict_columns(), set_=updated)
            else:
                statement = statement.on_conflict_do_nothing(index_elements=self._conflict_columns())
        return self._composed(statement, columns)

    def _composed(self, statement: ClauseElement, columns: tuple[str, ...]) -> _Prepared | _Composed:
        """The statement as the driver takes it, unless it has more parameters than the row: Python-side defaults."""
        compiled = statement.compile(dialect=self._dialect)
        assert isinstance(compiled, SQLCompiler)
        names = tuple(f"v{i}" for i in range(len(columns)))
        in_order = tuple(compiled.positiontup or ()) if self._dialect.positional else names
        if set(compiled.params) != set(names) or in_order != names:
            return _Composed(statement, names)
        types = [self._target.table_columns[name].type for name in columns]
        converters = [type_.dialect_impl(self._dialect).bind_processor(self._dialect) for type_ in types]
        return _Prepared(
            compiled.string,
            None if self._dialect.positional else names,
            tuple((i, converter) for i, converter in enumerate(converters) if converter is not None),
        )

    def _conflict_columns(self) -> list[Any]:
        return [self._target.columns[name] for name in self._conflict_key]


def _chunks(rows: Sequence[Values]) -> Iterator[Sequence[Values]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
