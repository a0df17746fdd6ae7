"""How often Python's garbage collector looks, in a process that is there for a stream."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_DEFAULTS = {700, 2_000}  # of the first threshold: before Python 3.14, and since
_RECORDS = 50_000


@contextmanager
def collecting_less_often() -> Iterator[None]:
    """Have the collector look once per 50,000 new objects, unless somebody has chosen a threshold already.

    Every record is an object that the collector counts and visits, and none is part of a cycle. At Python's default
    threshold, with a hundred thousand of them buffered, that takes as long as all the rest of reading.
    """
    first, second, third = gc.get_threshold()
    if first not in _DEFAULTS:
        yield
        return
    gc.set_threshold(_RECORDS, second, third)
    try:
        yield
    finally:
        if gc.get_threshold()[0] == _RECORDS:
            gc.set_threshold(first, second, third)


__all__ = ["collecting_less_often"]
