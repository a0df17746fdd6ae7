"""Notices a consumer that finds no broker, and one that has lost all its brokers for good; see ``renewed``."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaError, KafkaException

from kafka_stream.errors import BrokerUnavailable
from kafka_stream.source.client_log import CLIENT_LOG, ClientLog
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.kafka_errors import is_no_broker_left

_ASK_EVERY_S = 5.0
_ASK_FOR_S = 0.5
_PATIENCE_S = 15.0  # longer than a client waits before it tries a broker again (reconnect.backoff.max.ms)
_NEVER = float("inf")


class LostBrokers:
    """Asks only after librdkafka said that all brokers are down: a consumer that waits for records looks the same.

    ``trouble`` is what it knows of brokers that are away; any thread may look.
    """

    def __init__(self, cluster: Cluster, log: ClientLog = CLIENT_LOG) -> None:
        self._cluster = cluster
        self._log = log
        self.trouble: BrokerUnavailable | None = None
        self._ask_at = _NEVER
        self._lost_at = _NEVER

    def heard(self, error: KafkaError) -> None:
        """The client has told of an error."""
        if is_no_broker_left(error):
            self._ask_at = min(self._ask_at, time.monotonic() + _ASK_EVERY_S)

    def has(self, consumer: Consumer, topic: str | None) -> bool:
        """Whether this consumer has found no broker for some time in which new clients found one; says so once."""
        now = time.monotonic()
        if now < self._ask_at:
            return False
        try:
            consumer.list_topics(topic, timeout=_ASK_FOR_S)
        except KafkaException as error:
            self._ask_at = now + _ASK_EVERY_S
            self._tell(error)
            # It times out where a connection is there, and the broker is slow.
            finds_none = error.args[0].code() == KafkaError._TRANSPORT  # noqa: SLF001 - its own codes begin with an underscore
            self._lost_at = min(self._lost_at, now) if finds_none and self._cluster.is_found(_ASK_FOR_S) else _NEVER
            if now - self._lost_at < _PATIENCE_S:
                return False
            is_lost = True
        else:
            is_lost = False
            self._log.recovered()
        self._ask_at = self._lost_at = _NEVER
        self.trouble = None
        return is_lost

    def _tell(self, error: KafkaException) -> None:
        if self.trouble is None:
            since = datetime.now(UTC).isoformat(" ", "seconds")
            self.trouble = BrokerUnavailable(
                f"no broker of {self._cluster.servers} has answered the consumer since {since} "
                f"({error.args[0].str()}); it goes on by itself when one does"
            )
            self.trouble.__cause__ = error


__all__ = ["LostBrokers"]
