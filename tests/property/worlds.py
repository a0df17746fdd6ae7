"""Where offsets and results live: together in memory or in a SQLite file, or the results in files by range."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import AdministeredStore
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import OffsetRange, Owner, TopicPartition, Writes

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

    def process(self) -> AdministeredStore:
        """The store as one process sees it."""

    def add(self, transaction: Any, rows: list[Row]) -> None:
        """Write results through a batch's transaction."""

    def rows(self) -> list[Row]:
        """The results that are committed, in the order of the commits."""

    def sink(self, told: Callable[[int], None]) -> Any:
        """What a process writes with; ``told`` hears of the number of records, and may fail or die."""

    def close(self) -> None:
        """Forget it."""


class _ThroughTransaction:
    """Results are added to the batch's transaction."""

    def add(self, transaction: Any, rows: list[Row]) -> None:
        raise NotImplementedError

    def sink(self, told: Callable[[int], None]) -> Any:
        def write(batch: Batch, transaction: Any) -> None:
            self.add(transaction.inner, [row(message) for message in batch])
            told(len(batch))

        return write


class MemoryWorld(_ThroughTransaction):
    """A takeover ends the transactions of older owners, as on PostgreSQL."""

    exclusive = False

    def __init__(self) -> None:
        self._store = MemoryOffsetStore()

    def process(self) -> AdministeredStore:
        return self._store

    def add(self, transaction: Any, rows: list[Row]) -> None:
        transaction.rows.extend(rows)

    def rows(self) -> list[Row]:
        return list(self._store.rows)

    def close(self) -> None:
        """Nothing is left behind."""


class FilesWorld(MemoryWorld):
    """Offsets in memory; results in what stands for files, one per range, replaced as a whole and never rolled back."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[OffsetRange, list[Row]] = {}

    def sink(self, told: Callable[[int], None]) -> Any:
        return _Files(self.files, told)

    def rows(self) -> list[Row]:
        ranges = sorted(self.files)
        for one, next_one in pairwise(ranges):
            assert one.topic_partition != next_one.topic_partition or one.until_offset <= next_one.from_offset
        return [one for r in ranges for one in self.files[r]]


class _Files:
    """A sink that is idempotent by range; it may die between two files."""

    writes = Writes.IDEMPOTENT_BY_RANGE
    needs = None

    def __init__(self, files: dict[OffsetRange, list[Row]], told: Callable[[int], None]) -> None:
        self._files = files
        self._told = told

    def describe(self) -> str:
        return "files in memory"

    def prepare(self, prepared: Any) -> list[Row]:
        return [row(message) for message in prepared]

    def write(self, prepared: Mapping[OffsetRange, list[Row]], transaction: object) -> None:
        for r, rows in prepared.items():
            self._files[r] = rows
            self._told(len(rows))

    def take_over(self, stream: str, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is left half written."""

    def discard(self, planned: OffsetRange) -> None:
        self._files.pop(planned, None)


class SqliteWorld(_ThroughTransaction):
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

    def process(self) -> AdministeredStore:
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
