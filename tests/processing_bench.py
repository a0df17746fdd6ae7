"""A ``BatchProcessor`` on a transaction that tells what happened to it, and sinks that do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, cast

from kafka_stream.batch import Batch
from kafka_stream.engine.processing import BatchProcessor
from kafka_stream.errors import (
    KafkaStreamError,
    StoreUnavailable,
)
from kafka_stream.failures.results import Results
from kafka_stream.progress import Listeners, StreamListener
from kafka_stream.protocols import OffsetStore, Sink
from kafka_stream.types import Claim, OffsetRange, Owner, Phase, Writes
from tests.fakes import ORDERS_0, record

RANGES = (OffsetRange(ORDERS_0, 0, 5),)
BATCH = Batch(RANGES, {ORDERS_0: [record(0, b"a"), record(3, b"b")]})
EMPTY = Batch(RANGES, {})
CLAIM = Claim("s", Owner("me", "here"), RANGES, {ORDERS_0: 1}, {}, {})


class DatabaseGone(Exception):
    pass


class Transaction:
    """A transaction and its store in one: ``story`` tells what happened, in order."""

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self.failures: dict[str, Exception] = {}
        self.committed = False

    def begin(self, claim: Claim) -> Self:
        assert claim is CLAIM
        self._step("begin")
        return self

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        return StoreUnavailable("the database gave the transaction up") if isinstance(error, DatabaseGone) else None

    def _step(self, name: str) -> None:
        self.story.append(name)
        if name in self.failures:
            raise self.failures[name]

    def advance(self) -> None:
        self._step("advance")

    def commit(self) -> None:
        self._step("commit")
        self.committed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self.committed:
            self.story.append("rollback")


class Storyteller(StreamListener):
    def __init__(self, story: list[str]) -> None:
        self.story = story

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        assert ranges == RANGES
        self.story.append(str(phase))


class Bench:
    def __init__(self, *, prepare: Callable[[Any], Any] | None = None, sinks: Sequence[Sink] = ()) -> None:
        self.story: list[str] = []
        self.gone_on: list[str] = []
        self.transaction = Transaction(self.story)
        self.time = 0.0
        self.processor = self.processor_of(prepare, sinks or [self.sink("sink")])

    def processor_of(self, prepare: Callable[[Any], Any] | None, sinks: Sequence[Sink]) -> BatchProcessor:
        return BatchProcessor(
            store=cast("OffsetStore", self.transaction),
            prepare=prepare,
            sinks=sinks,
            listeners=Listeners([Storyteller(self.story)]),
            clock=lambda: self.time,
        )

    def uses(self, *, prepare: Callable[[Any], Any] | None = None, sinks: Sequence[Sink] | None = None) -> None:
        """From now on."""
        self.processor.close()
        self.processor = self.processor_of(prepare, sinks or [self.sink("sink")])

    def sink(self, name: str, error: Exception | None = None, returns: Any = None) -> Sink:
        return StorySink(self, name, error, returns)

    def run(self, batch: Batch = BATCH, may_commit: Callable[[], bool] = lambda: True) -> None:
        self.processor.commit(self.processor.prepare(batch), CLAIM, self.go_on, may_commit, self.again)

    def again(self, part: Batch | None) -> Results:
        return self.processor.prepare(BATCH if part is None else part)

    def go_on(self) -> None:
        self.gone_on.append(self.story[-1])


class StorySink:
    writes = Writes.THROUGH_TRANSACTION
    needs = None

    def __init__(self, bench: Bench, name: str, error: Exception | None = None, returns: Any = None) -> None:
        self.bench, self.name, self.error, self.returns = bench, name, error, returns
        self.written: list[Any] = []

    def describe(self) -> str:
        return self.name

    def prepare(self, prepared: Any) -> Any:
        return (self.name, prepared)

    def write(self, prepared: Any, transaction: Any) -> None:
        assert transaction is self.bench.transaction
        self.bench.story.append(f"write {self.name}")
        if self.error is not None:
            raise self.error
        self.written.append(prepared)
        return self.returns  # type: ignore[no-any-return]


class OverlappingStorySink(StorySink):
    def write_overlapping(self, prepared: Any, transaction: Any, go_on: Callable[[], None]) -> None:
        outcome: Any = self.write(prepared, transaction)  # type: ignore[func-returns-value]
        go_on()
        return outcome  # type: ignore[no-any-return]
