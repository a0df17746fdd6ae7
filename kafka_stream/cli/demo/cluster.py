"""Where the demo's orders travel: librdkafka's mock cluster inside this process, or a real one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer

from kafka_stream.errors import BrokerUnavailable, NotAuthorized

TOPIC_PARTITIONS = 4
TIMEOUT_S = 15.0
_quiet = logging.getLogger("kafka_stream.demo.librdkafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False  # a display is on the terminal; what matters comes as an exception


class Cluster(Protocol):
    """A topic, and how to reach it."""

    kafka: Mapping[str, str]
    topic: str
    producer: Producer

    def describe(self) -> str:
        """What it is, for people."""

    def close(self) -> None:
        """Leave nothing behind."""


class EmbeddedCluster:
    """One broker of librdkafka's mock cluster, on a loopback port: nothing to install.

    It keeps 5 MB per partition, and creates its topics itself (4 partitions). It serves a database's exactly-once;
    about Kafka's own transactions it proves nothing.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.producer = _producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
        broker = _broker(self.producer, topic)
        self.kafka: Mapping[str, str] = {"bootstrap.servers": broker}

    def describe(self) -> str:
        """What it is, for people."""
        return "Kafka (embedded mock)"

    def close(self) -> None:
        """It ends with its producer."""
        self.producer.flush(1.0)


class ServerCluster:
    """A real cluster, with a topic of the demo's own, which is deleted at the end."""

    def __init__(self, kafka: Mapping[str, str], topic: str) -> None:
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic  # admin re-exports it, but not for type checkers

        self.kafka = kafka
        self.topic = topic
        self._admin = AdminClient(dict(kafka), logger=_quiet)
        created = self._admin.create_topics(
            [NewTopic(topic, num_partitions=TOPIC_PARTITIONS)], request_timeout=TIMEOUT_S
        )
        _settled(created[topic], f"the topic {topic!r} could not be created at {kafka['bootstrap.servers']}")
        self.producer = _producer(kafka)
        _broker(self.producer, topic)

    def describe(self) -> str:
        """What it is, for people."""
        return f"Kafka at {self.kafka['bootstrap.servers']}"

    def close(self) -> None:
        """Delete the topic, as far as that is possible."""
        self.producer.flush(1.0)
        deleted = self._admin.delete_topics([self.topic], request_timeout=TIMEOUT_S)
        deleted[self.topic].exception(TIMEOUT_S)


def _producer(kafka: Mapping[str, Any]) -> Producer:
    reliable = {"enable.idempotence": True, "acks": "all", "linger.ms": 20}
    return Producer({**kafka, **reliable}, logger=_quiet)


def _broker(producer: Producer, topic: str) -> str:
    """The address of a broker, once the topic is known there."""
    try:
        metadata = producer.list_topics(topic, timeout=TIMEOUT_S)
    except KafkaException as error:
        raise BrokerUnavailable(f"no broker answered within {TIMEOUT_S:g} s: {error.args[0].str()}") from error
    broker = next(iter(metadata.brokers.values()))
    return f"{broker.host}:{broker.port}"


def _settled(future: Any, what: str) -> None:
    from confluent_kafka import KafkaError

    try:
        future.result(TIMEOUT_S + 5)
    except KafkaException as error:
        code = error.args[0].code()
        refused = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
        kind = NotAuthorized if code in refused else BrokerUnavailable
        raise kind(f"{what}: {error.args[0].str()}") from error


__all__ = ["TOPIC_PARTITIONS", "Cluster", "EmbeddedCluster", "ServerCluster"]
