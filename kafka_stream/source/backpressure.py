"""What is done about full buffers: which partitions are held back, and how many records are let in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from kafka_stream.source.consumer.partitions import ConsumerPartitions
from kafka_stream.source.inbox import Inbox
from kafka_stream.types import TopicPartition

_WINDOW_S = 2.0
# What librdkafka's queue holds, about: with that much let in per window, nothing in it waits for much longer than one.
_TURNOVER_RECORDS = 50_000
_TURNOVER_BYTES = 32 * 2**20
_RELAXED = 0.5  # of the limits
_DRAINED, _STARVING = 0.5, 0.1  # of a partition's share of the limits


class Turnover:
    """Tells whether little is let in because the inbox is full, so that librdkafka's queue hardly moves.

    Records of different partitions wait in that queue one behind the other: while it moves, none of them starves.
    """

    def __init__(self, inbox: Inbox, clock: Callable[[], float] = time.monotonic) -> None:
        self._inbox = inbox
        self._clock = clock
        self._slow = False
        self.restart()

    def restart(self) -> None:
        """Something was done about it: look for a whole window again."""
        self._slow = False
        self._start = self._clock()
        self._added = self._inbox.added()

    def is_slow(self) -> bool:
        """Whether it was slow over the last whole window."""
        if self._inbox.used() < _RELAXED:
            self.restart()
        elif self._clock() - self._start >= _WINDOW_S:
            records, value_bytes = self._inbox.added()
            slow = records - self._added[0] < _TURNOVER_RECORDS and value_bytes - self._added[1] < _TURNOVER_BYTES
            self.restart()
            self._slow = slow
        return self._slow


class Backpressure:
    """Which partitions of a consumer are held back, and how many records are let in.

    Pausing a partition drops what librdkafka has fetched ahead of it, and it is fetched again later. So it is done only
    where something is gained: where a partition would wait for long behind others in librdkafka's queue.
    """

    def __init__(self, inbox: Inbox, partitions: ConsumerPartitions) -> None:
        self._inbox = inbox
        self._partitions = partitions
        self._turnover = Turnover(inbox)

    def relieve(self) -> None:
        """Let go of what is drained; hold back what has more than its share if another partition has nothing."""
        if self._partitions.paused:
            fill = self._inbox.fill()
            self._partitions.let_go(p for p in self._partitions.paused if fill.get(p, 1.0) < _DRAINED)
        if self._turnover.is_slow():
            fill = self._flowing()
            if any(used < _STARVING for used in fill.values()):
                self._partitions.hold_back(p for p, used in fill.items() if used >= 1.0)
                self._turnover.restart()

    def room(self) -> int:
        """How many records to let in; what is paused takes nothing from the others' shares."""
        if self._inbox.used() < 1.0 or not self._partitions.paused:
            return self._inbox.room()
        others = self._flowing().values()
        return self._inbox.room(times=2) if sum(others) < len(others) else 0

    def hold_back_all(self) -> None:
        """Hold back everything if what is let in for the sake of rebalances and errors has become too much."""
        if self._inbox.room(times=2) <= 0:
            self._partitions.hold_back(self._inbox.fill())

    def _flowing(self) -> Mapping[TopicPartition, float]:
        paused = self._partitions.paused
        return {p: used for p, used in self._inbox.fill().items() if p not in paused}


__all__ = ["Backpressure", "Turnover"]
