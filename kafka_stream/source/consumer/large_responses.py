"""Responses that are too large for the client: of which partition they are, and what to set."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError

from kafka_stream.errors import KafkaStreamError, RecordTooLarge
from kafka_stream.protocols import OffsetAt
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.consumer.partitions import ConsumerPartitions
from kafka_stream.source.inbox import Inbox
from kafka_stream.types import TopicPartition

_TIMES = 3
_FORGOTTEN_AFTER_S = 30.0


class LargeResponses:
    """Finds the partition whose next record is too large; librdkafka tells of the response alone, and asks again.

    It is one that lags and comes no further, while others do: the broker puts a record that exceeds ``fetch.max.bytes``
    into a response only where that partition is the first in it, and which is first takes turns.
    """

    def __init__(self, inbox: Inbox, cluster: Cluster) -> None:
        self._inbox = inbox
        self._cluster = cluster
        self._positions: dict[TopicPartition, int] = {}
        self._times = 0
        self._last_at = 0.0
        self._reason = ""

    def heard(self, error: KafkaError) -> None:
        """A response could not be read; which one, the client does not say."""
        now = time.monotonic()
        if now - self._last_at > _FORGOTTEN_AFTER_S:
            self._times = 0
        if self._times == 0:
            self._positions = self._inbox.positions()
        self._times, self._last_at, self._reason = self._times + 1, now, error.str()

    def culprit(self, partitions: ConsumerPartitions) -> RecordTooLarge | None:
        """The error that names the partition, once it has come back often enough to be sure."""
        if self._times < _TIMES:
            return None
        self._times = 0
        now = self._inbox.positions()
        stuck = [p for p, at in self._positions.items() if now.get(p) == at and p not in partitions.paused]
        try:
            ends = self._cluster.offsets(sorted(stuck), OffsetAt.HIGH_WATERMARK)
        except KafkaStreamError:
            return None  # it comes back, if it is not the brokers that are unwell
        behind = [p for p in sorted(stuck) if now[p] < ends[p]]
        return _too_large(behind, now, self._reason) if behind else None


def _too_large(behind: list[TopicPartition], positions: dict[TopicPartition, int], reason: str) -> RecordTooLarge:
    where, *others = (f"{p} from offset {positions[p]}" for p in behind)
    perhaps = f" (or {', or '.join(others)})" if others else ""
    return RecordTooLarge(
        f"{where}{perhaps} cannot be read on: the next record there is too large for this client ({reason}); set "
        "receive.message.max.bytes to more than the size of that response",
        partition=behind[0],
        offset=positions[behind[0]],
    )


__all__ = ["LargeResponses"]
