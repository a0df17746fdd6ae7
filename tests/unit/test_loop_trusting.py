"""The loop beside a store that compares nothing, as Kafka's: what it may not commit it must not try to commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kafka_stream.errors import SinkUnavailable
from kafka_stream.protocols import StoreCapabilities
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import Claim, Owner, Phase
from tests.fakes import ORDERS_0, ORDERS_1
from tests.simulation import EVERYTHING, ResultsStore, ResultsTransaction, Simulation, twenty_each, write

SUCCESSOR = Owner("successor", "elsewhere")


class TrustingTransaction:
    """Commits whatever was claimed, whoever owns it and wherever it begins."""

    def __init__(self, store: MemoryOffsetStore, claim: Claim) -> None:
        self._store = store
        self._claim = claim

    def advance(self) -> None:
        """Nothing is looked at."""

    def commit(self) -> None:
        stored = self._store.positions(self._claim.stream)
        for r in self._claim.ranges:
            position = stored[r.topic_partition]
            moved = type(position)(r.until_offset, position.owner_epoch, position.owner, topic_id=position.topic_id)
            self._store.put(self._claim.stream, r.topic_partition, moved)


class TrustingStore(MemoryOffsetStore):
    """A store without compare-and-set: fencing would have to stand in for it, and does not here."""

    @property
    def capabilities(self) -> StoreCapabilities:
        return StoreCapabilities(transaction="trust", compare_and_set=False, durable_plan=True)

    @contextmanager
    def begin(self, claim: Claim) -> Iterator[Any]:
        yield TrustingTransaction(self, claim)


@pytest.fixture
def trusting() -> ResultsStore:
    return ResultsStore(TrustingStore())


@pytest.mark.parametrize("answers", [["after"], ["before"], ["after", "before", "after"], ["after"] * 4])
def test_a_commit_whose_answer_is_lost_is_not_tried_again_before_it_is_known(
    trusting: ResultsStore, answers: list[str]
) -> None:
    trusting.lost_answers = list(answers)
    run = Simulation(twenty_each(), trusting, max_records_per_batch=6)
    run.run("latest")
    assert sorted(trusting.rows) == EVERYTHING, "lost, or repeated"
    assert sum(run.story.sizes) == 40


@pytest.mark.parametrize("phase", [Phase.AFTER_FETCH, Phase.AFTER_PREPARE])
def test_a_batch_of_a_partition_that_was_lost_is_not_committed(trusting: ResultsStore, phase: Phase) -> None:
    """Its successor has committed the same records already."""
    kafka = twenty_each()
    run = Simulation(kafka, trusting, assignment="group", max_records_per_batch=6)

    def lose() -> None:
        if len(trusting.rows) == 6:
            source: Any = run.source._inner
            source.inbox.lost([ORDERS_0])
            _commit_elsewhere(trusting)

    run.story.on[phase] = lose
    run.at(3, run.stop)
    run.run()
    assert sorted(trusting.rows) == EVERYTHING, "lost, or repeated"


def _commit_elsewhere(store: ResultsStore) -> None:
    """Its successor takes it over and works off what is there."""
    taken = store.inner.take_over("s", SUCCESSOR, [ORDERS_0], {})[ORDERS_0]
    store.rows += [("orders", 0, offset) for offset in range(taken.next_offset, 20)]
    inner: Any = store.inner
    inner.put("s", ORDERS_0, type(taken)(20, taken.owner_epoch, SUCCESSOR, topic_id=taken.topic_id))


def test_what_comes_after_a_failure_begins_where_the_last_commit_ended(trusting: ResultsStore) -> None:
    failures = [SinkUnavailable("x"), SinkUnavailable("x")]

    def fails(batch: Any, transaction: ResultsTransaction) -> None:
        write(batch, transaction)
        if len(trusting.rows) > 10 and failures:
            raise failures.pop()

    run = Simulation(twenty_each(), trusting, sink=fails, max_records_per_batch=6)
    run.run("latest")
    assert sorted(trusting.rows) == EVERYTHING
    assert run.next_offsets() == {ORDERS_0: 20, ORDERS_1: 20}
