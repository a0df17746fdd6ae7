"""Where offsets and results live together: in memory, or in a SQLite file that every process opens for itself."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from confluent_kafka import Message

from kafka_stream.protocols import OffsetStore
from kafka_stream.testing import MemoryOffsetStore
from offset_stores.sql import SqlOffsetStore

Row = tuple[str, int, int]


def row(message: Message) -> Row:
    """Which record it is."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return topic, partition, offset


class World(Protocol):
    """One database."""

    exclusive: bool
    """Whether an open transaction keeps everybody else out."""

    def process(self) -> OffsetStore:
        """The store as one process sees it."""

    def add(self, transaction: Any, rows: list[Row]) -> None:
        """Write results through a batch's transaction."""

    def rows(self) -> list[Row]:
        """The results that are committed, in the order of the commits."""

    def close(self) -> None:
        """Forget it."""


class MemoryWorld:
    """A takeover ends the transactions of older owners, as on PostgreSQL."""

    exclusive = False

    def __init__(self) -> None:
        self._store = MemoryOffsetStore()

    def process(self) -> OffsetStore:
        return self._store

    def add(self, transaction: Any, rows: list[Row]) -> None:
        transaction.rows.extend(rows)

    def rows(self) -> list[Row]:
        return list(self._store.rows)

    def close(self) -> None:
        """Nothing is left behind."""


class SqliteWorld:
    """A database file; the results have no unique key, so that a repeat shows."""

    exclusive = True

    def __init__(self) -> None:
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        self._url = f"sqlite:///{Path(folder) / 'world.db'}"
        self._table = sa.Table(
            "results",
            sa.MetaData(),
            sa.Column("topic", sa.Text),
            sa.Column("partition", sa.Integer),
            sa.Column("offset", sa.BigInteger),
        )
        self._engine = sa.create_engine(self._url)
        self._stack.callback(self._engine.dispose)
        self._table.metadata.create_all(self._engine)

    def process(self) -> OffsetStore:
        store = SqlOffsetStore(self._url, takeover_lock_timeout_s=0.01)
        store.open()
        self._stack.callback(store.close)
        return store

    def add(self, transaction: Any, rows: list[Row]) -> None:
        if rows:
            columns = ("topic", "partition", "offset")
            transaction.connection.execute(self._table.insert(), [dict(zip(columns, r, strict=True)) for r in rows])

    def rows(self) -> list[Row]:
        with self._engine.connect() as connection:
            stored = connection.execute(self._table.select().order_by(sa.text("rowid")))
            return [(r.topic, r.partition, r.offset) for r in stored]

    def close(self) -> None:
        self._stack.close()
