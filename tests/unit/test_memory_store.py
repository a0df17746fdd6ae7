"""The store in memory keeps the stores' contract, and can break as a database does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kafka_stream.errors import CommitOutcomeUnknown, StoreUnavailable
from kafka_stream.testing.administration_contract import HistoryContract
from kafka_stream.testing.compare_and_set_contract import CompareAndSetContract
from kafka_stream.testing.escape_contract import EscapableTransactionContract
from kafka_stream.testing.memory.store import MemoryOffsetStore
from kafka_stream.testing.plan_contract import DurablePlanContract
from kafka_stream.testing.store_backend import NEWER, OLDER, P0, STREAM, claim_of, next_offsets


class MemoryBackend:
    def __init__(self) -> None:
        self.memory = MemoryOffsetStore()

    def store(self) -> MemoryOffsetStore:
        return self.memory

    def write(self, transaction: Any, value: int) -> None:
        transaction.rows.append(value)

    def results(self) -> Sequence[int]:
        return self.memory.rows

    def escape(self, transaction: Any) -> None:
        transaction.escape()


class TestMemoryOffsetStore(CompareAndSetContract, DurablePlanContract, EscapableTransactionContract, HistoryContract):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()


@pytest.mark.parametrize(("cut", "offset", "rows"), [("before", 0, []), ("after", 5, [1])])
def test_a_commit_whose_answer_is_lost(cut: str, offset: int, rows: list[int]) -> None:
    store = MemoryOffsetStore()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    {"before": store.cut_before_commit, "after": store.cut_after_commit}[cut]()
    claim = claim_of(OLDER, {P0: (0, 5)}, taken)
    with pytest.raises(CommitOutcomeUnknown), store.begin(claim) as transaction:
        transaction.rows.append(1)
        transaction.advance()
        transaction.commit()
    assert store.reclaim(claim)[P0].next_offset == offset
    assert store.rows == rows


def test_a_takeover_ends_the_transaction_of_the_older_owner() -> None:
    store = MemoryOffsetStore()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    for advanced in (False, True):
        claim = claim_of(OLDER, {P0: (0, 5)}, taken)
        with pytest.raises(StoreUnavailable), store.begin(claim) as transaction:
            transaction.rows.append(1)
            if advanced:
                transaction.advance()
            taken = store.take_over(STREAM, NEWER, [P0], {})
            transaction.commit() if advanced else transaction.advance()
        taken = store.take_over(STREAM, OLDER, [P0], {})
    assert store.rows == []
    assert next_offsets(store) == {P0: 0}


def test_a_partition_that_a_transaction_holds_cannot_be_claimed_again() -> None:
    store = MemoryOffsetStore()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    claim = claim_of(OLDER, {P0: (0, 5)}, taken)
    with store.begin(claim), pytest.raises(StoreUnavailable), store.begin(claim):
        pytest.fail("two transactions hold one partition")
