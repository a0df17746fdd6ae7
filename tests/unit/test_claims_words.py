"""Each store says in its own word that a position has been removed under its owner."""

from __future__ import annotations

import sqlite3

import pytest

from kafka_stream.claims import why_not_ours
from kafka_stream.errors import OwnershipLost, StreamClosed
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import NEWER, OLDER, P0, STREAM, commit, epochs_of
from kafka_stream.types import Claim, OffsetRange, StoredPosition
from tests.command_line import Invoke
from tests.zookeeper_ensemble import Ensemble


def test_a_row_that_was_removed_is_called_a_row(invoke: Invoke) -> None:
    store = SqlOffsetStore("sqlite:///streams.db")
    store.open()
    epochs = epochs_of(store.take_over(STREAM, OLDER, [P0], {}))
    with sqlite3.connect("streams.db") as connection:
        connection.execute("DELETE FROM kafka_stream_offsets")
    connection.close()
    with pytest.raises(StreamClosed, match="any more: its row was removed; put it back"):
        commit(store, OLDER, {P0: (0, 1)}, epochs)
    store.close()


def test_a_store_that_has_gone_back_is_taken_over_again_whoever_is_stored_there(invoke: Invoke) -> None:
    """An older epoch fences nobody: whoever raised it to ours has been forgotten, with what came after."""
    store = SqlOffsetStore("sqlite:///streams.db")
    store.open()
    store.take_over(STREAM, NEWER, [P0], {})
    epochs = epochs_of(store.take_over(STREAM, OLDER, [P0], {}))
    with sqlite3.connect("streams.db") as connection:
        connection.execute("UPDATE kafka_stream_offsets SET owner = ?, owner_epoch = owner_epoch - 1", (NEWER.id,))
    connection.close()
    with pytest.raises(OwnershipLost, match="has gone back: epoch 1 of") as lost:
        commit(store, OLDER, {P0: (0, 1)}, epochs)
    assert lost.value.other == OLDER
    store.close()


def test_an_offset_without_an_owner_was_moved_by_other_tools() -> None:
    """Kafka's own write neither owner nor epoch: nothing has gone back, and the partition is taken over again."""
    claim = Claim(STREAM, OLDER, (OffsetRange(P0, 5, 5),), {P0: 3}, {}, {})
    lost = why_not_ours(claim, {P0: StoredPosition(9, 0)}, "Kafka")
    assert isinstance(lost, OwnershipLost)
    assert "fenced by an admin command" in str(lost)
    assert (lost.other, lost.stored_offset) == (None, 9)


def test_a_znode_that_was_removed_is_called_a_znode() -> None:
    ensemble = Ensemble()
    store = ensemble.store()
    epochs = epochs_of(store.take_over(STREAM, OLDER, [P0], {}))
    for path in [path for path in ensemble.znodes if path.endswith(f"/{P0.partition}")]:
        del ensemble.znodes[path]
    with pytest.raises(StreamClosed, match="any more: its znode was removed; put it back"):
        commit(store, OLDER, {P0: (0, 1)}, epochs)
