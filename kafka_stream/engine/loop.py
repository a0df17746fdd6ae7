"""The only loop: events, then the next batch, then the transaction; and what to do when one of them fails."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka_stream.batch import Batch
from kafka_stream.engine.assignment import GroupAssignment, assignment_from
from kafka_stream.engine.bounds import NO_PROGRESS_S, BoundedRun, resolve_until
from kafka_stream.engine.ownership import Ownership
from kafka_stream.engine.planner import Plan, Planner
from kafka_stream.engine.preparing import BatchInHand, PreparingThread
from kafka_stream.engine.processing import BatchDropped, BatchProcessor, Timings
from kafka_stream.engine.recorder import Recorder
from kafka_stream.engine.retry import Rejoin, RetryAfter, Stop, backoff_s, decide
from kafka_stream.engine.watchdog import Watchdog
from kafka_stream.errors import (
    CommitOutcomeUnknown,
    ConfigurationError,
    KafkaStreamError,
    OwnershipLost,
    TransientError,
)
from kafka_stream.progress import Listeners, RunSummary, StreamState, StreamStatus
from kafka_stream.protocols import (
    Assigned,
    BatchProgress,
    BoundStore,
    Failed,
    Lost,
    OffsetAt,
    OffsetStore,
    PositionLost,
    Revoked,
    Source,
    SourceEvent,
)
from kafka_stream.settings import StreamSettings
from kafka_stream.source.buffer import leader_epochs_of
from kafka_stream.types import Claim, Guarantee, OffsetRange, Owner, Phase, PlanKind, TopicPartition

logger = logging.getLogger("kafka_stream")

START_TIMEOUT_S = 30.0
LOOK_INTERVAL_S = 5.0


@dataclass(slots=True)
class StopRequest:
    """Set from any thread or signal handler; read by the loop between and inside batches."""

    stop: bool = False
    drop_batch: bool = False


class Loop:
    """One run of one stream, on one thread."""

    def __init__(
        self,
        *,
        settings: StreamSettings,
        owner: Owner,
        store: OffsetStore,
        source: Source,
        processor: BatchProcessor,
        guarantee: Guarantee,
        listeners: Listeners,
        request: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._owner = owner
        self._store = store
        self._source = source
        self._processor = processor
        self._guarantee = guarantee
        self._listeners = listeners
        self._request = request
        self._clock = clock
        self._assignment = assignment_from(settings.assignment)
        self._ownership = Ownership(
            stream=settings.name,
            owner=owner,
            store=store,
            source=source,
            on_data_loss=settings.on_data_loss,
            range_sinks=processor.range_sinks,
        )
        self._recorder = Recorder(store, settings.name, owner, timedelta(days=settings.history_days), clock)
        self._planner = Planner(settings, source, self._ownership, clock)
        self._preparing = PreparingThread(processor, settings.name, clock)
        self._in_hand: deque[BatchInHand] = deque()  # the batch that is next, and perhaps the one behind it
        self._committed: BatchInHand | None = None  # the batch before them, to be let go of
        self._ends: Mapping[TopicPartition, int] = {}
        self._moved: dict[TopicPartition, OffsetRange] = {}
        self._bounded: BoundedRun | None = None
        self._to_acquire: set[TopicPartition] = set()
        self._events: deque[SourceEvent] = deque()
        self._failures = 0
        self._owes_batch = False
        self._started_at = clock()
        self._looked_at = self._started_at - LOOK_INTERVAL_S
        self.status = StreamStatus(owner=owner, guarantee=guarantee)
        self._watchdog = Watchdog(settings.name, lambda: self.status)

    # ------------------------------------------------------------------------------------------------ start and end

    def run(self, until: Any = None) -> RunSummary:
        """Run until stopped, or until the bound is reached; raises what stopped it."""
        failure: BaseException | None = None
        self._set(state=StreamState.STARTING)
        self._watchdog.start()
        try:
            if isinstance(self._store, BoundStore):
                self._store.bind(self._settings.binding(bounded_by=until))
            self._retrying_for(START_TIMEOUT_S, self._store.open)
            self._source.open(START_TIMEOUT_S)
            self._retrying_for(START_TIMEOUT_S, lambda: self._begin(until))
            self._listeners.on_start(self._settings.name, self._owner, self._guarantee)
            self._set(state=StreamState.RUNNING)
            while not self._finished():
                self._turn()
            self._leave()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._close(failure)
        return RunSummary(
            self.status.batches,
            self.status.records,
            tuple(self._moved[tp] for tp in sorted(self._moved)),
            self._clock() - self._started_at,
        )

    def _begin(self, until: Any) -> None:
        if isinstance(self._store, BoundStore):
            self._store.check_cluster(self._source.cluster_id())
        topics = self._source.topics()
        if until is not None:
            self._refuse_live_group()
        self._ownership.initialise(topics, self._settings.start)
        if isinstance(self._assignment, GroupAssignment) and until is None:
            self._source.subscribe()
            return
        static = assignment_from("static") if isinstance(self._assignment, GroupAssignment) else self._assignment
        assert not isinstance(static, GroupAssignment)
        partitions = static.partitions(topics)
        if until is not None:
            bounds = resolve_until(self._source, partitions, until)
            self._bounded = BoundedRun(bounds, self._clock(), NO_PROGRESS_S + self._planner.longest_pause_s())
            self._planner.bounds = bounds
        self._source.assign(partitions)

    @property
    def _in_group(self) -> bool:
        return isinstance(self._assignment, GroupAssignment) and self._bounded is None

    def _refuse_live_group(self) -> None:
        if isinstance(self._assignment, GroupAssignment) and (members := self._source.group_members()):
            raise ConfigurationError(
                f"a bounded run owns all partitions itself, but group "
                f"{self._settings.group_id or self._settings.name!r} has {len(members)} member(s): "
                f"{', '.join(members[:3])}; stop them first"
            )

    def _finished(self) -> bool:
        if self._request.stop:
            return True
        if self._bounded is None or self._to_acquire:
            return False
        return not self._bounded.short_of(self._ownership.next_offsets())

    def _leave(self) -> None:
        """Commit progress over empty ranges, so that a later start does not miss it after retention."""
        self._set(state=StreamState.STOPPING)
        self._ownership.rewind(self._drop_in_hand())
        if not self._request.drop_batch and (plan := self._planner.empty()):
            try:
                self._process(self._take(plan))
            except KafkaStreamError as error:
                logger.info("progress over empty ranges was not committed at the stop: %s", error)

    def _close(self, failure: BaseException | None) -> None:
        self._watchdog.stop()
        if not self._request.drop_batch:
            self._recorder.stopped()
        self._source.close()
        self._store.close()
        try:
            self._preparing.close(lambda: not self._request.drop_batch)
        finally:  # a stop whose time runs out interrupts the main thread while it waits
            state = StreamState.STOPPED if failure is None else StreamState.FAILED
            self._set(state=state, error=failure, batch_started_at=None)
            self._listeners.on_stop(failure)

    # ------------------------------------------------------------------------------------------------------ one turn

    def _turn(self) -> None:
        try:
            self._handle_events()
            acquired = self._acquire()
            self._look_at_topics()
            batch = self._next()
            if batch is not None:
                self._process(batch)
            else:
                self._recorder.write_due()
                self._source.wait(self._wait_s())
        except BatchDropped as dropped:
            logger.warning("%s", dropped)
        except (TransientError, OwnershipLost) as error:
            self._recover(error)
        else:
            if self._failures and (batch is not None or acquired or not self._owes_batch):
                self._failures = 0
                self._set(state=StreamState.RUNNING, error=None)

    def _handle_events(self) -> None:
        """An event leaves the queue when it has been dealt with: a retry deals with it again."""
        self._events.extend(self._source.events())
        while self._events:
            event = self._events[0]
            if isinstance(event, Failed):
                self._events.popleft()
                raise event.error
            self._handle(event)
            self._events.popleft()
            if isinstance(event, PositionLost):  # it was answered: others of the partition tell of the same position
                self._events = deque(
                    e for e in self._events if not (isinstance(e, PositionLost) and e.partition == event.partition)
                )

    def _handle(self, event: SourceEvent) -> None:
        match event:
            case Assigned(partitions):
                self._to_acquire.update(partitions)
            case Revoked(partitions) | Lost(partitions):
                # No batch is in hand here: what could be finished in time has been, and the rest was dropped.
                self._to_acquire.difference_update(partitions)
                self._ownership.drop(partitions)
                self._source.release(partitions)
            case PositionLost():
                self._ownership.position_lost(event)
        self._publish_positions()

    def _acquire(self) -> bool:
        """Take over what was assigned; what fails stays on the list, and is tried again after the backoff."""
        if not self._to_acquire:
            return False
        partitions = sorted(self._to_acquire)
        self._ownership.take_over(partitions)
        self._to_acquire.clear()
        positions = self._ownership.next_offsets()
        self._recorder.took_over({tp: positions[tp] for tp in partitions})
        self._listeners.on_positions({tp: positions[tp] for tp in partitions})
        self._publish_positions()
        return True

    def _look_at_topics(self) -> None:
        """Every few seconds: new partitions, recreated topics, and the ends that lag is measured to."""
        now = self._clock()
        if now - self._looked_at < LOOK_INTERVAL_S or not self._ownership.positions:
            return
        try:
            topics = self._source.topics()
            self._ends = self._source.offsets(sorted(self._ownership.positions), OffsetAt.LATEST)
        except TransientError as error:
            self._looked_at = now
            logger.warning("the topics could not be looked at, and will be again in %g s: %s", LOOK_INTERVAL_S, error)
            return
        self._ownership.check_topics(topics)  # what fails here is tried again after the backoff, before a batch
        self._looked_at = now
        if not self._in_group:
            self._ownership.refresh()
        self._ownership.look()
        if not isinstance(self._assignment, GroupAssignment) and self._bounded is None:
            partitions = self._assignment.partitions(topics)
            if set(partitions) - self._ownership.positions.keys() - self._to_acquire:
                self._source.assign(partitions)
        self._set(lag=self._lag())

    # -------------------------------------------------------------------------------------------------------- batches

    def _next(self) -> BatchInHand | None:
        """The batch that is prepared already, if nothing has happened to its partitions; else a new one, if any."""
        if self._in_hand:
            ahead = self._in_hand[0]
            if ahead.starts == self._ownership.starts and self._ownership.positions.keys() >= set(
                ahead.plan.partitions
            ):
                return ahead
            self._ownership.rewind(self._drop_in_hand())
        plan = self._planner.next()
        return None if plan is None else self._take(plan)

    def _take(self, plan: Plan) -> BatchInHand:
        """Take the records of a plan."""
        taken = BatchInHand(plan)
        self._in_hand.append(taken)
        taken.batch = Batch(plan.ranges, self._source.take(plan.ranges))
        taken.starts = self._ownership.starts
        self._listeners.on_phase(Phase.AFTER_FETCH, plan.ranges)
        return taken

    def _go_on(self) -> None:
        """While a batch is written: take the one behind it and begin to prepare it, if there is anything to prepare."""
        if len(self._in_hand) > 1 or not self._preparing.runs_ahead or self._request.stop:
            return
        plan = self._planner.behind(self._in_hand[0].plan)
        if plan is None or self._source.is_revoking(plan.partitions):
            return
        try:
            behind = self._take(plan)
        except OwnershipLost:
            return  # it is void: in its turn it is dropped, and what was taken of it is read again
        committed, self._committed = self._committed, None
        self._preparing.begin(behind, committed)

    def _drop_in_hand(self) -> list[TopicPartition]:
        """Forget what is not committed; return the partitions that it was taken from."""
        partitions = {tp for dropped in self._in_hand for tp in dropped.plan.partitions}
        for dropped in self._in_hand:
            dropped.drop()
        self._in_hand.clear()
        return sorted(partitions)

    def _wait_s(self) -> float:
        if self._bounded is not None:
            self._bounded.check_progress(self._source, self._ownership.next_offsets(), self._clock())
        return self._planner.wait_s()

    # ------------------------------------------------------------------------------------------------------ process

    def _process(self, in_hand: BatchInHand) -> None:
        batch, ranges = in_hand.batch, in_hand.plan.ranges
        self._set(batch_started_at=datetime.now(UTC))
        prepared = self._preparing.wait(in_hand, lambda: not self._request.drop_batch)
        if len(batch):
            self._listeners.on_phase(Phase.AFTER_PREPARE, ranges)
        started = self._clock()
        plan_kind = self._plan_kind(batch)
        claim = self._ownership.claim(ranges, leader_epochs_of(batch.records), plan_kind)
        if plan_kind is PlanKind.RANGE:
            self._ownership.plan(claim)
        self._listeners.on_phase(Phase.AFTER_PLAN, ranges)
        try:
            timings = self._processor.commit(
                batch, prepared.results, claim, self._go_on, lambda: not self._request.drop_batch
            )
            self._ownership.committed(claim)
        except CommitOutcomeUnknown as error:
            if not self._settled_as_committed(claim, error):
                raise TransientError(f"the commit of {ranges[0]} did not take effect: {error}") from error
            timings = Timings(0.0, 0.0, 0.0, self._clock() - started)
        self._in_hand.popleft()
        self._committed = in_hand if self._in_hand else None
        self._account(in_hand, replace(timings, prepare_s=prepared.prepare_s))

    def _plan_kind(self, batch: Batch) -> PlanKind:
        """By range if some sink writes so, and this batch writes, or clears a plan."""
        planned = self._ownership.planned()
        repeats = any(r.topic_partition in planned for r in batch.ranges)
        return PlanKind.RANGE if repeats or (self._ownership.plans_ranges and len(batch)) else PlanKind.TRANSACTION

    def _settled_as_committed(self, claim: Claim, unknown: CommitOutcomeUnknown) -> bool:
        failures = 0
        while True:
            try:
                committed = self._ownership.settle(claim)
            except TransientError as error:
                failures += 1
                self._set(state=StreamState.RETRYING, error=error)
                delay_s = backoff_s(failures, random.random())  # noqa: S311 - jitter, not a secret
                self._retry_later(error, delay_s, lambda: self._request.drop_batch)  # a stop waits for the answer too
                if self._request.drop_batch:
                    raise unknown from error
            else:
                logger.info("an unknown commit outcome was settled: %s", "committed" if committed else "not committed")
                self._set(state=StreamState.RUNNING, error=None)
                return committed

    def _account(self, committed: BatchInHand, timings: Timings) -> None:
        ranges, records = committed.plan.ranges, committed.plan.records
        for r in ranges:
            first = self._moved.get(r.topic_partition, r)
            start = min(first.from_offset, r.until_offset)
            self._moved[r.topic_partition] = OffsetRange(r.topic_partition, start, r.until_offset)
        if self._bounded is not None:
            self._bounded.moved_at = self._clock()
        now = datetime.now(UTC)
        progress = BatchProgress(
            stream=self._settings.name,
            batch=self.status.batches + 1,
            ranges=ranges,
            records=records,
            bytes=committed.plan.value_bytes,
            prepare_s=timings.prepare_s,
            claim_s=timings.claim_s,
            write_s=timings.write_s,
            commit_s=timings.commit_s,
            lag=self._lag(),
            guarantee=self._guarantee,
            committed_at=now,
        )
        self._planner.committed(committed.plan, committed.batch, progress.duration_s)
        self._set(
            positions=self._ownership.next_offsets(),
            lag=progress.lag,
            batches=self.status.batches + 1,
            records=self.status.records + records,
            batch_started_at=None,
            committed_at=now,
        )
        self._recorder.committed(progress)
        self._listeners.on_batch(progress)

    # ------------------------------------------------------------------------------------------------------ recover

    def _recover(self, error: TransientError | OwnershipLost) -> None:
        self._failures += 1
        in_hand = self._drop_in_hand()
        self._owes_batch = bool(in_hand)
        if isinstance(error, OwnershipLost) and in_hand and self._source.is_revoking(in_hand):
            self._ownership.rewind(in_hand)  # dropped: the events to come say what we still own
            return
        decision = decide(
            error,
            owner=self._owner,
            in_group=self._in_group,
            failures=self._failures,
            jitter=random.random(),  # noqa: S311 - jitter, not a secret
        )
        if isinstance(decision, Stop):
            raise error
        self._set(state=StreamState.RETRYING, error=error, batch_started_at=None)
        self._retry_later(error, decision.delay_s)
        if isinstance(decision, RetryAfter):
            if in_hand and self._failures > 1:
                self._planner.failed_again()
            self._ownership.rewind(in_hand)
        elif isinstance(decision, Rejoin):
            self._ownership.drop(list(self._ownership.positions))
            self._to_acquire.clear()
            self._events.clear()
            self._source.rejoin()
        else:
            self._to_acquire.update(self._ownership.positions)
            self._ownership.drop(list(self._to_acquire))

    def _retry_later(self, error: Exception, delay_s: float, given_up: Callable[[], bool] | None = None) -> None:
        logger.warning("%s; trying again in %.1f s", error, delay_s)
        self._listeners.on_retry(error, delay_s)
        given_up = given_up or (lambda: self._request.stop)
        deadline = self._clock() + delay_s
        while not given_up() and (left := deadline - self._clock()) > 0:
            time.sleep(min(left, 0.2))

    def _retrying_for(self, timeout_s: float, action: Callable[[], None]) -> None:
        deadline = self._clock() + timeout_s
        failures = 0
        while True:
            try:
                return action()
            except TransientError as error:
                failures += 1
                delay_s = backoff_s(failures, random.random())  # noqa: S311 - jitter, not a secret
                if self._request.stop or self._clock() + delay_s > deadline:
                    raise
                self._retry_later(error, delay_s)

    # ------------------------------------------------------------------------------------------------------- status

    def _lag(self) -> Mapping[TopicPartition, int | None]:
        return {
            tp: None if tp not in self._ends else max(0, self._ends[tp] - position.next_offset)
            for tp, position in self._ownership.positions.items()
        }

    def _publish_positions(self) -> None:
        self._set(positions=self._ownership.next_offsets(), lag=self._lag())

    def _set(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)


__all__ = ["BatchDropped", "Loop", "StopRequest"]
