"""What a process of ``assert_exactly_once`` does: import the stream, run it, and die when it was told to."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from contextlib import ExitStack
from typing import Any

from kafka_stream.loading import load_stream
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import Listener
from kafka_stream.testing.crash_points import KillAt
from kafka_stream.testing.exactly_once.elsewhere import Job
from kafka_stream.testing.exactly_once.feeds import MemoryFeed
from kafka_stream.testing.exactly_once.here import UndoOnce
from kafka_stream.types import OffsetRange, Phase


class _KillAfter(StreamListener):
    """Kills its own process so long after its first batch has begun, wherever it is then."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        self._timer.daemon = True

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """Begin to count with the first one."""
        if self._timer.ident is None:
            self._timer.start()


def run(job: Job) -> None:
    """Run a copy of the stream in the world that the job says."""
    sys.path[:] = job.import_path
    stream = load_stream(job.stream)
    kafka: Any = job.kafka
    if kafka is None:
        kafka = MemoryFeed(job.records, stream.settings.topics).kafka()
    listeners: list[Listener] = []
    if job.kill_at is not None:
        phase, _, nth = job.kill_at.partition(":")
        listeners.append(KillAt(phase, int(nth)))
    if job.kill_after_s is not None:
        listeners.append(_KillAfter(job.kill_after_s))
    with ExitStack() as stack:
        if job.undone_at is not None:
            listeners.append(undo := UndoOnce(job.undone_at))
        copy = stream.replace(**job.options, kafka=kafka, listeners=listeners)
        if job.undone_at is not None:
            stack.enter_context(undo.on(copy.store))
        copy.run(until=job.until)


if __name__ == "__main__":
    run(pickle.load(sys.stdin.buffer))  # noqa: S301 - written by the process that started this one
