"""The end of a driver whose workers are processes: however it comes, none of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.worker_processes import WITHIN_S, is_gone, pid_in, processes_of, until

DRIVER = """
import sys, functools
from kafka_stream.executors import ProcessExecutor
from kafka_stream.protocols.executors import Slice
from kafka_stream.types import OffsetRange, TopicPartition
from tests.executor_work import hanging, work_of
if __name__ == "__main__" or {unguarded}:
    work = work_of(functools.partial(hanging, sys.argv[2]), kafka={{"bootstrap.servers": sys.argv[1]}})
    workers = ProcessExecutor(2).start(work)
    task = workers.submit([Slice(OffsetRange(TopicPartition("orders", 0), 0, 100))])
    {then}
"""


@contextmanager
def driver(tmp_path: Path, brokers: str, then: str, *, unguarded: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process that has two workers, of which one hangs in its task; whatever is left of them ends with the test."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(then=then, unguarded=unguarded))
    with subprocess.Popen(
        [sys.executable, str(script), brokers, str(tmp_path / "begun")],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            for pid in processes_of(running.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_a_driver_that_is_killed_leaves_no_worker(tmp_path: Path, brokers: str) -> None:
    with driver(tmp_path, brokers, "task.result()") as running:
        pid_in(tmp_path / "begun")
        until(lambda: len(processes_of(running.pid)) >= 3)
        running.kill()
        running.wait(WITHIN_S)
        until(lambda: processes_of(running.pid) == [])


def test_a_driver_that_ends_without_closing_leaves_no_worker(tmp_path: Path, brokers: str) -> None:
    then = "import os, time; [time.sleep(0.01) for _ in iter(lambda: os.path.exists(sys.argv[2]), True)]"
    with driver(tmp_path, brokers, then) as running:
        assert running.wait(WITHIN_S) == 0
        until(lambda: processes_of(running.pid) == [])


def test_a_signal_to_the_process_group_is_the_drivers(tmp_path: Path, brokers: str) -> None:
    then = "import signal; signal.signal(signal.SIGINT, lambda *_: print('heard', flush=True)); task.result()"
    with driver(tmp_path, brokers, then) as running:
        pid = pid_in(tmp_path / "begun")
        os.killpg(running.pid, signal.SIGINT)
        assert running.stdout is not None
        assert running.stdout.readline() == "heard\n"
        assert not is_gone(pid)
        running.kill()
        running.wait(WITHIN_S)
        until(lambda: processes_of(running.pid) == [])


def test_a_script_that_runs_its_stream_wherever_it_is_loaded_is_told(tmp_path: Path, brokers: str) -> None:
    then = "print('FAILS WITH', type(task.exception()).__name__, task.exception())"
    with driver(tmp_path, brokers, then, unguarded=True) as running:
        assert running.stdout is not None
        said = running.stdout.read()
    assert "ConfigurationError: stream 'orders' is run by the script that a worker process loads" in said
    assert "FAILS WITH ConfigurationError worker processes end before they can begin (exit code 1)" in said
    assert '`if __name__ == "__main__":`' in said
