"""What users say of their windows: ``Tumbling``, ``Sliding`` and ``Session``."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.stateful.durations import DAY_US, duration_us, positive_us
from kafka_stream.sinks.sql.windows.event_time.panes import DayPanes, EvenPanes, Panes, is_whole_days

Duration: TypeAlias = str | timedelta
"""``"90s"``, ``"5 minutes"``, ``"1 hour"``, ``"1 day"``, or a ``timedelta``."""


class Tumbling:
    """Windows of one length, one behind the other: each record is in one of them.

    They begin at multiples of ``size`` after 1970 in UTC, and ``offset`` later. With ``zone="Europe/Berlin"`` they are
    days of that zone, of 23 or 25 hours where its clocks are changed, and ``offset`` is what its clocks show then.

    Raises:
        ConfigurationError: a length is none, or not positive, or no whole days with a zone; the zone is unknown.
    """

    def __init__(self, size: Duration, *, offset: Duration = "0s", zone: str | None = None) -> None:
        self._size = positive_us(size, "the size of Tumbling")
        offset_us = duration_us(offset, "the offset of Tumbling")
        self.panes: Panes = _panes("Tumbling", self._size, offset_us, zone)
        self.panes_per_window = 1
        self._said = _said(f"tumbling, {_length(self._size)}", offset_us, zone)

    @property
    def whole_seconds(self) -> bool:
        """Whether all windows begin and end with a second."""
        return self.panes.shifted(self.panes.starts([0])[0], 1) % 1_000_000 == 0 and self._size % 1_000_000 == 0

    def __str__(self) -> str:
        return self._said


class Sliding:
    """Windows of one length, of which one begins ``every`` so often: each record is in ``size / every`` of them.

    ``offset`` and ``zone`` are as in ``Tumbling``.

    Raises:
        ConfigurationError: as ``Tumbling``, or ``size`` is no multiple of ``every``.
    """

    def __init__(self, size: Duration, *, every: Duration, offset: Duration = "0s", zone: str | None = None) -> None:
        size_us, every_us = positive_us(size, "the size of Sliding"), positive_us(every, "every of Sliding")
        if size_us % every_us:
            raise ConfigurationError(
                f"a Sliding window of {size!r} cannot begin every {every!r}: its size has to be a multiple of that"
            )
        offset_us = duration_us(offset, "the offset of Sliding")
        self._step = every_us
        self.panes: Panes = _panes("Sliding", every_us, offset_us, zone)
        self.panes_per_window = size_us // every_us
        self._said = _said(f"sliding, {_length(size_us)} every {_length(every_us)}", offset_us, zone)

    @property
    def whole_seconds(self) -> bool:
        """Whether all windows begin and end with a second."""
        return self.panes.shifted(self.panes.starts([0])[0], 1) % 1_000_000 == 0 and self._step % 1_000_000 == 0

    def __str__(self) -> str:
        return self._said


class Session:
    """Windows that last as long as a key's records come less than ``gap`` apart.

    One begins with its first record and ends ``gap`` after its last; two records exactly ``gap`` apart are in two.

    Raises:
        ConfigurationError: ``gap`` is no length of time, or not positive.
    """

    def __init__(self, gap: Duration) -> None:
        self.gap_us = positive_us(gap, "the gap of Session")

    @property
    def whole_seconds(self) -> bool:
        """They begin when a record comes."""
        return False

    def __str__(self) -> str:
        return f"sessions, {_length(self.gap_us)} apart"


Definition: TypeAlias = Tumbling | Sliding | Session


def _panes(what: str, length_us: int, offset_us: int, zone: str | None) -> Panes:
    if zone is None:
        return EvenPanes(length_us, offset_us)
    if not is_whole_days(length_us):
        raise ConfigurationError(
            f"{what} has zone={zone!r} and windows that begin every {_length(length_us)}: a zone is for whole days; "
            "leave it out, or make them begin every day, or every few days"
        )
    if offset_us >= length_us:
        raise ConfigurationError(f"the offset of {what} is {_length(offset_us)}, which is not less than its days")
    return DayPanes(_zone(what, zone), length_us // DAY_US, offset_us)


def _zone(what: str, zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (KeyError, OSError, TypeError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ConfigurationError(
            f'{what} has zone={zone!r}, which is no time zone that is known here; write it as "Europe/Berlin", and '
            "install the package tzdata where the system brings no zones"
        ) from error


def _said(what: str, offset_us: int, zone: str | None) -> str:
    offset = f", {_length(offset_us)} later" if offset_us else ""
    return f"{what}{offset}{f', {zone}' if zone else ''}"


def _length(us: int) -> str:
    return str(timedelta(microseconds=us))
