"""Which batch is next: what is buffered and owned, within the limits, at the size that earlier batches taught."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from kafka_stream.batch import Batch
from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.engine.planning import (
    FIRST_BATCH_RECORDS,
    FixedCost,
    Plan,
    PlanLimits,
    RateLimit,
    next_size,
    plan,
    plan_empty,
)
from kafka_stream.protocols import Source
from kafka_stream.settings import StreamSettings
from kafka_stream.types import TopicPartition

# Claiming and moving a partition costs what some records cost. Where there are many, a batch moves as many as have this
# many records each, and no fewer than a few: the rest comes next.
RECORDS_PER_PARTITION = 200
FEW_PARTITIONS = 16
IDLE_COMMIT_S = 1.0
LONGEST_WAIT_S = 1.0


class Planner:
    """Plans one run's batches, by the pure rules of ``planning``. Used by the loop's thread only.

    ``bounds`` are the offsets at which a bounded run ends.
    """

    def __init__(
        self,
        settings: StreamSettings,
        source: Source,
        ownership: Ownership,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._source = source
        self._ownership = ownership
        self._clock = clock
        self._rate = RateLimit(settings.max_rate_per_partition) if settings.max_rate_per_partition else None
        self._fixed_cost = FixedCost()
        self._size = min(FIRST_BATCH_RECORDS, settings.max_records_per_batch)
        self._busy_at = self._next_batch_at = clock()
        self._turn: TopicPartition | None = None
        self.bounds: Mapping[TopicPartition, int] | None = None
        self.buffered_records = 0
        """What the last plan was made of; any thread may look."""

    def next(self) -> Plan | None:
        """The next batch, if there is any; over empty ranges only now and then, unless the run is bounded."""
        now = self._clock()
        if now < self._next_batch_at:
            return None
        positions = self._ownership.next_offsets()
        buffered, limits = self._source.buffered(), self._limits(positions, self._ownership.planned())
        self.buffered_records = sum([buffer.records for buffer in buffered.values()])
        found = plan(buffered, positions, limits, turn=self._turn)
        if found.ranges:
            self._busy_at = now
        elif self.bounds is not None or now - self._busy_at >= IDLE_COMMIT_S:
            found = plan_empty(buffered, positions, limits)
        if found.ranges and self._settings.interval_s is not None:
            self._next_batch_at = now + self._settings.interval_s
        return found if found.ranges else None

    def behind(self, before: Sequence[Plan]) -> Plan | None:
        """The batch that will follow those in hand, if it is a full one: else it would better be larger later."""
        if self._rate is not None or self._settings.interval_s is not None or self._ownership.planned():
            return None
        buffered = self._source.buffered()
        if not self._is_full(
            sum([buffer.records for buffer in buffered.values()]),
            sum([buffer.value_bytes for buffer in buffered.values()]),
        ):
            return None
        positions = self._ownership.next_offsets()
        positions.update([(r.topic_partition, r.until_offset) for each in before for r in each.ranges])
        turn = next((each.turn for each in reversed(before) if each.turn is not None), self._turn)
        found = plan(buffered, positions, self._limits(positions, {}), turn=turn)
        if not found.ranges or not self._is_full(found.records, found.value_bytes):
            return None
        self._busy_at = self._clock()
        return found

    def empty(self) -> Plan | None:
        """Progress over ranges without a record, if there is any."""
        positions = self._ownership.next_offsets()
        limits = self._limits(positions, self._ownership.planned())
        found = plan_empty(self._source.buffered(), positions, limits)
        return found if found.ranges else None

    def wait_s(self) -> float:
        """How long to wait for data before the next look, in seconds."""
        now = self._clock()
        if now < self._next_batch_at:
            return min(LONGEST_WAIT_S, self._next_batch_at - now)
        if self._rate is not None:
            return min(0.1, max(0.01, 1 / self._rate.rate))
        return LONGEST_WAIT_S / 4

    def longest_pause_s(self) -> float:
        """How long the settings may have a stream wait between two batches, in seconds."""
        return (self._settings.interval_s or 0.0) + (1 / self._rate.rate if self._rate else 0.0)

    def committed(self, plan: Plan, batch: Batch, duration_s: float) -> None:
        """A batch took so long."""
        self._turn = plan.turn or self._turn
        if self._rate is not None:
            for tp in plan.partitions:
                self._rate.spend(tp, batch.count_of(tp))
        if count := len(batch):
            self._fixed_cost.observe(count, duration_s)
            target_s = self._fixed_cost.attainable_s(self._settings.target_batch_duration_s)
            most = self._settings.max_records_per_batch
            self._size = next_size(self._size, count, duration_s, target_s, most)

    def failed_again(self) -> None:
        """A batch failed more than once: its size may be why, as where a transaction takes too long."""
        self._size = max(1, self._size // 2)

    def _is_full(self, records: int, value_bytes: int) -> bool:
        return records >= self._size or 2 * value_bytes > self._settings.max_bytes_per_batch

    def _limits(self, positions: Mapping[TopicPartition, int], planned: Mapping[TopicPartition, int]) -> PlanLimits:
        return PlanLimits(
            max_records=self._size,
            max_bytes=self._settings.max_bytes_per_batch,
            max_partitions=max(FEW_PARTITIONS, self._size // RECORDS_PER_PARTITION),
            max_records_per_partition=self._settings.max_records_per_partition,
            allowances=self._rate.allowances(positions, self._clock()) if self._rate else None,
            bounds=self.bounds,
            planned=planned,
        )


__all__ = ["Plan", "Planner"]
