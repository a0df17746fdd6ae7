"""The last hour of a stream: a ring of samples of bounded size, and the lines and rates that follow from it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from kafka_stream.observe.page.model import Line
from kafka_stream.progress import known_lag
from kafka_stream.types import TopicPartition

EVERY_S = 10.0
KEPT = 361
"""An hour of them."""
PARTITIONS_LIMIT = 100
_LATELY = timedelta(seconds=60)


class Sample(NamedTuple):
    """``moved`` only grows, while nothing starts anew: records, or offsets. ``lag`` is ``None`` if no end is known.

    ``partitions`` are next offsets and lags, of streams that have few enough.
    """

    at: datetime
    moved: int
    lag: int | None
    partitions: Mapping[TopicPartition, tuple[int, int | None]]


def sample(
    at: datetime, moved: int, offsets: Mapping[TopicPartition, int], lag: Mapping[TopicPartition, int | None]
) -> Sample:
    """One of what is known now; a stream of more partitions than the limit keeps its sums alone."""
    kept = {tp: (offset, lag.get(tp)) for tp, offset in offsets.items()} if len(offsets) <= PARTITIONS_LIMIT else {}
    return Sample(at, moved, known_lag(lag.values()), kept)


class Samples:
    """The last ones; from any thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._ring: deque[Sample] = deque(maxlen=kept)

    def add(self, one: Sample) -> None:
        """Remember it, and forget the oldest one when there are too many."""
        with self._lock:
            self._ring.append(one)

    def all(self) -> Sequence[Sample]:
        """The oldest one first."""
        with self._lock:
            return tuple(self._ring)


class OffsetsMoved:
    """Counts by how much offsets went forward, where nobody counts records."""

    def __init__(self) -> None:
        self._last: Mapping[TopicPartition, int] = {}
        self._moved = 0

    def by_now(self, offsets: Mapping[TopicPartition, int]) -> int:
        """In all, since the first look; what is new, or went back, adds nothing."""
        self._moved += sum(max(0, offset - self._last.get(tp, offset)) for tp, offset in offsets.items())
        self._last = dict(offsets)
        return self._moved


def lag_line(samples: Sequence[Sample]) -> Line:
    """The lag of all partitions together."""
    return tuple((each.at, each.lag) for each in samples)


def rate_line(samples: Sequence[Sample]) -> Line:
    """By how much it moved in a second, in the minute before each, so that a batch is no peak."""
    line, first = [], 0
    for number, later in enumerate(samples[1:], 1):
        while first < number - 1 and later.at - samples[first].at > _LATELY:
            first += 1
        line.append((later.at, _rate(samples[first], later)))
    return tuple(line)


def rate(samples: Sequence[Sample]) -> float | None:
    """The last of them."""
    line = rate_line(samples)
    return line[-1][1] if line else None


def partition_lag_line(samples: Sequence[Sample], tp: TopicPartition) -> Line:
    """The lag of one partition, while it was owned."""
    return tuple((each.at, each.partitions.get(tp, (0, None))[1]) for each in samples)


def partition_rate(samples: Sequence[Sample], tp: TopicPartition) -> float | None:
    """By how many offsets a second it went forward in the last minute; ``None`` if it was moved back."""
    owned = [each for each in samples if tp in each.partitions]
    if (since := _lately(owned)) is None:
        return None
    moved = owned[-1].partitions[tp][0] - since.partitions[tp][0]
    return None if moved < 0 else moved / (owned[-1].at - since.at).total_seconds()


def _lately(samples: Sequence[Sample]) -> Sample | None:
    """The one from which the last minute is counted."""
    before = [each for each in samples if each.at < samples[-1].at]
    in_time = [each for each in before if samples[-1].at - each.at <= _LATELY]
    return in_time[0] if in_time else before[-1] if before else None


def _rate(earlier: Sample, later: Sample) -> float | None:
    seconds = (later.at - earlier.at).total_seconds()
    moved = later.moved - earlier.moved
    return moved / seconds if seconds > 0 and moved >= 0 else None


__all__ = [
    "EVERY_S",
    "KEPT",
    "PARTITIONS_LIMIT",
    "OffsetsMoved",
    "Sample",
    "Samples",
    "lag_line",
    "partition_lag_line",
    "partition_rate",
    "rate",
    "rate_line",
    "sample",
]
