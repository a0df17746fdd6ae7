"""A Dask scheduler and workers as processes of their own, on 127.0.0.1; each is ended by its process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from integration_tests.engine import wait_until
from integration_tests.servers import free_port
from tests import dask_work

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 60.0
ENDING_S = 10.0
COMMAND = str(Path(sys.executable).with_name("dask"))
WITHOUT_THE_LIBRARY = "import sys; sys.modules['kafka_stream'] = None"
OF_AN_OLDER_LIBRARY = "import kafka_stream; kafka_stream.__version__ = '0.0.9'"


class DaskProcesses:
    """``with DaskProcesses(folder) as dask: dask.start_scheduler(); dask.start_worker()``."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for process in [*self.workers, *([self.scheduler] if self.scheduler else [])]:
            end(process)

    def start_scheduler(self, after: str = "") -> None:
        """At the same address each time; ``after`` is Python to be run in the process before."""
        arguments = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        self.scheduler = self._started(arguments, after)
        assert wait_until(self._listens, TIMEOUT_S)

    def end_scheduler(self, number: signal.Signals) -> None:
        """By this signal."""
        assert self.scheduler is not None
        self.scheduler.send_signal(number)
        self.scheduler.wait(TIMEOUT_S)

    def start_worker(self, *options: str, after: str = "") -> None:
        """One with one thread, that is looked after by a nanny if nothing else is said."""
        arguments = ["worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", *options]
        self.workers.append(self._started(arguments, after))

    def log(self) -> str:
        """All that they have said."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("dask-*.log")))

    def _started(self, arguments: Sequence[str], after: str) -> subprocess.Popen[bytes]:
        command = [COMMAND, *arguments]
        if after:
            kind = f"from distributed.cli.dask_{arguments[0]} import main; main()"
            command = [sys.executable, "-c", f"{after}; {kind}", *arguments[1:]]
        number = len(list(self._folder.glob("dask-*.log")))
        with (self._folder / f"dask-{number}.log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=self._folder, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _listens(self) -> bool:
        assert self.scheduler is not None
        assert self.scheduler.poll() is None, self.log()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskProcesses]:
    """A scheduler; workers are the test's to start. Tasks need no Kafka."""
    monkeypatch.setattr("kafka_stream.executors.dask.run", dask_work.run)
    monkeypatch.setattr("kafka_stream.executors.dask_cluster.CONNECT_S", 3.0)
    with DaskProcesses(tmp_path) as processes:
        processes.start_scheduler()
        yield processes


def environment() -> dict[str, str]:
    """That of a process to which the tests' own modules are the user's code."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def end(process: subprocess.Popen[bytes]) -> None:
    """In order, so that a nanny ends its worker; by force if it does not."""
    process.terminate()
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()  # a nanny's worker notices that, and ends itself
        process.wait()
