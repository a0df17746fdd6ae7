"""How far event time has come: a watermark for each partition, and the least of them for the stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kafka_stream.sinks.sql.windows.event_time.lateness import Placed
from kafka_stream.types import TopicPartition


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of a partition; of an idle one that never had a record, nothing but that."""

    event_time_us: int | None = None
    watermark_us: int | None = None
    is_idle: bool = False

    def after(self, largest_us: int, lateness_us: int) -> Mark:
        """Behind records of which the last in event time is this one; it never goes back."""
        return Mark(
            _later(self.event_time_us, largest_us), _later(self.watermark_us, largest_us - lateness_us), is_idle=False
        )

    def looked_at(self, caught_up_s: float | None, idle_after_s: float) -> Mark:
        """Where nothing has been unread for so long; ``None`` where something is."""
        if caught_up_s is None:
            return replace(self, is_idle=False)
        return replace(self, is_idle=self.is_idle or caught_up_s >= idle_after_s)


NOTHING: Final = Mark()


@dataclass(frozen=True, slots=True)
class Marks:
    """Those of a stream: ``partitions`` are all of its open ones, other members' too."""

    partitions: Sequence[TopicPartition]
    by_partition: Mapping[TopicPartition, Mark]

    def of(self, partition: TopicPartition) -> Mark:
        """That of a partition."""
        return self.by_partition.get(partition, NOTHING)

    def after(self, placed: Iterable[Placed], lateness_us: int) -> dict[TopicPartition, Mark]:
        """Those of the partitions that have these records, behind them."""
        return {one.events.partition: self.of(one.events.partition).after(one.largest, lateness_us) for one in placed}

    def ticked(
        self, owned: Iterable[TopicPartition], caught_up_s: Mapping[TopicPartition, float], idle_after_s: float
    ) -> dict[TopicPartition, Mark]:
        """Those that change where nothing has been unread of these partitions for so long.

        One becomes idle when that is long enough. It is idle no more when something is unread: its owner may have been
        away when that came, and what it says counts.
        """
        marks = {partition: self.of(partition) for partition in owned}
        now = {it: mark.looked_at(caught_up_s.get(it), idle_after_s) for it, mark in marks.items()}
        return {it: mark for it, mark in now.items() if mark != marks[it]}

    def changed(self, changes: Mapping[TopicPartition, Mark]) -> Marks:
        """With these instead."""
        missing = [partition for partition in changes if partition not in set(self.partitions)]
        return Marks([*self.partitions, *missing], {**self.by_partition, **changes})

    @property
    def stream_watermark_us(self) -> int | None:
        """The least of all partitions that are not idle, if each has one; of nothing but idle ones the largest.

        So it is the same in whichever order the last ones become idle.
        """
        active = [self.of(it).watermark_us for it in self.partitions if not self.of(it).is_idle]
        if active:
            return None if None in active else min(it for it in active if it is not None)
        known = [it for partition in self.partitions if (it := self.of(partition).watermark_us) is not None]
        return max(known, default=None)


def _later(stored_us: int | None, us: int) -> int:
    return us if stored_us is None else max(stored_us, us)
