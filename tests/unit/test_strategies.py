"""Retry strategies: what they say of failures at known times."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_stream import ExponentialBackoff, FailureRate, FixedDelay, NoRetry
from kafka_stream.engine.retry import backoff_s
from kafka_stream.failures.strategies import EXPONENTIAL, Failures, RetryStrategy


def pauses(strategy: RetryStrategy, *times: float, got_over_at: tuple[float, ...] = ()) -> list[float | None]:
    failures = Failures(strategy.reset_after_s)
    found = []
    for at in sorted({*times, *got_over_at}):
        if at in got_over_at:
            failures.got_over(at)
        else:
            failures.failed(at)
            found.append(strategy.pause_s(failures, 0.0))
    return found


def test_a_fixed_delay_ends_with_its_attempts() -> None:
    assert pauses(FixedDelay(2.0, 3), 0, 1, 2) == [2.0, 2.0, None]
    assert pauses(FixedDelay(2.0, 3), 0, 1, 3, 4, got_over_at=(2,)) == [2.0, 2.0, 2.0, 2.0]
    assert pauses(FixedDelay(0.5, None), *range(50)) == [0.5] * 50


def test_backoff_grows_to_its_maximum_and_starts_anew_after_a_calm_time() -> None:
    strategy = ExponentialBackoff(1.0, 10.0, 3.0, 0.0, reset_after_s=60.0)
    assert pauses(strategy, 0, 1, 2, 3) == [1.0, 3.0, 9.0, 10.0]
    assert pauses(strategy, 0, 1, 30, 100, got_over_at=(2, 31)) == [1.0, 3.0, 9.0, 1.0]


def test_the_default_is_what_it_always_was() -> None:
    failures = Failures()
    for count in range(1, 1200):
        failures.failed(float(count))
        for jitter in (0.0, 0.5, 0.99):
            assert EXPONENTIAL.pause_s(failures, jitter) == pytest.approx(backoff_s(count, jitter))


def test_a_rate_counts_what_came_within_its_interval_in_a_row_or_not() -> None:
    strategy = FailureRate(2, 10.0, 0.5)
    assert pauses(strategy, 0, 1, 2) == [0.5, 0.5, None]
    assert pauses(strategy, 0, 4, 9, got_over_at=(2, 5)) == [0.5, 0.5, None]
    assert pauses(strategy, 0, 9, 11, 22) == [0.5, 0.5, 0.5, 0.5]


def test_no_retry_is_none() -> None:
    assert pauses(NoRetry(), 0) == [None]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (FixedDelay, {"delay_s": -1}),
        (FixedDelay, {"max_attempts": 0}),
        (FixedDelay, {"max_attempts": 2.5}),
        (FixedDelay, {"delay_s": float("nan")}),
        (FixedDelay, {"delay_s": True}),
        (ExponentialBackoff, {"maximum_s": 0.01}),
        (ExponentialBackoff, {"multiplier": 0.5}),
        (ExponentialBackoff, {"jitter": 2}),
        (FailureRate, {"max_failures": 0}),
        (FailureRate, {"interval_s": "1"}),
    ],
)
def test_what_cannot_be_is_refused_by_name(kind: type[RetryStrategy], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} of {kind.__name__}"):
        kind(**wrong)
