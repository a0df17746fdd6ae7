"""One request of a transaction does not return, or returns much too late: nothing is lost, nothing comes twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from integration_tests.servers import KafkaServer, random_name
from kafka_stream import DirectStream
from kafka_stream.errors import KafkaStreamError
from kafka_stream.offset_stores.kafka import offset_requests
from kafka_stream.offset_stores.kafka import producer as producer_module
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.types import OffsetRange, Phase

RECORDS = 40
PER_BATCH = 4
WAIT_S = 60.0

BEFORE, AFTER = "before it is made", "after it was answered"
STUCK = [
    ("init_transactions", BEFORE),
    ("begin_transaction", BEFORE),
    ("flush", AFTER),
    ("send_offsets_to_transaction", BEFORE),
    ("send_offsets_to_transaction", AFTER),
    ("commit_transaction", BEFORE),
    ("commit_transaction", AFTER),
]


class Snag:
    """Holds one request back, the third of its kind, until it is released; it is made then, if it has not been."""

    def __init__(self, request: str, when: str) -> None:
        self.request = request
        self.when = when
        self.released = threading.Event()
        self.is_stuck = threading.Event()
        self.is_over = threading.Event()
        self.left = 3 if request != "init_transactions" else 1

    def passes(self, request: str, make: Callable[[], Any]) -> Any:
        self.left -= request == self.request
        if request != self.request or self.left != 0:
            return make()
        answer = make() if self.when == AFTER else None
        self.is_stuck.set()
        self.released.wait(WAIT_S)
        try:
            return make() if self.when == BEFORE else answer
        finally:
            self.is_over.set()


def caught(snag: Snag) -> type[Producer]:
    def through(name: str) -> Callable[..., Any]:
        def request(self: Producer, *arguments: Any) -> Any:
            return snag.passes(name, lambda: getattr(Producer, name)(self, *arguments))

        return request

    return type("CaughtProducer", (Producer,), {name: through(name) for name, _ in STUCK})


class HoldsBatch(StreamListener):
    """The request that is held back is a batch's: takeovers, and what keeps positions from expiring, make such, too."""

    def __init__(self, snag: Snag) -> None:
        self._snag = snag
        snag.left = 0

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        if phase is Phase.AFTER_WRITE and not self._snag.is_stuck.is_set():
            self._snag.left = 1


class Releases(StreamListener):
    """Lets the request go on when the stream has gone on without it."""

    def __init__(self, snag: Snag) -> None:
        self._snag = snag
        self._batches = 0

    def on_batch(self, progress: BatchProgress) -> None:
        self._batches += self._snag.is_stuck.is_set()
        if self._batches == 2:
            self._snag.released.set()
            self._snag.is_over.wait(WAIT_S)


def stream_of(kafka: KafkaServer, snag: Snag, topic: str, results: str) -> DirectStream:
    return DirectStream(
        name=random_name("stream"),
        topics=[topic],
        kafka={"bootstrap.servers": kafka.bootstrap_servers, "session.timeout.ms": 6000},
        store=f"kafka://{kafka.bootstrap_servers}?transaction.timeout.ms=5000",
        sink=KafkaSink(results, lambda batch: batch),
        assignment="static",
        max_records_per_batch=PER_BATCH,
        listeners=[Releases(snag)],
    )


@pytest.mark.parametrize(("request_name", "when"), STUCK)
def test_a_request_that_does_not_return_is_given_up_and_what_comes_of_it_later_does_no_harm(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch, request_name: str, when: str
) -> None:
    snag = Snag(request_name, when)
    monkeypatch.setattr(producer_module, "Producer", caught(snag))
    monkeypatch.setattr(producer_module, "_TIMEOUT_S", 3.0)
    monkeypatch.setattr(offset_requests, "_FIRST_PATIENCE_S", 3.0)
    topic, results = kafka.create_topic(partitions=1), kafka.create_topic(partitions=1)
    values = [str(n) for n in range(RECORDS)]
    kafka.produce(topic, values)
    stream = stream_of(kafka, snag, topic, results)
    stream.run(until="latest")
    assert snag.is_over.is_set(), "the request was held back, and made its end while the stream went on"
    assert [value for *_, value in kafka.read_committed(results)] == [value.encode() for value in values]
    assert next(iter(stream.store.positions(stream.name).values())).next_offset == RECORDS


def test_sigterm_ends_a_stream_whose_request_does_not_return(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    snag = Snag("send_offsets_to_transaction", BEFORE)
    monkeypatch.setattr(producer_module, "Producer", caught(snag))
    monkeypatch.setattr("kafka_stream.running.run.STOP_TIMEOUT_S", 2.0)
    topic, results = kafka.create_topic(partitions=1), kafka.create_topic(partitions=1)
    kafka.produce(topic, map(str, range(RECORDS)))

    def terminate() -> None:
        if snag.is_stuck.wait(WAIT_S):
            os.kill(os.getpid(), signal.SIGTERM)

    terminates = threading.Thread(target=terminate)
    terminates.start()
    with pytest.raises(KafkaStreamError, match="its batch did not finish within 2 s: it was dropped"):
        stream_of(kafka, snag, topic, results).replace(listeners=[HoldsBatch(snag)]).run()
    assert not snag.is_over.is_set()
    snag.released.set()
    assert snag.is_over.wait(WAIT_S)
    terminates.join()
