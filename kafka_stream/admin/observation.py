"""Asking the brokers what they have of a stream's topics: a fixed number of requests, and, for times, some records."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.admin.describe import Log, Observation, RecordTimes
from kafka_stream.errors import NotAuthorized
from kafka_stream.protocols import OffsetAt, TopicInfo
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.connection import connection_settings
from kafka_stream.source.kafka_errors import is_end_of_partition, settings_accepted
from kafka_stream.types import StoredPosition, TopicPartition

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


def observe(cluster: Cluster, partitions: Collection[TopicPartition]) -> Observation:
    """What the brokers have of these partitions and their topics; four requests, however many partitions there are.

    A topic that we may not look at is hidden, if it is not the only one.

    Raises:
        NotAuthorized, BrokerUnavailable.
    """
    topics, hidden = visible(cluster, sorted({tp.topic for tp in partitions}))
    existing = [tp for tp in sorted(partitions) if tp.topic in topics and tp.partition < topics[tp.topic].partitions]
    first = cluster.offsets(existing, OffsetAt.EARLIEST)
    # Before the ends: what is appended in between must not look as if a transaction held it back.
    high = cluster.offsets(existing, OffsetAt.HIGH_WATERMARK)
    ends = cluster.offsets(existing, OffsetAt.LATEST)
    return Observation(topics, {tp: Log(first[tp], ends[tp], max(ends[tp], high[tp])) for tp in existing}, None, hidden)


def visible(cluster: Cluster, names: Sequence[str]) -> tuple[Mapping[str, TopicInfo], Mapping[str, str]]:
    """Those of these topics that exist, and those that we may not look at, with the reason.

    Raises:
        NotAuthorized: that is the only one.
    """
    try:
        return cluster.existing_topics(names), {}
    except NotAuthorized:
        if len(names) == 1:
            raise
    found: dict[str, TopicInfo] = {}
    hidden = {}
    for name in names:
        try:
            found.update(cluster.existing_topics([name]))
        except NotAuthorized as error:
            hidden[name] = str(error)
    return found, hidden


def with_times(
    observation: Observation,
    positions: Mapping[TopicPartition, StoredPosition],
    config: Mapping[str, Any],
    timeout_s: float,
) -> Observation:
    """The same with the timestamps of the records that the stream reads next, and of those that pin an end.

    A short-lived consumer reads one record per partition that lags or is pinned; what has not come within
    ``timeout_s`` is left out.

    Raises:
        ConfigurationError: librdkafka refused a setting.
    """
    lagging = {
        tp: max(positions[tp].next_offset, log.first_offset)
        for tp, log in observation.logs.items()
        if positions[tp].next_offset < log.end_offset
    }
    pinned = {tp: log.end_offset for tp, log in observation.logs.items() if log.end_offset < log.high_watermark}
    deadline = time.monotonic() + timeout_s
    times = RecordTimes(
        next_records=_times_at(config, lagging, "read_committed", deadline),
        pinning=_times_at(config, pinned, "read_uncommitted", deadline),
    )
    return replace(observation, times=times)


def _times_at(
    config: Mapping[str, Any],
    offsets: Mapping[TopicPartition, int],
    isolation: Literal["read_committed", "read_uncommitted"],
    deadline: float,
) -> Mapping[TopicPartition, datetime | None]:
    """The timestamp of the first record at or after each offset; ``None`` where the end comes first."""
    if not offsets:
        return {}
    settings = {**connection_settings(config), **_READER, "isolation.level": isolation, "logger": _librdkafka}
    with settings_accepted():
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


__all__ = ["observe", "visible", "with_times"]
