"""Many rows into PostgreSQL: ``COPY``, inside the batch's own transaction.

What ``COPY`` would do otherwise than INSERT is left to INSERT: the server is asked each time which tables and columns
that are. Rows that cannot be encoded are inserted, between others that are copied. What the server refuses is undone up
to a savepoint, and copied in parts up to the row that is refused, where INSERT decides. So the rows, and the errors,
are the same on both ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Dialect, exc, literal_column, select
from sqlalchemy.dialects import postgresql

from kafka_stream.sinks.sql.changes import Changes, Group
from kafka_stream.sinks.sql.facts import TableFacts
from kafka_stream.sinks.sql.keys import InKeyOrder
from kafka_stream.sinks.sql.narrowing import RowSuspected
from kafka_stream.sinks.sql.on_workers.knowledge import Knowledge
from kafka_stream.sinks.sql.on_workers.shipped import Copyable, RowsLeftBehind
from kafka_stream.sinks.sql.postgres.binary_rows import is_known
from kafka_stream.sinks.sql.postgres.catalog import COPIED_COLUMNS, facts_of, quoted_name, rounded
from kafka_stream.sinks.sql.postgres.copying import (
    EncodedRows,
    RowEncoder,
    cursor_of,
    encode_of,
    encoded_pieces,
    go_as_they_are,
    is_for_copy,
    is_for_insert_to_decide,
    is_left_to_insert,
    is_plain,
    line_of,
    odd_rows,
    psycopg_of,
    question_of,
    send,
)
from kafka_stream.sinks.sql.postgres.staging import NAME, Staging, is_sorted_by_server
from kafka_stream.sinks.sql.rows import Values
from kafka_stream.sinks.sql.rules import Rules
from kafka_stream.sinks.sql.statement_writer import StatementWriter
from kafka_stream.sinks.sql.statements import Prepared
from kafka_stream.sinks.sql.target import Target

if TYPE_CHECKING:
    import psycopg

    Cursor: TypeAlias = psycopg.Cursor[Values]

_LEAST_ROWS = {"error": 30, "ignore": 500, "update": 500, "merge": 500}
"""From how many rows on it is quicker: a few statements more, and a temporary table where there may be conflicts."""

_SAVEPOINT = "kafka_stream_copy"

# By SQLSTATE, or its first characters: about a row, a value or the table, not about the server or the transaction.
_ABOUT_ROWS = ("0A", "21", "22", "23", "42804", "42846", "42883", "42P18", "44", "P0")


class PostgresWriter(StatementWriter):
    """``COPY`` for many rows, through a temporary table where they may conflict with others; else a statement each."""

    def __init__(self, target: Target, dialect: Dialect, rules: Rules, facts: TableFacts) -> None:
        super().__init__(target, dialect, rules, facts)
        self._encoders: dict[tuple[str, ...], RowEncoder] = {}
        self._row_bytes: dict[tuple[str, ...], float] = {}
        self._left_to_insert: set[tuple[str, ...]] = set()
        self._questions: dict[tuple[str, ...], Mapping[str, Any] | None] = {}

    @classmethod
    def _least_round(cls) -> int | None:
        return _LEAST_ROWS["merge"]

    @classmethod
    def facts_of(cls, connection: Connection, target: Target, schema: str | None) -> TableFacts:
        """What the catalogs say."""
        return facts_of(connection, quoted_name(connection.dialect, target, schema))

    def encode(self, changes: Changes) -> Changes:
        """Rows of columns that were copied before are encoded as they were then.

        Whether that is still right is found out in the transaction. What cannot be encoded is left to the INSERT.
        """
        changes = super().encode(changes)
        encoded = {}
        for number, group in enumerate(changes.groups or ()):
            encoder = self._encoders.get(group.columns)
            if encoder is not None and self._is_for_copy(group):
                with suppress(Exception):
                    encoded[number] = self._encoded(group, encoder)
        return replace(changes, encoded=encoded) if encoded else changes

    def _encoded(self, group: Group, encoder: RowEncoder) -> EncodedRows:
        """In the order given where the server is to sort them, by what is known of the size of those before."""
        size_bytes = self._row_bytes.get(group.columns, math.inf) * len(group.rows)
        rows, in_order = group.rows, True
        may_sort = group.are_distinct and is_sorted_by_server(self._target, self._facts, size_bytes)
        if may_sort and isinstance(rows, InKeyOrder):
            rows, in_order = rows.given, False
        data = b"".join(encoded_pieces(rows, encoder.encode))
        self._row_bytes[group.columns] = len(data) / len(rows)
        return EncodedRows(encoder, data, rows, in_order)

    def knowledge(self) -> Knowledge | None:
        """With the types of the columns that were copied before."""
        found, left = super().knowledge(), self._left_to_insert
        copied = {of: it.types for of, it in self._encoders.items() if it.is_plain and of not in left}
        return found and replace(found, copied=copied, least_copied=_LEAST_ROWS[self._on_conflict])

    def write(self, connection: Connection, changes: Changes, go_on: Callable[[], None]) -> None:
        """As elsewhere; where rows are encoded, the next batch waits until the server has work."""
        encoded = dict(changes.encoded)
        if encoded:
            first = min(encoded)
            encoded[first] = replace(encoded[first], go_on=go_on)
        super().write(connection, replace(changes, encoded=encoded), go_on)

    def _is_about_rows(self, connection: Connection, error: Exception) -> bool:
        driver = error.orig if isinstance(error, exc.DBAPIError) else error
        sqlstate = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
        if sqlstate is not None:
            return str(sqlstate).startswith(_ABOUT_ROWS)
        dbapi = connection.dialect.loaded_dbapi
        if isinstance(driver, dbapi.Error):  # of the driver itself, which cannot send a value
            return isinstance(driver, (dbapi.DataError, dbapi.ProgrammingError))
        return super()._is_about_rows(connection, error)

    def _lock(self, connection: Connection, keys: Sequence[Values]) -> None:
        locking: Any = select(literal_column("1")).where(*self._key_matches()).with_for_update()
        self._statement(("lock",), lambda: self._composed(locking, self._target.key)).run(connection, keys)

    def _as_kept(self, column: Any, value: ColumnElement[Any]) -> ColumnElement[Any]:
        facts = self._facts.columns.get(column.name)
        return value if facts is None or facts.digits is None else rounded(column.type, value, facts.digits)

    def _insert_rows(self, connection: Connection, group: Group, encoded: Any) -> None:
        if not self._is_for_copy(group):
            super()._insert_rows(connection, group, None)
        elif not self._copies(connection, group, encoded):
            self._insert_odd(connection, group)

    def _insert_odd(self, connection: Connection, group: Group) -> None:
        """What was not copied: if that is because of a few rows, only these are inserted."""
        encoder = self._encoders.get(group.columns)
        odd = odd_rows(group.rows, encoder.encode) if encoder is not None else ()
        if not odd or len(group.rows) == 1:
            super()._insert_rows(connection, group, None)
            return
        begin = 0
        for number in odd:
            self._insert_rows(connection, replace(group, rows=group.rows[begin:number]), None)
            self._insert_one(connection, group, group.rows[number])
            begin = number + 1
        self._insert_rows(connection, replace(group, rows=group.rows[begin:]), None)

    def _insert_one(self, connection: Connection, group: Group, row: Values) -> None:
        try:
            super()._insert_rows(connection, replace(group, rows=[row]), None)
        except Exception as error:
            if self._is_about_rows(connection, error):
                raise RowSuspected(row) from error
            raise

    def _is_for_copy(self, group: Group) -> bool:
        return is_for_copy(group, self._on_conflict, _LEAST_ROWS[self._on_conflict], self._facts.bare)

    def _copies(self, connection: Connection, group: Group, encoded: EncodedRows | None) -> bool:
        """Write the rows by COPY, or do nothing and return False."""
        columns, rows, in_order = group.columns, group.rows, True
        if (driver := self._copying_driver(connection, columns)) is None:
            return False
        with cursor_of(connection, driver) as cursor:
            cursor.execute(f"SAVEPOINT {_SAVEPOINT}")
            try:
                encoder = self._encoder(cursor, columns)
                if encoder is not None:
                    data = encoded_pieces(rows, encoder.encode)
                    if encoded is not None and encoded.encoder is encoder:
                        rows, in_order, data = encoded.rows, encoded.in_order, encoded.pieces()
                    self._copy(connection, cursor, columns, data, group.are_distinct, in_order=in_order)
            except Exception as error:
                number = line_of(error, self._copied_into) if len(rows) > 1 else None
                if number is not None and 0 <= number < len(rows):
                    raise RowSuspected(rows[number]) from error
                if not is_for_insert_to_decide(error, len(rows)):
                    raise
                self._learn_of(columns, error)
                encoder = None
                cursor.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            cursor.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        return encoder is not None

    def _copying_driver(self, connection: Connection, columns: tuple[str, ...]) -> psycopg.Connection[Any] | None:
        """The driver's connection, if rows of these columns may be copied through it, and by it."""
        insert = self._insert_statement(columns)
        types = [self._target.columns[name].type for name in columns]
        if self._facts.row_by_row or not isinstance(insert, Prepared) or not go_as_they_are(types, self._dialect):
            return None
        return psycopg_of(connection)

    def _write_shipped(self, connection: Connection, group: Copyable | Group, go_on: Callable[[], None]) -> None:
        if not isinstance(group, Copyable):
            super()._write_shipped(connection, group, go_on)
        elif (driver := self._copying_driver(connection, group.columns)) is None:
            self._forget(group.columns)
            raise RowsLeftBehind(f"rows for table {self._target.name} are not copied through this connection")
        else:
            self._copy_encoded(connection, driver, group, go_on)

    def _copy_encoded(
        self, connection: Connection, driver: psycopg.Connection[Any], group: Copyable, go_on: Callable[[], None]
    ) -> None:
        with cursor_of(connection, driver) as cursor:
            encoder = self._encoder(cursor, group.columns)
            if encoder is None or not encoder.is_plain or list(encoder.types) != list(group.types):
                raise RowsLeftBehind(f"rows for table {self._target.name} were encoded for columns of other types")
            try:
                self._copy(connection, cursor, group.columns, group.pieces(go_on), group.are_distinct)
            except Exception as error:
                self._learn_of(group.columns, error)
                raise

    def _learn_of(self, columns: tuple[str, ...], error: Exception) -> None:
        """Rows whose COPY the server leaves to INSERT need not be encoded where they cannot be inserted."""
        if is_left_to_insert(error) and columns not in self._left_to_insert:
            self._left_to_insert.add(columns)
            self.learned += 1

    def _forget(self, columns: tuple[str, ...]) -> None:
        """Rows of these columns are not for COPY any more."""
        self.learned += self._encoders.pop(columns, None) is not None

    @property
    def _copied_into(self) -> str:
        return self._target.table.name if self._on_conflict == "error" else NAME

    def _encoder(self, cursor: Cursor, columns: tuple[str, ...]) -> RowEncoder | None:
        """What encodes rows of these columns as they are now; ``None`` if they are not for COPY."""
        if (asked := self._asked_of(columns)) is None:
            return None
        types = cursor.execute(COPIED_COLUMNS, asked).fetchall()
        if len(types) != len(columns) or not all(is_known(type_name) for _, type_name in types):
            self._forget(columns)
            return None
        driver, known = cursor.connection, self._encoders.get(columns)
        if known is not None and known.types == types and known.driver is driver:
            return known
        insert = self._insert_statement(columns)
        assert isinstance(insert, Prepared)
        encode = encode_of(types, insert.converters, driver)
        new = self._encoders[columns] = RowEncoder(encode, types, driver, is_plain(types, driver))
        if known is None or (known.types, known.is_plain) != (types, new.is_plain):
            self.learned += 1
        return new

    def _asked_of(self, columns: tuple[str, ...]) -> Mapping[str, Any] | None:
        """What the server is asked for, made once; ``None`` if a column is declared without a type."""
        if columns not in self._questions:
            declared = [self._target.columns[name] for name in columns]
            self._questions[columns] = question_of(self._table, declared, self._dialect)
        return self._questions[columns]

    def _copy(
        self,
        connection: Connection,
        cursor: Cursor,
        columns: tuple[str, ...],
        encoded: Iterable[bytes],
        are_distinct: bool | None,
        *,
        in_order: bool = True,
    ) -> None:
        of, quote = self._target.columns, self._dialect.identifier_preparer.quote
        staging = Staging.of(self._table, columns, self._target, self._facts, quote)
        if self._on_conflict == "error":
            send(cursor, staging.target, encoded)
            return
        connection.exec_driver_sql(staging.create(in_order=in_order))
        send(cursor, f"pg_temp.{NAME}", encoded)
        rows = staging.rows() if in_order else staging.sorted()
        if self._on_conflict == "update" and not are_distinct and self._facts.bare:
            rows = staging.last_of_each_key()
        insert = postgresql.insert(self._target.table).from_select([of[name] for name in columns], rows)
        resolving: Any = self._resolving_conflicts(insert, columns)
        connection.execute(resolving)
        connection.exec_driver_sql(f"DROP TABLE pg_temp.{NAME}")

    @property
    def _table(self) -> str:
        return quoted_name(self._dialect, self._target, self._rules.schema(self._target))
