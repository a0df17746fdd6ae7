"""What a store adds whose handlers hold a transaction that they could end themselves (needs pytest)."""
# ruff: noqa: D102, PT012 - a test's name says what it shows; a transaction is several statements

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kafka_stream.errors import OutstandingPlan, OwnershipLost, TransactionEscaped
from kafka_stream.protocols import OffsetStore
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    STREAM,
    EscapingBackend,
    claim_of,
)
from kafka_stream.testing.store_contract import OffsetStoreContract
from kafka_stream.types import OffsetRange, PlanKind


class EscapableTransactionContract(OffsetStoreContract):
    """A handler that commits on its own is found out, and its plan stays until an operator has looked."""

    def test_a_handler_that_commits_is_found_out_and_leaves_a_plan_that_the_next_one_refuses(
        self, backend: EscapingBackend, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        with (
            pytest.raises(TransactionEscaped),
            store.begin(claim_of(OLDER, {P0: (0, 5), P1: (0, 0)}, taken)) as transaction,
        ):
            backend.write(transaction, 1)
            backend.escape(transaction)
            transaction.advance()
        assert backend.results() == [1]
        with pytest.raises(OutstandingPlan) as raised, store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)):
            pytest.fail("the plan was overlooked")
        assert raised.value.range == OffsetRange(P0, 0, 5)
        assert str(OffsetRange(P0, 0, 5)) in str(raised.value)
        with pytest.raises(OwnershipLost):
            store.reposition(claim_of(OLDER, {P0: (9, 9)}, taken))
        successor = opened()
        found = successor.take_over(STREAM, NEWER, [P0, P1], {})
        assert (found[P0].next_offset, found[P0].planned_until, found[P0].plan_kind) == (0, 5, PlanKind.TRANSACTION)
        with pytest.raises(OutstandingPlan), successor.begin(claim_of(NEWER, {P0: (0, 7)}, found)):
            pytest.fail("the plan was overlooked")
        assert backend.results() == [1]

    def test_a_planned_batch_whose_handler_commits_is_not_taken_for_one_to_repeat(
        self, backend: EscapingBackend, store: OffsetStore, opened: Callable[[], OffsetStore]
    ) -> None:
        taken = store.take_over(STREAM, OLDER, [P0], {})
        claim = replace(claim_of(OLDER, {P0: (0, 5)}, taken), plan_kind=PlanKind.RANGE)
        store.plan(claim)
        with pytest.raises(TransactionEscaped), store.begin(claim) as transaction:
            backend.write(transaction, 1)
            backend.escape(transaction)
            transaction.advance()
        assert opened().positions(STREAM)[P0].plan_kind is PlanKind.TRANSACTION
        with pytest.raises(OutstandingPlan):
            store.plan(claim)
        with pytest.raises(OutstandingPlan), store.begin(claim):
            pytest.fail("its results would be there twice")
        assert backend.results() == [1]


__all__ = ["EscapableTransactionContract"]
