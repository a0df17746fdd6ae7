"""A ``WindowSink`` on SQLite in memory, through which batches of a topic go; nothing of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from confluent_kafka import Message
from sqlalchemy.pool import StaticPool

from kafka_stream.offset_stores.sql.tables import Tables, own_tables
from kafka_stream.sinks.sql import Count, Max, Mean, Min, Session, Sliding, Sum, Tumbling, WindowSink
from kafka_stream.testing import message
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition
from tests.elsewhere import InTurn
from tests.window_model import Row, Sent, Setup, in_order

STREAM, TOPIC = "visits", "clicks"
STORED = own_tables(None, "kafka_stream_")
KEYS: dict[int, list[tuple[str, Any]]] = {
    0: [],
    1: [("page", sa.String(20))],
    2: [("page", sa.String(20)), ("shop", sa.Integer)],
}


def results(width: int, metadata: sa.MetaData) -> sa.Table:
    """A table of closed windows with so many key columns."""
    moment = sa.DateTime(timezone=True)
    return sa.Table(
        "visits",
        metadata,
        *(sa.Column(name, type_, primary_key=True) for name, type_ in KEYS[width]),
        sa.Column("window_start", moment, primary_key=True),
        sa.Column("window_end", moment, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("total", sa.BigInteger),
        sa.Column("least", sa.Integer),
        sa.Column("most", sa.Integer),
        sa.Column("mean", sa.Double),
    )


@cache
def _database(width: int, sessions: bool) -> tuple[sa.MetaData, sa.Engine]:
    """Made once for all worlds of a kind: to make tables takes longer than what most worlds do with them."""
    metadata, engine = sa.MetaData(), sa.create_engine("sqlite://", poolclass=StaticPool)
    results(width, metadata)
    for table in STORED:
        table.create(engine)
    return metadata, engine


@dataclass
class Transaction:
    """What the store would hand out."""

    connection: sa.Connection
    claimed: Claim
    known: Sequence[TopicPartition]
    tables: Tables = STORED
    in_attempt: bool = False
    is_committed: bool = False

    def partitions(self) -> Sequence[TopicPartition]:
        return self.known


class RolledBack(Exception):
    """The transaction is taken back, and its batch is read again."""


@dataclass
class World:
    """A database, a topic's partitions, and the sink of one process after the other."""

    setup: Setup
    width: int
    partitions: list[int]
    emitted: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metadata, self.engine = _database(self.width, self.setup.gap is not None)
        self.table = self.metadata.tables["visits"]
        self.in_turn = InTurn()
        self.restart(self.setup.lateness)
        self.metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            for table in [*self.metadata.sorted_tables, *STORED]:
                connection.execute(sa.delete(table))

    def restart(self, lateness: int) -> None:
        """A new process, perhaps with other code."""
        setup = self.setup
        options: dict[str, Any] = {"retention": None if setup.retention is None else f"{setup.retention}s"}
        self.sink = WindowSink(
            self.table,
            self._window(),
            key=None if self.width == 0 else attrgetter("key"),
            time=_time,
            aggregates={
                "records": Count(),
                "total": Sum(attrgetter("value")),
                "least": Min(attrgetter("value")),
                "most": Max(attrgetter("value")),
                "mean": Mean(attrgetter("value")),
            },
            allowed_lateness=f"{lateness}s",
            late=setup.late,  # type: ignore[arg-type]
            on_close=self._on_close,
            idle_after="10s",
            **options,
        )

    def _window(self) -> Tumbling | Sliding | Session:
        setup = self.setup
        if setup.gap is not None:
            return Session(f"{setup.gap}s")
        if setup.size == setup.every:
            return Tumbling(f"{setup.size}s")
        return Sliding(f"{setup.size}s", every=f"{setup.every}s")

    def _on_close(self, rows: list[dict[str, Any]], transaction: Any) -> None:
        assert isinstance(transaction, Transaction)
        assert rows == sorted(rows, key=lambda row: (row["window_end"], *self._key(row)))
        self.emitted += [self.row(row) for row in rows]

    def batch(self, records: Sequence[Sent], *, commits: bool = True) -> list[Row]:
        """Write these in one transaction; what was told to ``on_close``, nothing if it is taken back."""
        return self.pieces([records], commits=commits)

    def pieces(self, pieces: Sequence[Sequence[Sent]], *, commits: bool = True) -> list[Row]:
        """The same, of a batch in pieces."""
        records = [sent for piece in pieces for sent in piece]
        prepared = [self.in_turn.prepared(self.sink, [(_message(sent), sent) for sent in piece]) for piece in pieces]
        self.emitted = []
        with self.transaction(sorted({sent.partition for sent in records}), commits=commits) as transaction:
            for piece in prepared:
                self.sink.write(piece, transaction)
        return self.emitted if commits else []

    def tick(self, idle: set[int], unread: set[int], *, commits: bool = True) -> list[Row]:
        """Time passes: some partitions had nothing for ten seconds, some have something unread; the rest, for five."""
        self.emitted = []
        with self.transaction(sorted(self.partitions), commits=commits) as transaction:
            caught_up = [it for it in self.partitions if it not in unread]
            self.sink.tick({TopicPartition(TOPIC, it): 10.0 if it in idle else 5.0 for it in caught_up}, transaction)
        return self.emitted if commits else []

    @contextmanager
    def transaction(self, partitions: Sequence[int], *, commits: bool) -> Iterator[Transaction]:
        """One that is committed, or taken back."""
        ranges = tuple(OffsetRange(TopicPartition(TOPIC, it), 0, 1) for it in partitions)
        claim = Claim(STREAM, Owner("a", "host"), ranges, {r.topic_partition: 1 for r in ranges}, {}, {})
        known = [TopicPartition(TOPIC, it) for it in sorted(self.partitions)]
        with self.engine.connect() as connection, connection.begin() as begun:
            yield (transaction := Transaction(connection, claim, known))
            if not commits:
                begun.rollback()
        transaction.is_committed = commits

    def rows(self) -> list[Row]:
        """What is in the table."""
        return in_order([self.row(dict(row)) for row in self._read(self.table)])

    def row(self, row: dict[str, Any]) -> Row:
        """In the model's words."""
        found = {name: row[name] for name in ("records", "total", "least", "most", "mean")}
        return {"key": self._key(row), "start": _s(row["window_start"]), "end": _s(row["window_end"]), **found}

    def _key(self, row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name, _ in KEYS[self.width])

    def late(self) -> list[tuple[int, int]]:
        """The late records that were kept."""
        return sorted((row["partition"], row["offset"]) for row in self._read(self.metadata.tables["visits_late"]))

    def late_counts(self) -> dict[tuple[int, int], int]:
        """How many were late for each window."""
        rows = self._read(STORED.late)
        return {(row["window_start_us"] // 10**6, row["window_end_us"] // 10**6): row["late"] for row in rows}

    def left_open(self) -> int:
        """How many panes or sessions are kept."""
        return len(self._read(self.metadata.tables["visits_open"]))

    def closed_until(self) -> int | None:
        """Until when windows are closed."""
        rows = self._read(STORED.states)
        until_us = rows[0]["closed_until_us"] if rows else None
        return None if until_us is None else until_us // 10**6

    def _read(self, table: sa.Table) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(table)).mappings())


def _time(sent: Sent) -> datetime:
    return datetime.fromtimestamp(sent.at, UTC)


def _message(sent: Sent) -> Message:
    return message(str(sent.value), topic=TOPIC, partition=sent.partition, offset=sent.offset)


def _s(at: datetime) -> int:
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
