"""Pure: a batch's ranges into the slices that workers read, each in order of partitions and offsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from kafka_stream.protocols import Slice
from kafka_stream.types import OffsetRange, TopicPartition

LEAST_OFFSETS = 500
"""A slice costs a request or two, however few records are in it."""


def sliced(
    ranges: Sequence[OffsetRange], slots: int, leader_epoch: Callable[[TopicPartition, int], int | None], *, whole: bool
) -> Sequence[Slice]:
    """Slices that cover the ranges exactly, in order, for so many workers at once; as even as offsets tell.

    With ``whole`` a range is one slice, however long it is. An empty range has none.
    """
    total = sum(map(len, ranges))
    most = max(LEAST_OFFSETS, -(-total // max(slots, 1)))
    return [
        Slice(part, leader_epoch(part.topic_partition, part.from_offset))
        for r in ranges
        for part in ([r] if whole and r else _parts(r, most))
    ]


def _parts(r: OffsetRange, most: int) -> Sequence[OffsetRange]:
    """Of even length, none longer than ``most``."""
    count = -(-len(r) // most)
    ends = [r.from_offset + len(r) * number // max(count, 1) for number in range(count + 1)]
    return [OffsetRange(r.topic_partition, begin, end) for begin, end in pairwise(ends)]


__all__ = ["LEAST_OFFSETS", "sliced"]
