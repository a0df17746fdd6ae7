"""Pure: how long each partition went without a commit, and which faults were on meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

NO_RECORDS = "no records"
"""Beside the faults: nothing came that could have been committed."""


KEPT_S = 120.0
SHARE = 0.5
"""A fault that was on for less of a pause is not why it was so long."""


@dataclass
class Interval:
    """A fault that is on from a time to another one; ``None``: still. ``shard`` is whom it concerns, if not all."""

    fault: str
    began_at: float
    ended_at: float | None = None
    shard: tuple[int, int] | None = None

    def part_of(self, partition: int, first: float, last: float) -> tuple[float, float] | None:
        """From when to when it was on for a partition between two times; ``None``: it was not."""
        if self.shard is not None and partition % self.shard[1] != self.shard[0]:
            return None
        began_at = max(first, self.began_at)
        ended_at = last if self.ended_at is None else min(last, self.ended_at)
        return (began_at, ended_at) if ended_at > began_at else None


def covered_s(parts: Iterable[tuple[float, float]]) -> float:
    """How long at least one of these is, where they overlap only once."""
    seconds, until = 0.0, float("-inf")
    for began_at, ended_at in sorted(parts):
        seconds += max(0.0, ended_at - max(began_at, until))
        until = max(until, ended_at)
    return seconds


@dataclass(frozen=True)
class Pause:
    """The longest time between two commits of a partition, with the faults that were on in it."""

    seconds: float = 0.0
    partition: int | None = None
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.partition is None:
            return "none"
        why = " and ".join(self.faults) or "no fault"
        return f"{self.seconds:.1f} s of partition {self.partition} ({why})"


@dataclass
class Pauses:
    """Told of commits and faults as they come; times are seconds of one clock."""

    longest: Pause = field(default_factory=Pause)
    by_fault: dict[str, float] = field(default_factory=dict)
    intervals: list[Interval] = field(default_factory=list)
    _committed_at: dict[int, float] = field(default_factory=dict)

    def begin(self, fault: str, now: float, shard: tuple[int, int] | None = None) -> Interval:
        """A fault is on from now, until its ``ended_at`` is set."""
        self.intervals.append(Interval(fault, now, shard=shard))
        return self.intervals[-1]

    def committed(self, partitions: Iterable[int], now: float) -> None:
        """A batch that moved these partitions was committed."""
        for number in partitions:
            before = self._committed_at.get(number)
            self._committed_at[number] = now
            if before is not None:
                self._look(number, before, now)
        self._forget(now)

    def finish(self, now: float) -> None:
        """What has not been committed by now counts, too."""
        for number, before in self._committed_at.items():
            self._look(number, before, now)

    def _look(self, partition: int, before: float, now: float) -> None:
        seconds = now - before
        on = self._reasons(partition, before, now)
        for fault in on:
            self.by_fault[fault] = max(self.by_fault.get(fault, 0.0), seconds)
        if seconds > self.longest.seconds:
            self.longest = Pause(seconds, partition, tuple(on))

    def _reasons(self, partition: int, first: float, last: float) -> list[str]:
        """The faults that were on for most of a time; if none was, all that were on in it."""
        parts: dict[str, list[tuple[float, float]]] = {}
        for interval in self.intervals:
            if (part := interval.part_of(partition, first, last)) is not None:
                parts.setdefault(interval.fault, []).append(part)
        most = [fault for fault, its in parts.items() if covered_s(its) >= SHARE * (last - first)]
        return sorted(most or parts)

    def _forget(self, now: float) -> None:
        """What ended before all that is still to be looked at."""
        oldest = min([now - KEPT_S, *self._committed_at.values()])
        self.intervals = [it for it in self.intervals if it.ended_at is None or it.ended_at >= oldest]


def summary(pauses: Mapping[str, float]) -> dict[str, float]:
    """By fault, to a tenth of a second."""
    return {fault: round(seconds, 1) for fault, seconds in sorted(pauses.items())}


__all__ = ["NO_RECORDS", "Interval", "Pause", "Pauses", "summary"]
