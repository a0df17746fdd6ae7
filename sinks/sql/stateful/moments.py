"""Pure: times as microseconds since 1970, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """A time in UTC."""
    return EPOCH + timedelta(microseconds=us)


def us_of(at: datetime) -> int:
    """Of an aware time."""
    return (at - EPOCH) // _MICROSECOND


__all__ = ["EPOCH", "moment", "us_of"]
