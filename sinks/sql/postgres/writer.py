"""Many rows into PostgreSQL: ``COPY``, inside the batch's own transaction.

What ``COPY`` would do otherwise than INSERT is left to INSERT: the server is asked each time which tables and columns
that are. Rows that cannot be encoded are inserted, between others that are copied. What the server refuses is undone up
to a savepoint, and copied in parts up to the row that is refused, where INSERT decides. So the rows, and the errors,
are the same on both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Numeric,
    Time,
    bindparam,
    cast,
    exc,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql

from kafka_stream.sinks.sql.changes import Changes, Group
from kafka_stream.sinks.sql.facts import TableFacts
from kafka_stream.sinks.sql.narrowing import RowSuspected
from kafka_stream.sinks.sql.postgres.binary_rows import HEADER, TRAILER, Encode, is_known
from kafka_stream.sinks.sql.postgres.catalog import COPIED_COLUMNS, facts_of, quoted_name
from kafka_stream.sinks.sql.postgres.copying import (
    CHUNK,
    EncodedRows,
    RowEncoder,
    cursor_of,
    encode_of,
    is_for_insert_to_decide,
    line_of,
    odd_rows,
    psycopg_of,
)
from kafka_stream.sinks.sql.rows import Values
from kafka_stream.sinks.sql.rules import Rules
from kafka_stream.sinks.sql.statement_writer import StatementWriter
from kafka_stream.sinks.sql.statements import Prepared, chunks
from kafka_stream.sinks.sql.target import Target

if TYPE_CHECKING:
    import psycopg

    Cursor: TypeAlias = psycopg.Cursor[Values]

_LEAST_ROWS = {"error": 30, "ignore": 500, "update": 500, "merge": 500}
"""From how many rows on it is quicker: a few statements more, and a temporary table where there may be conflicts."""

_SAVEPOINT = "kafka_stream_copy"
_STAGING = "kafka_stream_rows"

# By SQLSTATE, or its first characters: about a row, a value or the table, not about the server or the transaction.
_ABOUT_ROWS = ("0A", "21", "22", "23", "42804", "42846", "42883", "42P18", "44", "P0")


class PostgresWriter(StatementWriter):
    """``COPY`` for many rows, through a temporary table where they may conflict with others; else a statement each."""

    def __init__(self, target: Target, dialect: Dialect, rules: Rules, facts: TableFacts) -> None:
        super().__init__(target, dialect, rules, facts)
        self._encoders: dict[tuple[str, ...], RowEncoder] = {}
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
                    encoded[number] = EncodedRows(encoder, b"".join(_encoded(group.rows, encoder.encode)))
        return replace(changes, encoded=encoded) if encoded else changes

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
        if facts is None or facts.digits is None:
            return value
        if isinstance(column.type, DateTime):
            return cast(value, postgresql.TIMESTAMP(timezone=column.type.timezone, precision=facts.digits))
        if isinstance(column.type, Time):
            return cast(value, postgresql.TIME(timezone=column.type.timezone, precision=facts.digits))
        return func.round(cast(value, Numeric), literal_column(str(facts.digits)))

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
        """Whether it is quicker, and one statement of many rows is what a statement each would be.

        That one cannot change a row twice, which is known before it is tried, or the server says so.
        """
        takes_last = self._on_conflict == "update" and self._facts.bare  # of each key
        changes_twice = self._on_conflict in ("update", "merge") and group.are_distinct is False and not takes_last
        return len(group.rows) >= _LEAST_ROWS[self._on_conflict] and not changes_twice and not group.plain

    def _copies(self, connection: Connection, group: Group, encoded: EncodedRows | None) -> bool:
        """Write the rows by COPY, or do nothing and return False."""
        columns, rows = group.columns, group.rows
        insert = self._insert_statement(columns)
        driver = psycopg_of(connection)
        if self._facts.row_by_row or driver is None or not isinstance(insert, Prepared) or not self._are_plain(columns):
            return False
        with cursor_of(connection, driver) as cursor:
            cursor.execute(f"SAVEPOINT {_SAVEPOINT}")
            try:
                encoder = self._encoder(cursor, columns, insert)
                if encoder is not None:
                    is_encoded = encoded is not None and encoded.encoder is encoder
                    data = encoded.pieces() if encoded and is_encoded else _encoded(rows, encoder.encode)
                    self._copy(connection, cursor, group, data)
            except Exception as error:
                if (
                    len(rows) > 1
                    and (number := line_of(error, self._copied_into)) is not None
                    and 0 <= number < len(rows)
                ):
                    raise RowSuspected(rows[number]) from error
                if not is_for_insert_to_decide(error, len(rows)):
                    raise
                encoder = None
                cursor.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            cursor.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        return encoder is not None

    @property
    def _copied_into(self) -> str:
        return self._target.table.name if self._on_conflict == "error" else _STAGING

    def _are_plain(self, columns: tuple[str, ...]) -> bool:
        """Whether values go into the statement as they are, not as arguments of a function."""
        types = (self._target.columns[name].type.dialect_impl(self._dialect) for name in columns)
        return all(type_.bind_expression(bindparam("v")) is None for type_ in types)

    def _encoder(self, cursor: Cursor, columns: tuple[str, ...], insert: Prepared) -> RowEncoder | None:
        """What encodes rows of these columns as they are now; ``None`` if they are not for COPY."""
        if (asked := self._asked_of(columns)) is None:
            return None
        types = cursor.execute(COPIED_COLUMNS, asked).fetchall()
        if len(types) != len(columns) or not all(is_known(type_name) for _, type_name in types):
            return None
        driver, known = cursor.connection, self._encoders.get(columns)
        if known is None or known.types != types or known.driver is not driver:
            known = self._encoders[columns] = RowEncoder(encode_of(types, driver, insert), types, driver)
        return known

    def _asked_of(self, columns: tuple[str, ...]) -> Mapping[str, Any] | None:
        """What the server is asked for, made once; ``None`` if a column is declared without a type."""
        if columns not in self._questions:
            declared = [self._target.columns[name] for name in columns]
            try:
                types = [self._dialect.type_compiler_instance.process(it.type) for it in declared]
            except exc.CompileError:
                self._questions[columns] = None
            else:
                names = [it.name for it in declared]
                self._questions[columns] = {"table": self._table, "names": names, "declared": types}
        return self._questions[columns]

    def _copy(self, connection: Connection, cursor: Cursor, group: Group, encoded: Iterable[bytes]) -> None:
        of, quote = self._target.columns, self._dialect.identifier_preparer.quote
        names = ", ".join(quote(of[name].name) for name in group.columns)
        if self._on_conflict == "error":
            _send(cursor, f"{self._table} ({names})", encoded)
            return
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE {_STAGING} ON COMMIT DROP AS SELECT {names} FROM {self._table} WITH NO DATA"
        )
        _send(cursor, f"pg_temp.{_STAGING}", encoded)
        staged: Any = select(literal_column(names)).select_from(text(f"pg_temp.{_STAGING}"))
        if self._on_conflict == "update" and not group.are_distinct and self._facts.bare:
            key: list[Any] = [literal_column(quote(of[name].name)) for name in self._target.key]
            staged = staged.distinct(*key).order_by(*key, literal_column("ctid").desc())  # the last of each key
        insert = postgresql.insert(self._target.table).from_select([of[name] for name in group.columns], staged)
        resolving: Any = self._resolving_conflicts(insert, group.columns)
        connection.execute(resolving)
        connection.exec_driver_sql(f"DROP TABLE pg_temp.{_STAGING}")

    @property
    def _table(self) -> str:
        return quoted_name(self._dialect, self._target, self._rules.schema(self._target))


def _encoded(rows: Sequence[Values], encode: Encode) -> Iterator[bytes]:
    """A thousand rows at a time; if they are sent as they come, the server works on some while others are encoded."""
    yield HEADER
    for chunk in chunks(rows, CHUNK):
        yield b"".join(encode(chunk))
    yield TRAILER


def _send(cursor: Cursor, target: str, encoded: Iterable[bytes]) -> None:
    with cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)".encode()) as copy:
        for data in encoded:
            copy.write(data)
