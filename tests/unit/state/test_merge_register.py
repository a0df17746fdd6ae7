"""A sink that merges is known to the store's commands, and can be cleared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.protocols import StateDescription, StatefulSink
from kafka_stream.sinks.sql import Add, Latest, Merge, SqlSink
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of

METADATA = sa.MetaData()
TOTALS = sa.Table(
    "totals", METADATA, sa.Column("k", sa.Integer, primary_key=True), *(sa.Column(it, sa.Integer) for it in "nmv")
)
SINK = SqlSink(TOTALS, list, Merge(n=Add, m=Latest(by="v")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOffsetStore]:
    found = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    found.open()
    found.initialise(STREAM, P0.topic, {0: 0}, None)
    yield found
    found.close()


@contextmanager
def batch(store: SqlOffsetStore, begin: int) -> Iterator[SqlTransaction]:
    epochs = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (begin, begin + 1)}, epochs)) as transaction:
        METADATA.create_all(transaction.connection)
        yield transaction
        transaction.advance()
        transaction.commit()


def states(transaction: SqlTransaction) -> list[Any]:
    table = transaction.tables.states
    found = transaction.connection.execute(sa.select(table.c.stream, table.c.state, table.c.kind, table.c.details))
    return [(stream, state, kind, json.loads(details)) for stream, state, kind, details in found]


def test_it_says_what_it_keeps() -> None:
    details = {"columns": {"n": "add", "m": "latest"}}
    assert isinstance(SINK, StatefulSink)
    assert SINK.states() == (StateDescription("totals", "merge", "totals", ("k",), details),)
    assert SqlSink(TOTALS, list, "update").states() == ()


def test_it_is_registered_until_that_is_durable(store: SqlOffsetStore) -> None:
    sink = SqlSink(TOTALS, list, Merge(n=Add))
    with pytest.raises(KeyError), batch(store, 0) as transaction:
        sink.write(sink.prepare([{"k": 1, "n": 1}]), transaction)
        raise KeyError("x")
    with batch(store, 0) as transaction:
        assert states(transaction) == []
        with transaction.attempt():
            sink.write(sink.prepare([{"k": 1, "n": 1}]), transaction)
        transaction.connection.execute(sa.delete(transaction.tables.states))  # as if the attempt were undone
    for begin in (1, 2):
        with batch(store, begin) as transaction:
            sink.write(sink.prepare([{"k": 1, "n": 1}]), transaction)
            assert states(transaction) == [(STREAM, "totals", "merge", {"columns": {"n": "add"}, "key": ["k"]})]


def test_it_is_not_asked_for_again_when_it_is_durable(store: SqlOffsetStore) -> None:
    asked: list[str] = []
    sink = SqlSink(TOTALS, list, Merge(n=Add))
    for begin in range(4):
        with batch(store, begin) as transaction:
            sa.event.listen(transaction.connection, "before_cursor_execute", lambda *it: asked.append(it[2]))
            sink.write(sink.prepare([{"k": 1, "n": 1}]), transaction)
    assert len([it for it in asked if "kafka_stream_state" in it and it.startswith("SELECT")]) == 1


def test_its_rows_are_deleted_with_a_reset(store: SqlOffsetStore) -> None:
    with batch(store, 0) as transaction:
        SINK.write(SINK.prepare([{"k": it, "n": 1} for it in range(3)]), transaction)
        assert SINK.clear(transaction, [P0]) == {"totals": 3}
        assert transaction.connection.execute(sa.select(TOTALS)).all() == []
        assert SqlSink(TOTALS, list).clear(transaction, [P0]) == {}
