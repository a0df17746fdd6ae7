"""Batches out to an executor's workers, and what they give back in: in order, again where a worker is lost.

Whatever goes wrong there with user code is done over here, in this process, as if there were no workers: so a record
that fails is found, named and set aside by one and the same way. (Spark's direct stream plans on the driver, too; there
a task that fails is only run again.)
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.engine.elsewhere.abandoned import AbandonedTasks
from kafka_stream.engine.elsewhere.counted import CountedBatch
from kafka_stream.engine.elsewhere.slicing import sliced
from kafka_stream.engine.elsewhere.waiting import ResultsWaiting
from kafka_stream.engine.preparing import BatchInHand, Prepared, PreparingThread
from kafka_stream.engine.processing import BatchDropped, BatchProcessor
from kafka_stream.errors import FailedElsewhere, ProcessingError, WorkerLost
from kafka_stream.failures.results import Results
from kafka_stream.protocols import Executor, Outcome, PositionGone, Slice, WhileWaiting, Work, Workers, WorkerShare
from kafka_stream.protocols.causes import said
from kafka_stream.source.range_source import RangeSource
from kafka_stream.types import OffsetRange, TopicPartition

logger = logging.getLogger("kafka_stream")

MOST_ATTEMPTS = 3
"""How often a task is begun in a row; then the stream's retry strategy decides."""
BATCHES_AHEAD = 3
"""How many batches are with workers behind the one in hand: while one is written, and the next waits for its turn,
there is work for all of them."""
_LOOK_S = 0.2


@runtime_checkable
class Reading(Protocol):
    """What reads records here, where a batch has to be done over."""

    def read(self, ranges: Sequence[OffsetRange], look: WhileWaiting) -> Mapping[TopicPartition, Sequence[Message]]:
        """All records of these ranges; while the broker is waited for, ``look`` is called, and may raise.

        Raises:
            PositionGone: the broker does not have them.
            TransientError: it does not answer.
        """

    def close(self) -> None:
        """Give the connections back."""


@dataclass(slots=True)
class _Task:
    """Slices that one worker reads; ``attempts`` counts how often they were given to one."""

    slices: Sequence[Slice]
    future: Future[Outcome]
    attempts: int = 1


class Dispatch:
    """The ``Preparing`` of a stream with an executor: several batches are with workers, and come back in order."""

    begins_at_once = True

    def __init__(
        self,
        executor: Executor,
        work: Callable[[], Work],
        here: PreparingThread,
        source: RangeSource,
        reading: Reading,
    ) -> None:
        self._executor = executor
        self._work = work
        self._here = here
        self._source = source
        self._reading = reading
        self._running: tuple[Work, Workers] | None = None
        self._tasks: dict[int, list[_Task]] = {}  # by the batch that they are of
        self._abandoned = AbandonedTasks(executor.task_timeout_s)
        self._waiting = ResultsWaiting()

    @property
    def processor(self) -> BatchProcessor:
        """That of this process."""
        return self._here.processor

    def open(self) -> None:
        """Have workers started, who need a moment; what cannot be sent to them is refused before anybody is fenced."""
        self._renewed()

    @property
    def most_ahead(self) -> int:
        """A few batches, as long as what has come back of them leaves room."""
        return BATCHES_AHEAD if self._waiting.bytes < self._executor.max_result_bytes else 0

    def begin(self, in_hand: BatchInHand, committed: BatchInHand | None = None) -> None:
        """Give its slices to workers, once; where it is dropped, they are abandoned."""
        if in_hand.begun:
            return
        in_hand.begun = True
        work, workers = self._renewed()
        is_one_task = self._executor.takes_whole_batches
        whole = is_one_task or any(work.by_range)
        slices = sliced(in_hand.plan.ranges, workers.slots, self._source.leader_epoch, whole=whole)
        parts = [slices] if is_one_task else [[each] for each in slices]
        self._tasks[id(in_hand)] = [_Task(part, self._submitted(part)) for part in parts if part]
        in_hand.prepared.add_done_callback(lambda _: self._forget(in_hand))

    def wait(self, in_hand: BatchInHand, is_wanted: Callable[[], bool]) -> Prepared:
        """Wait for what its workers give; see ``Preparing``.

        Raises:
            WorkerLost: its workers were lost more than once.
            BatchDropped: it is not wanted any more, or cannot be read any more, of which the source tells.
            ConfigurationError: workers cannot do what they are to do.
        """
        self.begin(in_hand)
        tasks = self._tasks[id(in_hand)]
        try:
            outcomes = [self._outcome(task, is_wanted) for task in tasks]
            prepared = self._prepared(in_hand, [task.slices for task in tasks], outcomes)
        except PositionGone as gone:
            raise self._gone(gone) from gone
        except FailedElsewhere as failure:
            if self._executor.takes_whole_batches:
                raise
            prepared = self._done_over(in_hand, failure, is_wanted)
        finally:
            in_hand.drop()
        return prepared

    def again(self, in_hand: BatchInHand, part: Batch | None, is_wanted: Callable[[], bool]) -> Results:
        """Prepare the batch in hand, or a part of it, here; its records are read first, if they were not."""
        if isinstance(in_hand.batch, CountedBatch):
            if self._executor.takes_whole_batches:
                raise ProcessingError(
                    f"the results of {', '.join(map(str, in_hand.plan.ranges[:3]))} could not be written, and which "
                    f"record is to blame {self._executor.describe()} cannot tell; nothing of the batch was committed"
                )
            self._read_here(in_hand, is_wanted)
        return self._here.again(in_hand, part, is_wanted)

    def close(self, is_waited_for: Callable[[], bool]) -> None:
        """End all tasks, and the workers of this run."""
        for tasks in list(self._tasks.values()):
            self._abandon(tasks)
        self._tasks.clear()
        if self._running is not None:
            self._running[1].close()
        self._reading.close()
        self._here.close(is_waited_for)

    # -----------------------------------------------------------------------------------------------------------------

    def _renewed(self) -> tuple[Work, Workers]:
        """The workers, started if they were not, and the work as they know it: with all that is known by now."""
        work = self._work()
        if self._running is None:
            self._running = work, self._executor.start(work)
        elif work is not self._running[0]:
            self._running[1].change(work)
            self._running = work, self._running[1]
        return self._running

    @property
    def _workers(self) -> Workers:
        assert self._running is not None, "open() comes first"
        return self._running[1]

    def _submitted(self, slices: Sequence[Slice]) -> Future[Outcome]:
        future = self._workers.submit(slices)
        self._waiting.expect(future)
        return future

    def _outcome(self, task: _Task, is_wanted: Callable[[], bool]) -> Outcome:
        """What a task comes to; begun again if its worker is lost, or takes too long."""
        since = time.monotonic()
        while True:
            try:
                return task.future.result(_LOOK_S)
            except TimeoutError:
                _look_whether(is_wanted, "workers prepared the batch")
                self._abandoned.end_hanging(self._workers)
                if time.monotonic() - since < self._executor.task_timeout_s:
                    continue
                lost = WorkerLost(
                    f"a worker of {self._executor.describe()} has not come back from {task.slices[0].range} within "
                    f"task_timeout_s={self._executor.task_timeout_s:g}"
                )
            except WorkerLost as error:
                lost = error
            except CancelledError:
                lost = WorkerLost(f"{self._executor.describe()} has cancelled {task.slices[0].range}")
            self._begin_again(task, lost)
            since = time.monotonic()

    def _begin_again(self, task: _Task, lost: WorkerLost) -> None:
        self._workers.abandon(task.future, hangs=True)
        if task.attempts >= MOST_ATTEMPTS:
            raise WorkerLost(
                f"{task.slices[0].range} was given to workers {MOST_ATTEMPTS} times, and none came back: {lost}"
            ) from lost
        logger.warning("%s; it is begun again", lost)
        task.attempts += 1
        self._waiting.let_go(task.future)
        task.future = self._submitted(task.slices)

    def _prepared(
        self, in_hand: BatchInHand, slices: Sequence[Sequence[Slice]], outcomes: Sequence[Outcome]
    ) -> Prepared:
        """Their outcomes, as those of one batch."""
        counts: dict[TopicPartition, int] = {}
        epochs: dict[TopicPartition, int] = {}
        value_bytes = 0
        for part, outcome in zip(slices, outcomes, strict=True):
            found = zip(part, outcome.records, outcome.value_bytes, outcome.leader_epochs, strict=True)
            for each, records, size, epoch in found:
                tp = each.range.topic_partition
                counts[tp] = counts.get(tp, 0) + records
                value_bytes += size
                epochs.pop(tp, None)  # of the last slice alone
                if epoch is not None:
                    epochs[tp] = epoch
        ranges = in_hand.plan.ranges
        self._source.learn(sum(map(len, ranges)), value_bytes)
        in_hand.batch = CountedBatch(ranges, counts)
        in_hand.plan = replace(in_hand.plan, records=sum(counts.values()), value_bytes=value_bytes)
        pieces = [piece for outcome in outcomes for piece in _loaded(outcome)]
        shares = _shares(outcomes)
        took_s = sum(share.busy_s for share in shares.values()) / self._workers.slots
        return Prepared(Results(in_hand.batch, pieces=pieces), took_s, epochs, shares)

    def _done_over(self, in_hand: BatchInHand, failure: FailedElsewhere, is_wanted: Callable[[], bool]) -> Prepared:
        """The batch as if there were no workers: what failed there fails here as well, and is dealt with."""
        logger.info("%s; the batch is prepared here, to find out why", failure)
        self._read_here(in_hand, is_wanted)
        prepared = self._here.wait(BatchInHand(in_hand.plan, batch=in_hand.batch), is_wanted)
        if not prepared.results.rejections:
            logger.warning("it failed on a worker only, and went well here: %s", failure)
        return prepared

    def _read_here(self, in_hand: BatchInHand, is_wanted: Callable[[], bool]) -> None:
        look = partial(_look_whether, is_wanted, "the batch was read here")
        try:
            records = self._reading.read(in_hand.plan.ranges, look)
        except PositionGone as gone:
            raise self._gone(gone) from gone
        in_hand.batch = batch = Batch(in_hand.plan.ranges, records)
        in_hand.plan = replace(in_hand.plan, records=len(batch), value_bytes=sum(map(len, batch)))

    def _gone(self, gone: PositionGone) -> BatchDropped:
        """The source tells of it, as a consumer would have."""
        self._source.lost(gone.lost)
        return BatchDropped(f"{gone}; the batch is dropped, and what is left is looked at")

    def _forget(self, in_hand: BatchInHand) -> None:
        self._abandon(self._tasks.pop(id(in_hand), []))

    def _abandon(self, tasks: Sequence[_Task]) -> None:
        for task in tasks:
            self._waiting.let_go(task.future)
            if not task.future.done():
                self._abandoned.add(self._workers, task.future)


def _look_whether(is_wanted: Callable[[], bool], meanwhile: str) -> None:
    if not is_wanted():
        raise BatchDropped(f"the stop's time ran out while {meanwhile}; nothing of it was written") from None


def _shares(outcomes: Sequence[Outcome]) -> Mapping[str, WorkerShare]:
    """What each worker did."""
    shares: dict[str, WorkerShare] = {}
    for each in outcomes:
        share = WorkerShare(sum(each.records), each.read_s + each.prepare_s)
        shares[each.worker] = shares[each.worker] + share if each.worker in shares else share
    return shares


def _loaded(outcome: Outcome) -> Sequence[Any]:
    try:
        pieces: Sequence[Any] = pickle.loads(outcome.values)  # noqa: S301 - our workers'
    except Exception as error:
        raise FailedElsewhere(f"what prepare gave in {outcome.worker} cannot be loaded here: {said(error)}") from error
    return pieces


__all__ = ["BATCHES_AHEAD", "MOST_ATTEMPTS", "Dispatch", "Reading"]
