"""What sinks that keep state have of a transaction, of records, and of the register."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from kafka_stream.errors import ProcessingError
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.stateful.records import records_of
from kafka_stream.sinks.sql.stateful.registry import register
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.testing import batch_of, message
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, claim_of
from kafka_stream.types import TopicPartition


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOffsetStore]:
    found = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    found.open()
    found.initialise(STREAM, "orders", {0: 0, 1: 0}, None)
    found.initialise(STREAM, "payments", {0: 0}, None)
    yield found
    found.close()


@pytest.fixture
def transaction(store: SqlOffsetStore) -> Iterator[SqlTransaction]:
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))) as transaction:
        yield transaction


def test_a_stores_transaction_is_one_that_state_can_be_kept_through(transaction: SqlTransaction) -> None:
    seen: StatefulTransaction = transaction
    assert isinstance(transaction, StatefulTransaction)
    assert [r.until_offset for r in seen.claimed.ranges] == [5]
    assert seen.claimed.stream == STREAM


def test_all_open_partitions_are_known_whoever_owns_them(store: SqlOffsetStore, transaction: SqlTransaction) -> None:
    assert transaction.partitions() == [P0, P1, TopicPartition("payments", 0)]


def test_it_is_known_whether_it_is_an_attempt_and_whether_it_is_committed(transaction: SqlTransaction) -> None:
    known = [(transaction.in_attempt, transaction.is_committed)]
    with transaction.attempt():
        known.append((transaction.in_attempt, transaction.is_committed))
    with pytest.raises(KeyError), transaction.attempt():
        raise KeyError("x")
    transaction.advance()
    known.append((transaction.in_attempt, transaction.is_committed))
    transaction.commit()
    known.append((transaction.in_attempt, transaction.is_committed))
    assert known == [(False, False), (True, False), (False, False), (False, True)]


def _registered(transaction: SqlTransaction) -> list[tuple[Any, ...]]:
    table = transaction.tables.states
    found = transaction.connection.execute(select(table.c.stream, table.c.state, table.c.kind, table.c.details))
    return sorted((stream, state, kind, json.loads(details)) for stream, state, kind, details in found)


def test_a_sink_is_registered_once_and_again_where_it_has_changed(transaction: SqlTransaction) -> None:
    for size in (60, 60, 300):
        register(transaction, StateDescription("visits", "windows", "visits", ("page",), {"size_s": size}))
    register(transaction, StateDescription("totals", "state", "totals", ("page",)))
    assert _registered(transaction) == [
        (STREAM, "totals", "state", {"key": ["page"]}),
        (STREAM, "visits", "windows", {"key": ["page"], "size_s": 300}),
    ]


def test_records_are_messages_or_pairs_with_one() -> None:
    messages = [message(b"1", offset=0), message(b"2", offset=1)]
    batch = batch_of(messages)
    assert records_of(batch, "a sink") == [(it, it) for it in messages]
    assert records_of(messages, "a sink") == [(it, it) for it in messages]
    assert records_of(batch.decoded(int), "a sink") == list(zip(messages, [1, 2], strict=True))


@pytest.mark.parametrize("given", [5, "text", b"bytes", [1], [("a", 1)], [(1, 2, 3)]])
def test_what_holds_no_records_is_refused(given: object) -> None:
    with pytest.raises(ProcessingError, match=r"a sink got .*it takes the batch, or pairs"):
        records_of(given, "a sink")
