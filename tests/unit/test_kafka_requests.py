"""A request that the client library never answers is given up, and so is its client."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.kafka import offset_requests
from kafka_stream.offset_stores.kafka import producer as producer_module
from kafka_stream.offset_stores.kafka import requests as requests_module
from kafka_stream.offset_stores.kafka.brokers import Brokers
from kafka_stream.offset_stores.kafka.offset_requests import OffsetRequests
from kafka_stream.offset_stores.kafka.producer import OutcomeUnknown, TransactionalProducer
from kafka_stream.offset_stores.kafka.requests import GivenUp, Requests, Waits

WAIT_S = 30.0


class Client:
    """Answers, or does not until it is released; says where it was asked."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked_on: list[str] = []

    def answer(self, value: int) -> int:
        self.asked_on.append(threading.current_thread().name)
        return value

    def fail(self) -> None:
        raise KafkaException(KafkaError(KafkaError.NETWORK_EXCEPTION))

    def hang(self) -> None:
        self.released.wait(WAIT_S)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "GRACE_S", 0.05)
    monkeypatch.setattr(producer_module, "_TIMEOUT_S", 0.05)
    monkeypatch.setattr(offset_requests, "_FIRST_PATIENCE_S", 0.05)


def test_requests_are_made_in_order_on_a_thread_of_their_own() -> None:
    client = Client()
    requests = Requests(client, Waits())
    assert [requests.ask(lambda c, n=n: c.answer(n), 1, "asking") for n in range(3)] == [0, 1, 2]  # type: ignore[misc]
    assert set(client.asked_on) == {"kafka-stream-requests"}
    with pytest.raises(KafkaException):
        requests.ask(Client.fail, 1, "asking")
    assert requests.ask(lambda c: c.answer(4), 1, "asking") == 4


def test_a_request_that_is_not_answered_is_given_up_and_its_client_with_it() -> None:
    client = Client()
    requests = Requests(client, Waits())
    with pytest.raises(GivenUp, match=r"no answer came within 0\.06 s while adding offsets"):
        requests.ask(Client.hang, 0.01, "adding offsets")
    for attempt in (lambda: requests.ask(lambda c: c.answer(1), 1, "committing"), lambda: requests.client):
        with pytest.raises(GivenUp, match="its client was given up"):
            attempt()
    client.released.set()
    assert client.asked_on == []


def test_a_client_ends_on_its_own_thread_whoever_forgets_it() -> None:
    ended: list[str] = []
    client = Client()
    requests = Requests(client, Waits(), lambda _: ended.append(threading.current_thread().name))
    with pytest.raises(KafkaException):
        requests.ask(Client.fail, 1, "asking")
    gone, thread = weakref.ref(client), requests._thread
    del client, requests
    thread.join(WAIT_S)
    assert ended == ["kafka-stream-requests"]
    assert gone() is None, "nothing keeps a client that nobody uses"


def test_a_client_ends_on_its_own_thread_though_its_errors_are_kept() -> None:
    """As a status keeps the last one, and a log: a client of librdkafka's may take for ever to end (its issue 5456)."""
    client, waits = Client(), Waits()
    requests = Requests(client, waits)

    def fail_again(it: Client) -> None:
        try:
            it.fail()
        except KafkaException as error:
            raise StoreUnavailable("it failed") from error

    kept: list[BaseException] = []
    for request in (Client.fail, fail_again, lambda it: requests_module.answered(partial(fail_again, it))):
        with pytest.raises((KafkaException, StoreUnavailable)) as failed:
            requests.ask(request, 1, "asking")
        kept.append(failed.value)
    gone = weakref.ref(client)
    del client
    requests.end(WAIT_S)
    assert gone() is None, kept


def test_what_is_waited_for_is_known_to_other_threads() -> None:
    client, waits = Client(), Waits()
    requests = Requests(client, waits)
    seen: list[tuple[str, float] | None] = []

    def look(_: Client) -> None:
        seen.append(waits.longest())

    requests.ask(look, 1, "committing")
    assert seen[0] is not None
    assert seen[0][0] == "committing"
    assert seen[0][1] >= 0
    assert waits.longest() is None


@pytest.fixture
def interrupted() -> Iterator[None]:
    def on_signal(number: int, frame: FrameType | None) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, on_signal)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_interrupts_no_wait_is_heard_before_the_request_is_given_up() -> None:
    """It comes to another thread here; one that comes just before the wait does not interrupt it either."""
    client, heard = Client(), threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.set())

    def hang(it: Client) -> bool:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return heard.wait(WAIT_S)

    try:
        assert Requests(client, Waits()).ask(hang, 2 * WAIT_S, "committing")
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("interrupted")
def test_a_signal_ends_the_waiting_and_the_request_is_given_up() -> None:
    client = Client()
    requests = Requests(client, Waits())

    def hang(asked: Client) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        asked.hang()

    with pytest.raises(InterruptedError):
        requests.ask(hang, WAIT_S, "committing")
    with pytest.raises(GivenUp):
        requests.ask(lambda c: c.answer(1), 1, "committing")
    client.released.set()


class StuckProducer:
    """librdkafka's, of which one request does not return."""

    def __init__(self, stuck: str) -> None:
        self._stuck = stuck
        self.released = threading.Event()
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*_: Any) -> int:
            self.asked.append(name)
            if name == self._stuck:
                self.released.wait(WAIT_S)
            return 0

        return request


def test_no_request_of_a_transaction_is_waited_for_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = {
        "init_transactions": StoreUnavailable,
        "begin_transaction": StoreUnavailable,
        "flush": StoreUnavailable,
        "send_offsets_to_transaction": StoreUnavailable,
        "commit_transaction": OutcomeUnknown,
        "poll": StoreUnavailable,
    }
    for stuck, outcome in outcomes.items():
        client = StuckProducer(stuck)
        monkeypatch.setattr(producer_module, "Producer", lambda *_, client=client: client)
        monkeypatch.setattr(producer_module, "_CONNECT_S", 0.0)
        with pytest.raises(outcome, match=r"no answer came within|was given up"):
            _one_transaction()
        assert "abort_transaction" not in client.asked, "what is stuck is asked for nothing else"
        client.released.set()


def made() -> TransactionalProducer:
    settings = {"transaction.timeout.ms": 50}
    return TransactionalProducer(settings, "orders:static:0/1", "there", Waits(), OffsetRequests())


def _one_transaction() -> None:
    producer = TransactionalProducer(
        {"transaction.timeout.ms": 50}, "orders:static:0/1", "there", Waits(), OffsetRequests()
    )
    try:
        producer.begin()
        producer.flush()
        producer.send_offsets([TopicPartition("orders", 0, 1)], None)
        producer.commit()
    finally:
        assert not producer.usable
        producer.abort()


def test_an_abort_that_hangs_leaves_it_to_the_next_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    client = StuckProducer("abort_transaction")
    monkeypatch.setattr(producer_module, "Producer", lambda *_: client)
    producer = TransactionalProducer(
        {"transaction.timeout.ms": 50}, "orders:static:0/1", "there", Waits(), OffsetRequests()
    )
    producer.begin()
    producer.abort()
    assert not producer.usable
    with pytest.raises(StoreUnavailable):
        producer.begin()
    client.released.set()


def test_brokers_end_with_who_held_them_without_a_collection() -> None:
    gc.collect()
    gc.disable()
    try:
        brokers = Brokers({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "there", Waits())
        brokers.close()
        gone = weakref.ref(brokers)
        del brokers
        assert gone() is None, "something of its own holds it"
    finally:
        gc.enable()
