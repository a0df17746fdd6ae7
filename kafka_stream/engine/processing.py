"""One batch through user code and the store's transaction: prepare, then claim · write · advance, then commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from kafka_stream.batch import Batch
from kafka_stream.engine.timings import Timings
from kafka_stream.errors import KafkaStreamError, ProcessingError, RecordError, TransactionEscaped
from kafka_stream.executors.preparation import Preparation
from kafka_stream.failures.kinds import UserCode, UserErrors
from kafka_stream.failures.naming import culprit
from kafka_stream.failures.rescue import Again, HeldChanged, Rescue
from kafka_stream.failures.results import Results, Writing
from kafka_stream.progress import Listeners
from kafka_stream.protocols import OffsetStore, OverlappingSink, RangeSink, Sink, StoreTransaction, TickingSink
from kafka_stream.protocols.sinks import FilteredSink
from kafka_stream.types import Claim, Phase, TopicPartition
from kafka_stream.user_code import FunctionSink
from kafka_stream.user_results import Untouched, refuse_deferred

logger = logging.getLogger("kafka_stream")


InTransaction: TypeAlias = Callable[[Callable[[Any], None]], Timings]


class BatchDropped(KafkaStreamError):
    """The batch in hand may not be committed any more (a stop ran out of time); nothing was written."""


class BatchProcessor:
    """Runs user code. What it raises is a ``KafkaStreamError``; a failure of user code is chained as its cause.

    With a ``rescue`` the records that fail are set aside, and the others go on.
    """

    def __init__(
        self,
        *,
        store: OffsetStore[StoreTransaction],
        prepare: Callable[[Any], Any] | None,
        sinks: Sequence[Sink],
        listeners: Listeners,
        transient_errors: tuple[type[BaseException], ...] = (),
        rescue: Rescue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._errors = UserErrors(store, transient_errors)
        self._prepare = prepare
        self._sinks = tuple(sinks)
        self._preparation = Preparation(prepare, sinks)
        self._by_range = self._preparation.by_range
        self._overlapping = [sink if isinstance(sink, OverlappingSink) else None for sink in sinks]
        self._filtered = [sink if isinstance(sink, FilteredSink) else None for sink in sinks]
        self._is_shared = prepare is not None and len(self._sinks) > 1
        self._listeners = listeners
        self._rescue = rescue
        self._clock = clock

    @property
    def prepares(self) -> bool:
        """Whether there is anything to do before a batch's transaction."""
        return self._prepare is not None or not all(isinstance(sink, FunctionSink) for sink in self._sinks)

    @property
    def range_sinks(self) -> Sequence[RangeSink]:
        """The sinks that are idempotent by range."""
        return tuple(sink for sink in self._sinks if isinstance(sink, RangeSink))

    @property
    def ticking_sinks(self) -> Sequence[TickingSink]:
        """The sinks for which time passes also when no records come."""
        return tuple(sink for sink in self._sinks if isinstance(sink, TickingSink))

    def close(self) -> None:
        """Close the event loop of an ``async def prepare``, on the thread that it was on."""
        self._preparation.close()

    def prepare(self, batch: Batch) -> Results:
        """What each sink takes. Pure: it may run again for the same records.

        Raises:
            ProcessingError: user code failed, and no record could be set aside for it.
            TransientError: it said that trying again may help.
        """
        if self._rescue is not None:
            return self._rescue.prepare(batch, self._values)
        return Results(batch, self._values(batch))

    def _values(self, batch: Batch) -> Sequence[Any]:
        """What each sink takes of a batch as it is."""
        with self._listeners.preparing(batch), UserCode(self._errors, "prepare", batch):
            return self._preparation.values(batch)

    def commit(
        self,
        results: Results,
        claim: Claim,
        go_on: Callable[[], None],
        may_commit: Callable[[], bool],
        again: Again,
    ) -> Timings:
        """Claim, write, advance and commit in one transaction; in a second one, if records are to be set aside.

        ``go_on`` is called when it is claimed, or more often: until then each request of the transaction would wait
        for the interpreter, not for the server. ``again`` prepares the batch, or parts of it, once more.

        Raises:
            OwnershipLost, OutstandingPlan, TransientError, ProcessingError, BatchDropped: nothing was committed.
            CommitOutcomeUnknown: to be settled.
        """
        in_transaction = partial(self._in_transaction, claim, go_on, may_commit)
        if results.pieces is not None:
            committed = self._commit_pieces(results, in_transaction, go_on)
            if committed is not None:
                return committed
            results = again(None)
        if self._rescue is None:
            try:
                return in_transaction(lambda transaction: self._write(results, transaction, go_on, self._everywhere))
            except ProcessingError as error:
                self._name(error, results, in_transaction, again)
                raise
        writing = self._writing(claim, go_on, may_commit)
        return self._rescue.commit(results, claim, writing, in_transaction, again)

    def _writing(self, claim: Claim, go_on: Callable[[], None], may_commit: Callable[[], bool]) -> Writing:
        """How a batch, or a part of it, is written where records may be set aside."""
        tell = self._listeners.on_phase

        def attempted() -> None:
            tell(Phase.AFTER_ATTEMPT, claim.ranges)
            _refuse_late(may_commit)

        return Writing(
            everywhere=lambda found, transaction: self._write(found, transaction, go_on, self._everywhere),
            where_undone=lambda found, transaction: self._write(found, transaction, _nothing, self._undone),
            where_whole=self._write_whole if any(self._by_range) else None,
            attempted=attempted,
            set_aside=lambda: tell(Phase.AFTER_SET_ASIDE, claim.ranges),
            duplicates=lambda: self._kept_back,
        )

    def _commit_pieces(
        self, results: Results, in_transaction: InTransaction, go_on: Callable[[], None]
    ) -> Timings | None:
        """Of what workers made of a batch; ``None`` where a record, or the order of keys, is to be looked at first."""
        write = partial(self._write_pieces, results, go_on=go_on)
        try:
            if self._rescue is None:
                return in_transaction(write)
            return self._rescue.commit_whole(results, write, in_transaction, lambda: self._kept_back)
        except TransactionEscaped:
            raise
        except (ProcessingError, HeldChanged) as error:
            logger.info("%s; the batch is prepared here, to find out why", error)
            return None

    def _write_pieces(self, results: Results, transaction: Any, go_on: Callable[[], None]) -> None:
        """To each sink all pieces in order; to one that keeps whole ranges, all of them at once."""
        kept_back = 0
        pieces = results.pieces or ()
        for number, filtered in enumerate(self._filtered):
            values = [piece[number] for piece in pieces]
            if self._by_range[number]:
                values = [{r: value for each in values for r, value in each.items()}] if values else []
            for place, value in enumerate(values):  # to look for the next batch at each of many takes its time
                self._write_to(number, value, transaction, _nothing if place else go_on, results.batch)
                kept_back += 0 if filtered is None else filtered.duplicates
        self._kept_back = kept_back

    def _name(self, failure: ProcessingError, results: Results, in_transaction: InTransaction, again: Again) -> None:
        """Raise the error that names the record which a database has refused, if that is not known and found out."""
        told = self._errors.refused_row(failure)
        if told is None or len(results.batch) < 2:
            return

        def write(found: Results, transaction: Any) -> None:
            self._write(found, transaction, _nothing, self._undone)

        if (found := culprit(failure, results, in_transaction, write, again)) is not None:
            raise RecordError.of(found.message, f"{told}; nothing of the batch was committed") from failure.__cause__

    @property
    def set_aside(self) -> int:
        """How many dead letters are of the batch that was committed last."""
        return 0 if self._rescue is None else self._rescue.set_aside

    @property
    def duplicates(self) -> int:
        """How many records of the batch that was committed last were kept back as duplicates."""
        return self._kept_back if self._rescue is None else self._rescue.duplicates

    def committed(self) -> None:
        """What ``commit`` has written last is committed, as it said or as was found out since."""
        if self._rescue is not None:
            self._rescue.committed()

    def _in_transaction(
        self,
        claim: Claim,
        go_on: Callable[[], None],
        may_commit: Callable[[], bool],
        write: Callable[[Any], None],
    ) -> Timings:
        tell, clock = self._listeners.on_phase, self._clock
        started = clock()
        with self._store.begin(claim) as transaction:
            claimed = clock()
            tell(Phase.AFTER_CLAIM, claim.ranges)
            write(transaction)
            go_on()
            written = clock()
            tell(Phase.AFTER_WRITE, claim.ranges)
            _refuse_late(may_commit)
            transaction.advance()
            tell(Phase.AFTER_ADVANCE, claim.ranges)
            transaction.commit()
        tell(Phase.AFTER_COMMIT, claim.ranges)
        return Timings(0.0, claimed - started, written - claimed, clock() - written)

    def tick(self, claim: Claim, caught_up_s: Mapping[TopicPartition, float], may_commit: Callable[[], bool]) -> None:
        """Have time pass for the sinks, in a transaction of its own; raises as ``commit`` does."""
        no_records = Batch(claim.ranges, {})

        def write(transaction: Any) -> None:
            for sink in self.ticking_sinks:
                with UserCode(self._errors, sink.describe(), no_records):
                    sink.tick(caught_up_s, transaction)

        self._in_transaction(claim, _nothing, may_commit, write)

    def write(self, results: Results, transaction: StoreTransaction) -> None:
        """Write to all sinks, in somebody's own transaction; raises as ``commit`` does for what user code raises."""
        self._write(results, transaction, _nothing, self._everywhere)

    @property
    def _everywhere(self) -> Sequence[bool]:
        return [True] * len(self._sinks)

    @property
    def _undone(self) -> Sequence[bool]:
        """The sinks whose writes are of the transaction, and of an attempt in it."""
        return [not by_range for by_range in self._by_range]

    def _write(self, results: Results, transaction: Any, go_on: Callable[[], None], sinks: Sequence[bool]) -> None:
        """To those of the sinks that are wanted."""
        self._kept_back = 0
        if not len(results.batch):
            return
        untouched = Untouched(results.values) if self._is_shared else None
        for number, (sink, value) in enumerate(zip(self._sinks, results.values, strict=True)):
            if not sinks[number]:
                continue
            if untouched is not None:
                untouched.check(sink.describe)
            self._write_to(number, value, transaction, go_on, results.batch)
            self._kept_back += 0 if (filtered := self._filtered[number]) is None else filtered.duplicates

    def _write_whole(self, results: Results, transaction: Any) -> None:
        """To those that keep whole ranges."""
        self._write(results, transaction, _nothing, self._by_range)

    def _write_to(self, number: int, value: Any, transaction: Any, go_on: Callable[[], None], batch: Batch) -> None:
        sink, overlapping = self._sinks[number], self._overlapping[number]
        if overlapping is None:
            go_on()
        with UserCode(self._errors, sink.describe(), batch):
            outcome: Any = (  # whatever waits to be run is a user's mistake
                overlapping.write_overlapping(value, transaction, go_on)  # type: ignore[func-returns-value]
                if overlapping is not None
                else sink.write(value, transaction)  # type: ignore[func-returns-value]
            )
        if outcome is not None:
            refuse_deferred(outcome, sink)


def _refuse_late(may_commit: Callable[[], bool]) -> None:
    if not may_commit():
        raise BatchDropped("the stop's time ran out before the batch could be committed; it was rolled back")


def _nothing() -> None:
    """In place of a ``go_on``: no batch is prepared ahead while parts of one are."""
