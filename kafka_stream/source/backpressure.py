"""When the buffers are full: whether anything behind them still moves."""

from __future__ import annotations

import time
from collections.abc import Callable

from kafka_stream.source.inbox import Inbox

_WINDOW_S = 2.0
# What librdkafka's queue holds, about: with that much let in per window, nothing in it waits for much longer than one.
_TURNOVER_RECORDS = 50_000
_TURNOVER_BYTES = 32 * 2**20
_RELAXED = 0.5  # of the limits


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


__all__ = ["Turnover"]
