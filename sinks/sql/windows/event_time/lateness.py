"""Pure: which records are late. It depends on the records of a partition before them, not on where batches end.

A record has a deadline: the end of its pane, or, of a session, its time. It is late if its deadline has passed: if the
largest time seen before it in its partition, minus the allowed lateness, is at or behind it (``seen``), or what was
stored before the batch (``floor``: the partition's watermark, and what the stream has closed already).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from operator import not_
from typing import TypeAlias

from kafka_stream.sinks.sql.windows.event_time.definitions import Session
from kafka_stream.sinks.sql.windows.event_time.events import Events
from kafka_stream.sinks.sql.windows.event_time.panes import Panes
from kafka_stream.types import TopicPartition

Floors: TypeAlias = Mapping[TopicPartition, int]
"""Of each partition what has passed before the batch; one that is not there has no past."""

NEVER = -(2**63)
"""Before all times."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Events with the pane and the deadline of each, and the places of those that are late whatever was stored.

    ``starts`` are the starts of panes; of sessions, the times. ``soonest`` is the least deadline of those that are not
    late so far: as long as the floor is below it, nothing else is.
    """

    events: Events
    starts: Sequence[int]
    deadlines: Sequence[int]
    late: frozenset[int]
    soonest: int
    largest: int

    def late_at(self, floor: int) -> frozenset[int]:
        """The places of the records that are late, with what was stored."""
        if floor < self.soonest:
            return self.late
        return self.late | {place for place, deadline in enumerate(self.deadlines) if deadline <= floor}


def placed(events: Events, window: Panes | Session, lateness_us: int) -> Placed:
    """The events, placed."""
    starts = events.times if isinstance(window, Session) else window.starts(events.times)
    deadlines = _deadlines(starts, window)
    largest, soonest = max(events.times, default=NEVER), min(deadlines, default=-NEVER)
    if soonest + lateness_us > largest:  # none can be late, in whatever order they come
        return Placed(events, starts, deadlines, frozenset(), soonest, largest)
    seen = accumulate([NEVER, *events.times], max)
    passed = [deadline + lateness_us <= before for deadline, before in zip(deadlines, seen, strict=False)]
    if any(passed):
        soonest = min(compress(deadlines, map(not_, passed)), default=-NEVER)
    return Placed(events, starts, deadlines, frozenset(compress(range(len(passed)), passed)), soonest, largest)


def _deadlines(starts: Sequence[int], window: Panes | Session) -> Sequence[int]:
    """A session's record is late only if its time is before the watermark: it has passed one microsecond later."""
    if isinstance(window, Session):
        return [time + 1 for time in starts]
    ends = {start: window.shifted(start, 1) for start in set(starts)}
    return list(map(ends.__getitem__, starts))
