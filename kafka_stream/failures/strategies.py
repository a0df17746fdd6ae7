"""Pure: how often, and after which pauses, what failed for want of a server is tried again.

The names, and what they mean, are those of Flink's restart strategies (fixed-delay, exponential-delay, failure-rate).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

_MOST_REMEMBERED = 10_000


def _check(strategy: object, name: str, least: float, most: float = float("inf")) -> None:
    value = getattr(strategy, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not is_number or not least <= value <= most or (isinstance(least, int) and not isinstance(value, int)):
        bounds = f"at least {least:g}" if most == float("inf") else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} of {type(strategy).__name__} is {value!r}; it is a number, {bounds}")


@dataclass(frozen=True, slots=True)
class FixedDelay:
    """The same pause each time, and ``max_attempts`` attempts at a batch in all; ``None`` is no limit."""

    delay_s: float = 1.0
    max_attempts: int | None = 10

    def __post_init__(self) -> None:
        _check(self, "delay_s", 0.0)
        if self.max_attempts is not None:
            _check(self, "max_attempts", 1, _MOST_REMEMBERED)

    @property
    def reset_after_s(self) -> float:
        """A success ends the counting at once."""
        return 0.0

    def pause_s(self, failures: Failures, jitter: float) -> float | None:
        """How long to wait before the next attempt; ``None`` if there is to be none."""
        return None if self.max_attempts is not None and failures.in_a_row >= self.max_attempts else self.delay_s


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """Pauses that grow by ``multiplier`` from ``initial_s`` to ``maximum_s``, for as long as it takes: the default.

    ``jitter`` is the share of each pause that chance takes off, so that copies do not come back all at once
    ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The pauses begin anew when nothing has failed for
    ``reset_after_s`` since the last failure was got over.
    """

    initial_s: float = 0.1
    maximum_s: float = 15.0
    multiplier: float = 2.0
    jitter: float = 0.5
    reset_after_s: float = 0.0

    def __post_init__(self) -> None:
        _check(self, "initial_s", 0.001)
        _check(self, "maximum_s", self.initial_s)
        _check(self, "multiplier", 1.0)
        _check(self, "jitter", 0.0, 1.0)
        _check(self, "reset_after_s", 0.0)

    def pause_s(self, failures: Failures, jitter: float) -> float | None:
        """How long to wait before the next attempt; ``jitter`` is a number by chance in [0, 1)."""
        return self.after(failures.in_a_row, jitter)

    def after(self, failures: int, jitter: float) -> float:
        """The same, after so many failures in a row."""
        try:
            pause_s = min(self.maximum_s, self.initial_s * self.multiplier ** (failures - 1))
        except OverflowError:
            pause_s = self.maximum_s
        return pause_s * (1 - jitter * self.jitter)


@dataclass(frozen=True, slots=True)
class FailureRate:
    """The same pause each time, until more than ``max_failures`` came within ``interval_s``, in a row or not."""

    max_failures: int = 10
    interval_s: float = 300.0
    delay_s: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "max_failures", 1, _MOST_REMEMBERED - 1)
        _check(self, "interval_s", 0.001)
        _check(self, "delay_s", 0.0)

    @property
    def reset_after_s(self) -> float:
        """A success ends the counting of those in a row, which do not count here."""
        return 0.0

    def pause_s(self, failures: Failures, jitter: float) -> float | None:
        """How long to wait before the next attempt; ``None`` if there is to be none."""
        return None if failures.within(self.interval_s) > self.max_failures else self.delay_s


@dataclass(frozen=True, slots=True)
class NoRetry:
    """The first failure stops the stream: for those who have a supervisor that starts it again."""

    @property
    def reset_after_s(self) -> float:
        """Nothing is counted."""
        return 0.0

    def pause_s(self, failures: Failures, jitter: float) -> float | None:
        """Never."""
        return None


RetryStrategy: TypeAlias = FixedDelay | ExponentialBackoff | FailureRate | NoRetry

EXPONENTIAL = ExponentialBackoff()


class Failures:
    """The failures so far, by their times; what counts as one after another is for ``reset_after_s`` to say."""

    def __init__(self, reset_after_s: float = 0.0) -> None:
        self._reset_after_s = reset_after_s
        self._times: deque[float] = deque(maxlen=_MOST_REMEMBERED)
        self._got_over_at: float | None = None
        self.in_a_row = 0

    def failed(self, now: float) -> None:
        """One more, at a time of a clock that only goes forward."""
        if self._got_over_at is not None and now - self._got_over_at >= self._reset_after_s:
            self.in_a_row = 0
        self._got_over_at = None
        self.in_a_row += 1
        self._times.append(now)

    def got_over(self, now: float) -> None:
        """What had failed went well."""
        if self._got_over_at is None:
            self._got_over_at = now

    def within(self, interval_s: float) -> int:
        """How many there were in so many seconds up to the latest one, which counts."""
        latest = self._times[-1] if self._times else 0.0
        return sum(latest - at <= interval_s for at in self._times)


__all__ = [
    "EXPONENTIAL",
    "ExponentialBackoff",
    "FailureRate",
    "Failures",
    "FixedDelay",
    "NoRetry",
    "RetryStrategy",
]
