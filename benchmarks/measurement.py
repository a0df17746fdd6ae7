"""What a contender is told, and what it reports: values that travel as JSON between two processes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VALUE_BYTES = 182


@dataclass(frozen=True, slots=True)
class Task:
    """One run of one contender.

    ``topic`` holds ``records`` records (for latencies: is empty, and will); ``database`` is the SQLAlchemy URL of a
    fresh, empty database; ``directory`` is empty. ``started_at`` is when the process was asked for
    (``time.monotonic``).
    """

    bootstrap_servers: str
    topic: str
    partitions: int
    records: int
    database: str
    directory: str
    options: Mapping[str, Any]
    started_at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to.

    ``seconds`` is from the first record in hand to the last one finished; all before that is ``start_up_s``. ``found``
    is what is known of the result, to be compared with the topic. ``figures`` are latencies, statements and the like.
    """

    records: int
    seconds: float
    start_up_s: float
    found: Mapping[str, int]
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.records / self.seconds


def peak_mb(pid: int | str = "self") -> float:
    """The most memory a process ever had; what ``getrusage`` says is at least what had the process that started it."""
    status = dict(line.split(":", 1) for line in (Path("/proc") / str(pid) / "status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


class Stopwatch:
    """Tells start-up from work."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._first: float | None = None
        self._last = 0.0
        self._cpu = self._cpu_at_last = 0.0

    def first(self) -> None:
        """The first record is in hand; later calls change nothing."""
        if self._first is None:
            self._cpu = time.process_time()
            self._first = time.monotonic()

    def last(self) -> None:
        """Everything so far is finished."""
        self._last = time.monotonic()
        self._cpu_at_last = time.process_time()

    def outcome(self, found: Mapping[str, int], **figures: float) -> Outcome:
        """What it came to; ``cpu_s`` and ``peak_mb`` are this process's, unless they are given."""
        assert self._first is not None, "nothing was measured"
        figures = {"cpu_s": time.process_time() - self._cpu, "peak_mb": peak_mb(), **figures}
        start_up_s = self._first - self._task.started_at
        return Outcome(self._task.records, self._last - self._first, start_up_s, found, figures)
