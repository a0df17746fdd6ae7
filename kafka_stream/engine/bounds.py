"""Where a stream starts and where a bounded run ends, as offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kafka_stream.errors import BoundNotReached, ConfigurationError
from kafka_stream.protocols import OffsetAt, Source
from kafka_stream.types import TopicPartition

NO_PROGRESS_S = 60.0


def resolve_start(source: Source, partitions: Sequence[TopicPartition], start: Any) -> Mapping[TopicPartition, int]:
    """A ``start`` as offsets; partitions that a mapping does not name begin at the earliest offset.

    Raises:
        ConfigurationError: an offset lies beyond the partition's end, or the topic has no such partition.
    """
    if isinstance(start, datetime):
        return source.offsets(partitions, start)
    if isinstance(start, Mapping):
        topics = {tp.topic for tp in partitions}
        _check_ends(source, partitions, {tp: at for tp, at in start.items() if tp.topic in topics}, "start")
        earliest = source.offsets(partitions, OffsetAt.EARLIEST)
        return {tp: start.get(tp, earliest[tp]) for tp in partitions}
    return source.offsets(partitions, OffsetAt(start))


def resolve_until(source: Source, partitions: Sequence[TopicPartition], until: Any) -> Mapping[TopicPartition, int]:
    """An ``until`` as offsets; partitions that a mapping does not name are not read.

    ``"latest"`` is the last stable offset now, so that nobody's open transaction is waited for.

    Raises:
        ConfigurationError: an offset lies beyond the partition's end, or the partition is not ours.
    """
    if not isinstance(until, Mapping):
        return resolve_start(source, partitions, until)
    _check_ends(source, partitions, until, "until")
    return {tp: until.get(tp, 0) for tp in partitions}


def _check_ends(
    source: Source, partitions: Sequence[TopicPartition], given: Mapping[TopicPartition, int], what: str
) -> None:
    ends = source.offsets(partitions, OffsetAt.HIGH_WATERMARK)
    for tp, offset in sorted(given.items()):
        if tp not in ends:
            raise ConfigurationError(f"{what} names {tp}, which is not a partition that this stream owns")
        if offset > ends[tp]:
            raise ConfigurationError(f"{what}={offset} of {tp} lies beyond its end, which is {ends[tp]}")


@dataclass(slots=True)
class BoundedRun:
    """The end of a bounded run, and when it last came closer (seconds of a monotonic clock)."""

    bounds: Mapping[TopicPartition, int]
    moved_at: float
    patience_s: float = NO_PROGRESS_S

    def short_of(self, positions: Mapping[TopicPartition, int]) -> tuple[TopicPartition, ...]:
        """The partitions that have not come to their end."""
        return tuple(tp for tp, bound in sorted(self.bounds.items()) if positions.get(tp, -1) < bound)

    def check_progress(self, source: Source, positions: Mapping[TopicPartition, int], now: float) -> None:
        """Report what holds the run up, rather than wait for ever.

        Raises:
            BoundNotReached: nothing has moved for a minute (longer, where the settings ask for pauses); it names the
                partitions, and an open transaction if that is what pins them.
        """
        if now - self.moved_at < self.patience_s:
            return
        short = self.short_of(positions)
        stable = source.offsets(short, OffsetAt.LATEST)
        pinned = [tp for tp in short if stable[tp] < self.bounds[tp]]
        why = (
            f"the end of {pinned[0]} is pinned at {stable[pinned[0]]} by an open transaction; end it, or choose an "
            "earlier end"
            if pinned
            else "the broker delivers nothing; look at its log"
        )
        raise BoundNotReached(
            f"no progress for {self.patience_s:g} s towards the end of {', '.join(map(str, short[:5]))}: {why}",
            partitions=short,
        )
