"""Pure: what is available, and the limits, into one explicit range per partition; and how large a batch may grow.

A batch's size is found, not guessed: batches start small, grow while they finish well within the target duration and
shrink when the sink is slow (the idea of Spark's PID rate estimator, without the estimator).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kafka_stream.protocols import Buffered
from kafka_stream.types import OffsetRange, TopicPartition

FIRST_BATCH_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What one batch may hold at most.

    ``max_partitions`` holds while these fill the batch: each partition that moves has its price, so that with many of
    them it is better to serve some of them well, and others the next time. ``allowances`` caps single partitions (a
    rate); ``bounds`` are the offsets at which a bounded run ends; ``planned`` are the ends of ranges that are
    outstanding, each to be repeated exactly, whatever the limits are.
    """

    max_records: int
    max_bytes: int
    max_partitions: int | None = None
    max_records_per_partition: int | None = None
    allowances: Mapping[TopicPartition, int] | None = None
    bounds: Mapping[TopicPartition, int] | None = None
    planned: Mapping[TopicPartition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The ranges of a batch, how many records lie in them, and the size of these records' values in bytes.

    ``turn`` is the partition to be served first the next time: the first that could not be served this time, if any.
    """

    ranges: tuple[OffsetRange, ...]
    records: int
    value_bytes: int
    turn: TopicPartition | None = None

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions that it moves."""
        return [r.topic_partition for r in self.ranges]


def plan(
    buffered: Mapping[TopicPartition, Buffered],
    positions: Mapping[TopicPartition, int],
    limits: PlanLimits,
    *,
    turn: TopicPartition | None = None,
) -> Plan:
    """The next batch that holds records, its ranges sorted; without ranges if there are no records to take.

    Every range starts at the partition's position, holds at least one record, and ends at its last record, or, where
    it holds all that is buffered, past the markers and gaps that follow. The records of one batch are shared evenly
    over the partitions that it serves; from ``turn`` on, as far as the limits go. A single record larger than
    ``max_bytes`` is a batch of its own. Planned ranges that are buffered whole are a batch of their own.
    """
    if limits.planned and (repeated := _planned_and_buffered(buffered, positions, limits.planned)):
        counts = {
            r.topic_partition: buffered[r.topic_partition].records_before(r.until_offset)
            for r in repeated
            if r.topic_partition in buffered
        }
        return _plan_of(repeated, counts, buffered)
    wanted = {}
    for tp in _available(buffered, positions, limits.planned):
        if (records := _records_allowed(tp, buffered[tp], limits)) > 0:
            wanted[tp] = records

    ordered = list(wanted)
    start = 0 if turn is None else bisect_left(ordered, turn)
    in_turn = [*ordered[start:], *ordered[:start]]
    counts = _shared_evenly(_served(wanted, limits, in_turn), limits.max_records, in_turn)
    counts = _within_bytes(counts, buffered, limits.max_bytes, in_turn)
    ranges = tuple(
        OffsetRange(tp, positions[tp], _until(tp, buffered[tp], count, limits))
        for tp in wanted
        if (count := counts.get(tp, 0)) > 0
    )
    unserved = len(ranges) < len(wanted)
    return _plan_of(ranges, counts, buffered, next(tp for tp in in_turn if tp not in counts) if unserved else None)


def plan_empty(
    buffered: Mapping[TopicPartition, Buffered], positions: Mapping[TopicPartition, int], limits: PlanLimits
) -> Plan:
    """The ranges that hold no record and are progress all the same: markers, aborted records, compaction."""
    ranges = []
    for tp in _available(buffered, positions, limits.planned):
        if _records_before_bound(tp, buffered[tp], limits) == 0:
            until = _until(tp, buffered[tp], 0, limits)
            if until > positions[tp]:
                ranges.append(OffsetRange(tp, positions[tp], until))
    return Plan(tuple(ranges), 0, 0)


def next_size(size: int, records: int, duration_s: float, target_s: float, maximum: int) -> int:
    """How many records the next batch may hold, after one of ``records`` under a limit of ``size`` took so long.

    At most doubled and at most quartered at a time; only a batch that filled its limit lets the limit grow.
    """
    if duration_s > target_s:
        shrunk = int(records * target_s / duration_s)
        return max(1, min(size, max(shrunk, size // 4)))
    if records < size:
        return size
    growth = min(2.0, target_s / duration_s) if duration_s > 0 else 2.0
    return min(maximum, max(size + 1, int(size * growth)) if growth > 1 else size)


@dataclass(slots=True)
class FixedCost:
    """What a batch costs however small it is, in seconds, from the last two batches of clearly different sizes.

    Without it a sink that takes 2 s for one record as for a thousand would be asked for ever smaller batches.
    """

    estimate_s: float = 0.0
    _records: int = 0
    _duration_s: float = 0.0

    def observe(self, records: int, duration_s: float) -> None:
        """A batch of ``records`` took so long."""
        change = records - self._records
        if self._records and 4 * abs(change) >= max(records, self._records):
            per_record_s = max(0.0, (duration_s - self._duration_s) / change)
            self.estimate_s = max(0.0, min(duration_s, self._duration_s, duration_s - per_record_s * records))
        self._records, self._duration_s = records, duration_s

    def attainable_s(self, target_s: float) -> float:
        """The target, or twice the fixed cost where that is more: half of a batch's time then goes to its records."""
        return max(target_s, 2 * self.estimate_s)


@dataclass(slots=True)
class RateLimit:
    """A token bucket per partition: ``rate`` records a second, with at most one second's worth saved up."""

    rate: float
    _tokens: dict[TopicPartition, float] = field(default_factory=dict)
    _seen_at: dict[TopicPartition, float] = field(default_factory=dict)

    def allowances(self, partitions: Mapping[TopicPartition, object], now: float) -> Mapping[TopicPartition, int]:
        """How many records of each partition may be taken at ``now`` (seconds of a monotonic clock)."""
        for tp in partitions:
            elapsed = now - self._seen_at.get(tp, now)
            capacity = max(1.0, self.rate)
            self._tokens[tp] = min(capacity, self._tokens.get(tp, capacity) + elapsed * self.rate)
            self._seen_at[tp] = now
        return {tp: int(self._tokens[tp]) for tp in partitions}

    def spend(self, topic_partition: TopicPartition, records: int) -> None:
        """Count records as taken."""
        self._tokens[topic_partition] = self._tokens.get(topic_partition, 0.0) - records


def _plan_of(
    ranges: tuple[OffsetRange, ...],
    counts: Mapping[TopicPartition, int],
    buffered: Mapping[TopicPartition, Buffered],
    turn: TopicPartition | None = None,
) -> Plan:
    value_bytes = sum([buffered[tp].value_bytes_of(count) for tp, count in counts.items()])
    return Plan(ranges, sum(counts.values()), value_bytes, turn)


def _available(
    buffered: Mapping[TopicPartition, Buffered],
    positions: Mapping[TopicPartition, int],
    planned: Mapping[TopicPartition, int],
) -> Sequence[TopicPartition]:
    return sorted([tp for tp in buffered if tp in positions and tp not in planned])


def _planned_and_buffered(
    buffered: Mapping[TopicPartition, Buffered],
    positions: Mapping[TopicPartition, int],
    planned: Mapping[TopicPartition, int],
) -> tuple[OffsetRange, ...]:
    reached = {tp: buffered[tp].position for tp in planned if tp in buffered}
    return tuple(
        OffsetRange(tp, positions[tp], until)
        for tp, until in sorted(planned.items())
        if tp in positions and reached.get(tp, positions[tp]) >= until
    )


def _records_before_bound(topic_partition: TopicPartition, buffer: Buffered, limits: PlanLimits) -> int:
    if limits.bounds is None or (bound := limits.bounds.get(topic_partition, 0)) >= buffer.position:
        return buffer.records
    return buffer.records_before(bound)


def _records_allowed(topic_partition: TopicPartition, buffer: Buffered, limits: PlanLimits) -> int:
    records = _records_before_bound(topic_partition, buffer, limits)
    if limits.max_records_per_partition is not None:
        records = min(records, limits.max_records_per_partition)
    if limits.allowances is not None:
        records = min(records, limits.allowances.get(topic_partition, 0))
    return records


def _until(topic_partition: TopicPartition, buffer: Buffered, records: int, limits: PlanLimits) -> int:
    if limits.bounds is not None:
        bound = limits.bounds.get(topic_partition, 0)
        if bound < buffer.position and records == buffer.records_before(bound):
            return bound
    return buffer.until_after(records)


def _served(
    wanted: dict[TopicPartition, int], limits: PlanLimits, in_turn: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Not more partitions than the limit says, unless it takes more of them to fill the batch."""
    if limits.max_partitions is None or len(wanted) <= limits.max_partitions:
        return wanted
    served: dict[TopicPartition, int] = {}
    records = 0
    for tp in in_turn:
        if len(served) >= limits.max_partitions and records >= limits.max_records:
            break
        served[tp] = wanted[tp]
        records += wanted[tp]
    return served


def _shared_evenly(
    wanted: dict[TopicPartition, int], total: int, in_turn: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Max-min fairness: small wants are met whole, the rest is split evenly; nobody gets less than a fair share.

    Where there is less than one record for each, those whose turn it is get one.
    """
    if sum(wanted.values()) <= total:
        return wanted
    if total < len(wanted):
        return dict.fromkeys([tp for tp in in_turn if tp in wanted][:total], 1)
    shares: dict[TopicPartition, int] = {}
    left = len(wanted)
    for tp in sorted(wanted, key=wanted.__getitem__):
        want, fair = wanted[tp], -(-total // left)
        shares[tp] = share = min(fair, want)
        total -= share
        left -= 1
    return shares


def _within_bytes(
    counts: dict[TopicPartition, int],
    buffered: Mapping[TopicPartition, Buffered],
    max_bytes: int,
    in_turn: Sequence[TopicPartition],
) -> dict[TopicPartition, int]:
    if sum([buffered[tp].value_bytes for tp in counts]) <= max_bytes:
        return counts
    kept: dict[TopicPartition, int] = {}
    left = max_bytes
    sharing = [tp for tp in in_turn if tp in counts]
    for turn, tp in enumerate(sharing):
        fair = left // (len(sharing) - turn)
        count = min(counts[tp], buffered[tp].records_within(fair))
        size = buffered[tp].value_bytes_of(count)
        if size > left and kept:
            continue
        kept[tp] = count
        left = max(0, left - size)
    return kept
