"""A database with a result table beside the offsets, as the stores' contract wants it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import cast

from sqlalchemy import Connection, Engine, Table, create_engine, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction


class _Base(DeclarativeBase):
    pass


class Result(_Base):
    """A row of the result table."""

    __tablename__ = "results"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


RESULTS = cast("Table", Result.__table__)


class SqlBackend:
    """Reaches round the stores with an engine of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: Engine = create_engine(url)
        with self.engine.begin() as connection:
            RESULTS.create(connection)

    def store(self) -> SqlOffsetStore:
        return SqlOffsetStore(self.url)

    def write(self, transaction: SqlTransaction, value: int) -> None:
        write(transaction.connection, value)

    def results(self) -> Sequence[int]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(RESULTS.c.value)).scalars())

    def escape(self, transaction: SqlTransaction) -> None:
        transaction.connection.execute(text("COMMIT"))


def write(connection: Connection, value: int) -> None:
    """Add a result."""
    connection.execute(insert(RESULTS).values(value=value))


@contextmanager
def backend_at(url: str) -> Iterator[SqlBackend]:
    """One in this database."""
    found = SqlBackend(url)
    try:
        yield found
    finally:
        found.engine.dispose()


@contextmanager
def opened_store(backend: SqlBackend) -> Iterator[SqlOffsetStore]:
    """An open store in it."""
    with closing(backend.store()) as found:
        found.open()
        yield found
