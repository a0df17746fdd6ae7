"""Pure: the panes that time is cut into, of one length each, or of days of a time zone. All times in microseconds.

A window is one pane or several in a row, so that a record is kept once, in the pane that it belongs to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from kafka_stream.sinks.sql.stateful.durations import DAY_US
from kafka_stream.sinks.sql.stateful.moments import moment, us_of

_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the clock on the wall
_MOST_NUMBERS = 4_000
"""So many days in a row are looked up in a list of their beginnings; of more, each is computed."""

FIRST_US = -62_000_000_000 * 1_000_000
"""From the year 5 on."""
LAST_US = 253_000_000_000 * 1_000_000
"""Until the year 9987: what lies beyond may have no ``datetime``."""


class Panes(Protocol):
    """How time is cut."""

    def starts(self, times: Sequence[int]) -> list[int]:
        """The start of the pane that each time is in."""

    def shifted(self, boundary: int, panes: int) -> int:
        """The boundary so many panes later, or earlier."""


class EvenPanes:
    """All of one length; one of them starts ``offset_us`` after the epoch."""

    def __init__(self, length_us: int, offset_us: int = 0) -> None:
        self._length = length_us
        self._offset = offset_us % length_us

    def starts(self, times: Sequence[int]) -> list[int]:
        """The start of the pane that each time is in."""
        length, offset = self._length, self._offset
        if not offset:
            return [time - time % length for time in times]
        return [time - (time - offset) % length for time in times]

    def shifted(self, boundary: int, panes: int) -> int:
        """The boundary so many panes later, or earlier."""
        return boundary + panes * self._length


class DayPanes:
    """Each of so many days of a time zone, of 23 to 25 hours, which begin ``offset_us`` after midnight by its clocks.

    Where clocks are put back over that time, a day begins when they show it first.
    """

    def __init__(self, zone: ZoneInfo, days: int, offset_us: int = 0) -> None:
        self._zone = zone
        self._days = days
        self._offset = timedelta(microseconds=offset_us)
        self._starts: dict[int, int] = {}

    def starts(self, times: Sequence[int]) -> list[int]:
        """The start of the pane that each time is in."""
        if not times:
            return []
        first, last = self._number(min(times)), self._number(max(times))
        if last - first > _MOST_NUMBERS:
            return [self._start(self._number(time)) for time in times]
        starts = [self._start(number) for number in range(first, last + 1)]
        return [starts[bisect_right(starts, time) - 1] for time in times]

    def shifted(self, boundary: int, panes: int) -> int:
        """The boundary so many panes later, or earlier."""
        return self._start(self._number(boundary) + panes)

    def _number(self, time: int) -> int:
        """Which pane a time is in, counted from 1970."""
        on_the_wall = moment(time).astimezone(self._zone).replace(tzinfo=None) - self._offset
        number = (on_the_wall - _NAIVE_EPOCH) // timedelta(days=self._days)
        while self._start(number) > time:
            number -= 1
        while self._start(number + 1) <= time:
            number += 1
        return number

    def _start(self, number: int) -> int:
        if (start := self._starts.get(number)) is None:
            on_the_wall = _NAIVE_EPOCH + timedelta(days=number * self._days) + self._offset
            start = self._starts[number] = us_of(on_the_wall.replace(tzinfo=self._zone))
        return start


def is_whole_days(length_us: int) -> bool:
    """Whether a length is one, two or more days."""
    return length_us > 0 and length_us % DAY_US == 0
