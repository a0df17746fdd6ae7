"""Pure: what is stored and what the broker has, and a target, into a plan per partition.

The scenarios, and what they do out of range, are those of Kafka's own tool
(``org.apache.kafka.tools.consumer.group.ConsumerGroupCommand``, ``--reset-offsets``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from kafka_stream.admin.refusals import planned_range, why_not_moved
from kafka_stream.protocols import Change
from kafka_stream.types import PlanKind, StoredPosition, TopicPartition


@dataclass(frozen=True, slots=True)
class ToEarliest:
    """The log's start."""


@dataclass(frozen=True, slots=True)
class ToLatest:
    """The log's end: the high watermark, past the records of open transactions, as in Kafka's tool."""


@dataclass(frozen=True, slots=True)
class ToOffset:
    """The same offset for all partitions; clamped to the log."""

    offset: int


@dataclass(frozen=True, slots=True)
class ShiftBy:
    """So many offsets forward, or back if negative; clamped to the log."""

    by: int


@dataclass(frozen=True, slots=True)
class ToTime:
    """The first record at or after an aware time; the log's end where there is none."""

    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"the time {self.at} has no zone; give an aware datetime")


@dataclass(frozen=True, slots=True)
class ToCurrent:
    """What is stored, which fences whoever is at work; the log's end where nothing is stored."""


@dataclass(frozen=True, slots=True)
class ToOffsets:
    """An offset for each partition, from a file, say; clamped to the log."""

    offsets: Mapping[TopicPartition, int]


Target: TypeAlias = ToEarliest | ToLatest | ToOffset | ShiftBy | ToTime | ToCurrent | ToOffsets


@dataclass(frozen=True, slots=True)
class Log:
    """What the broker has of one partition.

    ``at_time`` is the first offset at or after the target's time, ``None`` where there is none, or no time was asked
    about. ``topic_id`` is the topic's now.
    """

    earliest: int
    last_stable: int
    high_watermark: int
    at_time: int | None = None
    topic_id: str | None = None

    def clamp(self, offset: int) -> int:
        """The nearest offset that the log has, its end included."""
        return max(self.earliest, min(offset, self.high_watermark))


@dataclass(frozen=True, slots=True)
class PartitionReset:
    """One partition's part of a plan; offsets, never counts of records, since offsets have gaps.

    ``from_offset`` is ``None`` if nothing is stored. ``to_offset`` is ``None`` if the move is refused; ``refusal`` says
    why. ``clamped_from`` is what was asked for, if it is out of the log's range. ``note`` is what an operator should
    know, in a sentence.
    """

    topic_partition: TopicPartition
    from_offset: int | None
    to_offset: int | None
    log: Log
    clamped_from: int | None = None
    refusal: str | None = None
    note: str | None = None

    @property
    def skipped(self) -> int:
        """How many offsets that the log has will not be read."""
        if self.to_offset is None:
            return 0
        start = self.log.earliest if self.from_offset is None else self.log.clamp(self.from_offset)
        return max(0, self.log.clamp(self.to_offset) - start)

    @property
    def repeated(self) -> int:
        """How many offsets that the log has, and that were read, will be read again."""
        if self.to_offset is None or self.from_offset is None:
            return 0
        return max(0, self.log.clamp(self.from_offset) - self.log.clamp(self.to_offset))


@dataclass(frozen=True, slots=True)
class ResetPlan:
    """What a reset would do, partition by partition, sorted."""

    partitions: tuple[PartitionReset, ...]

    @property
    def refused(self) -> tuple[PartitionReset, ...]:
        """Those that forbid it; nothing is moved while there is one."""
        return tuple(p for p in self.partitions if p.refusal is not None)

    def offsets(self) -> dict[TopicPartition, int]:
        """Where the partitions that are not refused go, as ``--export`` prints it and ``ToOffsets`` takes it."""
        return {p.topic_partition: p.to_offset for p in self.partitions if p.to_offset is not None}

    def changes(self) -> Sequence[Change]:
        """As a store takes it."""
        return [
            Change(p.topic_partition, p.to_offset, topic_id=p.log.topic_id)
            for p in self.partitions
            if p.to_offset is not None
        ]


def plan_reset(
    target: Target,
    logs: Mapping[TopicPartition, Log],
    stored: Mapping[TopicPartition, StoredPosition],
    *,
    discardable: Collection[TopicPartition] = (),
) -> ResetPlan:
    """The plan for the partitions in ``logs``; ``discardable`` are those whose planned range the sink will discard."""
    return ResetPlan(
        tuple(
            _plan_partition(target, tp, logs[tp], stored.get(tp), discardable=tp in discardable) for tp in sorted(logs)
        )
    )


def _plan_partition(
    target: Target, tp: TopicPartition, log: Log, stored: StoredPosition | None, *, discardable: bool
) -> PartitionReset:
    current = None if stored is None else stored.next_offset
    wanted, note = _wanted(target, tp, log, current)
    if wanted is None:
        return PartitionReset(tp, current, None, log, refusal=note)
    keeps_range = isinstance(target, ToCurrent) and current is not None
    to_offset = wanted if keeps_range else log.clamp(wanted)
    refusal = None if stored is None else why_not_moved(tp, stored, to_offset, discardable=discardable)
    return PartitionReset(
        tp,
        current,
        None if refusal else to_offset,
        log,
        clamped_from=wanted if wanted != to_offset else None,
        refusal=refusal,
        note=note or (None if stored is None or refusal else _note(tp, stored, to_offset, log)),
    )


def _wanted(target: Target, tp: TopicPartition, log: Log, current: int | None) -> tuple[int | None, str | None]:
    """The offset that was asked for, and what is to be said about it; or none, and why."""
    match target:
        case ToEarliest():
            return log.earliest, None
        case ToLatest():
            return log.high_watermark, None
        case ToOffset(offset):
            return offset, None
        case ToOffsets(offsets):
            return offsets.get(tp), f"{tp} is not among the offsets that were given" if tp not in offsets else None
        case ToTime(at) if log.at_time is None:
            return log.high_watermark, f"no record at or after {at.isoformat()}: to the end"
        case ToTime():
            return log.at_time, None
        case ShiftBy() | ToCurrent():
            return _relative(target, tp, log, current)


def _relative(
    target: ShiftBy | ToCurrent, tp: TopicPartition, log: Log, current: int | None
) -> tuple[int | None, str | None]:
    if current is not None:
        return current + (target.by if isinstance(target, ShiftBy) else 0), None
    if isinstance(target, ToCurrent):
        return log.high_watermark, "nothing is stored: to the end"
    return None, f"{tp} has no stored offset to shift from; choose another target, or leave it out"


def _note(tp: TopicPartition, stored: StoredPosition, to_offset: int, log: Log) -> str | None:
    planned = planned_range(tp, stored)
    if planned is not None and stored.plan_kind is PlanKind.RANGE:
        return f"{planned} is planned, and what is written of it will be discarded"
    if planned is not None:
        return f"{planned} is taken as {'written' if to_offset >= planned.until_offset else 'not written'}"
    if stored.topic_id is not None and log.topic_id is not None and stored.topic_id != log.topic_id:
        return "the topic was deleted and created again: the stored offset is of the old one"
    return None


__all__ = [
    "Log",
    "PartitionReset",
    "ResetPlan",
    "ShiftBy",
    "Target",
    "ToCurrent",
    "ToEarliest",
    "ToLatest",
    "ToOffset",
    "ToOffsets",
    "ToTime",
    "plan_reset",
]
