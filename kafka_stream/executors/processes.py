"""``ProcessExecutor``: prepare on all cores of this machine, in processes that are there for one run."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition

from kafka_stream.errors import ConfigurationError, WorkerLost
from kafka_stream.executors.limits import check_limits
from kafka_stream.executors.packing import packed_beside_script
from kafka_stream.executors.process_slots import ProcessSlot, Task
from kafka_stream.protocols.executors import DEFAULT_RESULT_BYTES, DEFAULT_TASK_TIMEOUT_S, Outcome, Slice, Work

_CLOSES_WITHIN_S = 15.0


@dataclass(frozen=True)
class ProcessExecutor:
    """Runs ``prepare`` in so many processes of this machine; as many as it has processors for us, if none is given.

    They are spawned, never forked, load the application as the driver has it, and end with the run: also where it is
    killed. ``task_timeout_s`` is how long a task may take, in seconds; ``max_result_bytes`` how much of results may
    wait to be written.

    Raises:
        ConfigurationError: a number is too small.
    """

    workers: int | None = None
    task_timeout_s: float = DEFAULT_TASK_TIMEOUT_S
    max_result_bytes: int = DEFAULT_RESULT_BYTES

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigurationError(
                f"ProcessExecutor has workers={self.workers!r}; give 1 or more, or none for as many as processors"
            )
        check_limits("ProcessExecutor", self.task_timeout_s, self.max_result_bytes)

    def describe(self) -> str:
        """How many processes."""
        return f"{self._count} processes of this machine"

    def start(self, work: Work) -> Processes:
        """Begin to start them.

        Raises:
            ConfigurationError: the work cannot be sent to them, or it is asked for while one of them starts.
        """
        return Processes(self._count, work)

    @property
    def takes_whole_batches(self) -> bool:
        """A task is a slice."""
        return False

    @property
    def _count(self) -> int:
        return self.workers or _processors()


class Processes:
    """The processes of one run, each with a task at most; what waits goes to the next that is free, in order."""

    def __init__(self, count: int, work: Work) -> None:
        self._packed = packed_beside_script(work)
        self._changed = Condition()
        self._waiting: deque[Task] = deque()
        self._is_closed = False
        self._slots = [ProcessSlot(f"kafka-stream-worker-{n}", self._next_task) for n in range(1, count + 1)]

    @property
    def slots(self) -> int:
        """How many processes there are."""
        return len(self._slots)

    def submit(self, slices: Sequence[Slice]) -> Future[Outcome]:
        """Have these read and prepared by the next process that is free."""
        task = Task((self._packed, tuple(slices)))
        with self._changed:
            if self._is_closed:
                task.future.set_exception(WorkerLost("the workers of this run were ended"))
            else:
                self._waiting.append(task)
                self._changed.notify()
        return task.future

    def abandon(self, task: Future[Outcome], *, hangs: bool = False) -> None:
        """Do not begin it; one that hangs takes its process along, and nothing else."""
        if not task.cancel() and hangs:
            for slot in self._slots:
                slot.kill_where_runs(task)

    def change(self, work: Work) -> None:
        """Tasks that are submitted from now on do this."""
        self._packed = packed_beside_script(work)

    def close(self) -> None:
        """End all processes, and wait until they have gone; what they were doing fails with ``WorkerLost``."""
        with self._changed:
            self._is_closed = True
            left, self._waiting = self._waiting, deque()
            self._changed.notify_all()
        for task in left:
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(WorkerLost("the workers of this run were ended"))
        for slot in self._slots:
            slot.close()
        deadline = time.monotonic() + _CLOSES_WITHIN_S
        for slot in self._slots:
            slot.join(max(0.0, deadline - time.monotonic()))

    def _next_task(self) -> Task | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            return self._waiting.popleft() if self._waiting else None


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


__all__ = ["ProcessExecutor", "Processes"]
