"""How much of workers' results has come and is not written yet."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Lock

from kafka_stream.protocols import Outcome


class ResultsWaiting:
    """Counts as outcomes come, on whichever thread: to look at all of them each time takes long with many workers."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sizes: dict[Future[Outcome], int] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """The size of all that has come of what is expected."""
        return self._bytes

    def expect(self, future: Future[Outcome]) -> None:
        """Its outcome counts from when it comes until it is let go of."""
        with self._lock:
            self._sizes[future] = 0
        future.add_done_callback(self._came)

    def let_go(self, future: Future[Outcome]) -> None:
        """It does not wait any more, or is not wanted."""
        with self._lock:
            self._bytes -= self._sizes.pop(future, 0)

    def _came(self, future: Future[Outcome]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        size = len(future.result().values)
        with self._lock:
            if future in self._sizes:
                self._sizes[future] = size
                self._bytes += size


__all__ = ["ResultsWaiting"]
