"""A wake-up call that a signal handler may make."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Waker:
    """One thread waits; any thread, and a signal handler in the waiting thread itself, may wake it.

    ``SimpleQueue.put`` is reentrant, which ``Event.set`` is not: a handler that runs while its own thread is inside
    ``Event.wait`` can find the event's lock taken by itself.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._called = False

    def wake(self) -> None:
        """Make the current or the next ``wait`` return."""
        if not self._called:  # two threads may both see False: one needless wake-up, never a missing one
            self._called = True
            self._calls.put(None)

    def wait(self, timeout_s: float) -> None:
        """Return after ``wake`` was called since the last ``wait``, or after the timeout."""
        try:
            self._calls.get(timeout=max(timeout_s, 0.0))
        except Empty:
            return
        # Cleared before the caller looks at what there is: whoever wakes from now on puts a new call.
        self._called = False


__all__ = ["Waker"]
