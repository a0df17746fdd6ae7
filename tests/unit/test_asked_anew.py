"""Questions that a client may keep for itself, while it waits for a broker that has just gone."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.errors import BrokerUnavailable
from kafka_stream.offset_stores.kafka.offset_requests import OffsetRequests
from kafka_stream.protocols import OffsetAt
from kafka_stream.source import cluster as cluster_module
from kafka_stream.source.asking import questions
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.kafka_errors import PATIENCES_S, asked_anew
from kafka_stream.types import TopicPartition as OurTopicPartition


def failing(*codes: int) -> tuple[list[float], Any]:
    """How long each try was to take, and a question that fails so before it is answered."""
    tries: list[float] = []
    left = list(codes)

    def ask(timeout_s: float) -> str:
        tries.append(timeout_s)
        if left:
            raise KafkaException(KafkaError(left.pop(0)))
        return "answer"

    return tries, ask


def test_a_question_without_an_answer_is_asked_of_a_new_client_and_for_longer() -> None:
    tries, ask = failing(KafkaError._TIMED_OUT, KafkaError._TRANSPORT)
    renewed: list[int] = []
    assert asked_anew(ask, lambda error: renewed.append(error.code())) == "answer"
    assert tries == list(PATIENCES_S)
    assert renewed == [KafkaError._TIMED_OUT, KafkaError._TRANSPORT]


def test_the_last_answer_counts_whatever_it_is() -> None:
    tries, ask = failing(*[KafkaError._TIMED_OUT] * len(PATIENCES_S))
    with pytest.raises(KafkaException):
        asked_anew(ask, lambda _: None)
    assert len(tries) == len(PATIENCES_S)


def test_an_answer_that_says_no_is_an_answer() -> None:
    tries, ask = failing(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException):
        asked_anew(ask, lambda _: None)
    assert len(tries) == 1


def test_who_gives_up_does_not_ask_again() -> None:
    tries, ask = failing(KafkaError._TIMED_OUT)
    with pytest.raises(KafkaException):
        asked_anew(ask, lambda _: None, lambda: True)
    assert len(tries) == 1


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, s: float) -> None:
        self.now_s += s


class Unanswered(Future[Any]):
    """An answer that never comes."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def result(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "waited for without an end"
        self._clock.sleep(timeout)
        raise TimeoutError


class Silent:
    """An admin client that takes questions, and never answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def poll(self, _: float) -> int:
        return 0

    def describe_topics(self, topics: Any, **_: Any) -> dict[str, Future[Any]]:
        return {"orders": Unanswered(self._clock)}

    def list_offsets(self, wanted: Any, **_: Any) -> dict[ClientTopicPartition, Future[Any]]:
        return {TopicPartition("orders", 0): Unanswered(self._clock)}


def test_nobody_waits_for_ever_for_a_client_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    for module in (cluster_module, questions):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(questions, "AdminClient", lambda _: Silent(clock))
    cluster = Cluster({"bootstrap.servers": "127.0.0.1:1"}, CLIENT_LOG)
    with pytest.raises(BrokerUnavailable):
        cluster.topics(["orders"])
    assert cluster.ends_if_known([OurTopicPartition("orders", 0)]) == {}


class HalfSilent(Silent):
    """One that answers of every second partition only."""

    def list_offsets(self, wanted: Any, **_: Any) -> dict[ClientTopicPartition, Future[Any]]:
        return {each: self._answer(each.partition) for each in wanted}

    def _answer(self, partition: int) -> Future[Any]:
        if partition % 2:
            return Unanswered(self._clock)
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(offset=7))
        return answer


@pytest.mark.parametrize("partitions", [1, 2, 100])
def test_a_request_is_waited_for_once_however_many_partitions_it_asks_about(
    monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    clock = Clock()
    for module in (cluster_module, questions):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(questions, "AdminClient", lambda _: HalfSilent(clock))
    cluster = Cluster({"bootstrap.servers": "127.0.0.1:1"}, CLIENT_LOG)
    wanted = [OurTopicPartition("orders", number) for number in range(partitions)]
    assert cluster.ends_if_known(wanted) == dict.fromkeys(wanted[::2], 7)
    assert clock.now_s <= PATIENCES_S[0]
    if partitions > 1:
        with pytest.raises(BrokerUnavailable):
            cluster.offsets(wanted, OffsetAt.LATEST)
        assert clock.now_s <= sum(PATIENCES_S) + 2 * len(PATIENCES_S) + PATIENCES_S[0]


def test_offsets_that_are_not_added_are_waited_for_longer_each_time_in_a_row() -> None:
    requests = OffsetRequests()
    first_s = requests.patience_s
    waits = []
    for _ in range(5):
        requests.unanswered()
        waits.append(requests.patience_s)
    assert first_s < waits[0] <= waits[-1] == waits[-2]
    requests.answered()
    assert requests.patience_s == first_s
