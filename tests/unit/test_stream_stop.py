"""How a run is stopped: from inside of it, by signals, late, and again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kafka_stream import DirectStream, StreamListener, StreamState
from kafka_stream.batch import Batch
from kafka_stream.errors import KafkaStreamError
from kafka_stream.running import run
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.memory.source import MemorySource
from tests.simulation import ResultsStore, ResultsTransaction, write


@pytest.fixture
def kafka() -> MemoryKafka:
    """One partition of forty records."""
    kafka = MemoryKafka({"orders": 1})
    for number in range(40):
        kafka.produce("orders", str(number))
    return kafka


def _stream(kafka: MemoryKafka, store: ResultsStore, **options: Any) -> DirectStream:
    given: dict[str, Any] = {"name": "s", "topics": ["orders"], "kafka": kafka, "store": store, "sink": write}
    return DirectStream(**(given | {"assignment": "static", "max_records_per_batch": 10} | options))


class Stopping(StreamListener):
    """Stops its stream when it hears of the given event, and keeps the answer."""

    stream: DirectStream

    def __init__(self, event: str) -> None:
        self.answers: list[bool] = []
        setattr(self, event, self._stop)

    def _stop(self, *_: Any) -> None:
        self.answers.append(self.stream.stop())


# ---------------------------------------------------------------------------------------------------- from inside of it


def _from_prepare(stop: Callable[[], None]) -> Callable[[Batch], Any]:
    def prepare(batch: Batch) -> Batch:
        stop()
        return batch

    return prepare


def _from_async_prepare(stop: Callable[[], None]) -> Callable[[Batch], Any]:
    async def prepare(batch: Batch) -> Batch:
        stop()
        return batch

    return prepare


def _from_a_thread_of_an_async_prepare(stop: Callable[[], None]) -> Callable[[Batch], Any]:
    async def prepare(batch: Batch) -> Batch:
        await asyncio.to_thread(stop)
        return batch

    return prepare


@pytest.mark.parametrize("way", [_from_prepare, _from_async_prepare, _from_a_thread_of_an_async_prepare])
def test_a_prepare_that_stops_its_stream_is_not_made_to_wait(
    kafka: MemoryKafka, store: ResultsStore, way: Callable[[Callable[[], None]], Callable[[Batch], Any]]
) -> None:
    answers = []
    stream = _stream(kafka, store, prepare=way(lambda: answers.append(stream.stop())))
    assert stream.run().batches == 1, "the batch in hand is finished, not dropped after 25 s"
    stream.start()
    assert stream.wait(20) is not None
    assert set(answers) == {False}


@pytest.mark.parametrize("event", ["on_start", "on_positions", "on_phase", "on_batch", "on_stop"])
def test_a_listener_that_stops_its_stream_is_not_made_to_wait(
    kafka: MemoryKafka, store: ResultsStore, event: str
) -> None:
    listener = Stopping(event)
    listener.stream = _stream(kafka, store, listeners=[listener])
    listener.stream.start()
    if event == "on_stop":
        assert listener.stream.stop()
    assert listener.stream.wait(20) is not None
    assert set(listener.answers) == {False}
    assert listener.stream.stop() is True


def test_a_handler_that_stops_another_stream_waits_for_that(kafka: MemoryKafka, store: ResultsStore) -> None:
    other = _stream(kafka, ResultsStore(store.inner), name="t")
    answers = []

    def stopping(batch: Batch, transaction: ResultsTransaction) -> None:
        answers.append((other.stop(), other.status().state))

    with other:
        _stream(kafka, store, sink=stopping).run(until="latest")
    assert set(answers) == {(True, StreamState.STOPPED)}


def test_a_clients_callback_that_stops_its_stream_is_not_made_to_wait(mock_brokers: str, store: ResultsStore) -> None:
    answers = []

    def stats_cb(_: str) -> None:
        answers.append(stream.stop())

    config = {"bootstrap.servers": mock_brokers, "statistics.interval.ms": 10, "stats_cb": stats_cb}
    stream = DirectStream(
        name="s", topics=["orders"], kafka=config, store=store, sink=write, assignment="static", history_days=0
    )
    stream.run()
    assert set(answers) == {False}


# -------------------------------------------------------------------------------------------------------------- signals


def test_the_first_signal_after_a_stop_does_not_end_the_process(kafka: MemoryKafka, store: ResultsStore) -> None:
    def stopped(batch: Batch, transaction: ResultsTransaction) -> None:
        stream.stop()
        os.kill(os.getpid(), signal.SIGTERM)
        write(batch, transaction)

    stream = _stream(kafka, store, sink=stopped)
    assert stream.run().batches == 1


class Stuck:
    """Stands still until somebody interrupts it."""

    def __init__(self) -> None:
        self.never = threading.Event()

    def stand(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        self.never.wait(60)
        raise AssertionError("nobody came")


class Telling(StreamListener):
    """Keeps what it hears of the end."""

    def __init__(self) -> None:
        self.heard: list[BaseException | None] = []

    def on_stop(self, error: BaseException | None) -> None:
        self.heard.append(error)


@pytest.mark.parametrize("closed", [ResultsStore, MemorySource])
def test_a_stop_whose_time_runs_out_while_closing_ends_the_run_and_says_so(
    kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch, closed: type[Any]
) -> None:
    monkeypatch.setattr(run, "STOP_TIMEOUT_S", 0.05)
    listener = Telling()
    stream = _stream(kafka, store, listeners=[listener])
    with monkeypatch.context() as stuck, pytest.raises(KafkaStreamError) as caught:
        stuck.setattr(closed, "close", lambda _: Stuck().stand())
        stream.run(until="latest")
    assert str(caught.value) == (
        "stream 's' was stopped, and had not ended within 0.05 s, because a server did not answer; it had no batch in "
        "hand, so nothing is lost"
    )
    assert stream.status().state is StreamState.FAILED
    assert [str(error) for error in listener.heard] == [str(stream.status().error)] == [str(caught.value)]
    kafka.produce("orders", "x")
    assert stream.run(until="latest").records == 1


def test_a_stop_whose_time_runs_out_in_a_batch_drops_it_and_says_so(
    kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "STOP_TIMEOUT_S", 0.05)
    stream = _stream(kafka, store, sink=lambda batch, transaction: Stuck().stand())
    with pytest.raises(KafkaStreamError, match=r"^stream 's' was stopped, and its batch did not finish within 0.05 s"):
        stream.run()
    assert store.rows == []


def test_a_signal_interrupts_what_an_earlier_stop_has_waited_for(kafka: MemoryKafka, store: ResultsStore) -> None:
    def stuck(batch: Batch, transaction: ResultsTransaction) -> None:
        late = threading.Thread(target=stream.stop, args=(0.01,))
        late.start()
        late.join()
        Stuck().stand()

    stream = _stream(kafka, store, sink=stuck)
    with pytest.raises(KafkaStreamError, match="its batch did not finish"):
        stream.run()
    assert store.rows == []
