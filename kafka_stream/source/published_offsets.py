"""The group's committed offsets, for others to look at: what is published, and not yet with the broker."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from threading import Lock

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream.source")

_INTERVAL_S = 1.0


class PublishedOffsets:
    """Offsets on their way to the broker; newer ones replace older ones.

    ``publish`` may be called from any thread; the rest is the consumer thread's. What the broker refuses is told once,
    and tried again with the next offsets.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[TopicPartition, int] = {}
        self._sent_at = float("-inf")
        self._has_failed = False
        self._unanswered = 0

    @property
    def is_unanswered(self) -> bool:
        """Whether the broker has not said yet what became of offsets that were sent."""
        return self._unanswered > 0

    def publish(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Have these committed soon."""
        with self._lock:
            self._waiting.update(offsets)

    def send_due(self, consumer: Consumer, assigned: Collection[TopicPartition]) -> None:
        """Send what waits, at most once a second."""
        if self._waiting and time.monotonic() - self._sent_at >= _INTERVAL_S:
            self.send(consumer, assigned)

    def send(self, consumer: Consumer, assigned: Collection[TopicPartition]) -> None:
        """Send what waits; not that of partitions which somebody else may have by now. Does not wait for the answer."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        self._sent_at = time.monotonic()
        offsets = [
            ClientTopicPartition(tp.topic, tp.partition, offset) for tp, offset in waiting.items() if tp in assigned
        ]
        if not offsets:
            return
        self._unanswered += 1
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._unanswered -= 1
            self._failed(error.args[0], offsets)

    def answered(self, error: KafkaError | None, partitions: Sequence[ClientTopicPartition]) -> None:
        """What the broker said; librdkafka calls it while the consumer polls."""
        self._unanswered = max(0, self._unanswered - 1)
        failed = [tp for tp in partitions if error is not None or tp.error is not None]
        if failed:
            self._failed(error or failed[0].error, failed)
        elif partitions:
            self._has_failed = False

    def _failed(self, error: KafkaError | None, partitions: Iterable[ClientTopicPartition]) -> None:
        with self._lock:
            for tp in partitions:
                self._waiting.setdefault(TopicPartition(tp.topic, tp.partition), tp.offset)
        if not self._has_failed:
            self._has_failed = True
            reason = "no reason given" if error is None else error.str()
            logger.warning(
                "the group's committed offsets could not be written (%s), so its lag as others see it is out of date; "
                "it will be tried again, and the stream goes on",
                reason,
            )


__all__ = ["PublishedOffsets"]
