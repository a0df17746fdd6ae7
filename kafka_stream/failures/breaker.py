"""Pure: how many records may be set aside before it looks like a bad deploy rather than like bad records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kafka_stream.errors import TooManyDeadLetters


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """What ``on_error="dead-letter"`` does, and when it is enough.

    The stream stops, with nothing of its batch committed, when more than ``max_ratio`` of the last ``window`` records
    failed, or more than ``max_in_a_row`` one after the other. Before so many records were read, as many may fail as
    would in a whole window. What a run has seen is forgotten when it ends.

    With ``keep_key_order`` later records with the key of one that waits join it (as in Axon's sequenced dead-letter
    queue), so that a replay applies them in order: at most ``max_per_key`` of each. They do not count as failures.
    ``topic`` is where they go if the offsets are in Kafka: ``<stream>.dead-letters`` unless it is given.
    """

    max_ratio: float = 0.1
    window: int = 1_000
    max_in_a_row: int = 100
    keep_key_order: bool = False
    max_per_key: int = 1_000
    topic: str | None = None

    def __post_init__(self) -> None:
        if type(self.max_ratio) not in (int, float) or not 0 < self.max_ratio <= 1:
            raise ValueError(f"max_ratio of DeadLetters is {self.max_ratio!r}; it is more than 0, and 1 at most")
        for name in ("window", "max_in_a_row", "max_per_key"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f"{name} of DeadLetters is {value!r}; it is a whole number from 1")

    @property
    def most_in_window(self) -> int:
        """How many of the last ``window`` records may fail."""
        return int(self.max_ratio * self.window)


@dataclass(frozen=True, slots=True)
class Breaker:
    """What a run has seen, up to a committed batch: the numbers of the records that failed, as far as they count."""

    limits: DeadLetters
    seen: int = 0
    failed: tuple[int, ...] = ()

    def after(self, records: int, failed: Iterable[int]) -> Breaker:
        """With one more batch of so many records, of which these failed (their places in it, ascending).

        Raises:
            TooManyDeadLetters: it is enough.
        """
        limits = self.limits
        recent, in_a_row = list(self.failed), self._in_a_row()
        for place in failed:
            number = self.seen + place
            in_a_row = in_a_row + 1 if recent and recent[-1] == number - 1 else 1
            recent.append(number)
            in_window = sum(one > number - limits.window for one in recent[-limits.most_in_window - 1 :])
            if in_a_row > limits.max_in_a_row:
                raise _refusal(f"{in_a_row} records in a row failed, more than max_in_a_row={limits.max_in_a_row}")
            if in_window > limits.most_in_window:
                raise _refusal(
                    f"{in_window} of the last {min(number + 1, limits.window)} records failed, more than "
                    f"max_ratio={limits.max_ratio:g} of window={limits.window} allows"
                )
        kept = max(limits.most_in_window, limits.max_in_a_row) + 1
        return replace(self, seen=self.seen + records, failed=tuple(recent[-kept:]))

    def _in_a_row(self) -> int:
        count = 0
        for earlier, later in zip(self.failed[-2::-1], self.failed[::-1], strict=False):
            if earlier != later - 1:
                break
            count += 1
        return count + bool(self.failed)


def _refusal(what: str) -> TooManyDeadLetters:
    return TooManyDeadLetters(
        f"{what}: that looks like the code rather than the records, so that nothing of the batch was committed; mend "
        "the handler and start again, or raise the limits of DeadLetters(…)"
    )


__all__ = ["Breaker", "DeadLetters"]
