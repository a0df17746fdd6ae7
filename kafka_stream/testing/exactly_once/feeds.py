"""Where the records are read from: a Kafka in memory, or topics of their own on real brokers."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kafka_stream.errors import BrokerUnavailable
from kafka_stream.source.connection import connection_settings, servers_of, soon_again
from kafka_stream.testing.exactly_once.records import Place, Record
from kafka_stream.testing.memory.kafka import MemoryKafka
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream")

_TIMEOUT_S = 60.0


class Feed(Protocol):
    """The records, produced once; every process start reads them anew."""

    @property
    def places(self) -> Sequence[Place]:
        """Where each record is, in the order in which they were given."""

    def kafka(self) -> Any:
        """What a stream takes as ``kafka``."""

    def topics(self, names: Sequence[str]) -> Sequence[str]:
        """A stream's topics as they are called here."""

    def close(self) -> None:
        """Leave nothing behind."""


class MemoryFeed:
    """A ``MemoryKafka``; in another process it is made anew, with the same records at the same places."""

    def __init__(self, records: Sequence[Record], topics: Sequence[str]) -> None:
        self.records = list(records)
        self._kafka = MemoryKafka(dict.fromkeys(topics, 1))
        self._places = [
            Place(
                TopicPartition(one.topic, 0),
                self._kafka.produce(
                    one.topic,
                    one.value,
                    key=one.key,
                    partition=0,
                    headers=one.headers,
                    timestamp_ms=one.timestamp_ms,
                ),
            )
            for one in records
        ]

    @property
    def places(self) -> Sequence[Place]:
        """See ``Feed``."""
        return self._places

    def kafka(self) -> MemoryKafka:
        """See ``Feed``."""
        return self._kafka

    def topics(self, names: Sequence[str]) -> Sequence[str]:
        """As they are."""
        return names

    def close(self) -> None:
        """Nothing is left."""


class BrokerFeed:
    """Topics of one partition, with names that nobody else has, on the brokers that librdkafka's settings lead to."""

    def __init__(self, records: Sequence[Record], topics: Sequence[str], config: Mapping[str, Any]) -> None:
        self._config = dict(config)
        self._connection = {**connection_settings(config), **soon_again(config)}
        number = uuid.uuid4().hex[:10]
        self._names = {topic: f"{topic[:200]}-{number}" for topic in topics}
        self._admin = AdminClient(self._connection, logger=logger)
        new = [NewTopic(name, num_partitions=1) for name in self._names.values()]
        for created in self._admin.create_topics(new, operation_timeout=_TIMEOUT_S).values():
            created.result(_TIMEOUT_S)
        self._places = _numbered([self._names[one.topic] for one in records])
        self._produce(records)

    def _produce(self, records: Sequence[Record]) -> None:
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: object) -> None:
            failures.extend([] if error is None else [error])

        producer = Producer({**self._connection, "enable.idempotence": True}, logger=logger)
        for one in records:
            options: dict[str, Any] = {} if one.timestamp_ms is None else {"timestamp": one.timestamp_ms}
            headers: Any = None if one.headers is None else list(one.headers)
            name = self._names[one.topic]
            producer.produce(name, one.value, one.key, 0, on_delivery=delivered, headers=headers, **options)
        left = producer.flush(_TIMEOUT_S)
        if left or failures:
            why = failures[0].str() if failures else f"{left} of them were not acknowledged in {_TIMEOUT_S:g} s"
            raise BrokerUnavailable(f"the test's records could not be produced to {servers_of(self._config)}: {why}")

    @property
    def places(self) -> Sequence[Place]:
        """See ``Feed``."""
        return self._places

    def kafka(self) -> Mapping[str, Any]:
        """The settings that were given."""
        return self._config

    def topics(self, names: Sequence[str]) -> Sequence[str]:
        """Those that were made for them."""
        return [self._names[name] for name in names]

    def close(self) -> None:
        """Delete the topics."""
        for deleted in self._admin.delete_topics(list(self._names.values()), operation_timeout=_TIMEOUT_S).values():
            deleted.exception(_TIMEOUT_S)


def _numbered(topics: Sequence[str]) -> Sequence[Place]:
    """Where records are that come to new topics of one partition, in this order."""
    seen: Counter[str] = Counter()
    places = []
    for topic in topics:
        places.append(Place(TopicPartition(topic, 0), seen[topic]))
        seen[topic] += 1
    return places


__all__ = ["BrokerFeed", "Feed", "MemoryFeed"]
