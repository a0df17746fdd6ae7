"""Many rows into SQLite: statements of many rows, and values in the form that costs Python's driver least.

``executemany`` gives up the GIL and takes it back for each row, and waits each time for whichever thread has it
meanwhile. A statement of many rows does that once, and spares SQLite a start and an end per row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter, le
from typing import Any

from sqlalchemy import Connection, Dialect, bindparam, exc

from kafka_stream.sinks.sql.changes import Changes, Group
from kafka_stream.sinks.sql.facts import TableFacts
from kafka_stream.sinks.sql.rows import Values
from kafka_stream.sinks.sql.rules import Rules
from kafka_stream.sinks.sql.sqlite_catalog import facts_of
from kafka_stream.sinks.sql.statement_writer import StatementWriter
from kafka_stream.sinks.sql.statements import Converter, Prepared, chunks
from kafka_stream.sinks.sql.target import Target

_ROWS_AT_ONCE = 200
"""More make it no faster; what is left over goes row by row."""


@dataclass(frozen=True, slots=True)
class ManyRows:
    """An INSERT of so many rows, each of ``width`` values."""

    sql: str
    width: int
    converters: tuple[tuple[int, Converter], ...]

    def parameters(self, rows: Sequence[Values]) -> tuple[Any, ...]:
        """All values, row by row."""
        flat = list(chain.from_iterable(rows))
        for position, converter in self.converters:
            flat[position :: self.width] = _converted(flat[position :: self.width], converter)
        return tuple(flat)


def _converted(values: list[Any], converter: Converter) -> list[Any]:
    """A column's values as the driver takes them.

    It looks for adapters of ``bytes``, in vain and at some cost, but not of ``bytearray``.
    """
    kinds = set(map(type, values))
    if kinds == {bytes} and bytes in converter.leaves:
        return list(map(bytearray, values))
    if converter.leaves.issuperset(kinds):
        return [bytearray(value) if type(value) is bytes else value for value in values]
    return list(map(converter.convert, values))


class SQLiteWriter(StatementWriter):
    """As elsewhere, but for statements of many rows.

    One that is refused is undone by SQLite, and its rows go one by one: the error is about the row, and its parameters
    are the row's.
    """

    def __init__(self, target: Target, dialect: Dialect, rules: Rules, facts: TableFacts) -> None:
        super().__init__(target, dialect, rules, facts)
        self._of_many: dict[tuple[int, tuple[str, ...]], ManyRows] = {}

    @classmethod
    def facts_of(cls, connection: Connection, target: Target, schema: str | None) -> TableFacts:
        """What SQLite's pragmas say."""
        return facts_of(connection, target.table.name, schema)

    def write(self, connection: Connection, changes: Changes, go_on: Callable[[], None]) -> None:
        """As elsewhere, in a transaction: the driver begins none before a savepoint, whose end would commit it."""
        driver: Any = connection.connection.driver_connection
        if not getattr(driver, "in_transaction", True):
            connection.exec_driver_sql("BEGIN").close()
        super().write(connection, changes, go_on)

    def _is_about_rows(self, connection: Connection, error: Exception) -> bool:
        driver: Any = connection.connection.driver_connection  # a constraint may be declared ON CONFLICT ROLLBACK
        return super()._is_about_rows(connection, error) and getattr(driver, "in_transaction", True)

    def _insert_rows(self, connection: Connection, group: Group, encoded: Any) -> None:
        columns, rows = group.columns, group.rows
        single = self._insert_statement(columns)
        driver = connection.connection.driver_connection
        whole = 0
        # SQLite looks for what a row refers to at the end of a statement.
        if isinstance(single, Prepared) and isinstance(driver, sqlite3.Connection) and not self._facts.row_by_row:
            at_once = min(_ROWS_AT_ONCE, driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(columns))
            whole = len(rows) - len(rows) % at_once if at_once > 1 else 0
            in_order = self._order_of(columns)
            for chunk in chunks(rows[:whole], at_once):
                if not in_order(chunk) or not self._insert_at_once(connection, driver, columns, chunk, single):
                    single.run(connection, chunk)
        single.run(connection, rows[whole:])

    def _insert_at_once(
        self,
        connection: Connection,
        driver: sqlite3.Connection,
        columns: tuple[str, ...],
        rows: Sequence[Values],
        single: Prepared,
    ) -> bool:
        """Insert the rows by one statement; or do nothing and return False, where a row has to tell what is wrong."""
        many = self._many(columns, len(rows), single)
        try:
            connection.exec_driver_sql(many.sql, many.parameters(rows)).close()
        except exc.OperationalError:  # about the database: it is full, or cannot be read
            raise
        except Exception:
            if not driver.in_transaction:  # the constraint is declared ON CONFLICT ROLLBACK
                raise
            return False
        return True

    def _order_of(self, columns: tuple[str, ...]) -> Callable[[Sequence[Values]], bool]:
        """What tells whether rows come in the order of their keys.

        Rows all over the table cost more together than one by one: to undo a statement, SQLite keeps each page that it
        changes.
        """
        key = self._target.key
        if self._on_conflict != "error" or not key or not set(key) <= set(columns):
            return lambda _: True
        key_of = itemgetter(*map(columns.index, key))

        def are_in_order(rows: Sequence[Values]) -> bool:
            keys = list(map(key_of, rows))
            try:
                return all(map(le, keys, islice(keys, 1, None)))
            except TypeError:  # a NULL among them
                return False

        return are_in_order

    def _many(self, columns: tuple[str, ...], at_once: int, single: Prepared) -> ManyRows:
        """The statement of many rows, composed at its first use."""
        if (many := self._of_many.get((at_once, columns))) is None:
            of = self._target.columns
            names = [[f"v{row}_{i}" for i in range(len(columns))] for row in range(at_once)]
            values = [
                {of[n].key: bindparam(p, type_=of[n].type) for n, p in zip(columns, row, strict=True)} for row in names
            ]
            compiled = self._compiled(self._insert_of(columns, values))
            assert tuple(compiled.positiontup or ()) == tuple(chain.from_iterable(names))
            many = ManyRows(compiled.string, len(columns), single.converters)
            self._of_many[at_once, columns] = many
        return many
