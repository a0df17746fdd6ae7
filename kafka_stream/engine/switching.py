"""How long a thread of Python's waits for another one, in a process that is there for a stream."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DEFAULT_S = 0.005
_INTERVAL_S = 0.0005


@contextmanager
def switching_often() -> Iterator[None]:
    """Have Python's threads take turns every half millisecond, unless somebody has chosen an interval already.

    A transaction is a row of short requests, and after each the thread that made it waits for its turn: at Python's
    default, 5 ms each time, as long as another thread prepares a batch or reads one.
    """
    before = sys.getswitchinterval()
    if abs(before - _DEFAULT_S) > _DEFAULT_S / 10:
        yield
        return
    sys.setswitchinterval(_INTERVAL_S)
    ours = sys.getswitchinterval()
    try:
        yield
    finally:
        if sys.getswitchinterval() == ours:
            sys.setswitchinterval(before)


__all__ = ["switching_often"]
