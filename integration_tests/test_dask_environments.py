"""``DaskExecutor`` where nothing answers, or where workers have not what tasks need."""

from __future__ import annotations

import pickle
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from integration_tests.dask_processes import OF_AN_OLDER_LIBRARY, TIMEOUT_S, WITHOUT_THE_LIBRARY, DaskProcesses
from integration_tests.engine import wait_until
from integration_tests.servers import free_port
from kafka_stream.errors import ConfigurationError, WorkerLost
from kafka_stream.executors import DaskExecutor
from kafka_stream.protocols.executors import Outcome
from tests import dask_work
from tests.dask_work import part, work


def values(task: Future[Outcome]) -> Any:
    return pickle.loads(task.result(TIMEOUT_S).values)


def failure(task: Future[Outcome]) -> BaseException | None:
    return task.exception(TIMEOUT_S)


def test_an_address_where_nothing_answers_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.executors.dask_cluster.CONNECT_S", 1.0)
    executor = DaskExecutor(f"tcp://127.0.0.1:{free_port()}")
    with pytest.raises(WorkerLost, match=r"^the Dask scheduler at tcp://127\.0\.0\.1:\d+ does not answer: start it"):
        executor.start(work(dask_work.offsets))


def test_a_client_that_has_given_up_before_the_start_is_made_anew_and_one_that_was_closed_is_refused(
    dask: DaskProcesses,
) -> None:
    dask.start_worker("--no-nanny")
    client = Client(dask.address, set_as_default=False)
    executor = DaskExecutor(client)
    assert executor.describe() == f"Dask at {dask.address}"
    client.close()
    workers = executor.start(work(dask_work.offsets))
    try:
        assert values(workers.submit([part(0, 3)])) == [0, 1, 2]
    finally:
        workers.close()
    with pytest.raises(ConfigurationError, match=r"was given a Dask client that is closed: give it one that is conn"):
        DaskExecutor(client)


def test_an_address_that_is_none_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match=r"^mud://127\.0\.0\.1:1 cannot be used as a Dask scheduler: "):
        DaskExecutor("mud://127.0.0.1:1").start(work(dask_work.offsets))


def test_a_worker_without_the_library_is_named_at_the_start(dask: DaskProcesses) -> None:
    dask.start_worker("--no-nanny", after=WITHOUT_THE_LIBRARY)
    _wait_for_workers(dask, 1)
    with pytest.raises(ConfigurationError, match=r"^the Dask worker tcp://\S+ cannot load kafka-stream .*: install v"):
        DaskExecutor(dask.address).start(work(dask_work.offsets))


def test_a_worker_without_the_library_that_comes_later_is_named_by_its_task(dask: DaskProcesses) -> None:
    workers = DaskExecutor(dask.address).start(work(dask_work.offsets))
    try:
        task = workers.submit([part(0, 3)])
        dask.start_worker("--no-nanny", after=WITHOUT_THE_LIBRARY)
        failed = failure(task)
        assert isinstance(failed, ConfigurationError)
        assert str(failed).startswith("the Dask worker tcp://") and "with your own code" in str(failed)
    finally:
        workers.close()


def test_a_scheduler_needs_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.executors.dask.run", dask_work.run)
    with DaskProcesses(tmp_path) as dask:
        dask.start_scheduler(after=WITHOUT_THE_LIBRARY)
        dask.start_worker("--no-nanny")
        workers = DaskExecutor(dask.address).start(work(dask_work.offsets))
        try:
            assert values(workers.submit([part(0, 3)])) == [0, 1, 2]
        finally:
            workers.close()


def test_another_version_of_the_library_is_refused_at_the_start_and_by_tasks(dask: DaskProcesses) -> None:
    workers = DaskExecutor(dask.address).start(work(dask_work.offsets))
    try:
        task = workers.submit([part(0, 3)])
        dask.start_worker("--no-nanny", after=OF_AN_OLDER_LIBRARY)
        failed = failure(task)
        assert isinstance(failed, ConfigurationError) and "has kafka-stream 0.0.9" in str(failed)
        with pytest.raises(ConfigurationError, match=r"has kafka-stream 0\.0\.9, and the stream \S+: install the same"):
            DaskExecutor(dask.address).start(work(dask_work.offsets))
    finally:
        workers.close()


def _wait_for_workers(dask: DaskProcesses, number: int) -> None:
    with Client(dask.address, set_as_default=False) as client:
        assert wait_until(lambda: len(client.scheduler_info()["workers"]) == number, TIMEOUT_S)
