"""What a store adds that refuses a stale claim itself: ``capabilities.compare_and_set`` (needs pytest)."""
# ruff: noqa: D102 - a test's name says what it shows; a transaction is several statements

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from kafka_stream.errors import OwnershipLost, StoreUnavailable, StreamClosed, TransientError
from kafka_stream.protocols import OffsetStore
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    STREAM,
    TOPIC,
    StoreBackend,
    at_once,
    claim_of,
    commit,
    epochs_of,
    next_offsets,
    taken_over,
)
from kafka_stream.testing.store_contract import OffsetStoreContract
from kafka_stream.types import OffsetRange, Owner, TopicPartition


class CompareAndSetContract(OffsetStoreContract):
    """Claims are refused by what is stored, partition by partition, before anything is written."""

    def test_it_says_so(self, store: OffsetStore) -> None:
        assert store.capabilities.compare_and_set

    def test_a_first_insert_never_overwrites(self, opened: Callable[[], OffsetStore]) -> None:
        stores = [opened() for _ in range(4)]
        owners = [Owner(f"owner-{number}", "here") for number in range(4)]
        partitions = [TopicPartition(TOPIC, number) for number in range(8)]

        def take_and_commit(store: OffsetStore, owner: Owner) -> None:
            positions = store.take_over(STREAM, owner, partitions, {})
            ranges = {tp: (found.next_offset, found.next_offset + 1) for tp, found in positions.items()}
            try:
                commit(store, owner, ranges, epochs_of(positions))
            except (OwnershipLost, TransientError):
                return  # another one took over meanwhile

        at_once([partial(take_and_commit, *both) for both in zip(stores, owners, strict=True)])
        found = stores[0].positions(STREAM)
        assert {position.owner_epoch for position in found.values()} == {len(stores)}
        assert len(set(next_offsets(stores[0]).values())) == 1, "batches are committed as a whole"

    def test_of_two_takeovers_the_older_cannot_commit(
        self, backend: StoreBackend, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        older = store.take_over(STREAM, OLDER, [P0, P1], {})
        newer_store = opened()
        newer = newer_store.take_over(STREAM, NEWER, [P1], {})
        with pytest.raises(OwnershipLost) as raised, store.begin(claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, older)):
            pytest.fail("a stale owner was let in")
        assert not isinstance(raised.value, StreamClosed)
        assert raised.value.other == NEWER
        assert raised.value.range == OffsetRange(P1, 0, 5)
        assert raised.value.stored_offset == 0
        assert backend.results() == []
        assert next_offsets(store) == {P0: 0, P1: 0}
        commit(newer_store, NEWER, {P1: (0, 3)}, epochs_of(newer))
        commit(store, OLDER, {P0: (0, 5)}, epochs_of(older))
        assert next_offsets(store) == {P0: 5, P1: 3}

    def test_reclaiming_after_a_commit_finds_the_end_of_the_range(
        self, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        claim = claim_of(OLDER, {P0: (0, 5)}, taken)
        with store.begin(claim) as transaction:
            transaction.advance()
            transaction.commit()
        found = opened().reclaim(claim)
        assert list(found) == [P0]
        assert found[P0].next_offset == 5
        assert found[P0].owner_epoch > taken[P0].owner_epoch
        assert store.positions(STREAM) == {P0: found[P0], P1: taken[P1]}
        commit(store, OLDER, {P0: (5, 6)}, epochs_of(found))

    def test_of_competing_owners_every_batch_is_committed_once(
        self, backend: StoreBackend, opened: Callable[[], OffsetStore]
    ) -> None:
        stores = [opened() for _ in range(3)]

        def work(store: OffsetStore, owner: Owner) -> None:
            committed = 0
            positions = taken_over(store, owner)
            while committed < 5:
                start = positions[P0].next_offset
                claim = claim_of(owner, dict.fromkeys((P0, P1), (start, start + 1)), positions)
                try:
                    with store.begin(claim) as transaction:
                        backend.write(transaction, start)
                        transaction.advance()
                        transaction.commit()
                except (OwnershipLost, StoreUnavailable):
                    positions = taken_over(store, owner)
                    continue
                committed += 1
                positions = {tp: replace(found, next_offset=start + 1) for tp, found in positions.items()}

        at_once([partial(work, store, Owner(f"owner-{number}", "here")) for number, store in enumerate(stores)])
        end = next_offsets(stores[0])[P0]
        assert next_offsets(stores[0]) == {P0: end, P1: end}
        assert sorted(backend.results()) == list(range(end))
        assert end == 15


__all__ = ["CompareAndSetContract"]
