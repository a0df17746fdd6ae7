"""Tables of state, a transaction to keep it through, and short ways to write and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.sinks.sql import StateSink
from kafka_stream.testing import message
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, TOPIC, claim_of

METADATA = sa.MetaData()
TOTALS = sa.Table(
    "totals",
    METADATA,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("note", sa.String(20), server_default="none"),
    sa.Column("twice", sa.Integer, sa.Computed("number * 2")),
)
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("shop", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)
OF_PARTITIONS = sa.Table(
    "of_partitions",
    METADATA,
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("source", sa.String(249), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)
WITHOUT_KEY = sa.Table("without_key", METADATA, sa.Column("name", sa.String(20)))
PRICES = sa.Table(
    "prices", METADATA, sa.Column("price", sa.Numeric(10, 2), primary_key=True), sa.Column("n", sa.Integer)
)
LOG = sa.Table("log", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("line", sa.Text))
NOWHERE = sa.Table("nowhere", sa.MetaData(), sa.Column("name", sa.String(20), primary_key=True))


@contextmanager
def opened_transaction(directory: Path) -> Iterator[SqlTransaction]:
    """One of two partitions, beside these tables."""
    url = f"sqlite:///{directory}/state.db"
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    engine.dispose()
    store = SqlOffsetStore(url)
    store.open()
    store.initialise(STREAM, TOPIC, {0: 0, 1: 0}, None)
    with store.begin(claim_of(OLDER, {P0: (0, 9), P1: (0, 9)}, store.take_over(STREAM, OLDER, [P0, P1], {}))) as opened:
        yield opened
    store.close()


def pairs(*values: Any, partition: int = 0) -> list[Any]:
    """A record for each, with it as the value."""
    return [(message(b"", topic=TOPIC, partition=partition, offset=i), value) for i, value in enumerate(values)]


def counted(key: Any, records: list[Any], row: Any) -> Any:
    """How many records there were."""
    return {"number": (row["number"] if row else 0) + len(records)}


def written(sink: StateSink, transaction: SqlTransaction, prepared: Any) -> None:
    sink.write(sink.prepare(prepared), transaction)


def rows(transaction: SqlTransaction, table: sa.Table) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in transaction.connection.execute(sa.select(table)))
