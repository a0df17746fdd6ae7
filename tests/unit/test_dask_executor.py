"""``DaskExecutor`` by itself: what it refuses, what it sends, and the cluster of this machine that it starts."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kafka_stream.errors import ConfigurationError, FailedElsewhere, MissingExtra, WorkerLost
from kafka_stream.executors.dask import DaskExecutor, DaskWorkers
from kafka_stream.executors.dask_tasks import Environment, Failure, done, sent
from kafka_stream.executors.named import executor_of
from kafka_stream.executors.packing import packed
from tests import dask_work
from tests.dask_work import SECRET, part, work

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskWorkers]:
    """Two processes of this machine."""
    monkeypatch.setattr("kafka_stream.executors.dask.run", dask_work.run)
    started = DaskExecutor(workers=2).start(work(dask_work.offsets))
    yield started
    started.close()


def test_without_an_address_there_are_processes_that_only_this_machine_can_reach(workers: DaskWorkers) -> None:
    tasks = [workers.submit([part(at, at + 3)]) for at in range(0, 60, 3)]
    outcomes = [task.result(TIMEOUT_S) for task in tasks]
    assert [offset for it in outcomes for offset in pickle.loads(it.values)] == list(range(60))
    assert workers.slots == 2
    processes = _processes()
    assert {int(it.worker) for it in outcomes} <= {process.pid for process in processes}
    listening = [ip for process in [psutil.Process(), *processes] for ip in _listening(process)]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


def test_a_close_under_way_fails_what_is_in_flight_and_leaves_no_process(workers: DaskWorkers, tmp_path: Path) -> None:
    workers.change(work(dask_work.waits, tmp_path))
    under_way = [workers.submit([part(at, at + 3)]) for at in range(0, 30, 3)]
    processes = _processes()
    assert len(processes) >= 2
    workers.close()
    assert psutil.wait_procs(processes, TIMEOUT_S)[1] == []
    assert [type(task.exception(TIMEOUT_S)) for task in under_way] == [WorkerLost] * len(under_way)
    assert isinstance(workers.submit([part(0, 3)]).exception(TIMEOUT_S), WorkerLost)
    workers.close()


def _processes(parent: int | None = None) -> list[psutil.Process]:
    """But for the one that Python keeps to count what processes share."""
    children = psutil.Process(parent).children(recursive=True)
    return [process for process in children if not any("resource_tracker" in it for it in process.cmdline())]


def _listening(process: psutil.Process) -> list[str]:
    return [it.laddr.ip for it in process.net_connections("tcp") if it.status == psutil.CONN_LISTEN]


DRIVER = """
import sys
from kafka_stream.executors import dask
from tests import dask_work

def prepare(task):
    return dask_work.waits(task)

if __name__ == "__main__":
    dask.run = dask_work.run
    workers = dask.DaskExecutor(workers=1).start(dask_work.work(prepare, sys.argv[1]))
    workers.submit([dask_work.part(0, 3)]).result()
"""


def test_processes_end_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    driver = subprocess.Popen([sys.executable, script, tmp_path], env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        _wait_for(tmp_path / "began-0", driver)
        processes = _processes(driver.pid)
        assert int((tmp_path / "began-0").read_text()) in {process.pid for process in processes}
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert psutil.wait_procs(processes, TIMEOUT_S)[1] == []


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.replace('if __name__ == "__main__":', "if True:"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script, tmp_path], env=environment, capture_output=True, text=True)
    told = done.stderr.splitlines()[-1]
    assert told.startswith("kafka_stream.errors.ConfigurationError: a Dask cluster could not be started")
    assert 'run it under `if __name__ == "__main__":`' in told


def _wait_for(path: Path, driver: subprocess.Popen[bytes]) -> None:
    while not path.exists() or not path.read_text():
        with pytest.raises(subprocess.TimeoutExpired):  # an end of the driver is a failure
            driver.wait(0.1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"workers": 0}, "workers=0"),
        ({"workers": "two"}, "workers='two'"),
        ({"address_or_client": "tcp://h:1", "workers": 2}, "workers= of a DaskExecutor is for a cluster of this machi"),
        ({"address_or_client": " "}, "the address of a Dask scheduler is empty"),
        ({"address_or_client": 8786}, "takes a scheduler's address or a distributed.Client, not a int"),
        ({"task_timeout_s": 0}, "DaskExecutor has task_timeout_s=0; give a number"),
        ({"max_result_bytes": 0}, "DaskExecutor has max_result_bytes=0; give 1"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_connected(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        DaskExecutor(**arguments)


def test_it_says_where_it_is() -> None:
    assert DaskExecutor("tcp://host:8786").describe() == "Dask at tcp://host:8786"
    assert DaskExecutor().describe() == "Dask on this machine"
    assert DaskExecutor(workers=3).describe() == "Dask on this machine, workers=3"


@pytest.mark.parametrize(
    ("text", "place"), [("dask", "Dask on this machine"), ("dask://host:8786", "Dask at tcp://host:8786")]
)
def test_settings_and_the_command_line_name_it_by_text(text: str, place: str) -> None:
    assert executor_of(text).describe() == place


def test_without_distributed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"^a DaskExecutor needs distributed: pip install 'kafka-stream\[dask\]'$"):
        DaskExecutor("tcp://host:8786")


def test_distributed_is_imported_where_it_is_used() -> None:
    code = "import sys, kafka_stream.executors.dask; print(sorted({'dask', 'distributed'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_our_errors_are_pickled_as_ever_where_distributed_is_imported() -> None:
    code = (
        "import pickle\n"
        "from kafka_stream.errors import WorkerLost\n"
        "from kafka_stream.executors import DaskExecutor\n"
        "DaskExecutor('tcp://host:8786')\n"
        "error = WorkerLost('gone')\n"
        "error.__cause__ = error.__context__ = OSError(open('/dev/null'))\n"
        "print(type(pickle.loads(pickle.dumps(error)).__cause__).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "CauseElsewhere\n", done.stderr


def test_what_is_sent_shows_nothing_of_the_work() -> None:
    DaskExecutor("tcp://host:8786")  # from then on errors are pickled as they were before Dask was imported
    from dask._task_spec import Task

    content = packed(work(dask_work.offsets))
    assert SECRET.encode() in content
    call = sent(done, dask_work.run, content, (part(0, 3),), Environment.here())
    shown = repr(Task("kafka-stream-1", call))
    assert "loads" in shown and SECRET not in shown and "sasl" not in shown


def test_a_call_that_is_sent_is_made_where_it_arrives_each_time_it_is_called() -> None:
    call = pickle.loads(pickle.dumps(sent(sum, [1, 2])))
    assert [call(), call()] == [3, 3]
    assert pickle.loads(pickle.dumps(sent(Environment.here)))() == Environment.here()


HERE = Environment("3.11", "0.1.0")


def test_another_environment_is_a_sentence() -> None:
    assert HERE.why_unlike(HERE, "W") is None
    assert HERE.why_unlike(OSError("gone"), "W") is None
    assert HERE.why_unlike(Environment("3.12", "0.1.0"), "W") == (
        "W runs Python 3.12, and the stream 3.11: give both the same version"
    )
    assert HERE.why_unlike(Environment("3.11", "0.2.0"), "W") == (
        "W has kafka-stream 0.2.0, and the stream 0.1.0: install the same there"
    )
    assert HERE.why_unlike(ModuleNotFoundError("No module named 'kafka_stream'"), "W") == (
        "W cannot load kafka-stream (No module named 'kafka_stream'): install version 0.1.0 there, with your own code"
    )


def test_a_failure_comes_back_as_it_is_or_as_text() -> None:
    assert str(Failure.of(FailedElsewhere("told")).raised()) == "told"
    unpicklable = Failure.of(dask_work.Unpicklable(needed=1)).raised()
    assert isinstance(unpicklable, FailedElsewhere) and "never told" in str(unpicklable)
    exited = Failure.of(SystemExit("enough")).raised()
    assert isinstance(exited, FailedElsewhere) and "SystemExit: enough" in str(exited)
    unknown = Failure(b"cnowhere\nNothing\n.").raised()
    assert isinstance(unknown, FailedElsewhere) and "nowhere" in str(unknown)
