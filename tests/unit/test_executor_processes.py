"""``ProcessExecutor``: processes that work, die, hang and end; they read from a mock cluster of librdkafka's."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pytest

from kafka_stream.errors import ConfigurationError, FailedElsewhere, WorkerLost
from kafka_stream.executors import ProcessExecutor
from kafka_stream.executors.packing import packed
from kafka_stream.executors.pipe import receive_whole
from kafka_stream.executors.process_slots import WorkerProcess
from kafka_stream.executors.processes import Processes
from kafka_stream.protocols.executors import Outcome, Slice, Work
from kafka_stream.types import OffsetRange, TopicPartition
from tests import executor_work
from tests.executor_work import Loaded, work_of
from tests.fakes import ORDERS_0
from tests.worker_processes import WITHIN_S, is_gone, pid_in, until

WHOLE = Slice(OffsetRange(ORDERS_0, 0, 100))

MakeWork: TypeAlias = Callable[[Callable[[Any], Any]], Work]


class Start(Protocol):
    def __call__(self, prepare: Callable[[Any], Any], workers: int = 1) -> Processes: ...


def value(task: Future[Outcome]) -> Any:
    """What the only sink gets of the only piece."""
    ((found,),) = pickle.loads(task.result(WITHIN_S).values)
    return found


@pytest.fixture
def work(brokers: str) -> MakeWork:
    """The work of a function, on records of the mock cluster's."""
    return lambda prepare: work_of(prepare, kafka={"bootstrap.servers": brokers})


@pytest.fixture
def start(work: MakeWork) -> Iterator[Start]:
    """Starts a run of some workers; they end with the test."""
    running: list[Processes] = []

    def started(prepare: Callable[[Any], Any], workers: int = 1) -> Processes:
        found = ProcessExecutor(workers).start(work(prepare))
        running.append(found)
        return found

    yield started
    for one in running:
        one.close()


def test_slices_are_read_and_prepared_in_other_processes(start: Start) -> None:
    workers = start(executor_work.offsets, 2)
    assert (workers.slots, ProcessExecutor(workers=2).takes_whole_batches) == (2, False)
    slices = [Slice(OffsetRange(TopicPartition("orders", p), begin, begin + 50)) for p in range(4) for begin in (0, 50)]
    tasks = [workers.submit([part]) for part in slices]
    assert [value(task) for task in tasks] == [list(range(s.range.from_offset, s.range.until_offset)) for s in slices]
    assert {task.result().worker.split(":")[-1] for task in tasks}.isdisjoint({str(os.getpid())})


def test_results_are_as_large_as_they_are(start: Start) -> None:
    assert value(start(executor_work.large).submit([WHOLE])) == b"x" * 20_000_000


def test_user_code_that_fails_does_not_end_its_worker(start: Start, work: MakeWork) -> None:
    workers = start(executor_work.failing)
    failed = workers.submit([WHOLE]).exception(WITHIN_S)
    assert isinstance(failed, FailedElsewhere)
    assert "ValueError: no such price" in str(failed.__cause__)
    workers.change(work(executor_work.process_of))
    assert value(workers.submit([WHOLE])) == value(workers.submit([WHOLE]))


def test_what_a_function_loads_is_loaded_once(start: Start) -> None:
    workers = start(Loaded())
    assert [value(workers.submit([WHOLE])) for _ in range(3)] == [1, 2, 3]


def test_a_worker_that_dies_is_replaced_and_takes_no_other_task_along(
    start: Start, work: MakeWork, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    workers = start(executor_work.hanging_at(begun), 2)
    hanging = workers.submit([WHOLE])
    pid_in(begun)
    workers.change(work(executor_work.ending_its_process))
    for _ in range(3):
        with pytest.raises(WorkerLost, match=r"kafka-stream-worker-\d has gone \(signal 9\)"):
            workers.submit([WHOLE]).result(WITHIN_S)
    workers.change(work(executor_work.process_of))
    assert value(workers.submit([WHOLE])) != pid_in(begun)
    assert hanging.running()


def test_a_worker_that_has_died_at_rest_is_replaced_before_the_next_task(start: Start) -> None:
    workers = start(executor_work.process_of)
    pid = value(workers.submit([WHOLE]))
    process = workers._slots[0]._process
    assert process is not None
    os.kill(pid, signal.SIGKILL)
    until(process.has_gone)
    assert value(workers.submit([WHOLE])) != pid


def test_a_worker_that_is_killed_while_it_writes_a_large_result_is_missed_at_once(work: MakeWork) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    process = WorkerProcess("worker")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert process.is_ready()
    process._ours.send((packed(work(executor_work.large)), [WHOLE]))
    _, size = process._ours.recv()  # all but the values, for which nobody reads
    until(lambda: process._ours.poll(0))
    process.kill()
    with pytest.raises((EOFError, OSError)):
        receive_whole(process._ours, size)
    assert process.end() == -signal.SIGKILL


def test_a_task_that_hangs_is_ended_with_its_process_alone(start: Start, work: MakeWork, tmp_path: Path) -> None:
    begun, other = tmp_path / "begun", tmp_path / "other"
    workers = start(executor_work.hanging_at(begun), 2)
    hanging = workers.submit([WHOLE])
    pid = pid_in(begun)
    workers.change(work(executor_work.hanging_at(other)))
    beside = workers.submit([WHOLE])
    pid_in(other)
    workers.abandon(hanging)
    assert not is_gone(pid)
    workers.abandon(hanging, hangs=True)
    assert isinstance(hanging.exception(WITHIN_S), WorkerLost)
    until(lambda: is_gone(pid))
    assert beside.running()


def test_a_task_that_was_abandoned_is_not_begun(start: Start, work: MakeWork, tmp_path: Path) -> None:
    begun, never = tmp_path / "begun", tmp_path / "never"
    workers = start(executor_work.hanging_at(begun))
    hanging = workers.submit([WHOLE])
    pid_in(begun)
    workers.change(work(executor_work.hanging_at(never)))
    unwanted = workers.submit([WHOLE])
    workers.abandon(unwanted)
    workers.change(work(executor_work.process_of))
    wanted = workers.submit([WHOLE])
    workers.abandon(hanging, hangs=True)
    assert value(wanted)
    assert unwanted.cancelled()
    assert not never.exists()


def test_what_is_meant_for_the_process_group_ends_no_worker(start: Start) -> None:
    assert value(start(executor_work.signals_are_ignored).submit([WHOLE])) == [True, True]


def test_closing_ends_all_of_them_also_one_that_hangs(start: Start, work: MakeWork, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    workers = start(executor_work.process_of, 2)
    idle = value(workers.submit([WHOLE]))
    workers.change(work(executor_work.hanging_at(begun)))
    tasks = [workers.submit([WHOLE]) for _ in range(2)]
    hanging = pid_in(begun)
    workers.close()
    assert not wait(tasks, 0).not_done
    assert all(isinstance(task.exception(), WorkerLost) for task in tasks)
    assert is_gone(hanging)
    assert is_gone(idle)
    assert isinstance(workers.submit([WHOLE]).exception(0), WorkerLost)
    workers.close()


def test_closing_at_once_leaves_no_process_that_has_just_begun(start: Start) -> None:
    before = threading.active_count()
    start(executor_work.process_of, 3).close()
    until(lambda: threading.active_count() <= before)


# What it is built with ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"workers": 0}, "workers=0; give 1 or more"),
        ({"task_timeout_s": 0}, "task_timeout_s=0; give a number of seconds above 0"),
        ({"task_timeout_s": float("nan")}, "task_timeout_s=nan"),
        ({"max_result_bytes": 0}, "max_result_bytes=0; give 1 or more"),
    ],
)
def test_numbers_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        ProcessExecutor(**settings)


def test_an_executor_is_a_value_and_says_what_it_is() -> None:
    assert pickle.loads(pickle.dumps(ProcessExecutor(3))) == ProcessExecutor(3)
    assert ProcessExecutor(3).describe() == "3 processes of this machine"
    assert int(ProcessExecutor().describe().split()[0]) >= 1


def test_work_that_cannot_be_sent_starts_nothing() -> None:
    before = threading.active_count()
    with pytest.raises(ConfigurationError, match="is a lambda"):
        ProcessExecutor(1).start(work_of(lambda batch: batch))
    assert threading.active_count() == before


def test_a_flag_of_user_code_is_seen_by_the_next_attempt(start: Start, tmp_path: Path) -> None:
    workers = start(functools.partial(executor_work.ending_its_process_once, str(tmp_path / "flag")))
    assert isinstance(workers.submit([WHOLE]).exception(WITHIN_S), WorkerLost)
    assert value(workers.submit([WHOLE]))
