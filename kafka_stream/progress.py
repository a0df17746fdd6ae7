"""What a stream reports about itself: a status to ask for, a summary at the end, and listeners that are told."""

from __future__ import annotations

import enum
import logging
from asyncio import CancelledError
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Protocol, runtime_checkable

from kafka_stream.batch import Batch
from kafka_stream.protocols import BatchProgress, Listener
from kafka_stream.types import Guarantee, OffsetRange, Owner, Phase, TopicPartition

logger = logging.getLogger("kafka_stream")


class StreamState(enum.StrEnum):
    """Where a stream is in its life; ``RETRYING`` is running, with a broker or store that does not answer."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    RETRYING = "retrying"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A snapshot, made without I/O. ``positions`` are the next offsets of the partitions that are owned now.

    ``lag`` is in offsets, as of the last look at the ends (every few seconds); ``None`` is unknown: nobody answered
    about an end, or it is older than what was read since. ``error`` is what stopped the stream, what it retries after,
    or what keeps it from reading, such as brokers that are away. ``batch_started_at`` is when the batch in hand began:
    a stuck handler shows here. ``reached`` are the timestamps of the last records that this run has committed,
    ``buffered`` the records that clients had fetched when the last batch was planned.
    ``pinned`` are the partitions of which nothing more can be read before somebody's open transaction ends, if it has
    been so for a minute, and since when it was seen: their lag is measured to that transaction.
    """

    state: StreamState = StreamState.NEW
    owner: Owner | None = None
    guarantee: Guarantee | None = None
    positions: Mapping[TopicPartition, int] = field(default_factory=dict)
    lag: Mapping[TopicPartition, int | None] = field(default_factory=dict)
    pinned: Mapping[TopicPartition, datetime] = field(default_factory=dict)
    batches: int = 0
    records: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    batch_started_at: datetime | None = None
    committed_at: datetime | None = None
    reached: Mapping[TopicPartition, datetime] = field(default_factory=dict)
    buffered: int = 0
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What one run did: committed batches and records, and from where to where each partition was moved.

    ``dead_letters`` counts those of the records that were set aside, ``duplicates`` those that were kept back as such.
    """

    batches: int
    records: int
    ranges: tuple[OffsetRange, ...]
    duration_s: float
    dead_letters: int = 0
    duplicates: int = 0


def known_lag(lags: Iterable[int | None]) -> int | None:
    """The sum of the lags that are known; ``None`` if none is."""
    known = [lag for lag in lags if lag is not None]
    return sum(known) if known else None


class StreamListener:
    """A listener that does nothing: subclass it and implement what you need. See ``protocols.Listener``."""

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """The stream has opened its store and its source."""

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Partitions were taken over and are read from these offsets."""

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """A batch has come to a named point."""

    def on_batch(self, progress: BatchProgress) -> None:
        """A batch was committed."""

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """A batch was dropped and is retried after a delay."""

    def on_released(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are not the stream's any more."""

    def on_moved(self, partition: TopicPartition, from_offset: int, until_offset: int) -> None:
        """A loss of data was answered."""

    def on_settled(self, committed: bool) -> None:
        """A commit whose outcome was unknown was settled."""

    def on_pinned(self, pinned: Mapping[TopicPartition, datetime]) -> None:
        """What an open transaction keeps from being read has changed."""

    def on_stop(self, error: BaseException | None) -> None:
        """The stream has stopped."""


@runtime_checkable
class StatusListener(Protocol):
    """A listener that looks at the stream's status when it likes, such as when it is asked itself."""

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """Called when a run begins, before anything else; ``status`` is that run's, from any thread, without I/O."""


@runtime_checkable
class PreparingListener(Protocol):
    """A listener that is there when a batch is prepared, such as for what handlers do to be seen as a part of it."""

    def preparing(self, batch: Batch) -> Callable[[], None]:
        """Called on the thread that is about to prepare these records; what it returns, there when that is over.

        Not for what workers prepare. A batch of which a record fails is prepared again, in parts.
        """


class Listeners(StreamListener):
    """All of a stream's listeners as one; what one of them raises is logged and reaches nobody else."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)
        self._preparing = tuple(it for it in listeners if isinstance(it, PreparingListener))

    def _tell(self, call: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            self._guarded(listener, partial(call, listener))

    @staticmethod
    def _guarded(listener: object, call: Callable[[], object]) -> None:
        """An error of a listener's is logged, and changes nothing."""
        try:
            call()
        except (Exception, CancelledError, GeneratorExit):
            logger.exception("listener %r failed; the stream goes on", listener)

    def preparing(self, batch: Batch) -> AbstractContextManager[None]:
        """Those that are there when a batch is prepared are, for as long as the block takes."""
        return self._beside(batch) if self._preparing else nullcontext()

    @contextmanager
    def _beside(self, batch: Batch) -> Iterator[None]:
        ends: list[Callable[[], None]] = []

        def begin(listener: PreparingListener) -> None:
            ends.append(listener.preparing(batch))

        for listener in self._preparing:
            self._guarded(listener, partial(begin, listener))
        try:
            yield
        finally:
            for end in reversed(ends):
                self._guarded(end, end)

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """Tell those that look at it."""
        self._tell(lambda it: it.status_through(stream, status) if isinstance(it, StatusListener) else None)

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """Tell all."""
        self._tell(lambda it: it.on_start(stream, owner, guarantee))

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell all, each with positions of its own."""
        self._tell(lambda it: it.on_positions(dict(positions)))

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """Tell all."""
        if self._listeners:
            self._tell(lambda it: it.on_phase(phase, ranges))

    def on_batch(self, progress: BatchProgress) -> None:
        """Tell all, each with a lag of its own."""
        self._tell(lambda it: it.on_batch(replace(progress, lag=dict(progress.lag))))

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """Tell all."""
        self._tell(lambda it: it.on_retry(error, delay_s))

    def on_released(self, partitions: Collection[TopicPartition]) -> None:
        """Tell all."""
        self._tell(lambda it: it.on_released(tuple(partitions)))

    def on_moved(self, partition: TopicPartition, from_offset: int, until_offset: int) -> None:
        """Tell all."""
        self._tell(lambda it: it.on_moved(partition, from_offset, until_offset))

    def on_settled(self, committed: bool) -> None:
        """Tell all."""
        self._tell(lambda it: it.on_settled(committed))

    def on_pinned(self, pinned: Mapping[TopicPartition, datetime]) -> None:
        """Tell all, each with a mapping of its own."""
        self._tell(lambda it: it.on_pinned(dict(pinned)))

    def on_stop(self, error: BaseException | None) -> None:
        """Tell all."""
        self._tell(lambda it: it.on_stop(error))
