"""SIGTERM and SIGINT, while a run has the main thread."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from kafka_stream.engine.loop import StopRequest


class StopTimedOut(BaseException):
    """Raised in the main thread, in the middle of whatever it does, when a stop's time has run out."""


class Interruptible(Protocol):
    """A run that has the main thread."""

    @property
    def process_id(self) -> int:
        """Where it runs."""

    @property
    def request(self) -> StopRequest:
        """What it was asked."""

    def ask_to_stop(self) -> None:
        """Have it end after the batch in hand."""

    def drop_batch(self) -> None:
        """Have it end without that."""

    def what_takes_so_long(self) -> str:
        """What to say of a stop whose time has run out."""


class StopSignals:
    """The first signal asks the run to stop, and interrupts it when the time is up; a second one ends the process.

    A run that was asked to stop otherwise, by a call of ``stop()``, has not heard a signal yet; if that call's time ran
    out, the first signal interrupts it.
    """

    def __init__(self, run: Interruptible, timeout_s: float) -> None:
        self._run = run
        self._timeout_s = timeout_s
        self._heard = False
        self._timed_out = False
        self._timer: threading.Timer | None = None
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take both signals over; give them back at the end."""
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._run.process_id != os.getpid():  # a pool's worker, say, that user code has forked
            self._give_back()
            os.kill(os.getpid(), number)
            return
        timed_out, self._timed_out = self._timed_out, False
        first, self._heard = not self._heard, True
        if timed_out or (first and self._run.request.drop_batch):
            raise StopTimedOut(self._run.what_takes_so_long())
        if not first:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)  # leaves at once, as kill -9 would
            return
        self._run.ask_to_stop()
        self._timer = threading.Timer(self._timeout_s, self._interrupt, args=(threading.get_ident(), number))
        self._timer.daemon = True
        self._timer.start()

    def _interrupt(self, main_thread: int, number: int) -> None:
        self._run.drop_batch()
        self._timed_out = True
        signal.pthread_kill(main_thread, number)


__all__ = ["StopSignals", "StopTimedOut"]
