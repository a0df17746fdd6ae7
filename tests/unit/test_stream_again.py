"""A stream that runs again: nothing of the run before is in the next."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from kafka_stream import DirectStream, StreamListener, StreamState
from kafka_stream.batch import Batch
from kafka_stream.errors import ProcessingError
from kafka_stream.progress import RunSummary
from kafka_stream.running.run import Run
from kafka_stream.testing import MemoryKafka
from tests.simulation import ResultsStore, ResultsTransaction, eventually, write


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


class Restarting(StreamListener):
    """Starts its stream again when that has ended, once."""

    stream: DirectStream
    first: Run | None

    def __init__(self) -> None:
        self.begun = threading.Event()

    def on_stop(self, error: BaseException | None) -> None:
        if error is not None:
            self.first = self.stream._run
            self.stream.start()
            self.begun.set()


def test_a_stream_that_a_listener_starts_again_has_nothing_of_the_old_run(
    kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing_once(batch: Batch, transaction: ResultsTransaction) -> None:
        calls.append(len(batch))
        if len(calls) == 1:
            raise LookupError("the first time")
        write(batch, transaction)

    listener = Restarting()
    stream = listener.stream = _stream(kafka, store, sink=failing_once, listeners=[listener])
    on_thread = Run.on_thread
    runs: list[Run] = []

    def on_thread_for_long(run: Run) -> None:
        """As if who starts the first run came to nothing more before the second one has begun."""
        runs.append(run)
        on_thread(run)
        assert len(runs) > 1 or listener.begun.wait(20)

    monkeypatch.setattr(Run, "on_thread", on_thread_for_long)
    stream.start()
    assert listener.begun.wait(20)
    eventually(lambda: len(store.rows) == 40, "the second run reads everything")
    first = listener.first
    assert first is not None
    with pytest.raises(ProcessingError, match="the first time"):
        first.wait(20)
    assert stream.status().state is StreamState.RUNNING
    assert stream.wait(0) is None, "the second has not ended"
    assert stream.stop() is True
    assert (stream.wait() or RunSummary(0, 0, (), 0.0)).records == 40


def test_a_run_that_a_listener_continues_on_a_thread_of_its_own_raises_what_stopped_it(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    failures = [LookupError("the first time")]

    def failing_once(batch: Batch, transaction: ResultsTransaction) -> None:
        if failures:
            raise failures.pop()
        write(batch, transaction)

    listener = Restarting()
    stream = listener.stream = _stream(kafka, store, sink=failing_once, listeners=[listener])
    with pytest.raises(ProcessingError, match="the first time"):
        stream.run()
    eventually(lambda: len(store.rows) == 40, "the second run reads everything")
    assert stream.stop() is True
    assert stream.wait() is not None


def test_only_one_of_many_that_start_at_once_does(kafka: MemoryKafka, store: ResultsStore) -> None:
    stream = _stream(kafka, store)
    line, refused = threading.Barrier(8), []

    def start() -> None:
        line.wait(20)
        try:
            stream.start()
        except RuntimeError as error:
            refused.append(str(error))

    starting = [threading.Thread(target=start) for _ in range(8)]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    assert refused == ["stream 's' is running already"] * 7
    assert stream.stop() is True


def test_a_thread_that_cannot_be_had_leaves_the_stream_as_it_was(
    kafka: MemoryKafka, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = _stream(kafka, store)
    with monkeypatch.context() as exhausted, pytest.raises(RuntimeError, match="can't start new thread"):
        exhausted.setattr(threading.Thread, "start", _exhausted)
        stream.start()
    assert stream.stop() is True
    assert stream.run(until="latest").records == 40


def _exhausted(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
