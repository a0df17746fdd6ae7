"""A consumer that polls for ever hides a handler that is stuck: this says so in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from kafka_stream.progress import StreamStatus

logger = logging.getLogger("kafka_stream")

FIRST_WARNING_S = 60.0
LOOK_INTERVAL_S = 5.0


class Watchdog:
    """Looks at a stream's status from a thread of its own, and warns of a batch that takes very long.

    The group does not notice such a batch: its member goes on polling. Warned of after 60 s, and whenever the time
    has doubled since.
    """

    def __init__(
        self,
        stream: str,
        status: Callable[[], StreamStatus],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        waits_for: Callable[[], tuple[str, float] | None] = lambda: None,
    ) -> None:
        self._stream = stream
        self._status = status
        self._now = now
        self._waits_for = waits_for
        self._stopped = threading.Event()
        self._warned: tuple[datetime | None, float] = (None, 0.0)
        self._thread = threading.Thread(target=self._run, name=f"kafka-stream-watchdog-{stream}", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Warn, if there is something to warn of."""
        started = self._status().batch_started_at
        if started is None:
            return
        batch, at = self._warned
        threshold = FIRST_WARNING_S if batch != started else 2 * at
        taken = (self._now() - started).total_seconds()
        if taken >= threshold:
            self._warned = (started, taken)
            logger.warning(
                "the batch in hand of stream %r has been running for %.0f s: %s; nothing of it is committed, and "
                "nobody else takes it over while this process lives",
                self._stream,
                taken,
                self._why(),
                extra={"event": "slow", "stream": self._stream, "duration_s": round(taken, 3)},
            )

    def _why(self) -> str:
        if (waits := self._waits_for()) is None:
            return "look at what its handler waits for"
        return f"for {waits[1]:.0f} s it has waited for {waits[0]}"

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_INTERVAL_S):
            self.look()
