"""``DaskExecutor`` with a scheduler and workers of their own: what becomes of tasks when these go away."""

from __future__ import annotations

import os
import pickle
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from integration_tests.dask_processes import TIMEOUT_S, DaskProcesses
from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer
from kafka_stream.errors import ConfigurationError, FailedElsewhere, TransientError, WorkerLost
from kafka_stream.executors import DaskExecutor
from kafka_stream.executors.worker import run
from kafka_stream.protocols.executors import Outcome, PositionGone, Slice, Workers
from kafka_stream.types import OffsetRange, TopicPartition
from tests import dask_work, executor_work
from tests.dask_work import ORDERS, SECRET, part, work


def values(task: Future[Outcome]) -> Any:
    return pickle.loads(task.result(TIMEOUT_S).values)


def failure(task: Future[Outcome]) -> BaseException | None:
    return task.exception(TIMEOUT_S)


def began(folder: Path) -> list[Path]:
    return sorted(folder.glob("began-*"))


def test_tasks_run_on_the_cluster_and_its_size_is_known(dask: DaskProcesses, tmp_path: Path) -> None:
    dask.start_worker()
    workers = DaskExecutor(dask.address).start(work(dask_work.offsets))
    try:
        tasks = [workers.submit([part(at, at + 3)]) for at in range(0, 30, 3)]
        assert [offset for task in tasks for offset in values(task)] == list(range(30))
        assert {int(task.result().worker) for task in tasks}.isdisjoint({os.getpid()})
        workers.change(work(dask_work.squares))
        assert values(workers.submit([part(1, 4)])) == [1, 4, 9]
        dask.start_worker()
        assert wait_until(lambda: workers.slots == 2, TIMEOUT_S)
        dask.workers[0].terminate()
        assert wait_until(lambda: workers.slots == 1, TIMEOUT_S)
    finally:
        workers.close()
    assert SECRET not in dask.log()


def test_workers_read_what_is_in_kafka_on_several_threads(
    dask: DaskProcesses, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_stream.executors.dask.run", run)
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, [(None, str(n)) for n in range(60)], partition=1)
    dask.start_worker("--nthreads", "3")
    settings = {"bootstrap.servers": kafka.bootstrap_servers}
    workers = DaskExecutor(dask.address).start(executor_work.work_of(executor_work.values, kafka=settings))
    try:
        slices = [Slice(OffsetRange(TopicPartition(topic, 1), at, at + 5)) for at in range(0, 60, 5)]
        tasks = [workers.submit([each]) for each in slices]
        found = [value for task in tasks for piece in values(task) for value in piece[0]]
        assert found == [str(n).encode() for n in range(60)]
        assert [sum(task.result().records) for task in tasks] == [5] * 12
        missing = Slice(OffsetRange(TopicPartition(topic, 1), 100, 110))
        assert isinstance(failure(workers.submit([missing])), PositionGone)
    finally:
        workers.close()


def test_what_a_task_fails_with_is_what_the_worker_raised(dask: DaskProcesses) -> None:
    dask.start_worker()
    workers = DaskExecutor(dask.address).start(work(dask_work.lost))

    def failed(prepare: Any) -> BaseException | None:
        workers.change(work(prepare))
        return failure(workers.submit([part(0, 1)]))

    try:
        gone = failed(dask_work.lost)
        assert isinstance(gone, PositionGone) and gone.lost.partition == ORDERS
        long = failed(dask_work.fails)
        assert isinstance(long, FailedElsewhere) and len(str(long)) == 20_000
        unloaded = failed(dask_work.cannot_load)
        assert isinstance(unloaded, ConfigurationError)
        assert str(unloaded).startswith("the Dask worker tcp://127.0.0.1:")
        assert "shop.orders" in str(unloaded)
        assert type(failed(dask_work.silent)) is TransientError
        unpicklable = failed(dask_work.raises_the_unpicklable)
        assert isinstance(unpicklable, FailedElsewhere) and "Unpicklable" in str(unpicklable)
        assert isinstance(failed(dask_work.exits), FailedElsewhere)
    finally:
        workers.close()
    assert SECRET not in dask.log()


def test_the_task_of_a_worker_that_is_killed_runs_elsewhere(dask: DaskProcesses, tmp_path: Path) -> None:
    dask.start_worker()
    dask.start_worker()
    workers = DaskExecutor(dask.address).start(work(dask_work.dies_once, tmp_path))
    try:
        assert values(workers.submit([part(0, 3)])) == [0, 1, 2]
        assert (tmp_path / "died").exists()
    finally:
        workers.close()


def test_a_task_that_kills_each_worker_is_a_worker_lost(dask: DaskProcesses) -> None:
    dask.start_worker()
    workers = DaskExecutor(dask.address).start(work(dask_work.dies))
    try:
        lost = failure(workers.submit([part(0, 3)]))
        assert isinstance(lost, WorkerLost) and "died while it had it" in str(lost)
    finally:
        workers.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_scheduler_that_is_restarted_loses_what_was_under_way_and_gets_what_comes_then(
    dask: DaskProcesses, tmp_path: Path, number: signal.Signals
) -> None:
    dask.start_worker("--death-timeout", "60")
    workers = DaskExecutor(dask.address).start(work(dask_work.waits, tmp_path))
    try:
        under_way = workers.submit([part(0, 3)])
        assert wait_until(lambda: began(tmp_path), TIMEOUT_S)
        dask.end_scheduler(number)
        assert isinstance(failure(under_way), WorkerLost)
        assert isinstance(failure(workers.submit([part(0, 3)])), WorkerLost)
        (tmp_path / "go").touch()
        dask.start_scheduler()
        dask.start_worker()
        assert _when_it_answers(workers) == [0, 1, 2]
    finally:
        workers.close()


def test_a_client_that_gave_up_is_made_anew(dask: DaskProcesses, tmp_path: Path) -> None:
    """Also where it was the user's, which is closed then."""
    dask.start_worker()
    with Client(dask.address, timeout=1, set_as_default=False) as client:
        workers = DaskExecutor(client).start(work(dask_work.offsets))
        try:
            dask.end_scheduler(signal.SIGKILL)
            assert wait_until(lambda: client.status == "closed", TIMEOUT_S)
            assert isinstance(failure(workers.submit([part(0, 3)])), WorkerLost)
            dask.start_scheduler()
            dask.start_worker()
            assert _when_it_answers(workers) == [0, 1, 2]
        finally:
            workers.close()


def _when_it_answers(workers: Workers) -> Any:
    """As the stream does: what fails with ``WorkerLost`` is submitted again."""
    tasks: list[Future[Outcome]] = []

    def answered() -> bool:
        tasks.append(workers.submit([part(0, 3)]))
        error = failure(tasks[-1])
        assert error is None or isinstance(error, WorkerLost), error
        return error is None

    assert wait_until(answered, TIMEOUT_S)
    return values(tasks[-1])


def test_a_task_that_hangs_frees_its_worker(dask: DaskProcesses, tmp_path: Path) -> None:
    dask.start_worker()
    workers = DaskExecutor(dask.address).start(work(dask_work.hangs_once, tmp_path))
    try:
        hangs = workers.submit([part(0, 3)])
        assert wait_until((tmp_path / "hung").exists, TIMEOUT_S)
        workers.abandon(hangs, hangs=True)
        assert isinstance(failure(hangs), WorkerLost)
        assert values(workers.submit([part(0, 3)])) == [0, 1, 2]
    finally:
        workers.close()


def test_a_task_that_is_abandoned_before_it_began_never_begins(dask: DaskProcesses, tmp_path: Path) -> None:
    dask.start_worker()
    workers = DaskExecutor(dask.address).start(work(dask_work.waits, tmp_path))
    try:
        first, second, third = (workers.submit([part(at, at + 1)]) for at in range(3))
        assert wait_until(lambda: began(tmp_path), TIMEOUT_S)
        workers.abandon(second)
        assert isinstance(failure(second), WorkerLost)
        (tmp_path / "go").touch()
        assert [values(first), values(third)] == [[0], [2]]
        assert began(tmp_path) == [tmp_path / "began-0", tmp_path / "began-2"]
    finally:
        workers.close()


def test_tasks_begin_in_the_order_of_their_submission(dask: DaskProcesses, tmp_path: Path) -> None:
    dask.start_worker()
    workers = DaskExecutor(dask.address).start(work(dask_work.waits, tmp_path))
    try:
        tasks = [workers.submit([part(at, at + 1)]) for at in range(10, 30)]
        assert wait_until(lambda: began(tmp_path), TIMEOUT_S)
        (tmp_path / "go").touch()
        assert [values(task) for task in tasks] == [[at] for at in range(10, 30)]
        by_time = sorted(began(tmp_path), key=lambda path: path.stat().st_mtime_ns)
        assert by_time == began(tmp_path)
    finally:
        workers.close()


def test_a_client_that_was_given_is_used_and_left_open(dask: DaskProcesses, tmp_path: Path) -> None:
    dask.start_worker()
    with Client(dask.address, set_as_default=False) as client:
        workers = DaskExecutor(client).start(work(dask_work.waits, tmp_path))
        under_way = workers.submit([part(0, 3)])
        assert wait_until(lambda: began(tmp_path), TIMEOUT_S)
        workers.close()
        assert isinstance(failure(under_way), WorkerLost)
        assert isinstance(failure(workers.submit([part(0, 3)])), WorkerLost)
        (tmp_path / "go").touch()
        assert client.status == "running"
        assert client.submit(sum, [1, 2], pure=False).result(TIMEOUT_S) == 3


def test_a_client_that_is_closed_under_way_loses_the_tasks(dask: DaskProcesses, tmp_path: Path) -> None:
    dask.start_worker()
    client = Client(dask.address, set_as_default=False)
    workers = DaskExecutor(client).start(work(dask_work.waits, tmp_path))
    try:
        under_way = workers.submit([part(0, 3)])
        assert wait_until(lambda: began(tmp_path), TIMEOUT_S)
        client.close()
        (tmp_path / "go").touch()
        assert isinstance(failure(under_way), WorkerLost)
        assert _when_it_answers(workers) == [0, 1, 2]
    finally:
        workers.close()
