"""The only loop: events, then the next batch, then the transaction; and what to do when one of them fails."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from kafka_stream.batch import Batch
from kafka_stream.engine.acquisition import Acquisition
from kafka_stream.engine.assignment import GroupAssignment, assignment_from
from kafka_stream.engine.batches_in_hand import BatchesInHand
from kafka_stream.engine.bounds import NO_PROGRESS_S, BoundedRun, resolve_until
from kafka_stream.engine.matched_topics import MatchedTopics
from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.engine.patience import Patience, jitter
from kafka_stream.engine.planner import Planner
from kafka_stream.engine.preparing import BatchInHand, Preparing
from kafka_stream.engine.processing import BatchDropped
from kafka_stream.engine.recorder import Recorder
from kafka_stream.engine.reporter import Reporter
from kafka_stream.engine.retry import Decision, Rejoin, RetryAfter, Stop, decide, given_up
from kafka_stream.engine.settlement import Settlement
from kafka_stream.engine.ticks import Ticks
from kafka_stream.engine.timings import Timings
from kafka_stream.engine.topic_look import TopicLook
from kafka_stream.engine.watchdog import Watchdog
from kafka_stream.errors import (
    CommitOutcomeUnknown,
    ConfigurationError,
    HangingTransaction,
    KafkaStreamError,
    OwnershipLost,
    TransientError,
)
from kafka_stream.failures.strategies import Failures
from kafka_stream.namesakes import Namesakes
from kafka_stream.progress import Listeners, RunSummary, StreamState, StreamStatus
from kafka_stream.protocols import (
    Assigned,
    BoundStore,
    Failed,
    Lost,
    OffsetStore,
    PositionLost,
    Revoked,
    Source,
    SourceEvent,
    WaitingStore,
)
from kafka_stream.settings import StreamSettings
from kafka_stream.types import Guarantee, Owner, Phase, PlanKind, TopicPartition

logger = logging.getLogger("kafka_stream")

START_TIMEOUT_S = 30.0


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
        preparing: Preparing,
        guarantee: Guarantee,
        listeners: Listeners,
        request: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._owner = owner
        self._store = store
        self._source = source
        self._preparing = preparing
        self._processor = processor = preparing.processor
        self._guarantee = guarantee
        self._listeners = listeners
        self._request = request
        self._clock = clock
        self._assignment = assignment_from(settings.assignment)
        self._recorder = Recorder(store, settings.name, owner, timedelta(days=settings.history_days), clock)
        self._ownership = Ownership(
            stream=settings.name,
            owner=owner,
            store=store,
            source=source,
            on_data_loss=settings.on_data_loss,
            range_sinks=processor.range_sinks,
            on_moved=self._moved,
        )
        self._reporter = Reporter(settings.name, owner, guarantee, self._ownership, clock)
        self._patience = Patience(listeners, lambda: request.stop, clock)
        self._settlement = Settlement(
            self._ownership, self._patience, self._reporter, listeners, lambda: request.drop_batch
        )
        self._matched = MatchedTopics(settings.topics, self._ownership, source)
        self._topic_look = TopicLook(source, self._ownership, self._matched, self._reporter, listeners, clock)
        self._ticks = Ticks(processor.ticking_sinks, self._ownership, source, clock)
        self._planner = Planner(settings, source, self._ownership, clock)
        self._in_hand = BatchesInHand(self._planner, preparing, self._ownership, source, listeners, clock)
        self._namesakes = Namesakes(settings.name, settings.group_id or settings.name, owner, store, source)
        self._bounded: BoundedRun | None = None
        self._acquisition = Acquisition(self._ownership, self._recorder, listeners, self._reporter, clock)
        self._events: deque[SourceEvent] = deque()
        self._failures = 0
        self._retried = Failures(settings.retry.reset_after_s)
        self._owes_batch = False
        waits_for = store.waits_for if isinstance(store, WaitingStore) else lambda: None
        self._watchdog = Watchdog(settings.name, lambda: self.status, waits_for=waits_for)

    @property
    def status(self) -> StreamStatus:
        """A snapshot, from any thread."""
        return replace(self._reporter.status, buffered=self._planner.buffered_records)

    # ------------------------------------------------------------------------------------------------ start and end

    def run(self, until: Any = None) -> RunSummary:
        """Run until stopped, or until the bound is reached; raises what stopped it."""
        failure: BaseException | None = None
        self._reporter.set(state=StreamState.STARTING)
        self._watchdog.start()
        try:
            if isinstance(self._store, BoundStore):
                self._store.bind(self._settings.binding(bounded_by=until))
            if self._has_started(until):
                self._listeners.on_start(self._settings.name, self._owner, self._guarantee)
                self._reporter.set(state=StreamState.RUNNING)
                while not self._finished():
                    self._turn()
                self._leave()
                self._look_behind_end()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._close(failure)
        return self._reporter.summary()

    def _has_started(self, until: Any) -> bool:
        """Open store and source, and begin; false if a stop came first."""
        open_store = partial(self._patience.retrying_for, START_TIMEOUT_S, self._store.open)
        open_source = partial(self._source.open, START_TIMEOUT_S, lambda: self._request.stop)
        # A store in Kafka comes after the source, which says at once why a client cannot reach its brokers.
        is_in_kafka = self._store.capabilities.transaction == "kafka"
        try:
            self._patience.retrying_for(START_TIMEOUT_S, self._preparing.open)
            for step in (open_source, open_store) if is_in_kafka else (open_store, open_source):
                step()
            self._patience.retrying_for(START_TIMEOUT_S, lambda: self._begin(until))
        except TransientError as error:
            if not self._request.stop:
                raise
            logger.warning("stream %r was stopped before it had started: %s", self._settings.name, error)
            return False
        return True

    def _begin(self, until: Any) -> None:
        if isinstance(self._store, BoundStore):
            self._store.check_cluster(self._source.cluster_id())
        topics = self._source.topics()
        if until is not None:
            self._refuse_live_group()
        self._matched.begin(topics, self._settings.start)
        if isinstance(self._assignment, GroupAssignment) and until is None:
            self._namesakes.refuse(None if self._matched.come_and_go else topics)
            self._source.subscribe()
            return
        static = assignment_from("static") if isinstance(self._assignment, GroupAssignment) else self._assignment
        assert not isinstance(static, GroupAssignment)
        partitions = self._matched.share(static, topics)
        if until is not None:
            bounds = dict(resolve_until(self._source, partitions, until))
            patience_s = NO_PROGRESS_S + self._planner.longest_pause_s()
            self._bounded = BoundedRun(until, bounds, self._clock(), patience_s)
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
        if self._bounded is None or self._acquisition.waiting:
            return False
        return not self._bounded.short_of(self._ownership.next_offsets())

    def _leave(self) -> None:
        """Commit progress over empty ranges, so that a later start does not miss it after retention."""
        self._reporter.set(state=StreamState.STOPPING)
        self._in_hand.read_again()
        if not self._request.drop_batch and (empty := self._in_hand.empty()):
            try:
                self._process(empty)
            except KafkaStreamError as error:
                logger.info("progress over empty ranges was not committed at the stop: %s", error)

    def _look_behind_end(self) -> None:
        """A bounded run that has come to its end says what keeps more from it, if that will not pass."""
        if self._bounded is None or self._request.stop:
            return
        try:
            self._bounded.check_end(self._source, self._wait_for)
        except HangingTransaction:
            raise
        except KafkaStreamError as error:  # nobody answers, or a topic is gone: what the run was to do is done
            logger.info("whether transactions hang behind the ends was not found out: %s", error)

    def _wait_for(self, seconds: float) -> bool:
        """False if a stop came before the time was over."""
        deadline = self._clock() + seconds
        while not self._request.stop and (left_s := deadline - self._clock()) > 0:
            self._source.wait(left_s)
        return not self._request.stop

    def _close(self, failure: BaseException | None) -> None:
        """Each in its turn, whatever comes of the others: a stop's time that runs out interrupts any of them."""
        with ExitStack() as closing:
            closing.push(lambda kind, error, traceback: self._end(failure or error))
            # a failure is told at once
            closing.callback(self._preparing.close, lambda: failure is None and self._has_time())
            closing.callback(self._store.close)
            closing.callback(self._source.close)
            if not self._request.drop_batch:
                closing.callback(self._recorder.stopped)
            closing.callback(self._in_hand.drop)
            closing.callback(self._watchdog.stop)

    def _end(self, failure: BaseException | None) -> None:
        state = StreamState.STOPPED if failure is None else StreamState.FAILED
        self._reporter.without_batch(state, failure)
        self._listeners.on_stop(failure)

    # ------------------------------------------------------------------------------------------------------ one turn

    def _turn(self) -> None:
        try:
            self._handle_events()
            acquired = self._acquisition.take_over_due()
            if acquired:
                self._ticks.taken_over()
                self._namesakes.look_again()
            self._topic_look.if_due(None if self._bounded else self._assignment, self._acquisition.waiting)
            if self._bounded is not None:
                self._bounded.follow_losses(self._source, self._ownership.vanished)
            self._tick_if_due()
            batch = self._in_hand.next()
            if batch is not None:
                self._process(batch)
            else:
                self._recorder.write_due()
                self._source.wait(self._wait_s())
        except BatchDropped as dropped:
            logger.warning("%s", dropped, extra={"event": "dropped"})
        except (TransientError, OwnershipLost) as error:
            self._recover(error)
        else:
            if self._failures and (batch is not None or acquired or not self._owes_batch):
                self._failures = 0
                self._retried.got_over(self._clock())
                self._reporter.set(state=StreamState.RUNNING, error=None)

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
                self._acquisition.add(partitions)
            case Revoked(partitions) | Lost(partitions):
                # No batch is in hand here: what could be finished in time has been, and the rest was dropped.
                self._acquisition.discard(partitions)
                ours = self._ownership.positions.keys() & set(partitions)
                self._ownership.drop(partitions)
                self._source.release(partitions)
                if ours:
                    self._listeners.on_released(ours)
            case PositionLost():
                self._ownership.position_lost(event)
        self._reporter.positions_changed()

    def _moved(self, tp: TopicPartition, from_offset: int, until_offset: int) -> None:
        """A loss was answered: the position is elsewhere now."""
        self._recorder.moved(tp, from_offset, until_offset)
        self._listeners.on_moved(tp, from_offset, until_offset)
        if self._bounded is not None:
            self._bounded.lost.add(tp)

    def _wait_s(self) -> float:
        if self._bounded is not None and not self._acquisition.waiting:
            self._bounded.check_progress(self._source, self._ownership.next_offsets(), self._clock())
        return self._planner.wait_s()

    def _tick_if_due(self) -> None:
        """Time passes for sinks, in a transaction that moves nothing."""
        caught_up_s = self._ticks.due(self._reporter.status.lag)
        if caught_up_s is None:
            return
        claim = self._ownership.standing()
        try:
            self._processor.tick(claim, caught_up_s, self._has_time)
        except CommitOutcomeUnknown as error:
            self._settlement.settle(claim, error)
        self._ticks.done()

    # ------------------------------------------------------------------------------------------------------- a batch

    def _process(self, in_hand: BatchInHand) -> None:
        ranges = in_hand.plan.ranges
        self._reporter.begun(ranges)
        prepared = self._preparing.wait(in_hand, self._has_time)
        batch = in_hand.batch
        if len(batch):
            self._listeners.on_phase(Phase.AFTER_PREPARE, ranges)
        started = self._clock()
        plan_kind = self._plan_kind(batch)
        claim = self._ownership.claim(ranges, prepared.leader_epochs, plan_kind)
        if plan_kind is PlanKind.RANGE:
            self._ownership.plan(claim)
        self._listeners.on_phase(Phase.AFTER_PLAN, ranges)
        again = partial(self._preparing.again, in_hand, is_wanted=self._has_time)
        try:
            timings = self._processor.commit(prepared.results, claim, self._go_on, self._has_time, again)
            self._ownership.committed(claim)
        except CommitOutcomeUnknown as error:
            self._settlement.settle(claim, error)
            timings = Timings(0.0, 0.0, 0.0, self._clock() - started)
        self._processor.committed()
        self._in_hand.committed()
        taken = replace(timings, fetch_s=in_hand.fetch_s, prepare_s=prepared.prepare_s, workers=prepared.workers)
        self._account(in_hand, taken)

    def _go_on(self) -> None:
        """While a batch is written."""
        if not self._request.stop:
            self._in_hand.take_behind()

    def _has_time(self) -> bool:
        """No stop's time has run out."""
        return not self._request.drop_batch

    def _plan_kind(self, batch: Batch) -> PlanKind:
        """By range if some sink writes so, and this batch writes, or clears a plan."""
        planned = self._ownership.planned()
        repeats = any(r.topic_partition in planned for r in batch.ranges)
        return PlanKind.RANGE if repeats or (self._ownership.plans_ranges and len(batch)) else PlanKind.TRANSACTION

    def _account(self, committed: BatchInHand, timings: Timings) -> None:
        if self._bounded is not None:
            self._bounded.moved_at = self._clock()
        progress = self._reporter.committed(
            committed.plan,
            timings,
            attempt=self._failures + 1,
            dead_letters=self._processor.set_aside,
            duplicates=self._processor.duplicates,
            times=committed.batch.times(),
        )
        self._planner.committed(committed.plan, committed.batch, progress.duration_s)
        self._recorder.committed(progress)
        self._listeners.on_batch(progress)

    # ------------------------------------------------------------------------------------------------------ recover

    def _recover(self, error: TransientError | OwnershipLost) -> None:
        self._failures += 1
        in_hand = self._in_hand.drop()
        self._owes_batch = bool(in_hand)
        if isinstance(error, OwnershipLost) and in_hand and self._source.is_revoking(in_hand):
            self._ownership.rewind(in_hand)  # dropped: the events to come say what we still own
            return
        decision = self._decision(error)
        if isinstance(decision, Stop):
            if isinstance(error, TransientError):
                raise given_up(error, self._settings.retry, self._retried) from error
            raise error
        self._reporter.without_batch(StreamState.RETRYING, error)
        self._patience.wait(error, decision.delay_s, attempt=self._failures)
        if self._bounded is not None and in_hand:  # the broker had delivered: what took long was not waiting for it
            self._bounded.moved_at = self._clock()
        if isinstance(decision, RetryAfter):
            if in_hand and self._failures > 1:
                self._planner.failed_again()
            self._ownership.rewind(in_hand)
        elif isinstance(decision, Rejoin):
            self._ownership.drop(list(self._ownership.positions))
            self._acquisition.discard(self._acquisition.waiting)
            self._events.clear()
            self._source.rejoin()
        else:
            self._acquisition.add(self._ownership.positions)
            self._ownership.drop(list(self._ownership.positions))

    def _decision(self, error: TransientError | OwnershipLost) -> Decision:
        chance, pause_s = jitter(), None
        if isinstance(error, TransientError):
            self._retried.failed(self._clock())
            pause_s = self._settings.retry.pause_s(self._retried, chance)
        return decide(
            error,
            owner=self._owner,
            in_group=self._in_group,
            failures=self._failures,
            jitter=chance,
            pause_s=pause_s,
        )


__all__ = ["BatchDropped", "Loop", "StopRequest"]
