"""The promise of ``protocols.OffsetStore`` as tests: every store passes the same class (needs pytest).

Subclass ``OffsetStoreContract`` and define the fixture ``backend``. What only some stores can promise has classes of
its own beside it: ``CompareAndSetContract``, ``DurablePlanContract``, ``EscapableTransactionContract``.
"""
# ruff: noqa: D102, PT012 - a test's name says what it shows; a transaction is several statements

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from kafka_stream.errors import (
    KafkaStreamError,
    OwnershipLost,
    TransactionEscaped,
)
from kafka_stream.protocols import OffsetStore
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    P2,
    STREAM,
    TOPIC,
    StoreBackend,
    at_once,
    claim_of,
    commit,
    epochs_of,
    next_offsets,
)
from kafka_stream.types import MAX_OFFSET, Claim, OffsetRange, PositionState, TopicPartition


class OffsetStoreContract:
    """Every store passes this class. Stores are closed after each test."""

    @pytest.fixture
    def backend(self) -> StoreBackend:
        """The store under test; subclasses define it."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self, backend: StoreBackend) -> Iterator[Callable[[], OffsetStore]]:
        """A function that opens the store of one more process."""
        with ExitStack() as stack:

            def open_store() -> OffsetStore:
                store = backend.store()
                store.open()
                stack.callback(store.close)
                return store

            yield open_store

    @pytest.fixture
    def store(self, opened: Callable[[], OffsetStore]) -> OffsetStore:
        """The store of the first process."""
        return opened()

    # First start ----------------------------------------------------------------------------------------------------

    def test_nothing_is_stored_at_first(self, store: OffsetStore) -> None:
        assert not store.is_started(STREAM, TOPIC)
        assert store.positions(STREAM) == {}

    def test_building_and_describing_a_store_stores_nothing(self, backend: StoreBackend) -> None:
        store = backend.store()
        assert store.describe()
        assert store.positions(STREAM) == {}
        store.close()

    def test_it_may_be_opened_and_closed_again(self, backend: StoreBackend) -> None:
        store = backend.store()
        for _ in range(2):
            store.open()
            store.open()
            store.is_started(STREAM, TOPIC)
            store.close()
            store.close()

    def test_a_start_is_durable_for_all_partitions(self, store: OffsetStore, opened: Callable[[], OffsetStore]) -> None:
        store.initialise(STREAM, TOPIC, {0: 7, 1: 9}, "id-1")
        other = opened()
        assert other.is_started(STREAM, TOPIC)
        assert next_offsets(other) == {P0: 7, P1: 9}
        assert {position.topic_id for position in other.positions(STREAM).values()} == {"id-1"}
        assert not other.is_started(STREAM, "payments")
        assert not other.is_started("other", TOPIC)
        assert other.positions("other") == {}

    def test_a_second_start_changes_nothing(self, store: OffsetStore, opened: Callable[[], OffsetStore]) -> None:
        store.initialise(STREAM, TOPIC, {0: 7}, "id-1")
        before = store.positions(STREAM)
        opened().initialise(STREAM, TOPIC, {0: 99, 1: 99}, "id-2")
        assert store.positions(STREAM) == before

    def test_of_two_starts_at_once_one_wins_as_a_whole(self, opened: Callable[[], OffsetStore]) -> None:
        starts = {offset: dict.fromkeys(range(8), offset) for offset in (1, 2, 3, 4)}
        at_once([partial(opened().initialise, STREAM, TOPIC, start, None) for start in starts.values()])
        assert len(set(next_offsets(opened()).values())) == 1

    def test_a_start_never_overwrites_a_position(self, store: OffsetStore) -> None:
        store.take_over(STREAM, OLDER, [P0], {})
        commit(store, OLDER, {P0: (0, 5)})
        store.initialise(STREAM, TOPIC, {0: 99, 1: 3}, None)
        assert next_offsets(store) == {P0: 5, P1: 3}

    def test_times_are_aware(self, store: OffsetStore) -> None:
        store.initialise(STREAM, TOPIC, {0: 0}, None)
        changed_at = store.positions(STREAM)[P0].changed_at
        assert changed_at is not None
        assert changed_at.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - changed_at) < timedelta(hours=1)

    # Takeover -------------------------------------------------------------------------------------------------------

    def test_a_takeover_raises_the_epoch_and_says_what_is_stored(
        self, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        store.initialise(STREAM, TOPIC, {0: 7, 1: 9}, "id-1")
        before = store.positions(STREAM)
        found = store.take_over(STREAM, OLDER, [P1, P0], {TOPIC: "id-1"})
        assert {tp: position.next_offset for tp, position in found.items()} == {P0: 7, P1: 9}
        assert {position.owner for position in found.values()} == {OLDER}
        assert all(found[tp].owner_epoch > before[tp].owner_epoch for tp in found)
        assert opened().positions(STREAM) == found
        again = store.take_over(STREAM, NEWER, [P1], {})
        assert again[P1].owner == NEWER
        assert again[P1].owner_epoch > found[P1].owner_epoch
        assert store.positions(STREAM)[P0] == found[P0]

    def test_a_takeover_of_nothing_is_nothing(self, store: OffsetStore) -> None:
        assert store.take_over(STREAM, OLDER, [], {}) == {}

    def test_a_partition_without_a_row_is_new_and_begins_at_0(self, store: OffsetStore) -> None:
        store.initialise(STREAM, TOPIC, {0: 7}, "id-1")
        found = store.take_over(STREAM, OLDER, [P0, P2], {TOPIC: "id-1"})
        assert (found[P0].next_offset, found[P2].next_offset) == (7, 0)
        assert (found[P2].topic_id, found[P2].owner, found[P2].state) == ("id-1", OLDER, PositionState.OPEN)
        commit(store, OLDER, {P2: (0, 4)})
        assert next_offsets(store) == {P0: 7, P2: 4}

    def test_the_same_owner_at_an_older_epoch_is_refused_too(self, store: OffsetStore) -> None:
        stale = store.take_over(STREAM, OLDER, [P0], {})
        store.take_over(STREAM, OLDER, [P0], {})
        with pytest.raises(OwnershipLost) as raised, store.begin(claim_of(OLDER, {P0: (0, 5)}, stale)):
            pytest.fail("a stale epoch was let in")
        assert raised.value.other == OLDER, "fenced by an admin command, as far as its owner can tell"

    def test_a_partition_that_was_never_taken_over_cannot_be_claimed(self, store: OffsetStore) -> None:
        store.initialise(STREAM, TOPIC, {0: 0}, None)
        claim = Claim(STREAM, OLDER, (OffsetRange(P0, 0, 1),), {P0: 0}, {}, {})
        with pytest.raises(OwnershipLost) as raised, store.begin(claim):
            pytest.fail("nobody owns it")
        assert raised.value.other is None
        missing = Claim(STREAM, OLDER, (OffsetRange(P2, 0, 1),), {P2: 1}, {}, {})
        with pytest.raises(OwnershipLost), store.begin(missing):
            pytest.fail("there is no such row")

    # Batches --------------------------------------------------------------------------------------------------------

    def test_results_and_offsets_commit_together(
        self, backend: StoreBackend, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1, P2], {})
        with store.begin(claim_of(OLDER, {P0: (0, 5), P2: (0, 2)}, taken)) as transaction:
            backend.write(transaction, 1)
            backend.write(transaction, 2)
            assert backend.results() == []
            transaction.advance()
            transaction.commit()
        assert sorted(backend.results()) == [1, 2]
        stored = opened().positions(STREAM)
        assert {tp: position.next_offset for tp, position in stored.items()} == {P0: 5, P1: 0, P2: 2}
        assert all(position.planned_until is None and position.plan_kind is None for position in stored.values())
        assert epochs_of(stored) == epochs_of(taken)
        assert {position.owner for position in stored.values()} == {OLDER}

    def test_one_batch_follows_another(self, backend: StoreBackend, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        for start in range(0, 30, 3):
            ranges = {P0: (start, start + 3), P1: (start, start + 3)}
            with store.begin(claim_of(OLDER, ranges, taken)) as transaction:
                backend.write(transaction, start)
                transaction.advance()
                transaction.commit()
        assert sorted(backend.results()) == list(range(0, 30, 3))
        assert next_offsets(store) == {P0: 30, P1: 30}

    def test_an_empty_range_may_be_committed(self, store: OffsetStore) -> None:
        store.take_over(STREAM, OLDER, [P0], {})
        commit(store, OLDER, {P0: (0, 0)})
        assert next_offsets(store) == {P0: 0}

    def test_many_partitions_move_at_once(self, store: OffsetStore) -> None:
        partitions = [TopicPartition(topic, number) for topic in ("a", "b b", "ü'\"%:x") for number in range(40)]
        taken = store.take_over("s'\"%:x ü", OLDER, partitions, {})
        claim = claim_of(OLDER, dict.fromkeys(partitions, (0, 3)), taken, stream="s'\"%:x ü")
        with store.begin(claim) as transaction:
            transaction.advance()
            transaction.commit()
        stored = store.positions("s'\"%:x ü")
        assert sorted(stored) == sorted(partitions)
        assert {position.next_offset for position in stored.values()} == {3}

    def test_a_failed_handler_leaves_nothing(self, backend: StoreBackend, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        for advanced in (False, True):
            with pytest.raises(ZeroDivisionError), store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
                backend.write(transaction, 1)
                if advanced:
                    transaction.advance()
                raise ZeroDivisionError
        assert backend.results() == []
        assert store.positions(STREAM) == taken
        commit(store, OLDER, {P0: (0, 5)}, epochs_of(taken))

    def test_leaving_without_a_commit_leaves_nothing(self, backend: StoreBackend, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
            backend.write(transaction, 1)
            transaction.advance()
        assert backend.results() == []
        assert store.positions(STREAM) == taken

    def test_a_range_that_does_not_start_at_the_stored_offset_is_refused(
        self, backend: StoreBackend, store: OffsetStore
    ) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        commit(store, OLDER, {P0: (0, 5)})
        for bounds in ((0, 5), (4, 9), (6, 9)):
            with pytest.raises(OwnershipLost) as raised, store.begin(claim_of(OLDER, {P0: bounds, P1: (0, 1)}, taken)):
                pytest.fail("a repeated or skipping range was let in")
            assert raised.value.stored_offset == 5
        assert next_offsets(store) == {P0: 5, P1: 0}

    def test_offsets_up_to_2_to_the_63_minus_1(self, store: OffsetStore, opened: Callable[[], OffsetStore]) -> None:
        store.initialise(STREAM, TOPIC, {0: MAX_OFFSET - 1, 1: MAX_OFFSET, 2: 2**53 + 1}, None)
        assert next_offsets(opened()) == {P0: MAX_OFFSET - 1, P1: MAX_OFFSET, P2: 2**53 + 1}
        taken = store.take_over(STREAM, OLDER, [P0, P1, P2], {})
        bounds = {P0: (MAX_OFFSET - 1, MAX_OFFSET), P1: (MAX_OFFSET, MAX_OFFSET), P2: (2**53 + 1, 2**53 + 3)}
        commit(store, OLDER, bounds, epochs_of(taken))
        assert next_offsets(opened()) == {P0: MAX_OFFSET, P1: MAX_OFFSET, P2: 2**53 + 3}
        store.reposition(claim_of(OLDER, {P0: (MAX_OFFSET, MAX_OFFSET), P2: (MAX_OFFSET, MAX_OFFSET)}, taken))
        assert next_offsets(opened()) == {P0: MAX_OFFSET, P1: MAX_OFFSET, P2: MAX_OFFSET}

    def test_leader_epochs_and_topic_ids_ride_along(
        self, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        epochs = epochs_of(store.take_over(STREAM, OLDER, [P0, P1], {TOPIC: "id-1"}))
        self._advance(store, Claim(STREAM, OLDER, (OffsetRange(P0, 0, 5),), epochs, {P0: 7}, {TOPIC: "id-2"}))
        stored = opened().positions(STREAM)
        assert (stored[P0].leader_epoch, stored[P0].topic_id) == (7, "id-2")
        assert (stored[P1].leader_epoch, stored[P1].topic_id) == (None, "id-1")
        self._advance(store, Claim(STREAM, OLDER, (OffsetRange(P1, 0, 1),), epochs, {P1: 0}, {}))
        stored = opened().positions(STREAM)
        assert (stored[P0].leader_epoch, stored[P0].topic_id) == (7, "id-2"), "another partition moved"
        assert (stored[P1].leader_epoch, stored[P1].topic_id) == (0, "id-1"), "a topic's id is kept"

    def test_an_offset_that_moves_without_a_leader_epoch_has_none(
        self, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        """The epoch before is that of another offset: beside the new one it would say that the log was truncated."""
        epochs = epochs_of(store.take_over(STREAM, OLDER, [P0, P1], {TOPIC: "id-1"}))
        ranges = (OffsetRange(P0, 0, 5), OffsetRange(P1, 0, 5))
        self._advance(store, Claim(STREAM, OLDER, ranges, epochs, {P0: 7, P1: 7}, {}))
        ranges = (OffsetRange(P0, 5, 6), OffsetRange(P1, 5, 8))
        self._advance(store, Claim(STREAM, OLDER, ranges, epochs, {P1: 8}, {}))
        stored = opened().positions(STREAM)
        assert (stored[P0].next_offset, stored[P0].leader_epoch, stored[P0].topic_id) == (6, None, "id-1")
        assert (stored[P1].next_offset, stored[P1].leader_epoch) == (8, 8)
        taken = store.take_over(STREAM, NEWER, [P0, P1], {})
        assert (taken[P0].leader_epoch, taken[P1].leader_epoch) == (None, 8), "so the next owner reads on"

    def _advance(self, store: OffsetStore, claim: Claim) -> None:
        with store.begin(claim) as transaction:
            transaction.advance()
            transaction.commit()

    # Handlers that leave their transaction --------------------------------------------------------------------------

    def test_a_handler_that_calls_the_transactions_own_commit_commits_nothing(
        self, backend: StoreBackend, store: OffsetStore
    ) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
            backend.write(transaction, 1)
            with pytest.raises(TransactionEscaped):
                transaction.commit()
            with pytest.raises(TransactionEscaped):
                transaction.advance()
        assert backend.results() == []
        assert store.positions(STREAM) == taken

    def test_a_handler_that_advances_commits_nothing(self, backend: StoreBackend, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        with (
            pytest.raises(TransactionEscaped),
            store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction,
        ):
            backend.write(transaction, 1)
            transaction.advance()
            transaction.advance()
        assert backend.results() == []
        assert store.positions(STREAM) == taken

    def test_an_error_of_the_handlers_own_is_not_the_stores(self, store: OffsetStore) -> None:
        assert store.classify(ValueError("x")) is None
        assert store.classify(KafkaStreamError("x")) is None

    # Commits whose outcome is unknown -------------------------------------------------------------------------------

    def test_reclaiming_after_a_rollback_finds_its_start(self, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        claim = claim_of(OLDER, {P0: (0, 5)}, taken)
        with store.begin(claim) as transaction:
            transaction.advance()
        found = store.reclaim(claim)
        assert (found[P0].next_offset, found[P0].planned_until) == (0, None)
        with pytest.raises(OwnershipLost), store.begin(claim):
            pytest.fail("the claim's epoch is an older one now")
        commit(store, OLDER, {P0: (0, 5)}, epochs_of(found))
        assert next_offsets(store) == {P0: 5}

    def test_a_stale_owner_cannot_reclaim(self, store: OffsetStore, opened: Callable[[], OffsetStore]) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        newer = opened().take_over(STREAM, NEWER, [P1], {})
        with pytest.raises(OwnershipLost) as raised:
            store.reclaim(claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, taken))
        assert raised.value.other == NEWER
        assert store.positions(STREAM) == {P0: taken[P0], P1: newer[P1]}, "nothing was changed"

    # Moving positions -----------------------------------------------------------------------------------------------

    def test_positions_may_be_moved_backwards_with_what_belongs_to_them(self, store: OffsetStore) -> None:
        store.initialise(STREAM, TOPIC, {0: 50, 1: 50}, "id-1")
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        ranges = (OffsetRange(P0, 3, 3), OffsetRange(P1, 60, 60))
        store.reposition(Claim(STREAM, OLDER, ranges, epochs_of(taken), {P1: 4}, {TOPIC: "id-2"}))
        stored = store.positions(STREAM)
        assert (stored[P0].next_offset, stored[P0].leader_epoch, stored[P0].topic_id) == (3, None, "id-2")
        assert (stored[P1].next_offset, stored[P1].leader_epoch, stored[P1].topic_id) == (60, 4, "id-2")
        assert epochs_of(stored) == epochs_of(taken)
        commit(store, OLDER, {P0: (3, 5), P1: (60, 61)}, epochs_of(taken))

    def test_a_stale_owner_moves_nothing(self, store: OffsetStore, opened: Callable[[], OffsetStore]) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        opened().take_over(STREAM, NEWER, [P1], {})
        with pytest.raises(OwnershipLost):
            store.reposition(claim_of(OLDER, {P0: (5, 5), P1: (5, 5)}, taken))
        assert next_offsets(store) == {P0: 0, P1: 0}


__all__ = ["OffsetStoreContract"]
