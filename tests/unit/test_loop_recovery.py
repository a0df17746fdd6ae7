"""The loop when something fails: what is retried, what stops it, and that nothing is lost or repeated."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.engine.loop import START_TIMEOUT_S
from kafka_stream.engine.retry import FIRST_DELAY_S
from kafka_stream.engine.topic_look import LOOK_INTERVAL_S
from kafka_stream.errors import (
    BrokerUnavailable,
    CommitOutcomeUnknown,
    LogTruncated,
    OffsetOutOfRange,
    OwnershipLost,
    ProcessingError,
    SinkUnavailable,
    StoreUnavailable,
    StreamClosed,
    TopicRecreated,
)
from kafka_stream.progress import StreamListener, StreamState
from kafka_stream.protocols import Failed
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import OF_EVERY_BATCH, Owner, Phase
from tests.fakes import ORDERS_0, ORDERS_1
from tests.simulation import ResultsStore, ResultsTransaction, Simulation, write

OTHER = Owner("other", "elsewhere")
EVERYTHING = [("orders", partition, offset) for partition in (0, 1) for offset in range(20)]


@pytest.fixture
def kafka() -> MemoryKafka:
    """Two partitions of twenty records."""
    kafka = MemoryKafka({"orders": 2})
    for partition in (0, 1):
        for _ in range(20):
            kafka.produce("orders", "x", partition=partition)
    return kafka


def _small(kafka: MemoryKafka, store: ResultsStore, **settings: Any) -> Simulation:
    return Simulation(kafka, store, **{"max_records_per_batch": 6} | settings)


def _once(store: ResultsStore) -> None:
    assert sorted(store.rows) == EVERYTHING


# ----------------------------------------------------------------------------------------------------- worth a retry


@pytest.mark.parametrize("step", ["begin", "advance", "commit"])
def test_a_transient_error_of_the_store_is_retried_and_nothing_is_repeated(
    kafka: MemoryKafka, store: ResultsStore, step: str
) -> None:
    run = _small(kafka, store)
    errors = [StoreUnavailable("one"), StoreUnavailable("two")]
    run.story.on[Phase.AFTER_COMMIT] = lambda: store.failures.setdefault(step, list(errors))
    run.run("latest")
    _once(store)
    assert run.story.retries == [(errors[0], FIRST_DELAY_S), (errors[1], 2 * FIRST_DELAY_S)]


@pytest.mark.parametrize("where", ["prepare", "sink"])
def test_a_transient_error_of_user_code_is_retried_and_nothing_is_repeated(
    kafka: MemoryKafka, store: ResultsStore, where: str
) -> None:
    failures: list[Exception] = [SinkUnavailable("x"), BrokerUnavailable("x")]

    def fails(batch: Batch) -> Batch:
        if len(store.rows) > 10 and failures:
            raise failures.pop()
        return batch

    def sink(batch: Batch, transaction: ResultsTransaction) -> None:
        write(batch, transaction)
        if where == "sink":
            fails(batch)

    run = _small(kafka, store, sink=sink, prepare=fails if where == "prepare" else None)
    run.run("latest")
    _once(store)
    assert len(run.story.retries) == 2


def test_a_batch_that_is_too_large_for_its_sink_becomes_smaller(kafka: MemoryKafka, store: ResultsStore) -> None:
    def takes_three_at_most(batch: Batch, transaction: ResultsTransaction) -> None:
        if len(batch) > 3:
            raise SinkUnavailable("the transaction outlived its time")
        write(batch, transaction)

    _small(kafka, store, sink=takes_three_at_most).run("latest")
    _once(store)


def test_what_arrives_while_a_batch_is_dropped_comes_in_order(kafka: MemoryKafka, store: ResultsStore) -> None:
    def more(batch: Batch, transaction: ResultsTransaction) -> None:
        write(batch, transaction)
        if failures:
            kafka.produce("orders", "late", partition=0)
            raise failures.pop()

    failures = [SinkUnavailable("x")]
    _small(kafka, store, sink=more).run({ORDERS_0: 20, ORDERS_1: 20})
    _once(store)
    assert [offset for _, partition, offset in store.rows if partition == 0] == list(range(20))


def test_a_stream_that_retries_says_so_and_why(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _small(kafka, store)
    error = StoreUnavailable("gone")
    store.failures["begin"] = [error]
    seen = []

    class Watching(StreamListener):
        def on_retry(self, error: Exception, delay_s: float) -> None:
            seen.append(run.loop.status)

    run = _small(kafka, store, listeners=[Watching()])
    run.run("latest")
    (status,) = seen
    assert (status.state, status.error, status.batch_started_at) == (StreamState.RETRYING, error, None)
    assert (run.loop.status.state, run.loop.status.error) == (StreamState.STOPPED, None)


def test_success_forgets_the_failures_before_it(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _small(kafka, store)
    store.failures["begin"] = [StoreUnavailable("x"), StoreUnavailable("x")]

    def fail_once_more() -> None:
        if len(run.story.batches) == 1 and once:
            store.failures["begin"] = [once.pop()]

    once = [StoreUnavailable("x")]
    run.story.on[Phase.AFTER_FETCH] = fail_once_more
    run.run("latest")
    _once(store)
    assert [round(delay / FIRST_DELAY_S) for _, delay in run.story.retries[:3]] == [1, 2, 1]


def test_an_error_that_the_consumer_reports_while_idle_is_over_when_the_turn_is(
    kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _small(kafka, store)
    states = []

    def report() -> None:
        monkeypatch.setattr(run.source, "events", lambda: reported.pop() if reported else (), raising=False)

    reported = [[Failed(BrokerUnavailable("x"))]]
    run.at(1, report)
    run.at(3, lambda: states.append(run.loop.status))
    run.at(4, run.stop)
    run.run()
    assert len(run.story.retries) == 1
    assert (states[0].state, states[0].error) == (StreamState.RUNNING, None)


def test_a_stop_cuts_the_backoff_short(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _small(kafka, store)
    store.failures["begin"] = [StoreUnavailable("x")] * 1_000

    class Stopping(StreamListener):
        def on_retry(self, error: Exception, delay_s: float) -> None:
            if delay_s > 5:
                run.request.stop = True

    run = _small(kafka, store, listeners=[Stopping()])
    run.run()
    assert store.rows == []
    assert run.story.retries[-1][1] > 5
    assert run.loop.status.state is StreamState.STOPPED


# ---------------------------------------------------------------------------------------------------- starting is hard


def test_a_store_that_does_not_answer_at_the_start_is_waited_for(kafka: MemoryKafka, store: ResultsStore) -> None:
    store.failures["open"] = [StoreUnavailable("x")] * 3
    store.failures["initialise"] = [StoreUnavailable("x")]
    store.failures["take_over"] = [StoreUnavailable("x")] * 3
    _small(kafka, store).run("latest")
    _once(store)


def test_but_not_for_ever(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _small(kafka, store)
    began = run.clock.now
    store.failures["open"] = [StoreUnavailable("x")] * 1_000
    with pytest.raises(StoreUnavailable):
        run.run()
    assert START_TIMEOUT_S / 2 <= run.clock.now - began <= START_TIMEOUT_S
    assert run.loop.status.state is StreamState.FAILED
    assert isinstance(run.story.stopped[0], StoreUnavailable)


# ---------------------------------------------------------------------------------------------------------- ownership


def _fence(store: ResultsStore, owner: Owner) -> object:
    return store.inner.take_over("s", owner, [ORDERS_0], {})


def test_fenced_by_an_admin_command_takes_over_again_and_goes_on(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _small(kafka, store)
    fences = [1, 1]
    run.story.on[Phase.AFTER_FETCH] = lambda: fences and fences.pop() and _fence(store, run.owner)
    run.run("latest")
    _once(store)
    assert len(run.story.retries) == 2
    assert len(run.story.positions) == 3


def test_a_stop_while_fenced_does_not_take_unread_records_for_a_gap(kafka: MemoryKafka, store: ResultsStore) -> None:
    class Stopping(StreamListener):
        def on_retry(self, error: Exception, delay_s: float) -> None:
            kafka.skip("orders", 0, 3)
            run.request.stop = True

    run = Simulation(kafka, store, listeners=[Stopping()])
    run.story.on[Phase.AFTER_FETCH] = lambda: _fence(store, run.owner)
    run.run()
    assert store.rows == []
    assert run.next_offsets() == {ORDERS_0: 0, ORDERS_1: 0}
    Simulation(kafka, store).run("latest")
    _once(store)


def test_a_static_owner_fenced_by_another_one_stops_and_names_it(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _small(kafka, store)
    run.story.on[Phase.AFTER_FETCH] = lambda: len(store.rows) > 10 and _fence(store, OTHER)
    with pytest.raises(OwnershipLost, match="other") as caught:
        run.run("latest")
    assert caught.value.other is not None
    assert caught.value.other.id == OTHER.id
    assert store.calls.count("take_over") == 1, "the two never alternate"
    assert run.story.stopped == [caught.value]


def test_a_group_member_fenced_by_another_one_leaves_and_joins_again(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _small(kafka, store, assignment="group")
    fences = [1]
    run.story.on[Phase.AFTER_FETCH] = lambda: fences and fences.pop() and _fence(store, OTHER)
    run.at(5, run.stop)
    run.run()
    _once(store)
    assert len(run.story.retries) == 1
    assert run.story.retries[0][1] > 0
    assert run.story.positions[1] == {ORDERS_0: 0, ORDERS_1: 0}


@pytest.mark.parametrize("assignment", ["group", "static"])
def test_a_closed_stream_stops(kafka: MemoryKafka, store: ResultsStore, assignment: str) -> None:
    store.failures["begin"] = [StreamClosed("closed by an admin command")]
    with pytest.raises(StreamClosed):
        _small(kafka, store, assignment=assignment).run()


# -------------------------------------------------------------------------------------------------------- user's code


def test_a_handler_that_raises_stops_the_stream_with_nothing_committed(kafka: MemoryKafka, store: ResultsStore) -> None:
    def sink(batch: Batch, transaction: ResultsTransaction) -> None:
        write(batch, transaction)
        if len(store.rows) > 10:
            raise KeyError("price")

    run = _small(kafka, store, sink=sink)
    with pytest.raises(ProcessingError, match="KeyError: 'price'") as caught:
        run.run("latest")
    assert isinstance(caught.value.__cause__, KeyError)
    assert run.story.retries == []
    assert sum(run.next_offsets().values()) == len(store.rows)
    _small(kafka, store).run("latest")
    _once(store)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("phase", OF_EVERY_BATCH)
def test_a_death_at_any_point_repeats_and_loses_nothing(kafka: MemoryKafka, store: ResultsStore, phase: Phase) -> None:
    run = _small(kafka, store)

    def die() -> None:
        if len(store.rows) > 10:
            raise Killed

    run.story.on[phase] = die
    with pytest.raises(Killed):
        run.run("latest")
    _small(kafka, store).run("latest")
    _once(store)


def test_listeners_that_fail_change_nothing(
    kafka: MemoryKafka, store: ResultsStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(StreamListener):
        def __getattribute__(self, name: str) -> object:
            if name.startswith("on_"):
                raise ValueError("a listener's own fault")
            return super().__getattribute__(name)

    store.failures["begin"] = [StoreUnavailable("x")]
    with caplog.at_level(logging.ERROR, "kafka_stream"):
        _small(kafka, store, listeners=[Failing()]).run("latest")
    _once(store)
    assert "a listener's own fault" in caplog.text


# ------------------------------------------------------------------------------------------------------ unknown commit


@pytest.mark.parametrize("took_effect", ["before", "after"])
def test_an_unknown_commit_is_settled(kafka: MemoryKafka, store: ResultsStore, took_effect: str) -> None:
    store.lost_answers = [took_effect] * 3
    run = _small(kafka, store)
    run.run("latest")
    _once(store)
    assert store.calls.count("reclaim") == 3
    assert len(run.story.retries) == (3 if took_effect == "before" else 0)
    assert sum(run.story.sizes) == 40


@pytest.mark.parametrize("took_effect", ["before", "after"])
def test_an_unknown_commit_waits_for_the_store(kafka: MemoryKafka, store: ResultsStore, took_effect: str) -> None:
    store.lost_answers = [took_effect]
    store.failures["reclaim"] = [StoreUnavailable("x")] * 4
    run = _small(kafka, store)
    run.run("latest")
    _once(store)
    assert [round(delay, 1) for _, delay in run.story.retries[:4]] == [0.1, 0.2, 0.4, 0.8]


@pytest.mark.parametrize("took_effect", ["before", "after"])
def test_a_stop_waits_for_the_answer_too_but_does_not_hammer(
    kafka: MemoryKafka, store: ResultsStore, took_effect: str
) -> None:
    store.lost_answers = [took_effect]
    store.failures["reclaim"] = [StoreUnavailable("x")] * 4
    run = _small(kafka, store)
    run.story.on[Phase.AFTER_ADVANCE] = run.stop
    began = run.clock.now
    run.run()
    assert run.clock.now - began >= 1.5
    assert len(store.rows) == (6 if took_effect == "after" else 0)
    _small(kafka, store).run("latest")
    _once(store)


def test_a_stop_whose_time_runs_out_leaves_the_commit_unknown(kafka: MemoryKafka, store: ResultsStore) -> None:
    class Impatient(StreamListener):
        def on_retry(self, error: Exception, delay_s: float) -> None:
            run.request.stop = run.request.drop_batch = True

    store.lost_answers = ["after"]
    store.failures["reclaim"] = [StoreUnavailable("x")] * 1_000
    run = _small(kafka, store, listeners=[Impatient()])
    with pytest.raises(CommitOutcomeUnknown):
        run.run()
    store.failures.clear()
    _small(kafka, store).run("latest")
    _once(store)


def test_an_unknown_commit_that_somebody_else_settled_is_theirs(kafka: MemoryKafka, store: ResultsStore) -> None:
    store.lost_answers = ["before"]
    run = _small(kafka, store)
    lost: list[Callable[[], object]] = [lambda: _fence(store, OTHER)]
    real = store.reclaim

    def reclaim(claim: Any) -> Any:
        lost.pop()()
        return real(claim)

    store.reclaim = reclaim  # type: ignore[method-assign]
    with pytest.raises(OwnershipLost):
        run.run("latest")
    store.reclaim = real  # type: ignore[method-assign]
    _small(kafka, store).run("latest")
    _once(store)


# -------------------------------------------------------------------------------------------------------------- stops


@pytest.mark.parametrize("phase", OF_EVERY_BATCH)
def test_a_stop_finishes_the_batch_in_hand(kafka: MemoryKafka, store: ResultsStore, phase: Phase) -> None:
    run = _small(kafka, store)
    run.story.on[phase] = run.stop
    summary = run.run()
    assert (summary.batches, len(store.rows), len(run.story.batches)) == (1, 6, 1)
    assert run.loop.status.state is StreamState.STOPPED


@pytest.mark.parametrize("phase", [Phase.AFTER_FETCH, Phase.AFTER_PREPARE, Phase.AFTER_CLAIM, Phase.AFTER_WRITE])
def test_a_stop_whose_time_ran_out_drops_the_batch(kafka: MemoryKafka, store: ResultsStore, phase: Phase) -> None:
    run = _small(kafka, store)

    def out_of_time() -> None:
        run.request.stop = run.request.drop_batch = True

    run.story.on[phase] = out_of_time
    run.run()
    assert store.rows == []
    assert run.next_offsets() == {ORDERS_0: 0, ORDERS_1: 0}
    _small(kafka, store).run("latest")
    _once(store)


# ----------------------------------------------------------------------------------------------------------- data loss


def test_retention_that_passes_a_running_stream_stops_it(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store, max_records_per_batch=1)
    run.story.on[Phase.AFTER_COMMIT] = lambda: kafka.delete_records("orders", 0, 15)
    with pytest.raises(OffsetOutOfRange, match=r"orders\[0\] was to be read from offset") as caught:
        run.run()
    assert caught.value.available == (15, 20)
    assert caught.value.wanted == run.next_offsets()[ORDERS_0]


@pytest.mark.parametrize("gone", ["retention", "recreated"])
def test_an_owner_that_was_replaced_takes_nothing_back_though_its_position_is_gone(
    kafka: MemoryKafka, store: ResultsStore, gone: str
) -> None:
    run = Simulation(kafka, store, max_records_per_batch=1)

    def wake_up_late() -> None:
        store.inner.take_over("s", OTHER, [ORDERS_0, ORDERS_1], {})
        if gone == "retention":
            kafka.delete_records("orders", 0, 15)
            kafka.delete_records("orders", 1, 15)
        else:
            kafka.recreate_topic("orders")

    run.story.on[Phase.AFTER_COMMIT] = wake_up_late
    with pytest.raises(OwnershipLost) as caught:
        run.run()
    assert caught.value.other == OTHER
    assert {position.owner for position in store.positions("s").values()} == {OTHER}


def test_a_log_truncated_below_the_stored_offset_stops_the_next_start(kafka: MemoryKafka, store: ResultsStore) -> None:
    _small(kafka, store).run("latest")
    kafka.truncate("orders", 0, 10)
    for _ in range(15):
        kafka.produce("orders", "replaced", partition=0)
    with pytest.raises(LogTruncated, match=r"the log of orders\[0\] was truncated below offset 20"):
        _small(kafka, store).run()


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest"])
def test_a_topic_recreated_while_running_is_noticed(kafka: MemoryKafka, store: ResultsStore, on_data_loss: str) -> None:
    run = Simulation(kafka, store, on_data_loss=on_data_loss)

    def recreate() -> None:
        kafka.recreate_topic("orders")
        for _ in range(50):
            kafka.produce("orders", "new", partition=0)

    run.at(1, recreate)
    run.at(3 * LOOK_INTERVAL_S, run.stop)
    if on_data_loss == "stop":
        with pytest.raises(TopicRecreated):
            run.run()
        return
    run.run()
    assert run.next_offsets() == {ORDERS_0: 50, ORDERS_1: 0}
    new = [offset for _, partition, offset in store.rows[40:] if partition == 0]
    assert new[-50:] == list(range(50)), "the new topic is read from its beginning"


def test_events_of_a_dropped_batch_are_dealt_with(kafka: MemoryKafka, store: ResultsStore) -> None:
    """A position is lost while its batch fails: both are answered, in this order."""
    run = Simulation(kafka, store, max_records_per_batch=1, on_data_loss="latest")
    failing = [1]

    def fail() -> None:
        if failing.pop(0) if failing else False:
            kafka.delete_records("orders", 0, 20)
            store.failures["advance"] = [StoreUnavailable("x")]

    run.story.on[Phase.AFTER_WRITE] = fail
    run.run("latest")
    assert run.next_offsets() == {ORDERS_0: 20, ORDERS_1: 20}
    assert sorted(store.rows) == [row for row in EVERYTHING if row[1] == 1]
