"""What ``COPY`` needs of the driver, and what its errors say: rows, encoded, and which of them is at fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Column as Declared
from sqlalchemy import Connection, Dialect, bindparam, exc
from sqlalchemy.types import TypeEngine

from kafka_stream.sinks.sql.changes import Group
from kafka_stream.sinks.sql.postgres.binary_rows import HEADER, TRAILER, Column, Dump, Encode, dumped_as, encoder
from kafka_stream.sinks.sql.rows import Resolution, Values
from kafka_stream.sinks.sql.statements import Converter, chunks

if TYPE_CHECKING:
    import psycopg
    from psycopg.adapt import AdaptersMap

    Cursor: TypeAlias = psycopg.Cursor[Values]

CHUNK = 1_000
"""Rows that are encoded at a time: their pieces are joined while the processor still has them at hand."""

_MOST_ODD = 10
"""Of rows that are not for COPY, in a group: between so few the others are copied."""

_PIECE_BYTES = 128 * 1024
_FIRST_NUMBER = re.compile(r"[^\d\n]{1,40}?(\d{1,9})")
# By SQLSTATE, or its first characters: what INSERT has to say of all rows, and what one row may cause and another not.
_INSERT_DECIDES = ("0A", "21", "42", "57014", "P0")
_OF_A_ROW = ("22", "23")


@dataclass(frozen=True, slots=True)
class RowEncoder:
    """Encodes rows for one connection, as long as the table's columns are of these types.

    One that ``is_plain`` encodes them as it would for any other connection of psycopg's.
    """

    encode: Encode
    types: Sequence[Any]
    driver: object
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows as ``COPY`` takes them, and whose work that is; ``go_on`` is called when the server has some of them.

    Where they are not ``in_order``, the server puts them in that of their keys.
    """

    encoder: RowEncoder
    data: bytes
    rows: Sequence[Values]
    in_order: bool
    go_on: Callable[[], None] | None = None

    def pieces(self) -> Iterator[bytes]:
        """As large as the driver sends them."""
        for start in range(0, len(self.data), _PIECE_BYTES):
            yield self.data[start : start + _PIECE_BYTES]
            if start == 0 and self.go_on is not None:
                self.go_on()


def psycopg_of(connection: Connection) -> psycopg.Connection[Any] | None:
    """The driver's connection, if it is psycopg's, and texts go to the server as UTF-8."""
    if connection.dialect.driver != "psycopg":
        return None
    driver: Any = connection.connection.driver_connection
    return driver if driver.info.encoding == "utf-8" else None


def encode_of(
    types: Sequence[Any], converters: Iterable[tuple[int, Converter]], driver: psycopg.Connection[Any] | None = None
) -> Encode:
    """What encodes rows of columns of these types for this connection, as its INSERT would convert them.

    Without a connection, for those that psycopg's own way is left to.
    """
    from psycopg.pq import Format

    def dumper_of(type_name: str) -> Dump:
        adapters = _adapters_of(driver)
        dumper = adapters.get_dumper_by_oid(adapters.types[type_name].oid, Format.BINARY)
        return dumper(object, driver).dump

    # Bytes are encoded here, and need nothing put around them.
    needed = {number: it.convert for number, it in converters if bytes not in it.leaves}
    return encoder(
        [Column(name, nullable, needed.get(number)) for number, (nullable, name) in enumerate(types)], dumper_of
    )


def is_plain(types: Sequence[Any], driver: psycopg.Connection[Any]) -> bool:
    """Whether a connection encodes columns of these types as psycopg does where it was told nothing else."""
    from psycopg.pq import Format

    theirs, own = driver.adapters, _adapters_of(None)
    oids = [own.types[dumped].oid for _, name in types if (dumped := dumped_as(name)) is not None]
    return all(
        theirs.get_dumper_by_oid(oid, Format.BINARY) is own.get_dumper_by_oid(oid, Format.BINARY) for oid in oids
    )


def _adapters_of(driver: psycopg.Connection[Any] | None) -> AdaptersMap:
    if driver is not None:
        return driver.adapters
    import psycopg

    return psycopg.adapters


def go_as_they_are(types: Iterable[TypeEngine[Any]], dialect: Dialect) -> bool:
    """Whether values of these types go into a statement as they are, not as arguments of a function."""
    return all(it.dialect_impl(dialect).bind_expression(bindparam("v")) is None for it in types)


def question_of(table: str, declared: Sequence[Declared[Any]], dialect: Dialect) -> Mapping[str, Any] | None:
    """What the server is asked of columns that are to be copied; ``None`` if one is declared without a type."""
    try:
        types = [dialect.type_compiler_instance.process(it.type) for it in declared]
    except exc.CompileError:
        return None
    return {"table": table, "names": [it.name for it in declared], "declared": types}


@contextmanager
def cursor_of(connection: Connection, driver: psycopg.Connection[Any]) -> Iterator[Cursor]:
    """What goes past SQLAlchemy, which takes as long for a short statement as all the rest, is told to it here."""
    from psycopg.rows import tuple_row

    if not connection.in_transaction():
        connection.begin()
    try:
        with driver.cursor(row_factory=tuple_row) as cursor:
            yield cursor
    except Exception as error:
        if driver.closed:
            connection.invalidate(error)
        raise


def is_for_copy(group: Group, on_conflict: Resolution, least_rows: int, bare: bool) -> bool:
    """Whether it is quicker, and one statement of many rows is what a statement each would be.

    That one cannot change a row twice, which is known before it is tried, or the server says so. In a table that is
    ``bare`` an update takes the last row of each key.
    """
    takes_last = on_conflict == "update" and bare
    changes_twice = on_conflict in ("update", "merge") and group.are_distinct is False and not takes_last
    return len(group.rows) >= least_rows and not changes_twice and not group.plain


def encoded_pieces(rows: Sequence[Values], encode: Encode) -> Iterator[bytes]:
    """A thousand rows at a time; if they are sent as they come, the server works on some while others are encoded."""
    yield HEADER
    for chunk in chunks(rows, CHUNK):
        yield b"".join(encode(chunk))
    yield TRAILER


def send(cursor: Cursor, target: str, encoded: Iterable[bytes]) -> None:
    """Copy rows into a table, with its columns, as they are encoded."""
    with cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)".encode()) as copy:
        for data in encoded:
            copy.write(data)


def odd_rows(rows: Sequence[Values], encode: Encode) -> Sequence[int]:
    """The numbers of the rows that cannot be encoded; none if there are too many of them to be worth the trouble."""
    odd: list[int] = []
    for begin in range(0, len(rows), CHUNK):
        chunk = rows[begin : begin + CHUNK]
        if not _is_encoded(chunk, encode):
            odd += [begin + number for number, row in enumerate(chunk) if not _is_encoded([row], encode)]
            if len(odd) > _MOST_ODD:
                return ()
    return odd


def _is_encoded(rows: Sequence[Values], encode: Encode) -> bool:
    try:
        encode(rows)
    except Exception:  # noqa: BLE001 - of a converter, or of values: INSERT decides
        return False
    return True


def line_of(error: Exception, table: str) -> int | None:
    """Which row COPY into that table was at when a row was refused, counted from 0, as far as its words can be read.

    They are in the server's language, and name the table before the line.
    """
    sqlstate, diagnosis = getattr(error, "sqlstate", None), getattr(error, "diag", None)
    if sqlstate is None or not sqlstate.startswith(_OF_A_ROW) or diagnosis is None:
        return None
    found = _FIRST_NUMBER.match((diagnosis.context or "").partition(table)[2])
    return int(found[1]) - 1 if found else None


def is_for_insert_to_decide(error: Exception, rows: int) -> bool:
    """Whether all the rows are to be inserted; where one of them is refused, it has to be found first."""
    import psycopg

    driver = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(driver, psycopg.Error) and driver.sqlstate is not None:
        return driver.sqlstate.startswith(_INSERT_DECIDES if rows > 1 else (*_INSERT_DECIDES, *_OF_A_ROW))
    # What a converter or an encoder raised, on this side.
    return not isinstance(driver, psycopg.Error | exc.SQLAlchemyError) or isinstance(driver, psycopg.DataError)


def is_left_to_insert(error: Exception) -> bool:
    """Whether COPY itself is refused, whatever the rows are."""
    driver = error.orig if isinstance(error, exc.DBAPIError) else error
    sqlstate = getattr(driver, "sqlstate", None)
    return sqlstate is not None and sqlstate.startswith(_INSERT_DECIDES)
