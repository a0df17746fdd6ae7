"""Rows into tables of MariaDB and MySQL: statements of many rows, and conflicts that mean what they mean elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import copy
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    null,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import mysql

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.sql.changes import Changes, OnConflict
from kafka_stream.sinks.sql.rows import Values
from kafka_stream.sinks.sql.statement_writer import Inserted, StatementWriter, chunks
from kafka_stream.sinks.sql.target import Target

_KEYS_AT_ONCE = 1_000

_NUMBERED = text(
    "SELECT column_name FROM information_schema.columns WHERE table_schema = coalesce(:schema, DATABASE()) "
    "AND table_name = :table AND extra LIKE '%auto_increment%'"
)
_WITHOUT_TRANSACTIONS = text(
    "SELECT t.engine FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine "
    "WHERE t.table_schema = coalesce(:schema, DATABASE()) AND t.table_name = :table "
    "AND t.engine IS NOT NULL AND coalesce(e.transactions, 'NO') <> 'YES'"
)


class MySQLWriter(StatementWriter):
    """``INSERT … ON DUPLICATE KEY UPDATE``, which the driver makes statements of many rows; deletes by many keys.

    That clause fires for any unique key. Where another one than the sink's is hit, the statement is made to fail, as
    ``ON CONFLICT (key)`` would: the row that was found is not the one that the sink means. ``INSERT IGNORE`` is not
    used, because it also ignores values that do not fit.
    """

    _numbered: Collection[str] | None = None  # the columns that the database numbers; None before it was asked

    def __init__(
        self, target: Target, on_conflict: OnConflict, conflict_key: tuple[str, ...], dialect: Dialect
    ) -> None:
        super().__init__(target, on_conflict, conflict_key, _by_position(dialect))

    def write(self, connection: Connection, changes: Changes, go_on: Callable[[], None]) -> None:
        """As elsewhere, after a look at the table.

        Raises:
            ConfigurationError: the table's engine has no transactions.
            ProcessingError: a row has a 0 that the database would replace by a number of its own.
        """
        if self._numbered is None:
            self._numbered = self._look_at_table(connection)
        if self._numbered:
            self._refuse_zeros(changes, self._numbered)
        super().write(connection, changes, go_on)

    def _refuse_zeros(self, changes: Changes, numbered: Collection[str]) -> None:
        for columns, rows in changes.groups:
            for position, name in enumerate(columns):
                column = self._target.columns[name].name
                if column in numbered and any(row[position] == 0 for row in rows):
                    raise ProcessingError(
                        f"to_rows of the SqlSink for table {self._target.name} gave a row whose {name!r} is 0, for "
                        "which an AUTO_INCREMENT column takes the next number: make it a column without that "
                        "(autoincrement=False)"
                    )

    def _look_at_table(self, connection: Connection) -> Collection[str]:
        table = self._target.table
        name = {"schema": table.schema, "table": table.name}
        engine = connection.execute(_WITHOUT_TRANSACTIONS, name).scalar()
        if engine is None:
            return connection.execute(_NUMBERED, name).scalars().all()
        quoted = self._dialect.identifier_preparer.format_table(table)
        raise ConfigurationError(
            f"table {quoted} of a SqlSink is kept by {engine}, which does not roll back, so that a batch that fails "
            f"would leave its rows: run ALTER TABLE {quoted} ENGINE=InnoDB"
        )

    def _lock(self, connection: Connection, keys: Sequence[Values]) -> None:
        columns = self._key_columns()
        locking: Any = select(literal_column("1")).where(self._is_one_of()).order_by(*columns).with_for_update()
        self._run(connection, locking, keys)

    def _delete(self, connection: Connection, keys: Sequence[Values]) -> None:
        self._run(connection, delete(self._target.table).where(self._is_one_of()), keys)

    def _run(self, connection: Connection, statement: Any, keys: Sequence[Values]) -> None:
        for chunk in chunks(keys, _KEYS_AT_ONCE):
            values = [key for (key,) in chunk] if len(self._target.key) == 1 else chunk
            connection.execute(statement, {"keys": values}).close()

    def _is_one_of(self) -> ColumnElement[bool]:
        columns = self._key_columns()
        of_key = columns[0] if len(columns) == 1 else tuple_(*columns)
        return of_key.in_(bindparam("keys", expanding=True))

    def _key_columns(self) -> list[Any]:
        return [self._target.table_columns[name] for name in self._target.key]

    def _insert_of(self, columns: tuple[str, ...], values: Inserted) -> ClauseElement:
        statement = mysql.insert(self._target.table).values(values)
        if self._on_conflict == "error":
            return statement
        of = self._target.columns
        changes = [] if self._on_conflict == "ignore" else [of[n] for n in columns if n not in self._target.key]
        if self._conflict_key:
            key = [of[name] for name in self._conflict_key]
            first = (key[0].key, self._if_same(key))
        else:
            column = next(iter(of.values()))
            first = (column.key, column)  # nothing changes
        # VALUES(): MySQL's newer "AS new" is not MariaDB's, and keeps the driver from joining rows into one statement.
        return statement.on_duplicate_key_update([first, *((c.key, func.values(c)) for c in changes)])

    def _if_same(self, key: list[Any]) -> ColumnElement[Any]:
        """The key's first column as it is; an overflow if the row that was found has another key.

        The error is the last resort of a language without a way to raise one in an expression; it shows the text.
        """
        found = and_(*(column.is_not_distinct_from(func.values(column)) for column in key))
        words: Any = literal_column("'a row conflicts on a unique key that is not its key'")
        overflow: Any = literal_column("~0") + func.concat(words, func.values(key[0])).is_not(None)
        return func.if_(found, key[0], func.if_(overflow, null(), null()))


def _by_position(dialect: Dialect) -> Dialect:
    """The dialect, but with parameters by position where the driver takes them so, too: a dict per row costs more."""
    if dialect.driver != "pymysql":
        return dialect
    changed = copy(dialect)
    changed.paramstyle = "format"
    changed.positional = True
    return changed
