"""One loop on a clock of its own: no thread, no sleep, no luck. And a store whose results a test can read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kafka_stream.batch import Batch
from kafka_stream.engine.loop import Loop, StopRequest
from kafka_stream.engine.preparing import PreparingThread
from kafka_stream.engine.processing import BatchProcessor
from kafka_stream.errors import CommitOutcomeUnknown, KafkaStreamError
from kafka_stream.progress import Listeners, RunSummary, StreamListener
from kafka_stream.protocols import BatchProgress, OffsetStore, Sink, Source, StoreCapabilities, StoreTransaction
from kafka_stream.settings import StreamSettings
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import Claim, Guarantee, OffsetRange, Owner, Phase, StoredPosition, TopicPartition
from kafka_stream.user_code import FunctionSink

Row = tuple[str, int, int]


class Clock:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


EVERYTHING = [("orders", partition, offset) for partition in (0, 1) for offset in range(20)]
"""The rows of what ``twenty_each`` holds."""


def twenty_each() -> MemoryKafka:
    """Two partitions of twenty records."""
    kafka = MemoryKafka({"orders": 2})
    for number in range(40):
        kafka.produce("orders", "x", partition=number % 2)
    return kafka


class ResultsTransaction:
    """What the sink writes through: rows that are in the results once the store's transaction has committed."""

    def __init__(self, store: ResultsStore, inner: StoreTransaction) -> None:
        self._store = store
        self.inner = inner
        self.rows: list[Row] = []

    def advance(self) -> None:
        self._store.step("advance")
        self.inner.advance()

    def commit(self) -> None:
        self._store.step("commit")
        lost = self._store.lost_answers.pop(0) if self._store.lost_answers else None
        if lost != "before":
            self.inner.commit()
            self._store.rows += self.rows
        if lost is not None:
            raise CommitOutcomeUnknown("the connection broke during COMMIT")


class ResultsStore:
    """An offset store with results beside the offsets, and failures where a test wants them.

    ``failures`` are raised by the next calls of a method (``None``: that one goes well); ``lost_answers`` break the
    connection of the next commits, ``"before"`` or ``"after"`` they took effect.
    """

    def __init__(self, inner: OffsetStore) -> None:
        self.inner = inner
        self.rows: list[Row] = []
        self.failures: dict[str, list[BaseException | None]] = {}
        self.lost_answers: list[str] = []
        self.calls: list[str] = []

    def step(self, name: str) -> None:
        self.calls.append(name)
        failures = self.failures.get(name)
        if failures and (failure := failures.pop(0)) is not None:
            raise failure

    @property
    def capabilities(self) -> StoreCapabilities:
        return self.inner.capabilities

    def describe(self) -> str:
        return self.inner.describe()

    def open(self) -> None:
        self.step("open")
        self.inner.open()

    def close(self) -> None:
        self.inner.close()

    def is_started(self, stream: str, topic: str) -> bool:
        return self.inner.is_started(stream, topic)

    def initialise(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        self.step("initialise")
        self.inner.initialise(stream, topic, starts, topic_id)

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        self.step("take_over")
        return self.inner.take_over(stream, owner, partitions, topic_ids)

    def reclaim(self, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
        self.step("reclaim")
        return self.inner.reclaim(claim)

    def reposition(self, claim: Claim) -> None:
        self.step("reposition")
        self.inner.reposition(claim)

    def plan(self, claim: Claim) -> None:
        self.step("plan")
        self.inner.plan(claim)

    @contextmanager
    def begin(self, claim: Claim) -> Iterator[ResultsTransaction]:
        self.step("begin")
        with self.inner.begin(claim) as transaction:
            yield ResultsTransaction(self, transaction)

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        return self.inner.classify(error)

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        return self.inner.positions(stream)


def write(batch: Batch, transaction: ResultsTransaction) -> None:
    """Every record becomes a row."""
    for message in batch:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        transaction.rows.append((topic, partition, offset))


class TimedSource:
    """A source whose waiting is the passing of time; what a test has planned for a time happens then."""

    def __init__(self, inner: Source, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._planned: list[tuple[float, int, Callable[[], object]]] = []
        self._waits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        self._planned.append((seconds, len(self._planned), action))
        self._planned.sort(key=lambda planned: planned[:2])

    def wait(self, timeout_s: float) -> None:
        self._waits += 1
        assert self._waits < 20_000, "the loop waits for ever"
        if self._planned and self._planned[0][0] <= self._clock.now + timeout_s:
            at, _, action = self._planned.pop(0)
            self._clock.now = max(self._clock.now, at)
            action()
        else:
            self._clock.sleep(timeout_s)


class Endless(BaseException):
    """A loop that would retry for ever."""


class Story(StreamListener):
    """Remembers what it was told, with the time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.batches: list[BatchProgress] = []
        self.times: list[float] = []
        self.retries: list[tuple[Exception, float]] = []
        self.positions: list[Mapping[TopicPartition, int]] = []
        self.pinned: list[Mapping[TopicPartition, datetime]] = []
        self.phases: list[Phase] = []
        self.stopped: list[BaseException | None] = []
        self.on: dict[Phase, Callable[[], object]] = {}

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        self.phases.append(phase)
        if phase in self.on:
            self.on[phase]()

    def on_batch(self, progress: BatchProgress) -> None:
        self.batches.append(progress)
        self.times.append(round(self._clock() - self._began, 3))

    def on_retry(self, error: Exception, delay_s: float) -> None:
        self.retries.append((error, delay_s))
        if len(self.retries) > 1_000:
            raise Endless from error

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        self.positions.append(positions)

    def on_pinned(self, pinned: Mapping[TopicPartition, datetime]) -> None:
        self.pinned.append(pinned)

    def on_stop(self, error: BaseException | None) -> None:
        self.stopped.append(error)

    @property
    def sizes(self) -> list[int]:
        return [progress.records for progress in self.batches]


class Simulation:
    """One process start of a stream that reads a ``MemoryKafka`` into a ``ResultsStore``."""

    def __init__(self, kafka: MemoryKafka, store: ResultsStore, **settings: Any) -> None:
        self.kafka, self.store, self.clock = kafka, store, settings.pop("clock", None) or Clock()
        self.request = StopRequest()
        self.story = Story(self.clock)
        self.settings = StreamSettings.checked(
            {"name": "s", "topics": ["orders"], "kafka": kafka, "store": store, "sink": write, "assignment": "static"}
            | settings
        )
        self.owner = Owner(f"owner-{id(self)}", "here")
        limits = SourceLimits(2 * self.settings.max_records_per_batch, 2 * self.settings.max_bytes_per_batch)
        self.source = TimedSource(kafka.source("s", self.settings.topics, limits), self.clock)
        given: Any = self.settings.sink
        listeners = Listeners([*self.settings.listeners, self.story])
        self.loop = Loop(
            settings=self.settings,
            owner=self.owner,
            store=store,
            source=cast("Source", self.source),
            preparing=PreparingThread(
                BatchProcessor(
                    store=store,
                    prepare=self.settings.prepare,
                    sinks=[
                        sink if isinstance(sink, Sink) else FunctionSink(sink)
                        for sink in (given if isinstance(given, list) else [given])
                    ],
                    listeners=listeners,
                    clock=self.clock,
                ),
                "s",
                self.clock,
            ),
            guarantee=Guarantee.EXACTLY_ONCE,
            listeners=listeners,
            request=self.request,
            clock=self.clock,
        )
        listeners.status_through(self.settings.name, lambda: self.loop.status)

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something when so much time has passed since the start."""
        self.source.at(self.clock.now + seconds, action)

    def stop(self) -> None:
        self.request.stop = True

    def run(self, until: Any = None) -> RunSummary:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "kafka_stream.engine.patience.time", SimpleNamespace(sleep=self.clock.sleep, monotonic=self.clock)
            )
            patch.setattr("kafka_stream.engine.patience.SystemRandom", lambda: SimpleNamespace(random=lambda: 0.0))
            return self.loop.run(until)

    def next_offsets(self) -> dict[TopicPartition, int]:
        """What is stored."""
        return {tp: position.next_offset for tp, position in self.store.positions("s").items()}


def eventually(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Wait until it holds, for as long as a busy machine may need."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.002)
