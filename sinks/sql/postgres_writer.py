"""Many rows into PostgreSQL: ``COPY``, inside the batch's own transaction.

What ``COPY`` would do otherwise than INSERT is left to INSERT: the server is asked each time which tables and columns
that are, and what it refuses is undone up to a savepoint and inserted row by row. So the rows, and the errors, are the
same on both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Connection, bindparam, exc, literal_column, select, text
from sqlalchemy.dialects import postgresql

from sinks.sql.binary_rows import HEADER, TRAILER, Column, Dump, Encode, encoder, is_known
from sinks.sql.rows import Values
from sinks.sql.statement_writer import Prepared, StatementWriter, chunks

if TYPE_CHECKING:
    import psycopg

Buffer: TypeAlias = bytes | bytearray

_LEAST_ROWS = {"error": 100, "ignore": 500, "update": 500}
"""From how many rows on it is quicker: a few statements more, and a temporary table where there may be conflicts."""

_CHUNK = 1_000
"""Rows that are encoded at a time, while the server works on those before."""

_STAGING = "kafka_stream_rows"

# COPY passes rules by, and is refused under row security; a trigger would see one statement instead of one per row.
_COLUMNS = text("""
    SELECT NOT a.attnotnull AS nullable,
        CASE
            WHEN d.type <> a.atttypid AND NOT (d.type IN (25, 1043) AND a.atttypid IN (25, 1043)) THEN ''
            WHEN t.typtype = 'e' THEN 'enum'
            WHEN t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text
            ELSE ''
        END AS type_name
    FROM unnest(CAST(:names AS text[]), CAST(:declared AS text[])) WITH ORDINALITY AS w(name, declared, number)
        JOIN pg_class AS c ON c.oid = to_regclass(:table)
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.name AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid
        CROSS JOIN LATERAL (SELECT to_regtype(w.declared)::oid AS type) AS d
    WHERE c.relkind IN ('r', 'p') AND NOT c.relhasrules AND NOT row_security_active(c.oid)
        AND NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal)
    ORDER BY w.number""")

# By SQLSTATE, or its first characters: about a row, a value or the table, not about the server or the transaction.
_INSERT_DECIDES = ("0A", "21", "22", "23", "42", "57014", "P0")


class PostgresWriter(StatementWriter):
    """``COPY`` for many rows, through a temporary table where they may conflict with others; else a statement each."""

    def _lock(self, connection: Connection, keys: Sequence[Values]) -> None:
        locking: Any = select(literal_column("1")).where(*self._key_matches()).with_for_update()
        self._statement(("lock",), lambda: self._composed(locking, self._target.key)).run(connection, keys)

    def _insert_rows(self, connection: Connection, columns: tuple[str, ...], rows: Sequence[Values]) -> None:
        if len(rows) < _LEAST_ROWS[self._on_conflict] or not self._copies(connection, columns, rows):
            super()._insert_rows(connection, columns, rows)

    def _copies(self, connection: Connection, columns: tuple[str, ...], rows: Sequence[Values]) -> bool:
        """Write the rows by COPY, or do nothing and return False."""
        insert = self._statement(("insert", *columns), partial(self._insert, columns))
        driver = _psycopg_of(connection)
        if driver is None or not isinstance(insert, Prepared) or not self._are_plain(columns):
            return False
        savepoint = connection.begin_nested()
        try:
            encode = self._encoder(connection, driver, columns, insert)
            if encode is not None:
                self._copy(connection, driver, columns, partial(_encoded, rows, encode))
        except Exception as error:
            if driver.closed:
                connection.invalidate(error)  # as SQLAlchemy does where it sends the statement
            if not _is_for_insert_to_decide(error):
                raise
            savepoint.rollback()
            return False
        savepoint.commit()
        return encode is not None

    def _are_plain(self, columns: tuple[str, ...]) -> bool:
        """Whether values go into the statement as they are, not as arguments of a function."""
        types = (self._target.columns[name].type.dialect_impl(self._dialect) for name in columns)
        return all(type_.bind_expression(bindparam("v")) is None for type_ in types)

    def _encoder(
        self,
        connection: Connection,
        driver: psycopg.Connection[Any],
        columns: tuple[str, ...],
        insert: Prepared,
    ) -> Encode | None:
        """What encodes rows of these columns as they are now; ``None`` if they are not for COPY."""
        from psycopg.pq import Format

        declared = [self._target.columns[name] for name in columns]
        compiler = self._dialect.type_compiler_instance
        parameters = {
            "table": self._table,
            "names": [it.name for it in declared],
            "declared": [compiler.process(it.type) for it in declared],
        }
        found = connection.execute(_COLUMNS, parameters).all()
        if len(found) != len(columns) or not all(is_known(it.type_name) for it in found):
            return None

        def dumper_of(type_name: str) -> Dump:
            dumper = driver.adapters.get_dumper_by_oid(driver.adapters.types[type_name].oid, Format.BINARY)
            return dumper(object, driver).dump

        # Bytes are encoded here, and need nothing put around them.
        converters = {number: it.convert for number, it in insert.converters if bytes not in it.leaves}
        return encoder(
            [Column(it.type_name, it.nullable, converters.get(number)) for number, it in enumerate(found)], dumper_of
        )

    def _copy(
        self,
        connection: Connection,
        driver: psycopg.Connection[Any],
        columns: tuple[str, ...],
        encoded: Callable[[], Iterator[Buffer]],
    ) -> None:
        of = self._target.columns
        names = ", ".join(self._dialect.identifier_preparer.quote(of[name].name) for name in columns)
        if self._on_conflict == "error":
            _send(driver, f"{self._table} ({names})", encoded())
            return
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE {_STAGING} ON COMMIT DROP AS SELECT {names} FROM {self._table} WITH NO DATA"
        )
        _send(driver, f"pg_temp.{_STAGING}", encoded())
        staged: Any = select(literal_column(names)).select_from(text(f"pg_temp.{_STAGING}"))
        insert = postgresql.insert(self._target.table).from_select([of[name] for name in columns], staged)
        resolving: Any = self._resolving_conflicts(insert, columns)
        connection.execute(resolving)
        connection.exec_driver_sql(f"DROP TABLE pg_temp.{_STAGING}")

    @property
    def _table(self) -> str:
        return self._dialect.identifier_preparer.format_table(self._target.table)


def _psycopg_of(connection: Connection) -> psycopg.Connection[Any] | None:
    """The driver's connection, if it is psycopg's, and texts go to the server as UTF-8."""
    if connection.dialect.driver != "psycopg":
        return None
    driver: Any = connection.connection.driver_connection
    return driver if driver.info.encoding == "utf-8" else None


def _encoded(rows: Sequence[Values], encode: Encode) -> Iterator[Buffer]:
    """A thousand rows at a time: the server works on some while the next ones are encoded."""
    yield HEADER
    for chunk in chunks(rows, _CHUNK):
        yield encode(chunk)
    yield TRAILER


def _send(driver: psycopg.Connection[Any], target: str, encoded: Iterator[Buffer]) -> None:
    with driver.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)".encode()) as copy:
        for data in encoded:
            copy.write(data)


def _is_for_insert_to_decide(error: Exception) -> bool:
    import psycopg

    driver = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(driver, psycopg.Error) and driver.sqlstate is not None:
        return driver.sqlstate.startswith(_INSERT_DECIDES)
    # What a converter or an encoder raised, on this side.
    return not isinstance(driver, psycopg.Error | exc.SQLAlchemyError) or isinstance(driver, psycopg.DataError)
