"""How Python's garbage collector and threads behave, in a process that is there for a stream."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_COLLECTOR_DEFAULTS = {700, 2_000}  # of the first threshold: before Python 3.14, and since
_RECORDS = 50_000
_SWITCH_DEFAULT_S = 0.005
_SWITCH_S = 0.0005


@contextmanager
def collecting_less_often() -> Iterator[None]:
    """Have the collector look once per 50,000 new objects, unless somebody has chosen a threshold already.

    Every record is an object that the collector counts and visits, and none is part of a cycle. At Python's default
    threshold, with a hundred thousand of them buffered, that takes as long as all the rest of reading.
    """
    first, second, third = gc.get_threshold()
    if first not in _COLLECTOR_DEFAULTS:
        yield
        return
    gc.set_threshold(_RECORDS, second, third)
    try:
        yield
    finally:
        if gc.get_threshold()[0] == _RECORDS:
            gc.set_threshold(first, second, third)


@contextmanager
def switching_often() -> Iterator[None]:
    """Have Python's threads take turns every half millisecond, unless somebody has chosen an interval already.

    A transaction is a row of short requests, and after each the thread that made it waits for its turn: at Python's
    default, 5 ms each time, as long as another thread prepares a batch or reads one.
    """
    before = sys.getswitchinterval()
    if abs(before - _SWITCH_DEFAULT_S) > _SWITCH_DEFAULT_S / 10:
        yield
        return
    sys.setswitchinterval(_SWITCH_S)
    ours = sys.getswitchinterval()
    try:
        yield
    finally:
        if sys.getswitchinterval() == ours:
            sys.setswitchinterval(before)


__all__ = ["collecting_less_often", "switching_often"]
