"""Notices a consumer that has lost all its brokers for good; see ``renewed``."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException

from kafka_stream.cluster import Cluster

_ASK_EVERY_S = 5.0
_ASK_FOR_S = 0.5


class LostBrokers:
    """Asks only after librdkafka said that all brokers are down: a consumer that waits for records looks the same."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ask_at = float("inf")

    def heard(self, error: KafkaError) -> None:
        """The client has told of an error."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its own codes begin with an underscore
            self._ask_at = time.monotonic() + _ASK_EVERY_S

    def has(self, consumer: Consumer, topic: str) -> bool:
        """Whether this consumer finds no broker where a new client finds one."""
        if time.monotonic() < self._ask_at:
            return False
        try:
            consumer.list_topics(topic, timeout=_ASK_FOR_S)
        except KafkaException as error:
            self._ask_at = time.monotonic() + _ASK_EVERY_S
            # It times out where a connection is there, and the broker is slow.
            return error.args[0].code() == KafkaError._TRANSPORT and self._cluster.is_found(_ASK_FOR_S)  # noqa: SLF001 - as above
        self._ask_at = float("inf")
        return False


__all__ = ["LostBrokers"]
