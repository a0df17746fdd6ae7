"""Pure: an error and its history into what the loop does next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kafka_stream.errors import OwnershipLost, RetriesExhausted, StreamClosed, TransientError
from kafka_stream.failures.strategies import EXPONENTIAL, ExponentialBackoff, Failures, RetryStrategy
from kafka_stream.types import Owner

FIRST_DELAY_S = EXPONENTIAL.initial_s
LONGEST_DELAY_S = EXPONENTIAL.maximum_s
_HELD = ExponentialBackoff(initial_s=5.0, maximum_s=60.0)


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Drop the batch, wait, read it again."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class TakeOverAgain:
    """An admin command has fenced us: take the partitions over again and go on from what is stored."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Rejoin:
    """Another member owns what we thought was ours: leave the group, wait, join again."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing that this process may do would help: raise the error."""


Decision: TypeAlias = RetryAfter | TakeOverAgain | Rejoin | Stop


def backoff_s(failures: int, jitter: float) -> float:
    """As the default strategy: 0.1 s doubled per failure in a row, 15 s at most; ``jitter`` takes up to half off."""
    return EXPONENTIAL.after(failures, jitter)


def held_backoff_s(failures: int, jitter: float) -> float:
    """After finding partitions held by somebody else: 5 s doubled per time in a row, a minute at most."""
    return _HELD.after(failures, jitter)


def decide(
    error: Exception, *, owner: Owner, in_group: bool, failures: int, jitter: float, pause_s: float | None
) -> Decision:
    """What to do about an error, which is the ``failures``-th in a row (from 1).

    ``pause_s`` is what the stream's retry strategy says of what may work the next time: ``None`` if it is enough.
    Two owners who each take over again would commit nothing for ever: only a fence by an admin command (the stored
    owner is cleared, or still ours) is answered with another takeover. Nor does a member join again that was fenced by
    one of another group, which is as good a group as its own.
    """
    if isinstance(error, TransientError):
        return Stop() if pause_s is None else RetryAfter(pause_s)
    if isinstance(error, StreamClosed) or not isinstance(error, OwnershipLost):
        return Stop()
    if error.other is None or error.other.id == owner.id:
        return TakeOverAgain(0.0 if failures == 1 else backoff_s(failures, jitter))
    in_our_group = in_group and (error.other.group is None or error.other.group == owner.group)
    return Rejoin(backoff_s(failures, jitter)) if in_our_group else Stop()


def given_up(error: TransientError, strategy: RetryStrategy, failures: Failures) -> RetriesExhausted:
    """What stops the stream when its retry strategy allows no further attempt."""
    return RetriesExhausted(
        f"gave up after {failures.in_a_row} attempt(s) in a row, as retry={strategy} says: {error}; nothing of the "
        "batch was committed",
        attempts=failures.in_a_row,
    )
