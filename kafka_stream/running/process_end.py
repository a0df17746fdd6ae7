"""The end of the process: a run that does not end by itself must not keep it alive, nor be cut off in a batch.

The interpreter's exit stops such runs, and waits for them for a bounded time. It does so before it waits for threads
and for pools of them, which nothing that is public comes before: ``concurrent.futures`` registers in the same way.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - registered before us, so that it is called after us
import functools
import logging
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

logger = logging.getLogger("kafka_stream")

EXIT_TIMEOUT_S = 25.0
"""As long as a stop by a signal takes at most."""


class Stoppable(Protocol):
    """A run of a stream."""

    @property
    def stream(self) -> str:
        """Its stream's name."""

    @property
    def process_id(self) -> int:
        """Where it runs; a fork knows of it, and has none of its threads."""

    def ask_to_stop(self) -> None:
        """Have it end, and do not wait."""

    def stop(self, timeout_s: float) -> bool:
        """Wait for it to end; whether it has."""


_running: set[Stoppable] = set()


def stop_at_exit(run: Stoppable) -> None:
    """Have the interpreter's exit stop it, unless ``forget`` comes first."""
    _register()
    _running.add(run)


def forget(run: Stoppable) -> None:
    """It has ended."""
    _running.discard(run)


@functools.cache
def _register() -> None:
    getattr(threading, "_register_atexit", atexit.register)(_stop_all)


def _stop_all() -> None:
    runs = [run for run in _running.copy() if run.process_id == os.getpid()]
    for run in runs:
        run.ask_to_stop()
    deadline = time.monotonic() + EXIT_TIMEOUT_S
    for run in runs:
        if not run.stop(max(0.0, deadline - time.monotonic())):
            logger.warning(
                "stream %r did not stop within %g s of the process's end, which goes on without it: its batch is not "
                "committed, and will be read again",
                run.stream,
                EXIT_TIMEOUT_S,
            )


def pool_of(thread: threading.Thread) -> ThreadPoolExecutor | None:
    """The pool that a thread works for (``asyncio.to_thread`` has one, too), if that can be told."""
    for argument in getattr(thread, "_args", ()):
        if isinstance(argument, weakref.ref) and isinstance(pool := argument(), ThreadPoolExecutor):
            return pool
    return None


def is_shut_down(pool: ThreadPoolExecutor) -> bool:
    """Whether somebody waits for all that it runs: ``asyncio.run`` does at its end."""
    return bool(getattr(pool, "_shutdown", False))


__all__ = ["EXIT_TIMEOUT_S", "Stoppable", "forget", "is_shut_down", "pool_of", "stop_at_exit"]
