"""What ``COPY`` needs of the driver, and what its errors say: rows, encoded, and which of them is at fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Connection, exc

from kafka_stream.sinks.sql.postgres.binary_rows import Column, Dump, Encode, encoder
from kafka_stream.sinks.sql.rows import Values
from kafka_stream.sinks.sql.statements import Prepared

if TYPE_CHECKING:
    import psycopg

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
    """Encodes rows for one connection, as long as the table's columns are of these types."""

    encode: Encode
    types: Sequence[Any]
    driver: object


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows as ``COPY`` takes them, and whose work that is; ``go_on`` is called when the server has some of them."""

    encoder: RowEncoder
    data: bytes
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


def encode_of(types: Sequence[Any], driver: psycopg.Connection[Any], insert: Prepared) -> Encode:
    """What encodes rows of columns of these types for this connection, as its INSERT would convert them."""
    from psycopg.pq import Format

    def dumper_of(type_name: str) -> Dump:
        dumper = driver.adapters.get_dumper_by_oid(driver.adapters.types[type_name].oid, Format.BINARY)
        return dumper(object, driver).dump

    # Bytes are encoded here, and need nothing put around them.
    converters = {number: it.convert for number, it in insert.converters if bytes not in it.leaves}
    return encoder(
        [Column(name, nullable, converters.get(number)) for number, (nullable, name) in enumerate(types)], dumper_of
    )


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
