"""The commands of ``docs/how-to/dask.md`` for plain machines start what the page says."""

from __future__ import annotations

import pickle
import shlex
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from integration_tests.dask_processes import COMMAND, TIMEOUT_S, end, environment
from integration_tests.engine import wait_until
from integration_tests.servers import free_port
from kafka_stream.errors import TransientError
from kafka_stream.executors.dask import DaskExecutor, DaskWorkers
from tests import dask_work
from tests.dask_work import part, work

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "dask.md"


def _commands() -> list[str]:
    return [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    dask ")]


def test_the_commands_of_the_page_make_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.executors.dask.run", dask_work.run)
    port = str(free_port())
    with ExitStack() as stack:
        for command in _commands():
            here = command.replace("8786", port).replace("scheduler.example", "127.0.0.1")
            arguments = shlex.split(here.replace("worker.example", "127.0.0.1"))[1:]
            process = subprocess.Popen([COMMAND, *arguments], cwd=tmp_path, env=environment())
            stack.callback(end, process)
        workers = _started(f"tcp://127.0.0.1:{port}")
        stack.callback(workers.close)
        assert wait_until(lambda: workers.slots == 4, TIMEOUT_S)
        assert pickle.loads(workers.submit([part(0, 3)]).result(TIMEOUT_S).values) == [0, 1, 2]


def _started(address: str) -> DaskWorkers:
    """As soon as the scheduler listens."""
    started: list[DaskWorkers] = []

    def answers() -> bool:
        try:
            started.append(DaskExecutor(address).start(work(dask_work.offsets)))
        except TransientError:
            return False
        return True

    assert wait_until(answers, TIMEOUT_S)
    return started[0]
