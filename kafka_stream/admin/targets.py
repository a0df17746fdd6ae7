"""Pure: what an operator writes (topics and partitions, times, durations) into values, as Kafka's own tool reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from kafka_stream.errors import ConfigurationError
from kafka_stream.types import why_no_topic

_SPAN = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?", re.ASCII)
_DURATION = re.compile(
    r"(?P<sign>[-+]?)P(?:(?P<weeks>[-+]?\d+)W)?(?:(?P<days>[-+]?\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>[-+]?\d+)H)?(?:(?P<minutes>[-+]?\d+)M)?(?:(?P<seconds>[-+]?\d+(?:[.,]\d{0,9})?)S)?)?",
    re.IGNORECASE | re.ASCII,
)
_MOST_PARTITIONS = 1_000_000


@dataclass(frozen=True, slots=True)
class Selection:
    """A topic's partitions; all of them if ``partitions`` is ``None``."""

    topic: str
    partitions: tuple[int, ...] | None = None

    @classmethod
    def parsed(cls, text: str) -> Self:
        """``orders``, ``orders:0,3`` as Kafka's tool takes it, or ``orders:0-3``.

        Raises:
            ConfigurationError: it is neither.
        """
        topic, colon, spans = text.partition(":")
        if why_no_topic(topic) is not None or (colon and not spans):
            raise _unreadable(text)
        if not colon:
            return cls(topic)
        found: set[int] = set()
        for span in spans.split(","):
            match = _SPAN.fullmatch(span.strip())
            if match is None:
                raise _unreadable(text)
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first or last >= _MOST_PARTITIONS:
                raise _unreadable(text)
            found.update(range(first, last + 1))
        return cls(topic, tuple(sorted(found)))


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; one without a zone is UTC, as Kafka's tool takes it.

    Raises:
        ConfigurationError: it is no such time.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no ISO 8601 time, such as 2026-03-01T12:00:00 (UTC) or …+02:00"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def time_before(text: str, now: datetime) -> datetime:
    """The time that an ISO 8601 duration such as ``P7D`` or ``PT1H30M`` ago was; ``now`` is aware.

    Each number may have a sign, as in Java's ``Duration.parse``, by which Kafka's tool reads it: ``PT-1H`` ago is in an
    hour.

    Raises:
        ConfigurationError: it is no such duration, or reaches too far.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not any(match[unit] for unit in ("weeks", "days", "hours", "minutes", "seconds")):
        raise ConfigurationError(f"{text!r} is no ISO 8601 duration of days and less, such as P7D or PT1H30M")
    units = {unit: float((match[unit] or "0").replace(",", ".")) for unit in match.groupdict() if unit != "sign"}
    try:
        span = timedelta(**units)
        return now + span if match["sign"] == "-" else now - span
    except OverflowError:
        raise ConfigurationError(f"the duration {text!r} reaches beyond all calendars") from None


def _unreadable(text: str) -> ConfigurationError:
    return ConfigurationError(f"{text!r} names no partitions; write TOPIC, TOPIC:0,3 or TOPIC:0-3")


__all__ = ["Selection", "parse_time", "time_before"]
