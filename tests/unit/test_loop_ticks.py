"""Sinks for which time passes are called between batches, in transactions that move nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.errors import OwnershipLost, ProcessingError, StoreUnavailable
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import Phase, TopicPartition, Writes
from tests.fakes import ORDERS_0, ORDERS_1
from tests.simulation import EVERYTHING, ResultsStore, ResultsTransaction, Simulation, twenty_each, write


class Ticking:
    """Writes records as rows, and remembers what it is told between them."""

    writes = Writes.THROUGH_TRANSACTION
    needs = None
    tick_interval_s = 2.0

    def __init__(self, fails: Callable[[], None] = lambda: None) -> None:
        self.ticks: list[Mapping[TopicPartition, float]] = []
        self._fails = fails

    def describe(self) -> str:
        return "a sink that ticks"

    def prepare(self, prepared: Batch) -> Batch:
        return prepared

    def write(self, prepared: Batch, transaction: ResultsTransaction) -> None:
        write(prepared, transaction)

    def tick(self, caught_up_s: Mapping[TopicPartition, float], transaction: ResultsTransaction) -> None:
        self.ticks.append(dict(caught_up_s))
        self._fails()
        transaction.rows.append(("tick", 0, len(self.ticks)))


@pytest.fixture
def store() -> ResultsStore:
    return ResultsStore(MemoryOffsetStore())


def _run(kafka: MemoryKafka, store: ResultsStore, sink: Ticking, for_s: float = 15.0, **settings: Any) -> Simulation:
    simulation = Simulation(kafka, store, sink=sink, **settings)
    simulation.at(for_s, simulation.stop)
    simulation.run()
    return simulation


def _ticks_of(store: ResultsStore) -> int:
    return sum(topic == "tick" for topic, _, _ in store.rows)


def test_ticks_come_as_often_as_the_sink_wants_and_move_nothing(store: ResultsStore) -> None:
    sink = Ticking()
    simulation = _run(twenty_each(), store, sink)
    assert 5 <= len(sink.ticks) <= 8
    assert _ticks_of(store) == len(sink.ticks)
    assert sorted(row for row in store.rows if row[0] != "tick") == EVERYTHING
    assert simulation.next_offsets() == {ORDERS_0: 20, ORDERS_1: 20}


def test_a_stream_without_such_sinks_opens_no_transaction_for_nothing(store: ResultsStore) -> None:
    simulation = Simulation(MemoryKafka({"orders": 2}), store)
    simulation.at(30.0, simulation.stop)
    simulation.run()
    assert "begin" not in store.calls


def test_a_tick_says_for_how_long_nothing_was_unread_of_which_partition(store: ResultsStore) -> None:
    sink, kafka = Ticking(), twenty_each()
    simulation = Simulation(kafka, store, sink=sink)
    for second in range(20):
        simulation.at(float(second), lambda: kafka.produce("orders", "x", partition=1))
    simulation.at(21.0, simulation.stop)
    simulation.run()
    quiet = [tick.get(ORDERS_0, 0.0) for tick in sink.ticks]
    assert quiet == sorted(quiet)
    assert quiet[-1] > 10.0
    assert all(tick.get(ORDERS_1, 0.0) <= 6.0 for tick in sink.ticks)  # a look at the ends is made every five seconds


def test_sinks_hear_of_partitions_that_were_taken_over_before_their_next_batch(store: ResultsStore) -> None:
    kafka, sink = twenty_each(), Ticking()
    simulation = Simulation(kafka, store, sink=sink)
    simulation.at(9.0, lambda: store.take_over("s", simulation.owner, [ORDERS_0, ORDERS_1], {}))
    simulation.at(9.0, lambda: kafka.produce("orders", "x", partition=0))
    simulation.at(9.9, simulation.stop)
    simulation.run()
    came_back = store.rows.index(("orders", 0, 20))
    assert store.rows[0] == ("tick", 0, 1)
    assert store.rows[came_back - 1][0] == "tick"
    assert max(sink.ticks[-1].values(), default=0.0) < 1.0 < max(sink.ticks[-2].values())


def test_a_tick_keeps_the_leader_epochs_that_are_stored(store: ResultsStore) -> None:
    kafka = MemoryKafka({"orders": 1})
    kafka.produce("orders", "x")
    _run(kafka, store, Ticking())
    stored = store.positions("s")[ORDERS_0]
    assert stored.leader_epoch is not None
    assert stored.planned_until is None


@pytest.mark.parametrize("method", ["begin", "advance", "commit"])
def test_a_tick_that_the_store_does_not_take_is_repeated(store: ResultsStore, method: str) -> None:
    sink = Ticking()
    store.failures[method] = [None, StoreUnavailable("away"), StoreUnavailable("away")]
    simulation = _run(twenty_each(), store, sink)
    assert len(simulation.story.retries) == 2
    assert _ticks_of(store) >= 3
    assert sorted(row for row in store.rows if row[0] != "tick") == EVERYTHING


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_tick_whose_outcome_is_unknown_is_settled(store: ResultsStore, lost: str) -> None:
    sink, kafka = Ticking(), twenty_each()
    simulation = Simulation(kafka, store, sink=sink)
    simulation.at(3.0, lambda: store.lost_answers.append(lost))
    simulation.at(6.0, lambda: kafka.produce("orders", "x", partition=0))
    simulation.at(12.0, simulation.stop)
    simulation.run()
    assert "reclaim" in store.calls
    assert sorted(row for row in store.rows if row[0] != "tick") == sorted([*EVERYTHING, ("orders", 0, 20)])


def test_a_tick_that_fails_by_itself_stops_the_stream_and_says_where(store: ResultsStore) -> None:
    def fail() -> None:
        raise KeyError("window")

    with pytest.raises(ProcessingError, match=r"a sink that ticks failed on orders\[0\].*KeyError"):
        _run(twenty_each(), store, Ticking(fail))


def test_a_fenced_owner_does_not_tick(store: ResultsStore) -> None:
    sink, kafka = Ticking(), twenty_each()
    first = Simulation(kafka, store, sink=sink)
    second = Simulation(kafka, store)
    first.at(3.0, lambda: store.take_over("s", second.owner, [ORDERS_0, ORDERS_1], {}))
    first.at(30.0, first.stop)
    with pytest.raises(OwnershipLost):
        first.run()
    assert _ticks_of(store) <= 2  # those before


def test_the_points_of_a_tick_are_those_of_a_batch(store: ResultsStore) -> None:
    simulation = _run(MemoryKafka({"orders": 1}), store, Ticking(), for_s=5.0)
    points = [Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE, Phase.AFTER_COMMIT]
    assert simulation.story.phases[: len(points)] == points
