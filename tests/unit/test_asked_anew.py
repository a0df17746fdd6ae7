"""Questions that a client may keep for itself, while it waits for a broker that has just gone."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.errors import BrokerUnavailable
from kafka_stream.offset_stores.kafka.offset_requests import OffsetRequests
from kafka_stream.source import cluster as cluster_module
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


class Silent:
    """An admin client that takes questions, and never answers."""

    def poll(self, _: float) -> int:
        return 0

    def describe_topics(self, topics: Any, **_: Any) -> dict[str, Future[Any]]:
        return {"orders": Future()}

    def list_offsets(self, wanted: Any, **_: Any) -> dict[ClientTopicPartition, Future[Any]]:
        return {TopicPartition("orders", 0): Future()}


def test_nobody_waits_for_ever_for_a_client_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCES_S", (0.0, 0.0))
    monkeypatch.setattr("kafka_stream.source.kafka_errors.PATIENCES_S", (0.0, 0.0))
    monkeypatch.setattr(cluster_module, "_GRACE_S", 0.0)
    monkeypatch.setattr(cluster_module, "_GIVE_UP_WITHIN_S", 0.01)
    monkeypatch.setattr(cluster_module, "AdminClient", lambda _: Silent())
    cluster = Cluster({"bootstrap.servers": "127.0.0.1:1"}, CLIENT_LOG)
    with pytest.raises(BrokerUnavailable):
        cluster.topics(["orders"])
    with pytest.raises(BrokerUnavailable):
        cluster.ends_if_known([OurTopicPartition("orders", 0)])


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
