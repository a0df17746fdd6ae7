"""An error and its history into what the loop does next."""

from __future__ import annotations

import pytest

from kafka_stream.engine.retry import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    Decision,
    Rejoin,
    RetryAfter,
    Stop,
    TakeOverAgain,
    backoff_s,
    decide,
)
from kafka_stream.errors import (
    BrokerUnavailable,
    CommitOutcomeUnknown,
    ConfigurationError,
    DataLoss,
    OutstandingPlan,
    OwnershipLost,
    ProcessingError,
    SinkUnavailable,
    StoreUnavailable,
    StreamClosed,
)
from kafka_stream.types import OffsetRange, Owner
from tests.fakes import ORDERS_0

ME = Owner("me", "a")
OTHER = Owner("other", "b")


def _decide(error: Exception, *, in_group: bool = False, failures: int = 1) -> Decision:
    return decide(error, owner=ME, in_group=in_group, failures=failures, jitter=0.0, pause_s=FIRST_DELAY_S)


@pytest.mark.parametrize("error", [BrokerUnavailable("x"), StoreUnavailable("x"), SinkUnavailable("x")])
@pytest.mark.parametrize("in_group", [True, False])
def test_transient_errors_are_retried(error: Exception, in_group: bool) -> None:
    assert _decide(error, in_group=in_group) == RetryAfter(FIRST_DELAY_S)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("x"),
        ProcessingError("x"),
        CommitOutcomeUnknown("x"),
        OutstandingPlan("x", range=OffsetRange(ORDERS_0, 0, 1)),
        DataLoss("x", partition=ORDERS_0, wanted=1, available=None),
        ValueError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("in_group", [True, False])
def test_what_would_only_happen_again_stops(error: Exception, in_group: bool) -> None:
    assert _decide(error, in_group=in_group) == Stop()


@pytest.mark.parametrize("other", [None, OTHER, ME])
@pytest.mark.parametrize("in_group", [True, False])
def test_a_closed_stream_stops_whoever_owns_it(other: Owner | None, in_group: bool) -> None:
    assert _decide(StreamClosed("x", other=other), in_group=in_group) == Stop()


@pytest.mark.parametrize("other", [None, ME, Owner("me", "elsewhere", "v2")])
@pytest.mark.parametrize("in_group", [True, False])
def test_fenced_by_an_admin_command_takes_over_again(other: Owner | None, in_group: bool) -> None:
    assert _decide(OwnershipLost("x", other=other), in_group=in_group) == TakeOverAgain(0.0)


def test_fenced_by_an_admin_command_again_and_again_backs_off() -> None:
    assert _decide(OwnershipLost("x"), failures=2) == TakeOverAgain(backoff_s(2, 0.0))
    assert backoff_s(2, 0.0) > 0


def test_a_static_owner_fenced_by_another_one_stops_so_that_the_two_never_alternate() -> None:
    assert _decide(OwnershipLost("x", other=OTHER)) == Stop()


def test_a_group_member_fenced_by_another_one_rejoins_after_a_backoff() -> None:
    assert _decide(OwnershipLost("x", other=OTHER), in_group=True, failures=3) == Rejoin(backoff_s(3, 0.0))


def test_backoff_doubles_up_to_its_cap() -> None:
    delays = [backoff_s(n, 0.0) for n in range(1, 2_000)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_S


def test_jitter_takes_up_to_half() -> None:
    assert backoff_s(1, 0.999) == pytest.approx(FIRST_DELAY_S / 2, rel=0.01)
    assert 0 < backoff_s(50, 0.5) < LONGEST_DELAY_S
