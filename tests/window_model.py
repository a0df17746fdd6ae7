"""The law of ``WindowSink``, as a plain program that reads one record after the other and keeps them all.

It knows nothing of panes, of merging or of batches: which windows there are is worked out anew, from all records that
were on time, whenever something has happened. Times are whole seconds here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Key: TypeAlias = tuple[Any, ...]
Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """A record: ``value`` may be ``None``."""

    partition: int
    offset: int
    key: Key
    at: int
    value: int | None


@dataclass(frozen=True)
class Setup:
    """Windows: ``size`` and ``every`` are equal where they tumble; a session has only a ``gap``."""

    size: int = 10
    every: int = 10
    gap: int | None = None
    lateness: int = 0
    late: str = "table"
    retention: int | None = None


Window: TypeAlias = tuple[int, int, Key]


@dataclass
class Program:
    """Reads the topic, and is told which partitions there are, and which have fallen idle."""

    setup: Setup
    partitions: list[int]
    lateness: int = field(init=False)
    watermarks: dict[int, int] = field(default_factory=dict)
    idle: set[int] = field(default_factory=set)
    closed: int | None = None
    on_time: list[Sent] = field(default_factory=list)
    kept_late: list[Sent] = field(default_factory=list)
    late_counts: Counter[tuple[int, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.lateness = self.setup.lateness

    def read(self, records: Sequence[Sent]) -> list[Row]:
        """What is told when these are committed together: windows that close, and closed ones that have changed."""
        before = self._rows_until(self.closed)
        for record in records:
            self._read(record)
        after = self._rows_until(self.closed)
        corrected = [row for window, row in after.items() if before.get(window) != row]
        return in_order([*corrected, *self._settle()])

    def tick(self, idle: set[int], unread: set[int]) -> list[Row]:
        """The same, when these partitions have had nothing new for long enough, and those have something unread."""
        self.idle = (self.idle | idle) - unread
        return in_order(self._settle())

    def table(self) -> list[Row]:
        """What is in the table at the end."""
        rows = self._rows_until(self.closed)
        if self.closed is not None and self.setup.retention is not None:
            oldest = self.closed - self.setup.retention
            rows = {window: row for window, row in rows.items() if window[1] > oldest}
        return in_order(list(rows.values()))

    def _read(self, record: Sent) -> None:
        passed = [it for it in (self.watermarks.get(record.partition), self.closed) if it is not None]
        if passed and self._deadline(record.at) <= max(passed):
            self._come_late(record)
        else:
            self.on_time.append(record)
        reached = record.at - self.lateness
        self.watermarks[record.partition] = max(self.watermarks.get(record.partition, reached), reached)
        self.idle.discard(record.partition)

    def _deadline(self, at: int) -> float:
        """A session's record is late if its time is before the watermark, others if their pane has ended."""
        return at + 0.5 if self.setup.gap is not None else at - at % self.setup.every + self.setup.every

    def _come_late(self, record: Sent) -> None:
        for span in late_spans(self.setup, record.at):
            self.late_counts[span] += 1
        oldest = None if self.closed is None else self.closed - (self.setup.retention or 0)
        if self.setup.late == "update" and (oldest is None or self._deadline(record.at) > oldest):
            self.on_time.append(record)
        else:
            self.kept_late.append(record)

    def _settle(self) -> list[Row]:
        known = self.watermarks
        active = [it for it in self.partitions if it not in self.idle]
        if active and all(it in known for it in active):
            reached: int | None = min(known[it] for it in active)
        elif active:
            reached = None
        else:
            reached = max((known[it] for it in self.partitions if it in known), default=None)
        if reached is None:
            return []
        until = reached if self.setup.gap is not None else reached - reached % self.setup.every
        if self.closed is not None and until <= self.closed:
            return []
        before, self.closed = self._rows_until(self.closed), until
        return [row for window, row in self._rows_until(until).items() if window not in before]

    def _rows_until(self, end: int | None) -> dict[Window, Row]:
        if end is None:
            return {}
        return {window: row for window, row in rows(self.setup, self.on_time).items() if window[1] <= end}


def rows(setup: Setup, records: Sequence[Sent]) -> dict[Window, Row]:
    """All windows that have one of these records."""
    found: dict[Window, list[Sent]] = defaultdict(list)
    if setup.gap is None:
        for record in records:
            for start, end in spans(setup, record.at):
                found[start, end, record.key].append(record)
    else:
        for key in {record.key for record in records}:
            for session in sessions([it for it in records if it.key == key], setup.gap):
                found[session[0].at, session[-1].at + setup.gap, key] = session
    return {window: _row(window, of) for window, of in found.items()}


def spans(setup: Setup, at: int) -> Iterator[tuple[int, int]]:
    """The windows that a time is in."""
    for start in range(at - setup.size, at + 1):
        if start % setup.every == 0 and start <= at < start + setup.size:
            yield start, start + setup.size


def late_spans(setup: Setup, at: int) -> Iterator[tuple[int, int]]:
    """Where a late record is counted: a session that it would have been in is not there."""
    if setup.gap is None:
        yield from spans(setup, at)
    else:
        yield at - at % setup.gap, at - at % setup.gap + setup.gap


def sessions(records: Sequence[Sent], gap: int) -> list[list[Sent]]:
    """Records of one key: those less than the gap apart belong together."""
    found: list[list[Sent]] = []
    for record in sorted(records, key=lambda it: it.at):
        if found and record.at - found[-1][-1].at < gap:
            found[-1].append(record)
        else:
            found.append([record])
    return found


def _row(window: Window, records: Sequence[Sent]) -> Row:
    values = [record.value for record in records if record.value is not None]
    return {
        "key": window[2],
        "start": window[0],
        "end": window[1],
        "records": len(records),
        "total": sum(values) if values else None,
        "least": min(values, default=None),
        "most": max(values, default=None),
        "mean": sum(values) / len(values) if values else None,
    }


def in_order(found: Sequence[Row]) -> list[Row]:
    """By end and key."""
    return sorted(found, key=lambda row: (row["end"], row["key"], row["start"]))
