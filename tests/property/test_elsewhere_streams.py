"""Streams with an executor under everything at once: whatever happens, every committed record is in the results once.

Workers that are lost, cancelled or wrong; a store that fails and loses answers; a driver that ends at any point and is
started again; transactions that are aborted, and other holes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_stream import DirectStream
from kafka_stream.batch import Batch
from kafka_stream.engine.elsewhere import slicing
from kafka_stream.errors import FailedElsewhere, StoreUnavailable, WorkerLost
from kafka_stream.failures.strategies import FixedDelay
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import Slice
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import OF_EVERY_BATCH, OffsetRange, Phase
from tests.property.test_streams import Log
from tests.simulation import ResultsStore, ResultsTransaction, Row
from tests.workers import ThreadExecutor

LOG = st.lists(
    st.tuples(st.sampled_from(["produce", "skip", "begin", "commit", "abort"]), st.integers(0, 2), st.integers(1, 40)),
    min_size=4,
    max_size=12,
)
FAULTS = (None, None, None, "lost", "cancelled", "wrong")


class Crash(BaseException):
    """The driver's process ends here."""


def rows_of(batch: Batch) -> list[Row]:
    """A row of each record."""
    return [(m.topic() or "", m.partition() or 0, m.offset() or 0) for m in batch]


def write(rows: list[Row], transaction: ResultsTransaction) -> None:
    """Into the results."""
    transaction.rows += rows


class Crashing(StreamListener):
    """Ends the process the nth time that it comes to a phase."""

    def __init__(self, phase: Phase | None, nth: int) -> None:
        self._phase, self._left = phase, nth

    def on_phase(self, phase: Phase, ranges: Sequence[OffsetRange]) -> None:
        if phase is self._phase:
            self._left -= 1
            if self._left == 0:
                raise Crash


def fault_of(kinds: list[str | None]) -> Any:
    """What the tasks to come run into, one after the other."""

    def fault(slices: Sequence[Slice]) -> None:
        kind = kinds.pop(0) if kinds else None
        if kind == "lost":
            raise WorkerLost("a worker has gone")
        if kind == "cancelled":
            raise CancelledError
        if kind == "wrong":
            raise FailedElsewhere("it has another version")

    return fault


def break_store(store: ResultsStore, failures: list[str | None]) -> None:
    """It fails, or loses the answers of commits, in the calls to come."""
    for failure in failures:
        if failure in ("before", "after"):
            store.lost_answers.append(failure)
        elif failure is not None:
            store.failures.setdefault(failure, []).append(StoreUnavailable("away"))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    partitions=st.integers(1, 3),
    log=LOG,
    slots=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    failures=st.lists(st.sampled_from([None, "begin", "advance", "before", "after"]), max_size=6),
    size=st.integers(1, 60),
)
def test_every_committed_record_is_in_the_results_once(
    partitions: int,
    log: list[tuple[str, int, int]],
    slots: int,
    seed: int,
    failures: list[str | None],
    size: int,
) -> None:
    chance = random.Random(seed)
    crashes = [(chance.choice(OF_EVERY_BATCH), chance.randint(1, 4)) for _ in range(3)]
    topic, store = Log(partitions), ResultsStore(MemoryOffsetStore())
    for what, partition, count in log:
        getattr(topic, what)(partition, count)
    topic.end_transactions()
    break_store(store, failures)
    executor = ThreadExecutor(topic.kafka, slots, fault_of(chance.choices(FAULTS, k=100)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slicing, "LEAST_OFFSETS", 3)
        for phase, nth in [*crashes, (None, 0)]:
            stream = DirectStream(
                name="s",
                topics=["orders"],
                kafka=topic.kafka,
                store=store,
                prepare=rows_of,
                sink=write,
                assignment="static",
                executor=executor,
                max_records_per_batch=size,
                retry=FixedDelay(0.001),
                listeners=[Crashing(phase, nth)],
            )
            try:
                stream.run(until="latest")
            except Crash:
                continue
    assert sorted(store.rows) == sorted(topic.visible)
    assert sorted(store.rows, key=lambda row: row[1]) == sorted(store.rows), "each partition's are in order"
