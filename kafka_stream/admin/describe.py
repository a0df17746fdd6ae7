"""Pure: what is stored for a stream beside what the brokers have of it, and what an operator should know about it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kafka_stream.progress import known_lag
from kafka_stream.protocols import TopicInfo
from kafka_stream.types import PlanKind, PositionState, StoredPosition, TopicPartition

LONGEST_TRANSACTION = timedelta(minutes=15)
"""The broker's default ``transaction.max.timeout.ms``: what is open for longer, its coordinator has forgotten."""


@dataclass(frozen=True, slots=True)
class Log:
    """What the brokers have of one partition: its first record, its last stable offset, its high watermark."""

    first_offset: int
    end_offset: int
    high_watermark: int


@dataclass(frozen=True, slots=True)
class RecordTimes:
    """Timestamps of the records at some offsets; a partition is missing where nothing was read in time.

    ``next_records`` are what the stream reads next (``None``: there is none before the end, only markers);
    ``pinning`` are the first records of the open transactions behind which the ends stay.
    """

    next_records: Mapping[TopicPartition, datetime | None] = field(default_factory=dict)
    pinning: Mapping[TopicPartition, datetime | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """What the brokers said about a stream's topics, those left out that do not exist.

    ``hidden`` are topics that we may not look at, with the reason. ``times`` is ``None`` where records were not looked
    at.
    """

    topics: Mapping[str, TopicInfo]
    logs: Mapping[TopicPartition, Log]
    times: RecordTimes | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)


class Mark(enum.StrEnum):
    """What an operator should know about a partition."""

    TOPIC_HIDDEN = "topic hidden"
    TOPIC_MISSING = "topic missing"
    PARTITION_MISSING = "partition missing"
    TOPIC_RECREATED = "topic recreated"
    RETAINED_AWAY = "retained away"
    BEYOND_THE_END = "beyond the end"
    END_PINNED = "end pinned"
    PLAN_OUTSTANDING = "plan outstanding"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Finding:
    """A mark with its explanation: one sentence."""

    mark: Mark
    explanation: str


@dataclass(frozen=True, slots=True)
class PartitionDescription:
    """One partition. ``lag`` is in offsets, ``lag_s`` how old the next record is; ``None`` where that is not known.

    ``lag`` is never negative: an offset beyond the end lags by nothing, and is marked.
    """

    topic_partition: TopicPartition
    stored: StoredPosition
    log: Log | None = None
    lag: int | None = None
    lag_s: float | None = None
    findings: tuple[Finding, ...] = ()


def described(
    positions: Mapping[TopicPartition, StoredPosition], observation: Observation | None, now: datetime
) -> Sequence[PartitionDescription]:
    """Each stored partition, sorted; without an observation only what is stored."""
    return [_described(tp, positions[tp], observation, now) for tp in sorted(positions)]


def not_stored(
    positions: Mapping[TopicPartition, StoredPosition], observation: Observation
) -> Sequence[TopicPartition]:
    """The partitions that the stream's topics have and the store does not know yet, sorted: they begin at 0."""
    found = (TopicPartition(topic, n) for topic, info in observation.topics.items() for n in range(info.partitions))
    return sorted(tp for tp in found if tp not in positions)


def total_lag(descriptions: Iterable[PartitionDescription]) -> int | None:
    """The sum of the lags, as far as they are known; ``None`` if none is."""
    return known_lag(description.lag for description in descriptions)


def _described(
    tp: TopicPartition, stored: StoredPosition, observation: Observation | None, now: datetime
) -> PartitionDescription:
    if observation is None:
        return PartitionDescription(tp, stored, findings=tuple(_stored_findings(stored)))
    log = observation.logs.get(tp)
    recreated = _is_recreated(stored, observation.topics.get(tp.topic))
    return PartitionDescription(
        tp,
        stored,
        log,
        lag=None if log is None or recreated else max(0, log.end_offset - stored.next_offset),
        lag_s=None if log is None or recreated else _lag_s(tp, stored, log, observation.times, now),
        findings=(*_log_findings(tp, stored, observation, now), *_stored_findings(stored)),
    )


def _lag_s(
    tp: TopicPartition, stored: StoredPosition, log: Log, times: RecordTimes | None, now: datetime
) -> float | None:
    if times is None:
        return None
    if log.end_offset <= stored.next_offset:
        return 0.0
    if tp not in times.next_records:
        return None
    at = times.next_records[tp]
    return 0.0 if at is None else max(0.0, (now - at).total_seconds())


def _is_recreated(stored: StoredPosition, info: TopicInfo | None) -> bool:
    ids = (stored.topic_id, None if info is None else info.topic_id)
    return None not in ids and ids[0] != ids[1]


def _log_findings(
    tp: TopicPartition, stored: StoredPosition, observation: Observation, now: datetime
) -> Iterable[Finding]:
    info, log = observation.topics.get(tp.topic), observation.logs.get(tp)
    if tp.topic in observation.hidden:
        yield Finding(Mark.TOPIC_HIDDEN, observation.hidden[tp.topic])
    elif info is None:
        yield Finding(Mark.TOPIC_MISSING, f"topic {tp.topic!r} does not exist on these brokers")
    elif tp.partition >= info.partitions:
        yield Finding(Mark.PARTITION_MISSING, f"topic {tp.topic!r} has only {info.partitions} partition(s)")
    elif log is None:
        return
    elif _is_recreated(stored, info):
        yield Finding(
            Mark.TOPIC_RECREATED,
            f"topic {tp.topic!r} was deleted and created again (id {stored.topic_id} before, {info.topic_id} now): "
            f"offset {stored.next_offset} is of the old one, and what was not read of that is lost",
        )
    elif stored.next_offset < log.first_offset:
        lost = log.first_offset - stored.next_offset
        yield Finding(
            Mark.RETAINED_AWAY,
            f"offset {stored.next_offset} is gone: the log begins at {log.first_offset}, so up to {lost} record(s) "
            "were deleted before they were read",
        )
    elif stored.next_offset > log.high_watermark:
        yield Finding(
            Mark.BEYOND_THE_END,
            f"offset {stored.next_offset} lies beyond the end at {log.high_watermark}: the log was truncated",
        )
    if log is not None and log.end_offset < log.high_watermark:
        yield Finding(Mark.END_PINNED, _why_pinned(tp, log, observation.times, now))


def _why_pinned(tp: TopicPartition, log: Log, times: RecordTimes | None, now: datetime) -> str:
    behind = log.high_watermark - log.end_offset
    pinned = f"an open transaction keeps the end at {log.end_offset}; {behind} offset(s) behind it cannot be read yet"
    at = None if times is None else times.pinning.get(tp)
    if at is None:
        return pinned
    age = now - at
    told = f"{pinned}; its first record is {duration(age.total_seconds())} old"
    if age <= LONGEST_TRANSACTION:
        return told
    return f"{told}, longer than brokers let a transaction run: it hangs; end it with kafka-transactions.sh abort"


def _stored_findings(stored: StoredPosition) -> Iterable[Finding]:
    if stored.planned_until is not None:
        planned = f"[{stored.next_offset}, {stored.planned_until}) was planned and has not been committed"
        if stored.plan_kind is PlanKind.RANGE:
            yield Finding(Mark.PLAN_OUTSTANDING, f"{planned}: a batch is in hand, or the next start repeats it")
        else:
            yield Finding(
                Mark.PLAN_OUTSTANDING,
                f"{planned}: a handler has committed by itself; look whether its results are stored, then reset the "
                "offset",
            )
    if stored.state is PositionState.CLOSED:
        yield Finding(Mark.CLOSED, stored.state_reason or "it was deleted; a new start begins where its start= says")


def duration(seconds: float) -> str:
    """In words for people, two units at most: ``850 ms``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    whole = round(seconds)
    for size, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            count, left = divmod(whole, size)
            return f"{count} {name} {left // smaller} {smaller_name}" if left // smaller else f"{count} {name}"
    return f"{whole} s"


__all__ = [
    "LONGEST_TRANSACTION",
    "Finding",
    "Log",
    "Mark",
    "Observation",
    "PartitionDescription",
    "RecordTimes",
    "described",
    "duration",
    "not_stored",
    "total_lag",
]
