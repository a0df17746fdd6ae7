"""Pure: whether a stored position can still be read from, and what to say where it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from kafka_stream.errors import DataLoss, LogTruncated, OffsetOutOfRange, TopicRecreated
from kafka_stream.types import StoredPosition, TopicPartition


@dataclass(frozen=True, slots=True)
class Log:
    """What the broker has of one partition."""

    first: int
    end: int
    topic_id: str | None


def find_loss(topic_partition: TopicPartition, stored: StoredPosition, log: Log) -> DataLoss | None:
    """Whether a stored position can still be read from, as far as the broker's offsets and topic id tell."""
    if stored.topic_id is not None and log.topic_id is not None and stored.topic_id != log.topic_id:
        return TopicRecreated(
            f"topic {topic_partition.topic!r} was deleted and created again: {topic_partition} was read up to offset "
            f"{stored.next_offset} of the old topic (id {stored.topic_id}), and the new one (id {log.topic_id}) holds "
            f"[{log.first}, {log.end}). Choose with on_data_loss='earliest' or 'latest', or reset the offsets.",
            partition=topic_partition,
            wanted=stored.next_offset,
            available=(log.first, log.end),
        )
    if stored.next_offset < log.first:
        return _out_of_range(topic_partition, stored.next_offset, log)
    read_up_to = stored.next_offset if stored.planned_until is None else stored.planned_until
    return _truncated(topic_partition, read_up_to, log) if read_up_to > log.end else None


def find_lost_position(topic_partition: TopicPartition, offset: int, log: Log, *, diverged: bool) -> DataLoss | None:
    """Whether an offset that the broker refused is gone; ``diverged`` is what it said of the leader epoch."""
    if diverged:
        return _truncated(topic_partition, offset, log)
    return None if log.first <= offset <= log.end else _out_of_range(topic_partition, offset, log)


def _out_of_range(topic_partition: TopicPartition, wanted: int, log: Log) -> OffsetOutOfRange:
    return OffsetOutOfRange(
        f"{topic_partition} was to be read from offset {wanted}, but retention (or a delete) has left "
        f"[{log.first}, {log.end}): up to {max(0, log.first - wanted)} records are gone unread. Choose with "
        "on_data_loss='earliest' or 'latest', or reset the offsets.",
        partition=topic_partition,
        wanted=wanted,
        available=(log.first, log.end),
    )


def _truncated(topic_partition: TopicPartition, wanted: int, log: Log) -> LogTruncated:
    return LogTruncated(
        f"the log of {topic_partition} was truncated below offset {wanted}, up to which it had been read; it holds "
        f"[{log.first}, {log.end}) now, and records may have been replaced. Choose with on_data_loss='earliest' or "
        "'latest', or reset the offsets.",
        partition=topic_partition,
        wanted=wanted,
        available=(log.first, log.end),
    )


__all__ = ["Log", "find_loss", "find_lost_position"]
