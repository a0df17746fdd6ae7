"""A consumer that has lost its brokers for good, told from one that waits, and from brokers that are away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from kafka_stream.source import lost_brokers
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.lost_brokers import LostBrokers
from kafka_stream.source.renewed import Renewed

DOWN, TRANSPORT, TIMED_OUT = KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT


class Asked:
    """A consumer and a cluster that count who asks them."""

    servers = "127.0.0.1:9092"

    def __init__(self, consumer: int | None, cluster_is_found: bool) -> None:
        self.consumer = consumer
        self._cluster_is_found = cluster_is_found
        self.of_consumer = self.of_cluster = 0

    def list_topics(self, topic: str, timeout: float) -> None:
        self.of_consumer += 1
        if self.consumer is not None:
            raise KafkaException(KafkaError(self.consumer))

    def is_found(self, timeout_s: float) -> bool:
        self.of_cluster += 1
        return self._cluster_is_found


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_brokers, "_ASK_EVERY_S", 0.0)
    monkeypatch.setattr(lost_brokers, "_PATIENCE_S", 0.0)


@pytest.mark.parametrize(
    ("consumer", "cluster_is_found", "lost", "questions"),
    [
        pytest.param(TRANSPORT, True, True, (1, 1), id="a new client finds them"),
        pytest.param(TRANSPORT, False, False, (2, 2), id="they are away"),
        pytest.param(TIMED_OUT, True, False, (2, 0), id="they are slow"),
        pytest.param(None, True, False, (1, 0), id="it has found them again"),
    ],
)
def test_brokers_are_lost_where_a_new_client_finds_them(
    consumer: int | None, cluster_is_found: bool, lost: bool, questions: tuple[int, int]
) -> None:
    asked = Asked(consumer, cluster_is_found)
    found = LostBrokers(cast(Cluster, asked))
    found.heard(KafkaError(DOWN))
    assert found.has(cast(Consumer, asked), "topic") is lost
    if not lost:
        assert not found.has(cast(Consumer, asked), "topic"), "and it is asked again only if it had no answer"
    assert (asked.of_consumer, asked.of_cluster) == questions


def test_a_consumer_is_given_the_time_to_connect_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(lost_brokers, "_PATIENCE_S", 15.0)
    monkeypatch.setattr(lost_brokers, "time", SimpleNamespace(monotonic=lambda: now))
    asked = Asked(TRANSPORT, cluster_is_found=True)
    found = LostBrokers(cast(Cluster, asked))
    found.heard(KafkaError(DOWN))
    for now, consumer, lost in (
        (100.0, TRANSPORT, False),
        (114.0, TRANSPORT, False),
        (120.0, TIMED_OUT, False),
        (130.0, TRANSPORT, False),
        (145.0, TRANSPORT, True),
    ):
        asked.consumer = consumer
        assert found.has(cast(Consumer, asked), "topic") is lost, now
    assert not found.has(cast(Consumer, asked), "topic"), "a new one has taken its place"


def test_a_consumer_that_hears_of_no_error_is_never_asked() -> None:
    asked = Asked(TRANSPORT, cluster_is_found=True)
    found = LostBrokers(cast(Cluster, asked))
    found.heard(KafkaError(TRANSPORT))
    assert not found.has(cast(Consumer, asked), "topic")
    assert asked.of_consumer == 0


def test_a_client_is_made_anew_after_errors_that_may_mean_no_broker() -> None:
    made = iter("abc")
    renewed = Renewed(lambda: next(made))
    renewed.failed(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    assert renewed.client == "a"
    renewed.failed(KafkaError(TIMED_OUT))
    assert renewed.client == "b"
