"""What a page (or a terminal) shows, as values; texts are in it as they are: who draws them escapes them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

Line: TypeAlias = tuple[tuple[datetime, float | None], ...]
"""Values over time, the oldest first; ``None`` where it is not known."""


class Tone(enum.StrEnum):
    """How much somebody is needed."""

    GOOD = "good"
    QUIET = "quiet"
    """Nothing is at work here, and nothing says that it should be."""
    WARNING = "warning"
    BAD = "bad"


_URGENCY = (Tone.GOOD, Tone.QUIET, Tone.WARNING, Tone.BAD)


def most_urgent(tones: Sequence[Tone]) -> Tone:
    """The tone of them all."""
    return max(tones, key=_URGENCY.index, default=Tone.QUIET)


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence about something: a partition, an error, the page itself."""

    about: str
    sentence: str
    tone: Tone = Tone.WARNING
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One partition. ``rate`` is in offsets a second, lately; ``marks`` are words, explained by the stream's notes."""

    topic: str
    partition: int
    next_offset: int
    lag: int | None = None
    rate: float | None = None
    lag_line: Line = ()
    marks: tuple[str, ...] = ()
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class BatchView:
    """A committed batch. ``phases`` are seconds by name, in order."""

    at: datetime
    records: int
    phases: tuple[tuple[str, float], ...]
    attempt: int = 1

    @property
    def duration_s(self) -> float:
        """Of all phases together."""
        return sum(seconds for _, seconds in self.phases)


@dataclass(frozen=True, slots=True)
class ActionView:
    """Something that moved offsets, or was done with dead letters: a command, or a loss of data."""

    at: datetime
    kind: str
    actor: str
    where: str


@dataclass(frozen=True, slots=True)
class LettersView:
    """Dead letters of one kind. ``error`` is a type's name."""

    topic: str
    partition: int
    error: str
    status: str
    letters: int
    newest: datetime


@dataclass(frozen=True, slots=True)
class StreamView:
    """One stream. What is ``None`` is not known here, what is empty is known to be nothing.

    ``partitions`` may be some of ``partitions_count``, those that lag most. ``rate`` is in ``rate_unit`` a second.
    """

    name: str
    state: str
    tone: Tone
    facts: tuple[tuple[str, str], ...] = ()
    lag: int | None = None
    rate: float | None = None
    rate_unit: str = "records"
    committed_at: datetime | None = None
    lag_line: Line = ()
    rate_line: Line = ()
    partitions: tuple[PartitionView, ...] = ()
    partitions_count: int = 0
    notes: tuple[Note, ...] = ()
    batches: tuple[BatchView, ...] | None = None
    errors: tuple[Note, ...] | None = None
    history: tuple[ActionView, ...] | None = None
    letters: tuple[LettersView, ...] | None = None


@dataclass(frozen=True, slots=True)
class PageView:
    """Everything, as of ``at``. ``links`` are paths beside the page's own, with what they are."""

    title: str
    at: datetime
    streams: tuple[StreamView, ...]
    notes: tuple[Note, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


PARTITIONS_SHOWN = 50


def shown(partitions: Sequence[PartitionView]) -> tuple[PartitionView, ...]:
    """All of them, or those that need somebody and lag most, in the order in which they are."""
    if len(partitions) <= PARTITIONS_SHOWN:
        return tuple(partitions)
    first = sorted(partitions, key=lambda it: (not it.marks, -(it.lag or 0)))[:PARTITIONS_SHOWN]
    chosen = {(each.topic, each.partition) for each in first}
    return tuple(each for each in partitions if (each.topic, each.partition) in chosen)


__all__ = [
    "PARTITIONS_SHOWN",
    "ActionView",
    "BatchView",
    "LettersView",
    "Line",
    "Note",
    "PageView",
    "PartitionView",
    "StreamView",
    "Tone",
    "most_urgent",
    "shown",
]
