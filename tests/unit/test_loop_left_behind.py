"""A prepare that does not return, of a batch that is not next any more: it is left behind, and the loop goes on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.engine.preparing import PreparingThread
from kafka_stream.errors import SinkUnavailable
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import Phase
from tests.simulation import EVERYTHING, ResultsStore, Simulation, twenty_each, write

LONG_S = 20.0


@pytest.fixture
def kafka() -> MemoryKafka:
    return twenty_each()


def on_thread(run: Simulation) -> PreparingThread:
    """What prepares its batches."""
    preparing = run.loop._preparing
    assert isinstance(preparing, PreparingThread)
    return preparing


class StuckAhead:
    """A ``prepare`` that does not come back from the second batch, the first time; and a sink that fails beside it."""

    def __init__(self) -> None:
        self.released, self.is_stuck, self.has_returned = threading.Event(), threading.Event(), threading.Event()
        self.prepared: list[tuple[int, int]] = []
        self.failures = 1

    def prepare(self, batch: Batch) -> Batch:
        self.prepared.append((threading.get_ident(), batch.ranges[0].from_offset))
        if batch.ranges[0].from_offset > 0 and not self.is_stuck.is_set():
            self.is_stuck.set()
            self.released.wait(LONG_S)
            self.has_returned.set()
        return batch

    async def prepare_async(self, batch: Batch) -> Batch:
        await asyncio.sleep(0)
        return self.prepare(batch)

    def write(self, batch: Batch, transaction: Any) -> None:
        assert self.is_stuck.wait(LONG_S)
        if self.failures:
            self.failures -= 1
            raise SinkUnavailable("away")
        write(batch, transaction)


@pytest.mark.parametrize("kind", ["prepare", "prepare_async"])
def test_a_batch_does_not_wait_for_ever_behind_a_prepare_that_nobody_needs_any_more(
    kafka: MemoryKafka,
    store: ResultsStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr("kafka_stream.engine.preparing._PATIENCE_S", 0.5)
    user = StuckAhead()
    run = Simulation(kafka, store, max_records_per_batch=10, prepare=getattr(user, kind), sink=user.write)
    run.run("latest")
    assert not user.released.is_set()
    assert sorted(store.rows) == EVERYTHING
    assert [type(error) for error, _ in run.story.retries] == [SinkUnavailable]
    first, *others = (thread for thread, _ in user.prepared[1:])
    assert len({first, *others}) == 2, "one thread is left behind, and one takes its place"
    assert first not in others
    assert "has not returned from orders[0] [5, 10)" in caplog.text
    assert "is still at work" in caplog.text, "at the end, too"
    user.released.set()
    assert user.has_returned.wait(LONG_S)
    assert sorted(store.rows) == EVERYTHING


def test_nothing_is_prepared_ahead_while_one_is_left_behind_and_then_it_is_again(
    kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_stream.engine.preparing._PATIENCE_S", 0.5)
    user, ahead = StuckAhead(), list[bool]()
    run = Simulation(kafka, store, max_records_per_batch=10, prepare=user.prepare, sink=user.write)

    def look() -> None:
        preparing = on_thread(run)
        ahead.append(preparing.most_ahead > 0)
        if len(ahead) == 3:  # of two batches since the failure
            user.released.set()
            left = preparing._left_behind
            assert left is not None
            left.thread.join(LONG_S)

    run.story.on[Phase.AFTER_WRITE] = look
    run.run("latest")
    assert sorted(store.rows) == EVERYTHING
    assert ahead == [False, False, False, True]


def test_what_is_slow_is_waited_for(kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.engine.preparing._PATIENCE_S", 0.0)
    user = StuckAhead()
    run = Simulation(kafka, store, max_records_per_batch=10, prepare=user.prepare, sink=user.write)
    on_thread(run)._longest_s = LONG_S  # as a batch before it has taken
    waits = list[float]()

    def has_time() -> bool:
        waits.append(0.2)
        if len(waits) == 4:
            user.released.set()
        return True

    monkeypatch.setattr(run.loop, "_has_time", has_time)
    run.run("latest")
    assert sorted(store.rows) == EVERYTHING
    assert len({thread for thread, _ in user.prepared}) == 1
