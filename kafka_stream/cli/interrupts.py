"""Ctrl-C, remembered."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts(*numbers: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Have these signals raise ``KeyboardInterrupt``; gives a function that tells whether one has come.

    Raised in a finaliser, or in a callback of a C library, the exception is lost, and the signal with it: whoever goes
    on asks that function.
    """
    seen: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["interrupts"]
