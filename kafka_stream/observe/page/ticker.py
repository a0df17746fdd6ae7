"""Something that is done every few seconds, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("kafka_stream.observe")


class Ticker:
    """Calls a function at once, and then every so often until it is stopped; what it raises is logged."""

    def __init__(self, tick: Callable[[], None], every_s: float, name: str) -> None:
        self._tick = tick
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 0.0) -> None:
        """Have it end, from any thread; wait so long for a call that is under way."""
        self._over.set()
        if timeout_s > 0 and self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                self._tick()
            except Exception:
                logger.exception("%s failed; it goes on", self._thread.name)
            if self._over.wait(self._every_s):
                return


__all__ = ["Ticker"]
