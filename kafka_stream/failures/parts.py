"""Pure: parts of a batch, as batches of their own: they might have been cut so in the first place."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TypeAlias

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.failures.search import Part
from kafka_stream.protocols import Key
from kafka_stream.types import OffsetRange, TopicPartition

RecordId: TypeAlias = tuple[TopicPartition, int]


def record_id(message: Message) -> RecordId:
    """Where a consumed message was read: its partition and its offset."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return TopicPartition(topic, partition), offset


def key_of(message: Message) -> Key | None:
    """Whose order is kept with a message; none if it has no key."""
    key = message.key()
    if key is None:
        return None
    return record_id(message)[0], key


def place_of(batch: Batch, record: RecordId) -> tuple[int, bool]:
    """How many records of the batch come before this one, and whether it is among them itself.

    Nothing is made per record of a batch: of 50,000 that would take as long as to copy them into a table.
    """
    topic_partition, offset = record
    before = 0
    for r in batch.ranges:
        if r.topic_partition > topic_partition:
            break
        messages = batch.records.get(r.topic_partition, ())
        if r.topic_partition == topic_partition:
            at = bisect_left(messages, offset, key=_offset_of)
            return before + at, at < len(messages) and _offset_of(messages[at]) == offset
        before += len(messages)
    return before, False


def _offset_of(message: Message) -> int:
    return record_id(message)[1]


def without(batch: Batch, records: Collection[RecordId]) -> Batch:
    """The batch with its whole ranges, and these records left out."""
    if not records:
        return batch
    gone = defaultdict[TopicPartition, set[int]](set)
    for topic_partition, offset in records:
        gone[topic_partition].add(offset)
    kept = {
        tp: [message for message in messages if message.offset() not in gone[tp]] if tp in gone else messages
        for tp, messages in batch.records.items()
    }
    return Batch(batch.ranges, kept)


def part_of(batch: Batch, part: Part, places: Sequence[int]) -> Batch:
    """These places of a part, in ranges from its first record to the one behind its last."""
    ranges: list[OffsetRange] = []
    records: dict[TopicPartition, list[Message]] = {}
    wanted, begin = set(places), 0
    for r in batch.ranges:
        messages = batch.records.get(r.topic_partition, ())
        first, last = max(part.begin - begin, 0), min(part.end - begin, len(messages))
        if first < last:
            from_offset = r.from_offset if first == 0 else record_id(messages[first])[1]
            until_offset = r.until_offset if last == len(messages) else record_id(messages[last])[1]
            ranges.append(OffsetRange(r.topic_partition, from_offset, until_offset))
            records[r.topic_partition] = [messages[at] for at in range(first, last) if begin + at in wanted]
        begin += len(messages)
    return Batch(tuple(ranges), records)


__all__ = ["RecordId", "key_of", "part_of", "place_of", "record_id", "without"]
