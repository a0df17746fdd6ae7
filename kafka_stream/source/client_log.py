"""What librdkafka's clients log: one line for a fault, and from then on how often it was seen again."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

_COUNT_FOR_S = 30.0
_MOST_FAULTS = 200  # remembered at a time; a fault that is forgotten is told in full again
# Which client and which of its connections noticed a fault, when, and of how many, says nothing about the fault.
_CONNECTION = re.compile(r"(?<=:)(\d+)/\w+")
_NOTICED_BY = re.compile(
    r"^\S+ \[rdkafka#\S+\] |\[thrd:[^\]]*\]: |rdkafka#\S+: |GroupCoordinator: |\(after .*?\)$|\b\d+/\d+(?= brokers are)"
)


@dataclass(slots=True)
class _Fault:
    line: str
    level: int
    told_at: float
    more: int = 0

    def again(self, now: float) -> str:
        return f"{self.line} … and {self.more} more in {now - self.told_at:.0f} s"


class ClientLog:
    """A logger for librdkafka's clients (their setting ``logger``), and for what they report besides.

    A fault is told at once; seen again by any client, it is counted, and told with its count at most every 30 s. Safe
    to use from several threads.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = Lock()
        self._faults: dict[str, _Fault] = {}

    def log(self, level: int, message: str, *arguments: object) -> None:
        """What librdkafka's Python client calls for each of its lines."""
        self._tell(level, message % arguments if arguments else message)

    def fault(self, reason: str) -> None:
        """A client has reported an error that passes."""
        self._tell(logging.WARNING, reason)

    def recovered(self) -> None:
        """The brokers answer again: tell what was counted, and the next fault in full."""
        with self._lock:
            faults, self._faults = self._faults, {}
        now = self._clock()
        for fault in faults.values():
            if fault.more:
                self._logger.log(fault.level, "%s", fault.again(now))

    def _tell(self, level: int, line: str) -> None:
        if level < logging.INFO:  # somebody wants to see everything
            self._logger.log(level, "%s", line)
            return
        now = self._clock()
        with self._lock:
            fault = self._faults.get(key := fault_of(line))
            if fault is not None and now - fault.told_at < _COUNT_FOR_S:
                fault.more += 1
                return
            if len(self._faults) >= _MOST_FAULTS:
                self._faults.clear()
            self._faults[key] = _Fault(line, level, now)
        self._logger.log(level, "%s", line if fault is None or not fault.more else fault.again(now))


def fault_of(line: str) -> str:
    """What a line of librdkafka's is about, whichever client logged it."""
    return _NOTICED_BY.sub("", _CONNECTION.sub(r"\1", line)).strip()


CLIENT_LOG = ClientLog(logging.getLogger("kafka_stream.librdkafka"))
"""That of all clients in this process: a broker that is away is one fault, however many of them notice."""


__all__ = ["CLIENT_LOG", "ClientLog", "fault_of"]
