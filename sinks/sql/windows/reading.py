"""Many rows, of which a few are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, Select

ROWS_AT_ONCE: Final = 5_000

T = TypeVar("T")


def read_in_steps(connection: Connection, read: Select[*tuple[Any, ...]]) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
    """Some thousand rows at a time; others may be written in between, to other tables.

    PostgreSQL keeps the rows that are still to come, by a cursor of its own, and SQLite finds them as it goes. The
    drivers of MariaDB have them all in memory: theirs would let nothing else through until the last one is read.
    """
    streams = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
    options = streams if connection.dialect.name == "postgresql" else {}
    yield from connection.execute(read, execution_options=options).partitions(ROWS_AT_ONCE)


def in_steps(items: Iterable[T]) -> Iterator[list[T]]:
    """Some thousand of them at a time."""
    left = iter(items)
    while some := list(islice(left, ROWS_AT_ONCE)):
        yield some
