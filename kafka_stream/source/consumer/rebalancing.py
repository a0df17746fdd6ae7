"""What a group gives a consumer, and takes away from it: librdkafka's calls while the consumer polls, or closes.

The loop is told by an event, finishes or drops its batch (``Loop._handle``, ``Loop._recover``), and answers with
``release``, which a revoked partition waits for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.errors import KafkaStreamError
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.consumer.partitions import ConsumerPartitions
from kafka_stream.source.inbox import Inbox
from kafka_stream.source.membership import Membership
from kafka_stream.source.published_offsets import PublishedOffsets
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream.source")


class Rebalancing:
    """The rebalances of one consumer."""

    def __init__(
        self,
        partitions: ConsumerPartitions,
        inbox: Inbox,
        cluster: Cluster,
        published: PublishedOffsets,
        membership: Membership,
        is_closing: Callable[[], bool],
    ) -> None:
        self._partitions = partitions
        self._inbox = inbox
        self._cluster = cluster
        self._published = published
        self._membership = membership
        self._is_closing = is_closing
        self._is_replaced = False

    def subscribe(self, consumer: Consumer, topics: Sequence[str]) -> None:
        """Join the group, or change as its member what is read; without any topic, leave it until there is one."""
        if not topics:
            consumer.unsubscribe()
            return
        consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def replaced(self) -> None:
        """Another consumer has taken this one's place; it tells of its assignment once more when it closes."""
        self._is_replaced = True

    def _on_assign(self, consumer: Consumer, partitions: list[ClientTopicPartition]) -> None:
        if self._is_replaced:
            return
        self._membership.note(consumer)
        ours = _ours(partitions)
        self._tell(ours)
        ends = self._ends(ours)
        self._partitions.attach_paused({p: ends.get(p, 0) for p in ours})
        self._inbox.assigned(ours)

    def _tell(self, given: Sequence[TopicPartition]) -> None:
        if given and (waited_s := self._membership.waited()) is not None:
            fields = {"event": "assigned", "partitions": list(map(str, given)), "waited_s": round(waited_s, 3)}
            logger.info("the group gave %d partition(s) after %.1f s", len(given), waited_s, extra=fields)
        elif given:
            fields = {"event": "assigned", "partitions": list(map(str, given))}
            logger.info("the group gave %s, too", ", ".join(map(str, given[:10])), extra=fields)

    def _ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Offsets where a fetch that slips in before the pause finds nothing, and is not out of range either.

        They are absolute: a logical one (END) is looked up once more if a seek comes in between, and librdkafka then
        jumps there, over unread records.
        """
        try:
            return self._cluster.ends_if_known(partitions)  # the group waits for us meanwhile
        except KafkaStreamError as error:
            logger.warning("%s", error)
            return {}

    def _on_revoke(self, consumer: Consumer, partitions: list[ClientTopicPartition]) -> None:
        if self._is_replaced:
            return
        self._membership.note(consumer)  # what stays ours is committed under the new generation, also while we wait
        ours = _ours(partitions)
        self._inbox.revoked(ours)
        released = self._inbox.wait_released(ours, self._inbox.limits.revoke_timeout_s, self._is_closing)
        if not released and not self._is_closing():
            logger.warning("gave up %s before its batch was finished", ", ".join(map(str, ours)))
        self._published.send(consumer, self._partitions.owned)
        self._partitions.detach(ours)

    def _on_lost(self, consumer: Consumer, partitions: list[ClientTopicPartition]) -> None:
        if self._is_replaced:
            return
        self._membership.forget()
        ours = _ours(partitions)
        self._inbox.lost(ours)
        self._partitions.detach(ours)


def _ours(partitions: Iterable[ClientTopicPartition]) -> list[TopicPartition]:
    return sorted(TopicPartition(p.topic, p.partition) for p in partitions)


__all__ = ["Rebalancing"]
