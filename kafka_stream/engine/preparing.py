"""Prepare runs on a thread of its own, so that a batch is prepared while the one before it is written and committed.

There is one such thread, and it is the same for all batches of a run: what user code keeps for its thread stays valid.
The store's transaction stays on the loop's thread. (Spark's DStreams pipeline their jobs; here at most one batch is
ahead, and it is dropped together with the one before it.)
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue

from kafka_stream.batch import Batch
from kafka_stream.engine.planner import Plan
from kafka_stream.engine.processing import BatchDropped, BatchProcessor
from kafka_stream.failures.results import Results

logger = logging.getLogger("kafka_stream")

_LOOK_S = 0.2
"""How often a wait for user code looks whether the batch is still wanted."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What each sink takes, and how long it took to make, in seconds."""

    results: Results
    prepare_s: float


@dataclass(slots=True)
class BatchInHand:
    """A batch between the plan and the commit.

    ``starts`` is ``Ownership.starts`` when it was taken: if reading was started anew since, the batch is void, as is
    one that could not be taken whole.
    """

    plan: Plan
    starts: int = -1
    batch: Batch = field(default_factory=lambda: Batch((), {}))
    prepared: Future[Prepared] = field(default_factory=Future)
    begun: bool = False

    def drop(self) -> None:
        """It will not be committed; it need not be prepared, unless that has begun."""
        self.prepared.cancel()


class PreparingThread:
    """Runs ``BatchProcessor.prepare`` for one batch after the other. Used by the loop's thread only."""

    def __init__(self, processor: BatchProcessor, stream: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._processor = processor
        self._stream = stream
        self._clock = clock
        self._wanted: SimpleQueue[tuple[BatchInHand, BatchInHand | None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def runs_ahead(self) -> bool:
        """Whether there is anything to do before a batch's transaction."""
        return self._processor.prepares

    def begin(self, in_hand: BatchInHand, committed: BatchInHand | None = None) -> None:
        """Prepare this batch, after those that were begun before it; once.

        Then let go of one that is ``committed``: to free that many objects takes the interpreter some milliseconds,
        in which nobody need wait for it here.
        """
        if in_hand.begun:
            return
        in_hand.begun = True
        if not self.runs_ahead or not len(in_hand.batch):
            self._prepare(in_hand)
            return
        if self._thread is None:
            # In the context of whoever runs the stream, as if it were prepared by the loop itself.
            run = contextvars.copy_context().run
            # A daemon: a prepare that never returns must not hold up a process that has been told to stop.
            self._thread = threading.Thread(
                target=run, args=(self._work,), name=f"kafka-stream-prepare-{self._stream}", daemon=True
            )
            self._thread.start()
        self._wanted.put((in_hand, committed))

    def wait(self, in_hand: BatchInHand, is_wanted: Callable[[], bool]) -> Prepared:
        """Prepare this batch, if that was not begun, and wait for it.

        Raises:
            BatchDropped: it is not wanted any more; user code may still be at work on it.
            ProcessingError, TransientError: as ``BatchProcessor.prepare`` does.
        """
        self.begin(in_hand)
        while True:
            try:
                return in_hand.prepared.result(_LOOK_S)
            except TimeoutError:  # the wait's: what user code raises is a ProcessingError by now
                if not is_wanted():
                    raise BatchDropped(
                        "the stop's time ran out while the batch was being prepared; nothing of it was written"
                    ) from None

    def close(self, is_waited_for: Callable[[], bool]) -> None:
        """End the thread, after what was begun; user code that is stuck is waited for as long as that is wanted.

        It is left behind then, on a thread that ends with it, or with the process.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            self._processor.close()
            return
        self._wanted.put(None)
        thread.join(_LOOK_S)
        while thread.is_alive() and is_waited_for():
            thread.join(_LOOK_S)
        if thread.is_alive():
            logger.warning("prepare of stream %r is still at work, on a batch that will not be committed", self._stream)

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            self._prepare(wanted[0])
            del wanted
        self._processor.close()

    def _prepare(self, in_hand: BatchInHand) -> None:
        if not in_hand.prepared.set_running_or_notify_cancel():
            return  # dropped before it was its turn
        started = self._clock()
        try:
            results = self._processor.prepare(in_hand.batch)
        except BaseException as error:  # noqa: BLE001 - raised again by wait()
            in_hand.prepared.set_exception(error)
        else:
            in_hand.prepared.set_result(Prepared(results, self._clock() - started))


__all__ = ["BatchInHand", "Prepared", "PreparingThread"]
