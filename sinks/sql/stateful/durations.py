"""Pure: lengths of time as people write them, in microseconds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from kafka_stream.errors import ConfigurationError

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

_LONGEST_US = 365_000 * DAY_US
_MICROSECOND = timedelta(microseconds=1)
_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_UNITS_US = {
    name: unit_us
    for names, unit_us in {
        ("us", "microsecond", "microseconds"): 1,
        ("ms", "millisecond", "milliseconds"): 1_000,
        ("s", "second", "seconds"): SECOND_US,
        ("m", "min", "minute", "minutes"): 60 * SECOND_US,
        ("h", "hour", "hours"): 3_600 * SECOND_US,
        ("d", "day", "days"): DAY_US,
        ("w", "week", "weeks"): 7 * DAY_US,
    }.items()
    for name in names
}


def duration_us(given: Any, what: str) -> int:
    """A ``timedelta``, or a text such as ``"90s"``, ``"5 minutes"`` or ``"1 day"``; not negative.

    Raises:
        ConfigurationError: it is none; ``what`` says whose it is.
    """
    found = given // _MICROSECOND if isinstance(given, timedelta) else _of_text(given)
    if found is None:
        raise ConfigurationError(
            f'{what} is {given!r}, which is no length of time; write "90s", "5 minutes", "1 hour" or "1 day", '
            "or give a timedelta"
        )
    if found > _LONGEST_US:
        raise ConfigurationError(f"{what} is {given!r}, which is more than a thousand years")
    if found < 0:
        raise ConfigurationError(f"{what} is {given!r}, which is negative")
    return found


def positive_us(given: Any, what: str) -> int:
    """As ``duration_us``, and not zero."""
    found = duration_us(given, what)
    if found == 0:
        raise ConfigurationError(f"{what} is {given!r}; it has to be longer than nothing")
    return found


def _of_text(given: Any) -> int | None:
    negative = isinstance(given, str) and given.strip().startswith("-")
    found = _TEXT.fullmatch(given.strip().lstrip("-").strip().lower()) if isinstance(given, str) else None
    if found is None or found[2] not in _UNITS_US:
        return None
    whole, _, part = found[1].partition(".")
    unit_us = _UNITS_US[found[2]]
    length = int(whole) * unit_us + (int(part) * unit_us // 10 ** len(part) if part else 0)
    return -length if negative else length
