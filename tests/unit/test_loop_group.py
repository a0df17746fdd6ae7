"""The loop as a member of a group: partitions come and go while batches are in hand."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_stream.errors import OwnershipLost, StoreUnavailable
from kafka_stream.progress import StreamListener
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import Owner, Phase
from tests.fakes import ORDERS_0, ORDERS_1
from tests.simulation import EVERYTHING, ResultsStore, Simulation, twenty_each


@pytest.fixture
def kafka() -> MemoryKafka:
    return twenty_each()


def _member(kafka: MemoryKafka, store: ResultsStore, **settings: Any) -> Simulation:
    return Simulation(kafka, store, **{"assignment": "group", "max_records_per_batch": 6} | settings)


def _joined(member: Simulation) -> object:
    return member.source.subscribe()


def test_a_batch_in_hand_is_committed_before_its_partition_moves(kafka: MemoryKafka, store: ResultsStore) -> None:
    first, second = _member(kafka, store), _member(kafka, store)
    first.story.on[Phase.AFTER_WRITE] = lambda: len(store.rows) == 6 and _joined(second)
    first.at(2, first.stop)
    first.run()
    moved = first.loop.status.positions.keys()
    assert moved < {ORDERS_0, ORDERS_1}, "a partition was given up"
    assert first.story.retries == []
    assert len(store.rows) == 12 + 20 - 6, "both batches, and the rest of what was kept"
    second.at(2, second.stop)
    second.run()
    assert sorted(store.rows) == EVERYTHING


def test_a_partition_that_was_lost_is_dropped_without_leaving_the_group(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    """Its successor has taken over already: what is in hand is refused, and what is kept is read on."""
    run = _member(kafka, store)

    def lose() -> None:
        if len(store.rows) == 6:
            source: Any = run.source._inner
            source.inbox.lost([ORDERS_0])
            store.inner.take_over("s", Owner("successor", "elsewhere"), [ORDERS_0], {})

    run.story.on[Phase.AFTER_PREPARE] = lose
    run.at(3, run.stop)
    run.run()
    assert run.story.retries == [], "no backoff, no rejoining"
    assert run.story.positions == [{ORDERS_0: 0, ORDERS_1: 0}, {ORDERS_0: 3}], "the group gave it back"
    assert sorted(store.rows) == EVERYTHING


def test_partitions_that_come_back_are_taken_over_anew(kafka: MemoryKafka, store: ResultsStore) -> None:
    run, other = _member(kafka, store), _member(kafka, store)
    run.at(1, lambda: _joined(other))
    run.at(2, other.source.close)
    run.at(2.5, lambda: [kafka.produce("orders", "x", partition=p) for p in (0, 1)])
    run.at(4, run.stop)
    run.run()
    assert sorted(store.rows) == sorted([*EVERYTHING, ("orders", 0, 20), ("orders", 1, 20)])
    assert len(run.story.positions) == 2


def test_a_takeover_that_fails_is_tried_again_for_what_is_still_ours(kafka: MemoryKafka, store: ResultsStore) -> None:
    other = _member(kafka, store)

    class Joining(StreamListener):
        """While the first takeover waits for its store, a second member takes a partition."""

        def on_retry(self, error: Exception, delay_s: float) -> None:
            _joined(other)

    run = _member(kafka, store, listeners=[Joining()])
    store.failures["take_over"] = [StoreUnavailable("away")]
    run.at(2, run.stop)
    run.run()
    (positions,) = run.story.positions
    assert len(positions) == 1
    assert [r[1] for r in store.rows] == [tp.partition for tp in positions] * 20


def test_two_members_that_fence_each_other_come_to_rest(kafka: MemoryKafka, store: ResultsStore) -> None:
    """A fence by another owner is answered by leaving and joining, with growing pauses, not by fencing back at once."""
    run = _member(kafka, store)
    fences = [1, 1, 1]
    run.story.on[Phase.AFTER_FETCH] = lambda: (
        fences and fences.pop() and store.inner.take_over("s", Owner("other", "elsewhere"), [ORDERS_0], {})
    )
    run.at(30, run.stop)
    run.run()
    assert sorted(store.rows) == EVERYTHING
    assert all(isinstance(error, OwnershipLost) for error, _ in run.story.retries)
    delays = [delay for _, delay in run.story.retries]
    assert len(delays) == 3
    assert min(delays) > 0
