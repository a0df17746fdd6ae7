"""Messages and batches for tests of ``prepare`` functions and sinks, without any Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from kafka_stream.batch import Batch
from kafka_stream.source.buffer import offset_of
from kafka_stream.types import OffsetRange, TopicPartition


def _encoded(data: bytes | str | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


def message(
    value: bytes | str | None,
    *,
    key: bytes | str | None = None,
    topic: str = "topic",
    partition: int = 0,
    offset: int = 0,
    headers: Sequence[tuple[str, bytes]] | None = None,
    timestamp_ms: int | None = None,
    leader_epoch: int | None = None,
) -> Message:
    """A ``confluent_kafka.Message`` as a consumer would have returned it; text is encoded as UTF-8.

    ``None`` as value is a tombstone. ``timestamp_ms`` is in milliseconds since 1970 (UTC).

    Example:
        ``message('{"id": 7}', key="7", topic="orders", offset=12)``
    """
    kind = TIMESTAMP_NOT_AVAILABLE if timestamp_ms is None else TIMESTAMP_CREATE_TIME
    return Message(
        topic=topic,
        partition=partition,
        offset=offset,
        key=_encoded(key),
        value=_encoded(value),
        headers=None if headers is None else list(headers),
        timestamp=(kind, timestamp_ms or 0),
        leader_epoch=-1 if leader_epoch is None else leader_epoch,  # -1: librdkafka's unknown
    )


def batch_of(
    records: Iterable[Message | bytes | str | None], *, topic: str = "topic", partition: int = 0, offset: int = 0
) -> Batch:
    """A batch of messages, or of values, which become messages of one partition with offsets from ``offset`` on.

    Each partition's range reaches from its first record to just past its last. Messages need not be grouped, but must
    be in offset order within their partition.

    Raises:
        ValueError: two records of a partition are out of order.

    Example:
        ``prepare(batch_of(['{"id": 1}', '{"id": 2}']))``
    """
    by_partition: dict[TopicPartition, list[Message]] = {}
    next_offset = offset
    for record in records:
        if isinstance(record, Message):
            one = record
        else:
            one = message(record, topic=topic, partition=partition, offset=next_offset)
            next_offset += 1
        by_partition.setdefault(_partition_of(one), []).append(one)
    for found, messages in by_partition.items():
        offsets = [offset_of(one) for one in messages]
        if offsets != sorted(set(offsets)):
            raise ValueError(f"the records of {found} are not in offset order: {offsets}")
    ranges = tuple(
        OffsetRange(found, offset_of(messages[0]), offset_of(messages[-1]) + 1)
        for found, messages in sorted(by_partition.items())
    )
    return Batch(ranges, by_partition)


def _partition_of(one: Message) -> TopicPartition:
    topic, partition = one.topic(), one.partition()
    if topic is None or partition is None:
        raise ValueError("a message of a batch needs a topic and a partition")
    return TopicPartition(topic, partition)


__all__ = ["batch_of", "message"]
