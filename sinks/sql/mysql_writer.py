"""Rows into tables of MariaDB and MySQL: statements of many rows, and conflicts that mean what they mean elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import partial
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    and_,
    bindparam,
    delete,
    exc,
    false,
    func,
    literal_column,
    null,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import mysql

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.sql.changes import Changes, Group
from kafka_stream.sinks.sql.facts import ColumnFacts
from kafka_stream.sinks.sql.mysql_catalog import MySQLFacts, facts_of, refuse_zeros
from kafka_stream.sinks.sql.rows import Values
from kafka_stream.sinks.sql.rules import Rules
from kafka_stream.sinks.sql.statement_writer import Inserted, StatementWriter
from kafka_stream.sinks.sql.statements import Statement, chunks
from kafka_stream.sinks.sql.target import Target

_KEYS_AT_ONCE = 1_000

_DUPLICATE = 1062
# Of the errors that come as an OperationalError: about a row or a value, not about the server or the transaction.
_ABOUT_ROWS = {1264, 1292, 1364, 1366, 1411, 1441, 1644, 1690, 3819, 4025}


class MySQLWriter(StatementWriter):
    """``INSERT … ON DUPLICATE KEY UPDATE``, which the driver makes statements of many rows; deletes by many keys.

    That clause fires for any unique key. Where another one than the sink's is hit, the statement is made to fail, as
    ``ON CONFLICT (key)`` would: the row that was found is not the one that the sink means. ``INSERT IGNORE`` is not
    used, because it also ignores values that do not fit. Triggers that an update fires would be fired for a row that
    is to stay: where there may be some, rows are inserted, and those left out that the database calls duplicates.
    """

    _facts: MySQLFacts

    def __init__(self, target: Target, dialect: Dialect, rules: Rules, facts: MySQLFacts) -> None:
        """Raise ``ConfigurationError`` if the table's engine has no transactions."""
        super().__init__(target, _by_position(dialect), rules, facts)
        if facts.engine is not None:
            quoted = dialect.identifier_preparer.format_table(target.table)
            raise ConfigurationError(
                f"table {quoted} of a SqlSink is kept by {facts.engine}, which does not roll back, so that a batch "
                f"that fails would leave its rows: run ALTER TABLE {quoted} ENGINE=InnoDB"
            )
        of_key = [target.table_columns[name] for name in target.key]
        self._key_forms = [(it.name, _form_of(it.name, facts)) for it in of_key]
        self._tries = rules.on_conflict == "ignore" and (facts.triggers is None or "UPDATE" in facts.triggers)

    @classmethod
    def facts_of(cls, connection: Connection, target: Target, schema: str | None) -> MySQLFacts:
        """What the information schema says."""
        return facts_of(connection, target.table.name, schema)

    def write(self, connection: Connection, changes: Changes, go_on: Callable[[], None]) -> None:
        """As elsewhere.

        Raises:
            ProcessingError: a row has a 0 that the database would replace by a number of its own.
        """
        refuse_zeros(self._target, self._facts.numbered, changes.given)
        super().write(connection, changes, go_on)

    def _is_about_rows(self, connection: Connection, error: Exception) -> bool:
        if isinstance(error, exc.OperationalError) and error.orig is not None:
            return error.orig.args[:1] != () and error.orig.args[0] in _ABOUT_ROWS
        return super()._is_about_rows(connection, error) and not isinstance(error, exc.ProgrammingError)

    def _key_values(self, keys: Sequence[Values]) -> Sequence[Values]:
        """A text is compared with texts, a number with numbers; the server would take both for numbers."""
        columns = list(zip(*keys, strict=True))
        for position, (name, (known, form)) in enumerate(self._key_forms):
            if not set(map(type, columns[position])) <= known:
                columns[position] = tuple(self._in_form(name, form, value) for value in columns[position])
        return list(zip(*columns, strict=True))

    def _in_form(self, name: str, form: Callable[[Any], Any], value: Any) -> Any:
        try:
            return form(value)
        except ValueError as error:
            raise ProcessingError(
                f"to_rows of the SqlSink for table {self._target.name} gave a key whose {name!r} is a "
                f"{type(value).__name__} that the column cannot hold: the database would compare it with another "
                "value than it was given"
            ) from error

    def _lock(self, connection: Connection, keys: Sequence[Values]) -> None:
        columns = self._key_columns()
        locking: Any = select(literal_column("1")).where(self._is_one_of()).order_by(*columns).with_for_update()
        self._run(connection, locking, keys, _KEYS_AT_ONCE)

    def _delete(self, connection: Connection, keys: Sequence[Values]) -> None:
        """A statement of many keys takes rows in an order of its own."""
        at_once = 1 if self._facts.row_by_row else _KEYS_AT_ONCE
        self._run(connection, delete(self._target.table).where(self._is_one_of()), keys, at_once)

    def _run(self, connection: Connection, statement: Any, keys: Sequence[Values], at_once: int) -> None:
        for chunk in chunks(self._key_values(keys), at_once):
            values = [key for (key,) in chunk] if len(self._target.key) == 1 else chunk
            connection.execute(statement, {"keys": values}).close()

    def _is_one_of(self) -> ColumnElement[bool]:
        columns = self._key_columns()
        of_key = columns[0] if len(columns) == 1 else tuple_(*columns)
        return of_key.in_(bindparam("keys", expanding=True))

    def _key_columns(self) -> list[Any]:
        return [self._target.table_columns[name] for name in self._target.key]

    def _insert_rows(self, connection: Connection, group: Group, encoded: Any) -> None:
        insert = self._insert_statement(group.columns)
        if self._tries:
            self._insert_new(connection, insert, group)
        elif self._on_conflict != "error" and self._are_numbered(group.columns):
            for (
                row
            ) in group.rows:  # a statement of many takes numbers for all of them, also for those it has no use for
                insert.run(connection, [row])
        else:
            insert.run(connection, group.rows)

    def _are_numbered(self, columns: tuple[str, ...]) -> bool:
        return any(it.name in self._facts.numbered for name, it in self._target.columns.items() if name not in columns)

    def _insert_new(self, connection: Connection, insert: Statement, group: Group) -> None:
        """Insert the rows, or halve them until the one is found that conflicts."""
        waiting = [group.rows]
        while waiting:
            rows = waiting.pop()
            try:
                insert.run(connection, rows)
            except exc.IntegrityError as error:
                if error.orig is None or error.orig.args[0] != _DUPLICATE:
                    raise
                if len(rows) > 1:
                    half = len(rows) // 2
                    waiting += [rows[half:], rows[:half]]
                elif not self._is_conflict(connection, group.columns, rows[0]):
                    raise

    def _is_conflict(self, connection: Connection, columns: tuple[str, ...], row: Values) -> bool:
        """Whether a row is there with a key whose conflicts are ignored: a trigger may have failed by another one."""
        if not self._conflict_key and self._facts.triggers is not None and "INSERT" not in self._facts.triggers:
            return True
        of = {
            self._target.columns[name].name: (self._target.columns[name], v)
            for name, v in zip(columns, row, strict=True)
        }
        key = frozenset(self._target.columns[name].name for name in self._conflict_key)
        known = [names for names in ([key] if key else self._facts.uniques) if names <= set(of)]
        same = [and_(*(of[it][0] == bindparam(None, of[it][1], of[it][0].type) for it in names)) for names in known]
        return connection.execute(select(literal_column("1")).where(or_(false(), *same)).limit(1)).first() is not None

    def _insert_of(self, columns: tuple[str, ...], values: Inserted) -> ClauseElement:
        statement = mysql.insert(self._target.table).values(values)
        if self._on_conflict == "error" or self._tries:
            return statement
        of = self._target.columns
        changed: Sequence[tuple[Any, Any]] = ()
        if self._assigning is not None:
            changed = self._assigning.of(columns)
        elif self._on_conflict == "update":
            changed = [(of[n], func.values(of[n])) for n in columns if n not in self._target.key]
        if self._conflict_key:
            key = [of[name] for name in self._conflict_key]
            first = (key[0].key, self._if_same(key))
        else:
            column = next(iter(of.values()))
            first = (column.key, column)  # nothing changes
        # VALUES(): MySQL's newer "AS new" is not MariaDB's, and keeps the driver from joining rows into one statement.
        return statement.on_duplicate_key_update([first, *((c.key, value) for c, value in changed)])

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


def _form_of(name: str, facts: MySQLFacts) -> tuple[frozenset[type], Callable[[Any], Any]]:
    """The classes that a column's values are compared in, and what makes one of them of another's value."""
    if name in facts.texts:
        return frozenset({str, bytes}), _as_text
    column = facts.columns.get(name, ColumnFacts())
    if name in facts.numbers:
        known = {int, float, bool} if column.digits is not None else {int, float, bool, Decimal}
        return frozenset(known), partial(_as_number, digits=column.digits)
    return frozenset(), _itself if column.digits is None else partial(_as_moment, digits=column.digits)


def _as_text(value: Any) -> Any:
    if isinstance(value, bool | int):
        return str(int(value))
    if isinstance(value, float | Decimal):
        raise ValueError("no text")  # the database has its own ways to write these
    return value  # the column's type makes a text of it, or refuses it


def _as_number(value: Any, digits: int | None) -> Any:
    try:
        number = Decimal(value) if isinstance(value, str) else value
        if digits is None or not isinstance(number, Decimal):
            return number
        return number.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)  # as the server rounds
    except InvalidOperation as error:
        raise ValueError("no number") from error


def _as_moment(value: Any, digits: int) -> Any:
    """The server cuts off what it does not keep."""
    if not isinstance(value, datetime):
        return value
    return value.replace(microsecond=value.microsecond - value.microsecond % 10 ** (6 - digits))


def _itself(value: Any) -> Any:
    return value
