"""One worker of ``ProcessExecutor``: a process at a time, and the thread in the driver that gives it its tasks.

Each process has a pipe of its own, so that one that dies, in whatever it was doing, takes nothing along but its own
task: a pool's processes share their queues, and one that is killed while it writes a result holds up all others.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from threading import Lock, Thread
from typing import Any

from kafka_stream.errors import ConfigurationError, KafkaStreamError, WorkerLost
from kafka_stream.executors.pipe import receive_whole
from kafka_stream.executors.process_worker import SIGNALS, Request, serve
from kafka_stream.protocols.executors import Outcome

_STARTS = 3
_ENDS_WITHIN_S = 1.0
_KILLED_WITHIN_S = 10.0
_STARTING = Lock()


@dataclass(eq=False, slots=True)
class Task:
    """What one worker is to do, and where its outcome goes."""

    request: Request
    future: Future[Outcome] = field(default_factory=Future)


class WorkerProcess:
    """A process that shares nothing with this one but a pipe."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")  # a fork has none of librdkafka's threads, and all of its locks
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), name=name)
        try:
            with _STARTING, _signals_held_back():
                self._process.start()
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()
        _kill_at_exit(self)

    @property
    def pid(self) -> int | None:
        """Its number."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it has come as far as to take tasks; waits for it."""
        try:
            self._receive()
        except (EOFError, OSError):
            return False
        return True

    def has_gone(self) -> bool:
        """Whether it has ended by itself, or was killed."""
        return bool(wait([self._process.sentinel], 0))

    def run(self, request: Request) -> Outcome:
        """Have a task done; raises what it fails with.

        Raises:
            EOFError, OSError: the process has gone.
        """
        self._ours.send(request)
        answer = self._receive()
        if isinstance(answer, tuple):
            outcome: Outcome = answer[0]
            return replace(outcome, values=receive_whole(self._ours, answer[1]))
        raise answer

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def end(self) -> int | None:
        """End it, in order if it does nothing; return its exit code when it has gone."""
        self._ours.close()
        self._process.join(_ENDS_WITHIN_S)
        if self._process.is_alive():
            self.kill()
            self._process.join(_KILLED_WITHIN_S)
        _ALIVE.discard(self)
        return self._process.exitcode

    def _receive(self) -> Any:
        """What it sends next; that it has gone is seen also where a process of its own holds its pipe."""
        if self._ours not in wait([self._ours, self._process.sentinel]):
            raise EOFError
        return self._ours.recv()


class ProcessSlot:
    """Takes tasks from ``next_task`` until that gives none, and has them done; a process that has gone is replaced."""

    def __init__(self, name: str, next_task: Callable[[], Task | None]) -> None:
        self._name = name
        self._next_task = next_task
        self._lock = Lock()
        self._process: WorkerProcess | None = None
        self._task: Task | None = None
        self._exit_code: int | None = None
        self._is_at_rest = False
        self._is_closing = False
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def kill_where_runs(self, future: Future[Outcome]) -> None:
        """End the process if it is at this task."""
        with self._lock:
            if self._task is not None and self._task.future is future and self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Begin to end: what is being done is ended, too."""
        with self._lock:
            self._is_closing = True
            if self._process is not None and not self._is_at_rest:
                self._process.kill()

    def join(self, timeout_s: float) -> None:
        """Wait until its process has gone."""
        self._thread.join(timeout_s)

    # On the thread ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with suppress(KafkaStreamError, EOFError, OSError):
            self._ready()  # before there is a task: to start takes its time
        while (task := self._rest()) is not None:
            if task.future.set_running_or_notify_cancel():
                self._do(task)
        self._let_go()

    def _rest(self) -> Task | None:
        """The next task, when there is one."""
        self._is_at_rest = True
        task = self._next_task()
        self._is_at_rest = False
        return task

    def _do(self, task: Task) -> None:
        try:
            self._begin(task)
            outcome = self._ready().run(task.request)
        except (EOFError, OSError) as error:
            code = self._let_go()
            lost = WorkerLost(f"{self._name} has gone ({_ended(code)}); what it did is done again")
            lost.__cause__ = error if isinstance(error, OSError) else None
            self._end(task).set_exception(lost)
        except BaseException as error:  # noqa: BLE001 - the task's own; its future's reader raises it
            self._end(task).set_exception(error)
        else:
            self._end(task).set_result(outcome)

    def _begin(self, task: Task) -> None:
        """From now on others may kill the process for this task."""
        with self._lock:
            if self._is_closing:
                raise EOFError
            self._task = task

    def _end(self, task: Task) -> Future[Outcome]:
        with self._lock:
            self._task = None
        return task.future

    def _ready(self) -> WorkerProcess:
        """The process, once it takes tasks.

        Raises:
            ConfigurationError: it ends by itself before that, again and again.
            EOFError, OSError: it was killed, or cannot be started.
        """
        if self._process is not None and self._process.has_gone():
            self._let_go()  # while it did nothing, which no task need hear of
        for _ in range(_STARTS):
            if self._process is None:
                process = WorkerProcess(self._name)
                with self._lock:
                    self._process = process
                    if self._is_closing:
                        process.kill()
                if not process.is_ready():
                    code = self._let_go()
                    if code is None or code <= 0 or self._is_closing:
                        raise EOFError
                    continue
            return self._process
        raise ConfigurationError(
            f"worker processes end before they can begin ({_ended(code)}), and have printed why; a script that runs a "
            'stream does so under `if __name__ == "__main__":`, since each worker loads that script, too'
        )

    def _let_go(self) -> int | None:
        """End the process, if there is one; the exit code of the last one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            self._exit_code = process.end()
        return self._exit_code


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """From this thread, and from a process that it starts: what is meant for the driver does not end that one."""
    resource_tracker.ensure_running()  # which has a process of its own, and lets signals through when it starts that
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ended(code: int | None) -> str:
    if code is None:
        return "it could not be started, or not be ended"
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


_ALIVE: set[WorkerProcess] = set()


def _kill_at_exit(process: WorkerProcess) -> None:
    _register()
    _ALIVE.add(process)


@functools.cache
def _register() -> None:
    atexit.register(_kill_all, os.getpid())  # called before multiprocessing waits for its processes


def _kill_all(driver: int) -> None:
    if os.getpid() == driver:  # and not a fork of it
        for process in tuple(_ALIVE):
            process.kill()


__all__ = ["ProcessSlot", "Task", "WorkerProcess"]
