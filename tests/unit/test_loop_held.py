"""Positions that somebody holds, frozen: the other partitions go on, and these are read when they are free."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from kafka_stream.errors import PartitionsHeld
from kafka_stream.progress import StreamState
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import Owner, Phase, StoredPosition, TopicPartition
from tests.simulation import ResultsStore, Simulation

PARTITIONS = [TopicPartition("orders", number) for number in range(3)]
SUBSETS = [list(some) for count in (1, 2) for some in itertools.combinations(PARTITIONS, count)]


class HeldStore(ResultsStore):
    """Somebody's frozen transaction holds some positions."""

    def __init__(self) -> None:
        super().__init__(MemoryOffsetStore())
        self.held: set[TopicPartition] = set()
        self.attempts: list[list[TopicPartition]] = []

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        self.attempts.append(list(partitions))
        if held := tuple(tp for tp in partitions if tp in self.held):
            raise PartitionsHeld(f"{held[0]} is held by somebody", partitions=held)
        return super().take_over(stream, owner, partitions, topic_ids)


@pytest.fixture
def held() -> HeldStore:
    return HeldStore()


@pytest.fixture
def kafka() -> MemoryKafka:
    """Three partitions of ten records."""
    kafka = MemoryKafka({"orders": 3})
    _produce(kafka, 10)
    return kafka


def _produce(kafka: MemoryKafka, count: int) -> None:
    for tp in PARTITIONS:
        for _ in range(count):
            kafka.produce("orders", "x", partition=tp.partition)


def _rows(partitions: Sequence[TopicPartition], count: int) -> list[tuple[str, int, int]]:
    return [("orders", tp.partition, offset) for tp in partitions for offset in range(count)]


@pytest.mark.parametrize("assignment", ["static", "group"])
@pytest.mark.parametrize("some", SUBSETS, ids=lambda some: "+".join(str(tp.partition) for tp in some))
def test_the_others_go_on_and_what_was_held_is_read_when_it_is_free(
    kafka: MemoryKafka, held: HeldStore, some: list[TopicPartition], assignment: str
) -> None:
    run = Simulation(kafka, held, assignment=assignment)
    free = [tp for tp in PARTITIONS if tp not in some]
    held.held.update(some)
    seen: dict[str, Any] = {}

    def look() -> None:
        seen.update(rows=sorted(held.rows), status=run.loop.status)

    run.at(2, partial(_produce, kafka, 5))
    run.at(50, look)
    run.at(51, held.held.clear)
    run.at(200, run.stop)
    run.run()
    assert seen["rows"] == _rows(free, 15)
    assert seen["status"].state is StreamState.RUNNING
    assert seen["status"].error.partitions == tuple(some)
    assert seen["status"].positions.keys() == set(free)
    assert sorted(held.rows) == _rows(PARTITIONS, 15)
    assert run.loop.status.error is None
    assert run.story.retries == [], "no batch is dropped, and nobody waits"
    assert [sorted(positions) for positions in run.story.positions] == [free, some]


def test_who_waits_for_a_held_one_does_not_hold_up_the_others_all_the_time(kafka: MemoryKafka, held: HeldStore) -> None:
    run = Simulation(kafka, held)
    held.held.add(PARTITIONS[1])
    run.at(600, run.stop)
    run.run()
    assert held.attempts[:2] == [PARTITIONS, [PARTITIONS[0], PARTITIONS[2]]]
    again = held.attempts[2:]
    assert set(map(tuple, again)) == {(PARTITIONS[1],)}
    assert 5 <= len(again) <= 15


def test_where_all_are_held_the_stream_retries_as_always(kafka: MemoryKafka, held: HeldStore) -> None:
    run = Simulation(kafka, held)
    held.held.update(PARTITIONS)
    run.story.on[Phase.AFTER_FETCH] = lambda: None
    monkey: list[Callable[[], None]] = [held.held.clear]

    def on_retry(error: Exception, delay_s: float) -> None:
        assert run.loop.status.state is StreamState.RETRYING
        if len(run.story.retries) > 3 and monkey:
            monkey.pop()()
        run.story.retries.append((error, delay_s))

    run.story.on_retry = on_retry  # type: ignore[method-assign]
    run.run("latest")
    assert sorted(held.rows) == _rows(PARTITIONS, 10)
    assert all(isinstance(error, PartitionsHeld) for error, _ in run.story.retries)


def test_a_bounded_run_waits_for_what_is_held(kafka: MemoryKafka, held: HeldStore) -> None:
    run = Simulation(kafka, held)
    held.held.add(PARTITIONS[2])
    run.at(300, held.held.clear)
    assert run.run("latest").records == 30
    assert sorted(held.rows) == _rows(PARTITIONS, 10)


def test_a_held_partition_that_is_revoked_is_forgotten(kafka: MemoryKafka, held: HeldStore) -> None:
    first, second = (Simulation(kafka, held, assignment="group") for _ in range(2))
    held.held.update(PARTITIONS[1:])
    first.at(2, second.source.subscribe)
    first.at(20, first.stop)
    first.run()
    assert first.loop.status.error is None or set(first.loop.status.error.partitions) < set(PARTITIONS[1:])  # type: ignore[attr-defined]
    held.held.clear()
    second.at(60, second.stop)
    second.run()
    assert sorted(held.rows) == _rows(PARTITIONS, 10)


def test_a_fence_of_the_others_meanwhile_is_answered(kafka: MemoryKafka, held: HeldStore) -> None:
    run = Simulation(kafka, held, max_records_per_batch=4)
    held.held.add(PARTITIONS[2])
    fences = [partial(held.inner.take_over, "s", run.owner, PARTITIONS[:2], {})]
    run.story.on[Phase.AFTER_FETCH] = lambda: fences and fences.pop()()
    run.at(30, held.held.clear)
    run.at(200, run.stop)
    run.run()
    assert sorted(held.rows) == _rows(PARTITIONS, 10)
    assert len(run.story.retries) == 1
