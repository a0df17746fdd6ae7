"""What a run says about itself: its status at any time, each batch's progress, and their sum at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.engine.planner import Plan
from kafka_stream.engine.timings import Timings
from kafka_stream.errors import KafkaStreamError
from kafka_stream.progress import RunSummary, StreamState, StreamStatus
from kafka_stream.protocols import BatchProgress
from kafka_stream.types import Guarantee, OffsetRange, Owner, TopicPartition


class Told(TypedDict):
    """What a batch's report says that its plan and its timings do not; see ``BatchProgress``."""

    attempt: int
    dead_letters: int
    duplicates: int
    times: Mapping[TopicPartition, tuple[datetime, datetime]]


class Reporter:
    """Keeps ``status``, which any thread may look at. Everything else is used by the loop's thread only."""

    def __init__(
        self,
        stream: str,
        owner: Owner,
        guarantee: Guarantee,
        ownership: Ownership,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._guarantee = guarantee
        self._ownership = ownership
        self._clock = clock
        self._started_at = clock()
        self._ends: Mapping[TopicPartition, int] = {}
        self._begun: Sequence[OffsetRange] = ()
        self._moved: dict[TopicPartition, OffsetRange] = {}
        self._trouble: KafkaStreamError | None = None
        self.status = StreamStatus(owner=owner, guarantee=guarantee)

    def set(self, **changes: Any) -> None:
        """Change the status."""
        self.status = replace(self.status, **changes)

    def positions_changed(self) -> None:
        """Partitions came, went, or stand elsewhere."""
        self.set(positions=self._ownership.next_offsets(), lag=self._lag())

    def ends_are(self, ends: Mapping[TopicPartition, int]) -> None:
        """What lag is measured to, from now on."""
        self._ends = ends
        self.set(lag=self._lag())

    def trouble_is(self, trouble: KafkaStreamError | None) -> None:
        """What the source runs into by itself, and gets over: it shows while the loop has nothing of its own to say."""
        shown = self.status.error
        if self.status.state is not StreamState.RUNNING if shown is None else shown is not self._trouble:
            return
        if trouble is not shown:
            self._trouble = trouble
            self.set(state=StreamState.RUNNING if trouble is None else StreamState.RETRYING, error=trouble)

    def begun(self, ranges: Sequence[OffsetRange]) -> None:
        """A batch is in hand."""
        self._begun = ranges
        self.set(batch_started_at=datetime.now(UTC))

    def without_batch(self, state: StreamState, failure: BaseException | None) -> None:
        """No batch is in hand any more: what was read of one, and not committed, is lag."""
        read = {r.topic_partition: r.until_offset for r in self._begun}
        self._ends = {tp: max(end, read.get(tp, end)) for tp, end in self._ends.items()}
        self.positions_changed()
        self.set(state=state, error=failure, batch_started_at=None)

    def committed(
        self,
        plan: Plan,
        timings: Timings,
        **told: Unpack[Told],
    ) -> BatchProgress:
        """A batch is committed."""
        self._moved_over(plan.ranges)
        progress = self._progress(plan, timings, told)
        self.set(
            positions=self._ownership.next_offsets(),
            lag=progress.lag,
            batches=progress.batch,
            records=self.status.records + progress.records,
            dead_letters=self.status.dead_letters + progress.dead_letters,
            duplicates=self.status.duplicates + progress.duplicates,
            batch_started_at=None,
            committed_at=progress.committed_at,
            reached={**self.status.reached, **{tp: last for tp, (_, last) in progress.times.items()}},
        )
        return progress

    def _progress(self, plan: Plan, timings: Timings, told: Told) -> BatchProgress:
        return BatchProgress(
            stream=self._stream,
            batch=self.status.batches + 1,
            ranges=plan.ranges,
            records=plan.records,
            bytes=plan.value_bytes,
            prepare_s=timings.prepare_s,
            claim_s=timings.claim_s,
            write_s=timings.write_s,
            commit_s=timings.commit_s,
            lag=self._lag(),
            guarantee=self._guarantee,
            committed_at=datetime.now(UTC),
            workers=timings.workers,
            fetch_s=timings.fetch_s,
            **told,
        )

    def _moved_over(self, ranges: Sequence[OffsetRange]) -> None:
        self._begun = ()
        for r in ranges:
            first = self._moved.get(r.topic_partition, r)
            start = min(first.from_offset, r.until_offset)
            self._moved[r.topic_partition] = OffsetRange(r.topic_partition, start, r.until_offset)

    def summary(self) -> RunSummary:
        """What the run did."""
        return RunSummary(
            self.status.batches,
            self.status.records,
            tuple(self._moved[tp] for tp in sorted(self._moved)),
            self._clock() - self._started_at,
            self.status.dead_letters,
            self.status.duplicates,
        )

    def _lag(self) -> Mapping[TopicPartition, int | None]:
        """Not known where the end is not, or is so old that we are past it."""
        ends = self._ends
        return {
            tp: None if (end := ends.get(tp, -1)) < offset else end - offset
            for tp, offset in self._ownership.next_offsets().items()
        }


__all__ = ["Reporter", "Told"]
