"""Prepare runs on a thread of its own, so that a batch is prepared while the one before it is written and committed.

There is one such thread, and it is the same for all batches of a run: what user code keeps for its thread stays valid.
Only if it does not come back from a batch that is not next any more, another one takes its place, for good. The store's
transaction stays on the loop's thread. (Spark's DStreams pipeline their jobs; here at most one batch is ahead, and it
is dropped together with the one before it.)
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from kafka_stream.batch import Batch
from kafka_stream.engine.planner import Plan
from kafka_stream.engine.processing import BatchDropped, BatchProcessor
from kafka_stream.failures.results import Results
from kafka_stream.protocols import WorkerShare
from kafka_stream.source.buffer import leader_epochs_of
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream")

_LOOK_S = 0.2
"""How often a wait for user code looks whether the batch is still wanted."""
_PATIENCE_S = 10.0
"""How long a batch waits behind another one that is still being prepared, at least."""
_TIMES_THE_LONGEST = 3
"""And at least so many times as long as any batch of the run has taken: what is slow is not stuck."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What each sink takes, and how long it took to make, in seconds.

    ``leader_epochs`` are those that the ranges' ends were read under, where they are known; ``workers`` those who made
    it, if it was made elsewhere.
    """

    results: Results
    prepare_s: float
    leader_epochs: Mapping[TopicPartition, int] = field(default_factory=dict)
    workers: Mapping[str, WorkerShare] = field(default_factory=dict)


@dataclass(slots=True)
class BatchInHand:
    """A batch between the plan and the commit.

    ``starts`` is ``Ownership.starts`` when it was taken: if reading was started anew since, the batch is void, as is
    one that could not be taken whole.
    """

    plan: Plan
    starts: int = -1
    fetch_s: float = 0.0
    batch: Batch = field(default_factory=lambda: Batch((), {}))
    prepared: Future[Prepared] = field(default_factory=Future)
    begun: bool = False

    def drop(self) -> None:
        """It will not be committed; it need not be prepared, unless that has begun."""
        self.prepared.cancel()


class Preparing(Protocol):
    """Where batches are prepared: by a thread of this process, or by others. Used by the loop's thread only."""

    @property
    def processor(self) -> BatchProcessor:
        """What commits them."""

    def open(self) -> None:
        """Be ready, before anything is taken over; may be called again.

        Raises:
            ConfigurationError: user code cannot be run there.
            TransientError: those who prepare do not answer.
        """

    @property
    def most_ahead(self) -> int:
        """How many batches may be taken and prepared behind the one in hand, now."""

    @property
    def begins_at_once(self) -> bool:
        """Whether those are begun before the batch in hand is waited for; else while it is written."""

    def begin(self, in_hand: BatchInHand, committed: BatchInHand | None = None) -> None:
        """Prepare this batch, after those that were begun before it; once. Then let go of one that is ``committed``."""

    def wait(self, in_hand: BatchInHand, is_wanted: Callable[[], bool]) -> Prepared:
        """Prepare this batch, if that was not begun, and wait for it.

        Raises:
            BatchDropped: it is not wanted any more; user code may still be at work on it.
            ProcessingError, TransientError: as ``BatchProcessor.prepare`` does.
        """

    def again(self, in_hand: BatchInHand, part: Batch | None, is_wanted: Callable[[], bool]) -> Results:
        """Prepare a part of the batch in hand once more, or, with ``None``, all of it; raises as ``wait``."""

    def close(self, is_waited_for: Callable[[], bool]) -> None:
        """End what was begun; user code that is stuck is waited for as long as that is wanted."""


class _Worker:
    """A thread that makes one batch after the other, in the context of whoever starts it. Knows nobody who waits."""

    def __init__(self, name: str, make: Callable[[BatchInHand], None], at_end: Callable[[], None]) -> None:
        self._make = make
        self._at_end = at_end
        self._wanted: SimpleQueue[tuple[BatchInHand, BatchInHand | None] | None] = SimpleQueue()
        self.making: BatchInHand | None = None
        # In the context of whoever runs the stream, as if it were prepared by the loop itself.
        run = contextvars.copy_context().run
        # A daemon: a prepare that never returns must not hold up a process that has been told to stop.
        self.thread = threading.Thread(target=run, args=(self._work,), name=name, daemon=True)
        self.thread.start()

    def add(self, in_hand: BatchInHand, committed: BatchInHand | None) -> None:
        """Make this batch after the others, then let go of one that is ``committed``."""
        self._wanted.put((in_hand, committed))

    def give_back(self, in_hand: BatchInHand) -> bool:
        """Forget all that is not begun; whether this batch was among it."""
        waiting = []
        while not self._wanted.empty():
            waiting.append(self._wanted.get())
        return any(each is not None and each[0] is in_hand for each in waiting)

    def end(self) -> None:
        """End it, after what was added."""
        self._wanted.put(None)

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            self.making = wanted[0]
            self._make(wanted[0])
            self.making = None
            del wanted
        self._at_end()


class PreparingThread:
    """Runs ``BatchProcessor.prepare`` for one batch after the other. Used by the loop's thread only."""

    def __init__(self, processor: BatchProcessor, stream: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.processor = processor
        self._stream = stream
        self._clock = clock
        self._worker: _Worker | None = None
        self._left_behind: _Worker | None = None
        self._longest_s = 0.0

    begins_at_once = False
    """Beside a writer's own requests a batch is prepared from the moment on at which that waits for the server."""

    def open(self) -> None:
        """The thread begins with the first batch."""

    @property
    def most_ahead(self) -> int:
        """One, if there is anything to do before a batch's transaction, and it may be done ahead.

        It may not while user code is left behind in an earlier batch: so there is one such thread at most.
        """
        return 1 if self.processor.prepares and not self._has_left_behind else 0

    @property
    def _has_left_behind(self) -> bool:
        if self._left_behind is not None and not self._left_behind.thread.is_alive():
            self._left_behind = None
        return self._left_behind is not None

    def begin(self, in_hand: BatchInHand, committed: BatchInHand | None = None) -> None:
        """Prepare this batch, after those that were begun before it; once.

        Then let go of one that is ``committed``: to free that many objects takes the interpreter some milliseconds,
        in which nobody need wait for it here.
        """
        if in_hand.begun:
            return
        in_hand.begun = True
        if not self.processor.prepares or not len(in_hand.batch):
            self._prepare(in_hand)
            return
        if self._worker is None:
            self._worker = self._new_worker()
        self._worker.add(in_hand, committed)

    def wait(self, in_hand: BatchInHand, is_wanted: Callable[[], bool]) -> Prepared:
        """Prepare this batch, if that was not begun, and wait for it.

        Another batch, which is still being prepared and will not be committed before this one, is waited for only so
        long: then it is left to its thread, which ends with it, and this one has a thread of its own.

        Raises:
            BatchDropped: it is not wanted any more; user code may still be at work on it.
            ProcessingError, TransientError: as ``BatchProcessor.prepare`` does.
        """
        self.begin(in_hand)
        since = time.monotonic()
        while True:
            try:
                return in_hand.prepared.result(_LOOK_S)
            except TimeoutError:  # the wait's: what user code raises is a ProcessingError by now
                if not is_wanted():
                    raise BatchDropped(
                        "the stop's time ran out while the batch was being prepared; nothing of it was written"
                    ) from None
                if time.monotonic() - since >= max(_PATIENCE_S, _TIMES_THE_LONGEST * self._longest_s):
                    self._leave_behind_what_is_before(in_hand)

    def again(self, in_hand: BatchInHand, part: Batch | None, is_wanted: Callable[[], bool]) -> Results:
        """A part of the batch in hand, or all of it, on the thread on which all are prepared."""
        batch = in_hand.batch if part is None else part
        return self.wait(BatchInHand(in_hand.plan, batch=batch), is_wanted).results

    def close(self, is_waited_for: Callable[[], bool]) -> None:
        """End the thread, after what was begun; user code that is stuck is waited for as long as that is wanted.

        It is left behind then, on a thread that ends with it, or with the process.
        """
        worker, self._worker = self._worker, None
        if worker is None:
            self.processor.close()
            return
        worker.end()
        worker.thread.join(_LOOK_S)
        while worker.thread.is_alive() and is_waited_for():
            worker.thread.join(_LOOK_S)
        if worker.thread.is_alive() or self._has_left_behind:
            logger.warning("prepare of stream %r is still at work, on a batch that will not be committed", self._stream)

    def _new_worker(self) -> _Worker:
        return _Worker(f"kafka-stream-prepare-{self._stream}", self._prepare, self.processor.close)

    def _leave_behind_what_is_before(self, in_hand: BatchInHand) -> None:
        worker = self._worker
        before = None if worker is None else worker.making
        if worker is None or before is None or before is in_hand or not worker.give_back(in_hand):
            return  # it is being prepared itself
        logger.warning(
            "prepare of stream %r has not returned from %s, which is read again later: another thread takes its place, "
            "and no batch is prepared ahead until it has",
            self._stream,
            ", ".join(map(str, before.plan.ranges[:3])),
        )
        worker.end()
        self._left_behind, self._worker = worker, self._new_worker()
        self._worker.add(in_hand, None)

    def _prepare(self, in_hand: BatchInHand) -> None:
        if not in_hand.prepared.set_running_or_notify_cancel():
            return  # dropped before it was its turn
        started = self._clock()
        try:
            results = self.processor.prepare(in_hand.batch)
        except BaseException as error:  # noqa: BLE001 - raised again by wait()
            in_hand.prepared.set_exception(error)
        else:
            took_s = self._clock() - started
            self._longest_s = max(self._longest_s, took_s)
            epochs = leader_epochs_of(in_hand.batch.ranges, in_hand.batch.records)
            in_hand.prepared.set_result(Prepared(results, took_s, epochs))


__all__ = ["BatchInHand", "Prepared", "Preparing", "PreparingThread"]
