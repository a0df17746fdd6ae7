"""Which transactions keep the ends of partitions, and since when: a short-lived consumer reads their first records."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.protocols import OffsetAt, OpenTransaction
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.connection import connection_settings
from kafka_stream.source.kafka_errors import is_end_of_partition, settings_accepted
from kafka_stream.source.security.tokens import with_token_callback
from kafka_stream.types import TopicPartition

_librdkafka = logging.getLogger("kafka_stream.librdkafka")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POLL_S = 0.1
_READER: Mapping[str, Any] = {
    "group.id": "kafka-stream-offsets",  # librdkafka wants one; nothing is joined or committed
    "allow.auto.create.topics": False,
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    # One record of each partition is enough.
    "queued.min.messages": 1,
    "fetch.max.bytes": 8 * 2**20,
    "fetch.message.max.bytes": 128 * 2**10,
    "fetch.wait.max.ms": 10,
    "fetch.queue.backoff.ms": 2,
}
_LONGEST = "transaction.max.timeout.ms"
_LONGEST_MS = 15 * 60 * 1000
"""The brokers' default, which is believed where they do not say theirs."""
_READ_S = 10.0


def open_transactions(
    cluster: Cluster, config: Mapping[str, Any], partitions: Sequence[TopicPartition]
) -> Mapping[TopicPartition, OpenTransaction]:
    """See ``Source``; asks no more than the ends where no end is kept."""
    high = cluster.offsets(partitions, OffsetAt.HIGH_WATERMARK, patience_s=0)  # first: what comes after it came later
    ends = cluster.offsets(partitions, OffsetAt.LATEST, patience_s=0)
    kept = {tp: end for tp, end in ends.items() if end < high[tp]}
    if not kept:
        return {}
    times = times_at(config, kept, "read_uncommitted", time.monotonic() + _READ_S)
    longest = timedelta(milliseconds=int(cluster.broker_setting(_LONGEST) or _LONGEST_MS))
    return {tp: _found(end, times.get(tp), longest) for tp, end in kept.items()}


def _found(offset: int, since: datetime | None, longest: timedelta) -> OpenTransaction:
    return OpenTransaction(offset, since, hangs=since is not None and datetime.now(UTC) - since > longest)


def times_at(
    config: Mapping[str, Any],
    offsets: Mapping[TopicPartition, int],
    isolation: Literal["read_committed", "read_uncommitted"],
    deadline: float,
) -> Mapping[TopicPartition, datetime | None]:
    """The timestamp of the first record at or after each offset; ``None`` where the end comes first.

    What has not come by the deadline, of the monotonic clock, is left out.

    Raises:
        ConfigurationError: librdkafka refused a setting.
        NotAuthorized, BrokerUnavailable: ``oauth_cb`` gave no token.
    """
    if not offsets:
        return {}
    settings = with_token_callback(
        {**connection_settings(config), **_READER, "isolation.level": isolation, "logger": _librdkafka}
    )
    with settings_accepted(settings):
        consumer = Consumer(settings)
    try:
        consumer.assign([ClientTopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()])
        return _first_times(consumer, set(offsets), deadline)
    finally:
        consumer.close()


def _first_times(
    consumer: Consumer, waiting: set[TopicPartition], deadline: float
) -> Mapping[TopicPartition, datetime | None]:
    found: dict[TopicPartition, datetime | None] = {}
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        finished = []
        for message in consumer.consume(len(waiting), min(_POLL_S, left_s)):
            topic, number, error = message.topic(), message.partition(), message.error()
            if topic is None or number is None or (tp := TopicPartition(topic, number)) not in waiting:
                continue
            if error is None:
                found[tp] = _time_of(*message.timestamp())
            elif is_end_of_partition(error):
                found[tp] = None
            waiting.discard(tp)
            finished.append(ClientTopicPartition(topic, number))
        if finished and waiting:
            consumer.pause(finished)
    return found


def _time_of(kind: int, milliseconds: int) -> datetime | None:
    return None if kind == TIMESTAMP_NOT_AVAILABLE else _EPOCH + timedelta(milliseconds=milliseconds)


__all__ = ["open_transactions", "times_at"]
