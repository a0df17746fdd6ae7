"""Pure: how far a stream's event time has come, and which partitions hold it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kafka_stream.protocols import EventTime
from kafka_stream.types import TopicPartition


@dataclass(frozen=True, slots=True)
class StreamWatermark:
    """The watermark of a stream, in microseconds; ``None`` where a partition that is not idle has had no record.

    ``held_back_by`` are the partitions that would have to come further for it to do so; none where all are idle.
    """

    watermark_us: int | None
    held_back_by: Sequence[TopicPartition]


def stream_watermark(partitions: Sequence[EventTime]) -> StreamWatermark:
    """The least of all partitions that are not idle; of nothing but idle ones the largest."""
    active = [it for it in partitions if not it.is_idle]
    if not active:
        known = [it.watermark_us for it in partitions if it.watermark_us is not None]
        return StreamWatermark(max(known, default=None), ())
    if silent := [it.topic_partition for it in active if it.watermark_us is None]:
        return StreamWatermark(None, silent)
    least = min(it.watermark_us for it in active if it.watermark_us is not None)
    return StreamWatermark(least, [it.topic_partition for it in active if it.watermark_us == least])


__all__ = ["StreamWatermark", "stream_watermark"]
