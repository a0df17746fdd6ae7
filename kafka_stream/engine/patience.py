"""Waiting out what will pass: a broker or a store that does not answer, for as long as nobody stops the stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from secrets import SystemRandom

from kafka_stream.engine.retry import backoff_s
from kafka_stream.errors import TransientError
from kafka_stream.progress import Listeners

logger = logging.getLogger("kafka_stream")


def jitter() -> float:
    """In [0, 1), for ``retry.backoff_s``."""
    return SystemRandom().random()


class Patience:
    """Says that something is tried again, and waits until then. ``is_stopping`` cuts a wait short."""

    def __init__(
        self, listeners: Listeners, is_stopping: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listeners = listeners
        self._is_stopping = is_stopping
        self._clock = clock

    def wait(
        self, error: Exception, delay_s: float, given_up: Callable[[], bool] | None = None, *, attempt: int = 0
    ) -> None:
        """Tell of the error, and wait; until ``given_up``, where a stop alone is no reason to.

        ``attempt`` is the number of the one that failed, where they are counted.
        """
        counted = f" (attempt {attempt})" if attempt > 1 else ""
        fields = {"event": "retrying", "error": type(error).__name__, "delay_s": round(delay_s, 3), "attempt": attempt}
        logger.warning("%s; trying again in %.1f s%s", error, delay_s, counted, extra=fields)
        self._listeners.on_retry(error, delay_s)
        given_up = given_up or self._is_stopping
        deadline = self._clock() + delay_s
        while not given_up() and (left := deadline - self._clock()) > 0:
            time.sleep(min(left, 0.2))

    def retrying_for(self, timeout_s: float, action: Callable[[], None]) -> None:
        """Try it again and again.

        Raises:
            TransientError: the last one, when the time was up or the stream was stopped.
        """
        deadline = self._clock() + timeout_s
        failures = 0
        while True:
            try:
                return action()
            except TransientError as error:
                failures += 1
                delay_s = backoff_s(failures, jitter())
                if self._is_stopping() or self._clock() + delay_s > deadline:
                    raise
                self.wait(error, delay_s)


__all__ = ["Patience", "jitter"]
