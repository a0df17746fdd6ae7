"""One batch is prepared while the one before it is written and committed; whatever happens to one drops both."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.errors import OwnershipLost, ProcessingError, SinkUnavailable, StoreUnavailable
from kafka_stream.progress import StreamState
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import OffsetRange, Owner, Phase, Writes
from tests.fakes import ORDERS_0, ORDERS_1
from tests.simulation import EVERYTHING, ResultsStore, Simulation, twenty_each, write

LONG_S = 20.0


@pytest.fixture
def kafka() -> MemoryKafka:
    return twenty_each()


class Preparing:
    """A ``prepare`` that remembers what it was given, in order."""

    def __init__(self) -> None:
        self.prepared: list[tuple[OffsetRange, ...]] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()

    def __call__(self, batch: Batch) -> Batch:
        with self._changed:
            self.threads.add(threading.get_ident())
            self.prepared.append(batch.ranges)
            self._changed.notify_all()
        return batch

    def wait_for(self, batches: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self.prepared) >= batches, LONG_S)


class Copying:
    """A sink whose server is at work at once."""

    writes = Writes.THROUGH_TRANSACTION
    needs = None

    def __init__(self, preparing: Preparing) -> None:
        self._preparing = preparing
        self.written = 0

    def describe(self) -> str:
        return "a copy"

    def prepare(self, prepared: Any) -> Any:
        return prepared

    def write(self, prepared: Any, transaction: Any) -> None:
        raise AssertionError("it is written overlapping")

    def write_overlapping(self, prepared: Any, transaction: Any, go_on: Callable[[], None]) -> None:
        self.written += 1
        assert len(self._preparing.prepared) == self.written, "the next one is not prepared before it is time"
        go_on()
        go_on()
        assert self._preparing.wait_for(min(self.written + 1, 4))
        write(prepared, transaction)


def _stream(kafka: MemoryKafka, store: ResultsStore, **settings: Any) -> Simulation:
    return Simulation(kafka, store, **{"max_records_per_batch": 10, "prepare": Preparing()} | settings)


def test_the_next_batch_is_prepared_while_one_is_written_and_no_more_than_one(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    preparing, written = Preparing(), list[int]()

    def slowly(batch: Batch, transaction: Any) -> None:
        written.append(len(batch))
        wanted = min(len(written) + 1, 4)
        assert preparing.wait_for(wanted), "the next one is not prepared meanwhile"
        assert len(preparing.prepared) == wanted
        write(batch, transaction)

    _stream(kafka, store, prepare=preparing, sink=slowly).run("latest")
    assert written == [10] * 4
    assert sorted(store.rows) == EVERYTHING
    assert len(preparing.threads) == 1
    assert threading.get_ident() not in preparing.threads


def test_what_would_be_a_small_batch_is_not_cut_early(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _stream(kafka, store, max_records_per_batch=30)
    run.run("latest")
    fetched = [phase for phase in run.story.phases if phase in (Phase.AFTER_FETCH, Phase.AFTER_COMMIT)]
    assert run.story.sizes == [30, 10]
    assert fetched == [Phase.AFTER_FETCH, Phase.AFTER_COMMIT] * 2, "ten records are no full batch of thirty"


def test_a_sink_with_nothing_to_prepare_stays_on_the_loops_thread(kafka: MemoryKafka, store: ResultsStore) -> None:
    before = threading.active_count()
    run = _stream(kafka, store, prepare=None)
    threads: list[int] = []
    run.story.on[Phase.AFTER_WRITE] = lambda: threads.append(threading.active_count())
    run.run("latest")
    assert set(threads) == {before + 1}, "the watchdog's, and no other"
    fetched = [phase for phase in run.story.phases if phase in (Phase.AFTER_FETCH, Phase.AFTER_COMMIT)]
    assert fetched == [Phase.AFTER_FETCH, Phase.AFTER_COMMIT] * 4


def test_three_batches_are_in_memory_at_most_and_none_is_kept(kafka: MemoryKafka, store: ResultsStore) -> None:
    batches: list[weakref.ref[Batch]] = []
    in_memory: list[int] = []

    def prepare(batch: Batch) -> Batch:
        batches.append(weakref.ref(batch))
        in_memory.append(sum(each() is not None for each in batches))
        return batch

    _stream(kafka, store, prepare=prepare, max_records_per_batch=4).run("latest")
    assert len(batches) == 10
    assert max(in_memory) <= 3
    assert [each() for each in batches] == [None] * 10


def test_user_code_runs_in_the_context_of_who_runs_the_stream(kafka: MemoryKafka, store: ResultsStore) -> None:
    variable = contextvars.ContextVar("variable", default="elsewhere")
    variable.set("here")
    found: list[str] = []

    def prepare(batch: Batch) -> Batch:
        found.append(variable.get())
        return batch

    _stream(kafka, store, prepare=prepare).run("latest")
    assert found == ["here"] * 4


@pytest.mark.parametrize("step", ["begin", "advance", "commit"])
def test_both_are_dropped_when_one_fails_and_read_again_in_order(
    kafka: MemoryKafka, store: ResultsStore, step: str
) -> None:
    preparing = Preparing()
    store.failures[step] = [StoreUnavailable("away")]
    run = _stream(kafka, store, prepare=preparing)
    run.run("latest")
    assert len(run.story.retries) == 1
    assert [rows[2] for rows in store.rows if rows[1] == 0] == list(range(20))
    assert sorted(store.rows) == EVERYTHING
    assert preparing.prepared.count(preparing.prepared[0]) == 2


@pytest.mark.parametrize("answer", ["before", "after"])
def test_an_unknown_commit_keeps_or_drops_the_one_behind_it(
    kafka: MemoryKafka, store: ResultsStore, answer: str
) -> None:
    store.lost_answers = [answer]
    preparing = Preparing()
    run = _stream(kafka, store, prepare=preparing)
    run.run("latest")
    assert sorted(store.rows) == EVERYTHING
    assert preparing.prepared.count(preparing.prepared[0]) == (2 if answer == "before" else 1)


def test_a_prepare_that_fails_ahead_fails_in_its_turn(kafka: MemoryKafka, store: ResultsStore) -> None:
    preparing, failures = Preparing(), [SinkUnavailable("away")]

    def prepare(batch: Batch) -> Batch:
        if len(preparing.prepared) == 1 and failures:
            raise failures.pop()
        return preparing(batch)

    run = _stream(kafka, store, prepare=prepare)
    run.run("latest")
    assert len(run.story.retries) == 1
    assert preparing.prepared.count(preparing.prepared[0]) == 1, "the one before it is committed"
    assert sorted(store.rows) == EVERYTHING


def test_a_bug_ahead_stops_the_stream_after_what_came_before(kafka: MemoryKafka, store: ResultsStore) -> None:
    def prepare(batch: Batch) -> Batch:
        if batch.ranges[0].from_offset > 0:
            raise KeyError("price")
        return batch

    with pytest.raises(ProcessingError, match="prepare failed on orders"):
        _stream(kafka, store, prepare=prepare).run("latest")
    assert len(store.rows) == 10


def test_what_is_no_exception_comes_through(kafka: MemoryKafka, store: ResultsStore) -> None:
    def leave(batch: Batch) -> Batch:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        _stream(kafka, store, prepare=leave).run("latest")


def test_a_partition_that_moves_takes_the_batch_ahead_with_it(kafka: MemoryKafka, store: ResultsStore) -> None:
    first, second = (_stream(kafka, store, assignment="group") for _ in range(2))
    joins = [second.source.subscribe]
    first.story.on[Phase.AFTER_WRITE] = lambda: joins and joins.pop()()
    first.at(2, first.stop)
    first.run()
    moved = {ORDERS_0, ORDERS_1} - first.loop.status.positions.keys()
    assert len(moved) == 1
    assert len([row for row in store.rows if row[1] == next(iter(moved)).partition]) == 5, "the one behind is dropped"
    second.at(2, second.stop)
    second.run()
    assert sorted(store.rows) == EVERYTHING
    assert first.story.retries == []


def test_a_partition_that_is_lost_drops_both(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _stream(kafka, store, assignment="group")

    def lose() -> None:
        if len(store.rows) == 10:
            source: Any = run.source._inner
            source.inbox.lost([ORDERS_0])
            store.inner.take_over("s", Owner("successor", "elsewhere"), [ORDERS_0], {})

    run.story.on[Phase.AFTER_PREPARE] = lose
    run.at(3, run.stop)
    run.run()
    assert run.story.retries == []
    assert sorted(store.rows) == EVERYTHING


def test_a_new_partition_voids_nothing_of_the_others(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _stream(kafka, store)
    grow: list[Callable[[], object]] = [partial(kafka.add_partitions, "orders", 3)]

    def in_the_transaction() -> None:
        run.clock.sleep(6.0)  # so that the topics are looked at next
        if grow:
            grow.pop()()
            kafka.produce("orders", "x", partition=2)

    run.story.on[Phase.AFTER_WRITE] = in_the_transaction
    run.at(60, run.stop)
    run.run()
    assert sorted(store.rows) == [*EVERYTHING, ("orders", 2, 0)]


def test_a_batch_that_could_not_be_taken_whole_is_read_again_in_its_turn(
    kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _stream(kafka, store)
    take, taken = run.source.take, list[int]()

    def half(ranges: Sequence[OffsetRange]) -> Any:
        taken.append(len(ranges))
        if len(taken) == 2:
            take(ranges[:1])
            raise OwnershipLost("given up meanwhile")
        return take(ranges)

    monkeypatch.setattr(run.source, "take", half)
    run.run("latest")
    assert taken[:2] == [2, 2]
    assert run.story.retries == [], "the batch in hand is none the worse for it"
    assert sorted(store.rows) == EVERYTHING


def test_beside_a_sink_that_says_when_the_next_batch_is_prepared_from_then_on(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    preparing = Preparing()
    run = _stream(kafka, store, prepare=preparing, sink=Copying(preparing))
    run.run("latest")
    assert sorted(store.rows) == EVERYTHING


def test_a_takeover_between_two_batches_drops_the_one_ahead(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _stream(kafka, store)
    fences = [partial(store.inner.take_over, "s", run.owner, [ORDERS_0, ORDERS_1], {})]
    run.story.on[Phase.AFTER_COMMIT] = lambda: fences and fences.pop()()
    run.run("latest")
    ((error, _),) = run.story.retries
    assert isinstance(error, OwnershipLost)
    assert sorted(store.rows) == EVERYTHING


def test_a_stop_finishes_the_batch_in_hand_and_not_the_one_ahead(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _stream(kafka, store)
    run.story.on[Phase.AFTER_WRITE] = run.stop
    run.run()
    assert len(store.rows) == 10
    assert sum(run.next_offsets().values()) == 10
    again = _stream(kafka, store)
    again.run("latest")
    assert sorted(store.rows) == EVERYTHING


def test_a_stop_does_not_wait_for_a_prepare_that_never_ends(kafka: MemoryKafka, store: ResultsStore) -> None:
    released = threading.Event()

    def stuck(batch: Batch) -> Batch:
        run.request.stop = run.request.drop_batch = True
        released.wait(LONG_S)
        return batch

    run = _stream(kafka, store, prepare=stuck)
    run.run()
    assert store.rows == []
    assert not released.is_set(), "it is still at work, and nobody waits for it"
    released.set()


def test_a_stop_waits_no_longer_than_its_time_for_a_batch_ahead_that_is_stuck(
    kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, ahead_is_stuck, closing = threading.Event(), threading.Event(), threading.Event()

    def stuck_ahead(batch: Batch) -> Batch:
        if batch.ranges[0].from_offset > 0:
            ahead_is_stuck.set()
            released.wait(LONG_S)
        return batch

    def stop_beside_it() -> None:
        assert ahead_is_stuck.wait(LONG_S)
        run.stop()

    run = _stream(kafka, store, prepare=stuck_ahead)
    run.story.on[Phase.AFTER_WRITE] = stop_beside_it
    monkeypatch.setattr(store, "close", closing.set)
    loop = threading.Thread(target=run.run)
    loop.start()
    assert closing.wait(LONG_S)
    run.request.drop_batch = True  # as stop() does when its time is up
    loop.join(LONG_S / 2)
    assert not loop.is_alive()
    assert not released.is_set()
    assert (len(store.rows), run.story.stopped) == (10, [None])
    released.set()


@pytest.mark.parametrize("error", [KeyError("price"), KeyboardInterrupt()], ids=["failed", "interrupted"])
def test_a_failure_is_told_at_once_although_the_batch_ahead_is_stuck(
    kafka: MemoryKafka, store: ResultsStore, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    released, ahead_is_stuck, told = threading.Event(), threading.Event(), list[BaseException]()

    def stuck_ahead(batch: Batch) -> Batch:
        if batch.ranges[0].from_offset > 0:
            ahead_is_stuck.set()
            released.wait(LONG_S)
        return batch

    def failing(batch: Batch, transaction: Any) -> None:
        assert ahead_is_stuck.wait(LONG_S)
        raise error

    def run_it() -> None:
        try:
            run.run()
        except BaseException as failure:
            told.append(failure)

    run = _stream(kafka, store, prepare=stuck_ahead, sink=failing)
    loop = threading.Thread(target=run_it)
    loop.start()
    loop.join(LONG_S / 2)
    assert not loop.is_alive(), "it waits for user code that nobody needs any more"
    assert not released.is_set()
    (failure,) = told
    assert error in (failure, failure.__cause__)
    assert (run.loop.status.state, run.loop.status.error, run.story.stopped) == (StreamState.FAILED, failure, [failure])
    assert "prepare of stream 's' is still at work" in caplog.text
    released.set()


@pytest.mark.parametrize("cancelled", [asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("where", ["prepare", "async prepare", "sink"])
def test_what_user_code_cancelled_itself_is_its_failure(
    kafka: MemoryKafka, store: ResultsStore, where: str, cancelled: type[BaseException]
) -> None:
    def give_up(batch: Batch, *_: Any) -> Batch:
        raise cancelled

    async def give_up_later(batch: Batch) -> Batch:
        await asyncio.sleep(0)
        return give_up(batch)

    user_code: dict[str, dict[str, Any]] = {
        "prepare": {"prepare": give_up},
        "async prepare": {"prepare": give_up_later},
        "sink": {"sink": give_up},
    }
    run = _stream(kafka, store, **user_code[where])
    with pytest.raises(ProcessingError, match=rf"failed on orders\[0\] \[0, 5\).*: {cancelled.__name__}; ") as caught:
        run.run()
    assert isinstance(caught.value.__cause__, cancelled)
    assert run.loop.status.error is caught.value


@pytest.mark.parametrize("inside", [asyncio.CancelledError(), GeneratorExit()])
def test_a_group_of_what_is_no_exception_is_a_failure_too(
    kafka: MemoryKafka, store: ResultsStore, inside: BaseException
) -> None:
    def give_up(batch: Batch) -> Batch:
        raise BaseExceptionGroup("tasks", [inside, ValueError("price")])

    with pytest.raises(ProcessingError, match=r"prepare failed on orders\[0\] \[0, 5\).*BaseExceptionGroup") as caught:
        _stream(kafka, store, prepare=give_up).run()
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)


def test_a_group_with_what_ends_the_process_comes_through(kafka: MemoryKafka, store: ResultsStore) -> None:
    def leave(batch: Batch) -> Batch:
        raise BaseExceptionGroup("tasks", [ValueError("price"), BaseExceptionGroup("more", [SystemExit(3)])])

    with pytest.raises(BaseExceptionGroup, match="tasks"):
        _stream(kafka, store, prepare=leave).run()


def test_a_task_that_cancels_itself_ends_no_task_group_in_silence(kafka: MemoryKafka, store: ResultsStore) -> None:
    async def prepare(batch: Batch) -> Batch:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return batch

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(_stream(kafka, store, prepare=prepare).run))

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert caught.group_contains(ProcessingError, match="prepare failed on .*CancelledError")


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_a_listener_that_cancels_itself_changes_nothing(
    kafka: MemoryKafka, store: ResultsStore, error: type[BaseException]
) -> None:
    def give_up() -> None:
        raise error

    run = _stream(kafka, store)
    run.story.on[Phase.AFTER_WRITE] = give_up
    run.run("latest")
    assert sorted(store.rows) == EVERYTHING
