"""Pure: numbers, times and batches as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from kafka_stream.admin.describe import duration
from kafka_stream.observe.page.model import BatchView, Line, StreamView, Tone

_SIGNS: Final = {Tone.GOOD: "●", Tone.QUIET: "○", Tone.WARNING: "▲", Tone.BAD: "✕"}


def number(value: float | None) -> str:
    """For people: three digits of what is small, whole ones of what is not; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return "-"
    if isinstance(value, int) or abs(value) >= 100 or value == 0:
        return f"{round(value):,}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def moment(at: datetime | None) -> str:
    """The time of day, in UTC."""
    return "-" if at is None else at.astimezone(UTC).strftime("%H:%M:%S")


def day(at: datetime) -> str:
    """The same with its date."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago it was."""
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def span(line: Line) -> str:
    """How long it lasts."""
    return duration((line[-1][0] - line[0][0]).total_seconds()) if len(line) > 1 else "0 s"


def peak(line: Line) -> float | None:
    """The highest of its values."""
    return max((value for _, value in line if value is not None), default=None)


def longest(stream: StreamView) -> float:
    """Of the batches that are shown."""
    return max((batch.duration_s for batch in stream.batches or ()), default=0.0)


def in_words(batch: BatchView) -> str:
    """A batch's phases."""
    return ", ".join(f"{name} {duration(seconds)}" for name, seconds in batch.phases)


def sign(tone: Tone) -> str:
    """A shape for it, for those who do not tell its colour."""
    return _SIGNS[tone]


__all__ = ["ago", "day", "in_words", "longest", "moment", "number", "peak", "sign", "span"]
