"""What a store adds that makes planned ranges durable: ``capabilities.durable_plan`` (needs pytest)."""
# ruff: noqa: D102, PT012 - a test's name says what it shows; a transaction is several statements

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from kafka_stream.errors import OutstandingPlan, OwnershipLost
from kafka_stream.protocols import OffsetStore
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    STREAM,
    StoreBackend,
    claim_of,
    commit,
    epochs_of,
    next_offsets,
)
from kafka_stream.testing.store_contract import OffsetStoreContract
from kafka_stream.types import MAX_OFFSET, Claim, OffsetRange, Owner, PlanKind, StoredPosition, TopicPartition


def planned_claim(
    owner: Owner,
    bounds: Mapping[TopicPartition, tuple[int, int]],
    positions: Mapping[TopicPartition, StoredPosition],
) -> Claim:
    """The claim of a batch whose ranges are made durable first."""
    return replace(claim_of(owner, bounds, positions), plan_kind=PlanKind.RANGE)


class DurablePlanContract(OffsetStoreContract):
    """A planned range is durable before the first write, is repeated exactly, and nothing moves under it."""

    def test_it_says_so(self, store: OffsetStore) -> None:
        assert store.capabilities.durable_plan

    def test_a_plan_is_durable_and_moves_nothing(self, store: OffsetStore, opened: Callable[[], OffsetStore]) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        store.plan(planned_claim(OLDER, {P0: (0, 5)}, taken))
        stored = opened().positions(STREAM)
        assert (stored[P0].next_offset, stored[P0].planned_until, stored[P0].plan_kind) == (0, 5, PlanKind.RANGE)
        assert stored[P1].planned_until is None
        assert epochs_of(stored) == epochs_of(taken)

    def test_a_planned_batch_commits_and_clears_its_plan(self, backend: StoreBackend, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        for start in (0, 5, 10):
            claim = planned_claim(OLDER, {P0: (start, start + 5), P1: (start, start + 5)}, taken)
            store.plan(claim)
            with store.begin(claim) as transaction:
                backend.write(transaction, start)
                transaction.advance()
                transaction.commit()
        stored = store.positions(STREAM)
        assert {(p.next_offset, p.planned_until, p.plan_kind) for p in stored.values()} == {(15, None, None)}
        assert sorted(backend.results()) == [0, 5, 10]
        commit(store, OLDER, {P0: (15, 16)}, epochs_of(taken))

    def test_a_plan_may_be_made_again(self, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        store.plan(planned_claim(OLDER, {P0: (0, 5)}, taken))
        store.plan(planned_claim(OLDER, {P0: (0, 5), P1: (0, 3)}, taken))
        stored = store.positions(STREAM)
        assert {tp: position.planned_until for tp, position in stored.items()} == {P0: 5, P1: 3}

    def test_a_failed_batch_leaves_its_plan(self, backend: StoreBackend, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        claim = planned_claim(OLDER, {P0: (0, 5)}, taken)
        store.plan(claim)
        with pytest.raises(ZeroDivisionError), store.begin(claim) as transaction:
            backend.write(transaction, 1)
            raise ZeroDivisionError
        assert store.positions(STREAM)[P0].planned_until == 5
        assert backend.results() == []
        with store.begin(claim) as transaction:
            transaction.advance()
            transaction.commit()
        assert next_offsets(store) == {P0: 5}

    def test_no_other_range_is_let_in_under_a_plan(self, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        store.plan(planned_claim(OLDER, {P0: (0, 5)}, taken))
        for until in (4, 7):
            with pytest.raises(OutstandingPlan) as raised:
                store.plan(planned_claim(OLDER, {P0: (0, until), P1: (0, until)}, taken))
            assert raised.value.range == OffsetRange(P0, 0, 5)
            with pytest.raises(OutstandingPlan), store.begin(planned_claim(OLDER, {P0: (0, until)}, taken)):
                pytest.fail("the plan was overlooked")
        with pytest.raises(OutstandingPlan), store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)):
            pytest.fail("the plan was overlooked")
        stored = store.positions(STREAM)
        assert (stored[P0].planned_until, stored[P1].planned_until) == (5, None), "all or none"

    def test_a_batch_by_range_needs_its_plan(self, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        with pytest.raises(OwnershipLost), store.begin(planned_claim(OLDER, {P0: (0, 5)}, taken)):
            pytest.fail("nothing was planned")

    def test_a_range_that_does_not_start_at_the_stored_offset_is_not_planned(self, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        commit(store, OLDER, {P0: (0, 5)}, epochs_of(taken))
        with pytest.raises(OwnershipLost):
            store.plan(planned_claim(OLDER, {P0: (4, 9), P1: (0, 5)}, taken))
        assert {position.planned_until for position in store.positions(STREAM).values()} == {None}

    def test_a_successor_repeats_the_plan_and_the_older_owner_does_not(
        self, backend: StoreBackend, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        older = planned_claim(OLDER, {P0: (0, 5)}, taken)
        store.plan(older)
        successor = opened()
        found = successor.take_over(STREAM, NEWER, [P0, P1], {})
        assert (found[P0].next_offset, found[P0].planned_until, found[P0].plan_kind) == (0, 5, PlanKind.RANGE)
        newer = planned_claim(NEWER, {P0: (0, 5)}, found)
        with pytest.raises(OwnershipLost):
            store.plan(planned_claim(OLDER, {P1: (0, 5)}, taken))
        successor.plan(newer)
        with successor.begin(newer) as transaction:
            backend.write(transaction, 1)
            transaction.advance()
            transaction.commit()
        with pytest.raises(OwnershipLost), store.begin(older) as transaction:
            transaction.advance()
            transaction.commit()
        assert backend.results() == [1]
        assert next_offsets(successor) == {P0: 5, P1: 0}

    def test_a_plan_outlives_reclaiming(self, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        claim = planned_claim(OLDER, {P0: (0, 5)}, taken)
        store.plan(claim)
        with store.begin(claim) as transaction:
            transaction.advance()
        found = store.reclaim(claim)
        assert (found[P0].next_offset, found[P0].planned_until, found[P0].plan_kind) == (0, 5, PlanKind.RANGE)
        again = planned_claim(OLDER, {P0: (0, 5)}, found)
        with store.begin(again) as transaction:
            transaction.advance()
            transaction.commit()
        assert next_offsets(store) == {P0: 5}

    def test_positions_move_under_a_plan_only_with_what_was_written_discarded(self, store: OffsetStore) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        store.plan(planned_claim(OLDER, {P0: (0, 5)}, taken))
        with pytest.raises(OwnershipLost):
            store.reposition(claim_of(OLDER, {P0: (9, 9), P1: (9, 9)}, taken))
        assert next_offsets(store) == {P0: 0, P1: 0}
        store.reposition(planned_claim(OLDER, {P0: (9, 9), P1: (9, 9)}, taken))
        stored = store.positions(STREAM)
        assert {(p.next_offset, p.planned_until, p.plan_kind) for p in stored.values()} == {(9, None, None)}
        commit(store, OLDER, {P0: (9, 12)}, epochs_of(taken))

    def test_plans_up_to_2_to_the_63_minus_1(self, store: OffsetStore, opened: Callable[[], OffsetStore]) -> None:
        store.initialise(STREAM, P0.topic, {0: MAX_OFFSET - 1}, None)
        taken = store.take_over(STREAM, OLDER, [P0], {})
        claim = planned_claim(OLDER, {P0: (MAX_OFFSET - 1, MAX_OFFSET)}, taken)
        store.plan(claim)
        assert opened().positions(STREAM)[P0].planned_until == MAX_OFFSET
        with store.begin(claim) as transaction:
            transaction.advance()
            transaction.commit()
        assert next_offsets(store) == {P0: MAX_OFFSET}


__all__ = ["DurablePlanContract"]
