"""What ``assert_exactly_once`` says: the first record that is wrong and what was done to it, or what was survived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kafka_stream.testing.exactly_once.records import Place


class NotExactlyOnce(AssertionError):
    """The results are not what the records come to once; its subclasses say in which way.

    ``place`` is the first record that it shows in, where one is known; ``crash`` what was done to the process, in
    words, and ``seed`` does the same again.
    """

    def __init__(self, said: str, place: Place | None = None, crash: str = "", seed: int | None = None) -> None:
        super().__init__(said)
        self.place = place
        self.crash = crash
        self.seed = seed


class RecordLost(NotExactlyOnce):
    """A record's offset is committed, and its result is not there."""


class RecordRepeated(NotExactlyOnce):
    """A record's result is there more often than once."""


class WrittenOutside(NotExactlyOnce):
    """A record's result is there although its batch was rolled back: it is not written through the transaction."""


class ResultsDiffer(NotExactlyOnce):
    """The results are others than without a crash, and neither a loss nor a repetition explains them."""


class StreamStopped(NotExactlyOnce):
    """The stream stopped by itself; its error is chained, or told where another process had it."""


@dataclass(frozen=True, slots=True)
class Survived:
    """What the stream went through, and lost and repeated nothing: ``crashes`` by the point at which they came."""

    seed: int
    records: int
    starts: int = 0
    crashes: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        by_point = ", ".join(f"{count} at {point}" for point, count in self.crashes.items())
        return (
            f"{self.records} records went through {self.starts} process starts and {sum(self.crashes.values())} "
            f"crashes ({by_point}) exactly once; seed={self.seed}"
        )


__all__ = [
    "NotExactlyOnce",
    "RecordLost",
    "RecordRepeated",
    "ResultsDiffer",
    "StreamStopped",
    "Survived",
    "WrittenOutside",
]
