"""``DirectStream``: what users build, run and embed."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kafka_stream import DirectStream, StreamListener, StreamSettings, StreamState
from kafka_stream.batch import Batch
from kafka_stream.errors import ConfigurationError, ProcessingError, UnknownStore, UnsupportedGuarantee
from kafka_stream.protocols import BatchProgress, Sink
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import Guarantee, OffsetRange, Writes
from tests.fakes import ORDERS_0, ORDERS_1
from tests.simulation import ResultsStore, ResultsTransaction, eventually, write


@pytest.fixture
def kafka() -> MemoryKafka:
    """Two partitions of twenty records."""
    kafka = MemoryKafka({"orders": 2})
    for number in range(40):
        kafka.produce("orders", str(number), partition=number % 2)
    return kafka


EVERYTHING = [("orders", partition, offset) for partition in (0, 1) for offset in range(20)]


class Gate:
    """A handler that stands still where the test wants it to."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def write(self, batch: Batch, transaction: ResultsTransaction) -> None:
        write(batch, transaction)
        self.entered.set()
        assert self.open.wait(20)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def _stream(kafka: MemoryKafka, store: ResultsStore, **options: Any) -> DirectStream:
    given: dict[str, Any] = {"name": "s", "topics": ["orders"], "kafka": kafka, "store": store, "sink": write}
    return DirectStream(**(given | {"assignment": "static"} | options))


# ------------------------------------------------------------------------------------------------------------ building


def test_building_connects_to_nothing_and_creates_nothing(tmp_path: Path) -> None:
    stream = DirectStream(
        name="s",
        topics=["orders"],
        kafka={"bootstrap.servers": "127.0.0.1:1"},
        store=f"sqlite:///{tmp_path}/orders.db",
        sink=write,
    )
    assert list(tmp_path.iterdir()) == []
    assert (stream.name, stream.guarantee) == ("s", Guarantee.EXACTLY_ONCE)
    assert "orders.db" in stream.store.describe()
    assert stream.status().state is StreamState.NEW
    assert stream.status().owner == stream.owner


def test_a_stream_without_a_sink_is_refused(kafka: MemoryKafka, store: ResultsStore) -> None:
    with pytest.raises(ConfigurationError, match=r"^sink: is missing; give a function write"):
        _stream(kafka, store, sink=None)


def test_a_store_that_nothing_serves_is_refused(kafka: MemoryKafka) -> None:
    with pytest.raises(UnknownStore, match="no offset store serves redis:// URLs"):
        DirectStream(name="s", topics=["orders"], kafka=kafka, store="redis://:hunter2@cache/0", sink=write)


def test_a_pairing_that_is_too_weak_is_refused_when_the_stream_is_built(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    class Webhook:
        writes = Writes.ANYTHING
        needs = None

        def describe(self) -> str:
            return "the webhook"

        def prepare(self, prepared: Any) -> Any:
            return prepared

        def write(self, prepared: Any, transaction: Any) -> None:
            raise NotImplementedError

    assert isinstance(Webhook(), Sink)
    with pytest.raises(UnsupportedGuarantee, match="exactly-once was asked for, but the webhook with"):
        _stream(kafka, store, sink=[write, Webhook()])
    assert _stream(kafka, store, sink=Webhook(), guarantee="at-least-once").guarantee is Guarantee.AT_LEAST_ONCE


def test_keywords_go_before_settings(kafka: MemoryKafka, store: ResultsStore) -> None:
    settings = StreamSettings(name="s", topics=["orders"], kafka=kafka, store=store, code_version="v1")
    stream = DirectStream(settings, sink=write, code_version="v2")
    assert stream.owner.code_version == "v2"
    assert stream.settings.topics == ("orders",)


def test_replace_makes_a_copy_with_other_settings(kafka: MemoryKafka, store: ResultsStore) -> None:
    production = DirectStream(
        name="s",
        topics=["orders"],
        kafka={"bootstrap.servers": "127.0.0.1:1", "sasl.password": "hunter2"},
        store="postgresql://app:hunter2@db/orders",
        sink=write,
        max_records_per_batch=7,
    )
    test = production.replace(kafka=kafka, store=store)
    test.run(until="latest")
    assert sorted(store.rows) == EVERYTHING
    assert (test.settings.max_records_per_batch, test.name) == (7, "s")
    assert production.status().state is StreamState.NEW
    again = production.replace(name="t")
    assert again.settings.kafka_config()["sasl.password"] == "hunter2"
    assert again.store.describe() == production.store.describe()


# ------------------------------------------------------------------------------------------------------------- running


def test_run_returns_a_summary(kafka: MemoryKafka, store: ResultsStore) -> None:
    summary = _stream(kafka, store).run(until="latest")
    assert (summary.records, summary.ranges) == (40, (OffsetRange(ORDERS_0, 0, 20), OffsetRange(ORDERS_1, 0, 20)))
    assert sorted(store.rows) == EVERYTHING


def test_run_refuses_an_until_that_is_none(kafka: MemoryKafka, store: ResultsStore) -> None:
    stream = _stream(kafka, store)
    with pytest.raises(ConfigurationError, match=r"^until: 'soon' is not"):
        stream.run(until="soon")
    assert stream.status().state is StreamState.NEW
    assert stream.run(until="latest").records == 40


def test_a_stream_runs_again_as_another_owner_without_memory(kafka: MemoryKafka, store: ResultsStore) -> None:
    stream = _stream(kafka, store)
    owners = {stream.owner.id}
    stream.run(until="latest")
    owners.add(stream.owner.id)
    kafka.produce("orders", "x", partition=0)
    summary = stream.run(until="latest")
    owners.add(stream.owner.id)
    assert (summary.batches, summary.records, stream.status().records) == (1, 1, 1)
    assert len(owners) == 3
    assert sorted(store.rows) == sorted([*EVERYTHING, ("orders", 0, 20)])


def test_run_raises_what_stopped_it_and_the_status_carries_it(kafka: MemoryKafka, store: ResultsStore) -> None:
    stream = _stream(kafka, store, sink=lambda prepared, transaction: 1 / 0)
    with pytest.raises(ProcessingError) as caught:
        stream.run()
    assert (stream.status().state, stream.status().error) == (StreamState.FAILED, caught.value)
    assert store.rows == []


def test_start_stop_wait(kafka: MemoryKafka, store: ResultsStore) -> None:
    stream = _stream(kafka, store)
    stream.start()
    eventually(lambda: len(store.rows) == 40, "everything is read")
    kafka.produce("orders", "x", partition=0)
    eventually(lambda: len(store.rows) == 41, "what comes later is read")
    assert stream.status().state is StreamState.RUNNING
    assert stream.wait(timeout_s=0) is None
    assert stream.stop() is True
    summary = stream.wait()
    assert summary is not None
    assert summary.records == 41
    assert stream.status().state is StreamState.STOPPED
    assert stream.stop() is True


def test_wait_raises_what_stopped_it_each_time(kafka: MemoryKafka, store: ResultsStore) -> None:
    stream = _stream(kafka, store, sink=lambda prepared, transaction: 1 / 0)
    stream.start()
    for _ in range(2):
        with pytest.raises(ProcessingError, match="ZeroDivisionError"):
            stream.wait(20)
    assert stream.stop() is True


def test_waiting_for_what_was_not_started_is_a_mistake(kafka: MemoryKafka, store: ResultsStore) -> None:
    with pytest.raises(RuntimeError, match="stream 's' was not started"):
        _stream(kafka, store).wait()


def test_a_started_stream_that_fails_says_so_once_with_its_causes(
    kafka: MemoryKafka, store: ResultsStore, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(prepared: Any, transaction: Any) -> None:
        raise KeyError("price") from ZeroDivisionError("by zero")

    stream = _stream(kafka, store, sink=fail)
    stream.start()
    with pytest.raises(ProcessingError):
        stream.wait(20)
    (told,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert told.getMessage().startswith("stream 's' has failed and reads no more: function")
    assert told.exc_info is not None
    assert told.exc_info[1] is stream.status().error
    assert "ZeroDivisionError: by zero" in caplog.text
    assert "KeyError: 'price'" in caplog.text


def test_a_run_that_fails_leaves_that_to_its_caller(
    kafka: MemoryKafka, store: ResultsStore, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ProcessingError):
        _stream(kafka, store, sink=lambda prepared, transaction: 1 / 0).run()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_status_is_of_whoever_asked(kafka: MemoryKafka, store: ResultsStore) -> None:
    stream = _stream(kafka, store)
    stream.run(until="latest")
    status: Any = stream.status()
    status.positions.clear()
    status.lag.clear()
    assert sum(stream.status().positions.values()) == 40
    assert len(stream.status().lag) > 0


def test_a_stream_runs_once_at_a_time(kafka: MemoryKafka, store: ResultsStore, gate: Gate) -> None:
    stream = _stream(kafka, store, sink=gate.write)
    stream.start()
    assert gate.entered.wait(20)
    for start in (stream.start, stream.run):
        with pytest.raises(RuntimeError, match="stream 's' is running already"):
            start()
    gate.open.set()
    stream.stop()
    assert stream.wait(20) is not None


def test_stopping_what_does_not_run_is_harmless(kafka: MemoryKafka, store: ResultsStore) -> None:
    stream = _stream(kafka, store)
    assert stream.stop() is True
    assert stream.run(until="latest").records == 40
    assert stream.stop() is True
    stream.start()
    kafka.produce("orders", "x", partition=0)
    eventually(lambda: len(store.rows) == 41, "an earlier stop does not count")
    stream.stop()


def test_a_stop_finishes_the_batch_in_hand(kafka: MemoryKafka, store: ResultsStore, gate: Gate) -> None:
    stream = _stream(kafka, store, sink=gate.write, max_records_per_batch=10)
    stream.start()
    assert gate.entered.wait(20)
    with ThreadPoolExecutor() as pool:
        stopped = pool.submit(stream.stop)
        eventually(lambda: stream._run is not None and stream._run.request.stop, "the stop is asked for")
        gate.open.set()
        assert stopped.result(20) is True
    assert len(store.rows) == 10
    assert stream.wait(0) is not None


def test_a_batch_that_does_not_finish_in_time_is_never_committed(
    kafka: MemoryKafka, store: ResultsStore, gate: Gate
) -> None:
    stream = _stream(kafka, store, sink=gate.write)
    stream.start()
    assert gate.entered.wait(20)
    assert stream.stop(timeout_s=0.01) is False
    gate.open.set()
    summary = stream.wait(20)
    assert summary is not None
    assert (summary.batches, store.rows) == (0, [])
    _stream(kafka, store).run(until="latest")
    assert sorted(store.rows) == EVERYTHING


def test_a_stop_waits_for_a_run_on_another_thread(kafka: MemoryKafka, store: ResultsStore, gate: Gate) -> None:
    stream = _stream(kafka, store, sink=gate.write)
    with ThreadPoolExecutor() as pool:
        run = pool.submit(stream.run)
        assert gate.entered.wait(20)
        assert stream.stop(timeout_s=0.01) is False
        assert stream.status().state is StreamState.RUNNING
        gate.open.set()
        assert stream.stop() is True
        assert run.result(20).batches == 0


def test_a_handler_may_stop_its_own_stream(kafka: MemoryKafka, store: ResultsStore) -> None:
    answers = []

    class Stopping(StreamListener):
        def on_batch(self, progress: BatchProgress) -> None:
            answers.append(stream.stop())

    stream = _stream(kafka, store, listeners=[Stopping()], max_records_per_batch=10)
    assert stream.run().batches == 1
    stream.start()
    assert stream.wait(20) is not None
    assert answers == [False, False], "it has not stopped yet, and waiting for itself would be for ever"
    assert len(store.rows) == 20


# ------------------------------------------------------------------------------------------------- as a context manager


def test_a_with_block_runs_the_stream_meanwhile(kafka: MemoryKafka, store: ResultsStore) -> None:
    with _stream(kafka, store) as stream:
        eventually(lambda: len(store.rows) == 40, "everything is read")
    assert stream.status().state is StreamState.STOPPED


def test_a_with_block_raises_what_stopped_the_stream(kafka: MemoryKafka, store: ResultsStore) -> None:
    with (
        pytest.raises(ProcessingError, match="ZeroDivisionError"),
        _stream(kafka, store, sink=lambda prepared, transaction: 1 / 0) as stream,
    ):
        eventually(lambda: stream.status().state is StreamState.FAILED, "it has failed")


def test_an_error_of_the_block_itself_goes_before(kafka: MemoryKafka, store: ResultsStore) -> None:
    failing = _stream(kafka, store, sink=lambda prepared, transaction: 1 / 0)
    with pytest.raises(KeyError, match="mine"), failing as stream:
        eventually(lambda: stream.status().state is StreamState.FAILED, "it has failed")
        raise KeyError("mine")


# -------------------------------------------------------------------------------------------------------------- signals


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_batch_and_leaves(
    kafka: MemoryKafka, store: ResultsStore, number: signal.Signals
) -> None:
    before = _handlers()

    def signalled(batch: Batch, transaction: ResultsTransaction) -> None:
        os.kill(os.getpid(), number)
        write(batch, transaction)

    summary = _stream(kafka, store, sink=signalled, max_records_per_batch=10).run()
    assert (summary.batches, len(store.rows)) == (1, 10)
    assert _handlers() == before


def test_signals_are_left_alone_off_the_main_thread(kafka: MemoryKafka, store: ResultsStore) -> None:
    before = _handlers()
    seen = []

    def look(batch: Batch, transaction: ResultsTransaction) -> None:
        write(batch, transaction)
        seen.append(_handlers())

    stream = _stream(kafka, store, sink=look)
    with ThreadPoolExecutor() as pool:
        assert pool.submit(stream.run, "latest").result(20).records == 40
    kafka.produce("orders", "x", partition=0)
    with stream:
        eventually(lambda: len(store.rows) == 41, "the last record is read")
    assert seen
    assert all(handlers == before for handlers in seen)


# -------------------------------------------------------------------------------------------------------- more than one


def test_members_of_a_group_share_and_hand_over_without_loss_or_repetition(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    class Slow(StreamListener):
        """Lets the others have a turn between two batches."""

        def on_batch(self, progress: BatchProgress) -> None:
            os.sched_yield()

    members = [_stream(kafka, store, assignment="group", max_records_per_batch=3, listeners=[Slow()]) for _ in range(3)]
    for number, member in enumerate(members):
        member.start()
        eventually(lambda number=number: len(store.rows) > 4 * number, "some are read")  # type: ignore[misc]
    for number in range(60):
        kafka.produce("orders", "more", partition=number % 2)
    members[0].stop()
    everything = [("orders", partition, offset) for partition in (0, 1) for offset in range(50)]
    eventually(lambda: len(store.rows) >= 100, "everything is read by those who are left")
    assert [member.stop() for member in members] == [True, True, True]
    assert sorted(store.rows) == everything
    for member in members:
        member.wait()


def test_several_streams_in_one_process(kafka: MemoryKafka, store: ResultsStore) -> None:
    other = ResultsStore(store.inner)
    with _stream(kafka, store), _stream(kafka, other, name="t"):
        eventually(lambda: len(store.rows) == len(other.rows) == 40, "each has read everything")
    assert sorted(store.rows) == sorted(other.rows) == EVERYTHING
