"""What user code receives: the records of one explicit range per partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from confluent_kafka import Message

from kafka_stream.arrow import table_of
from kafka_stream.errors import RecordError
from kafka_stream.types import OffsetRange, TopicPartition, is_strictly_ascending


@dataclass(frozen=True)
class Batch:
    """The records of one explicit range per partition: what ``prepare`` and ``write`` receive.

    ``ranges`` are sorted by topic and partition; ``records`` holds the messages of each range in offset order. A batch
    that is repeated after a crash may be cut differently, but always starts where the last committed one ended.
    """

    ranges: tuple[OffsetRange, ...]
    records: Mapping[TopicPartition, Sequence[Message]]

    def __post_init__(self) -> None:
        partitions = [r.topic_partition for r in self.ranges]
        if not is_strictly_ascending(partitions):
            raise ValueError("a batch has one range per partition, sorted by topic and partition")
        if list(self.records) == partitions:  # as a source hands them out
            return
        for topic_partition, messages in self.records.items():
            if messages and topic_partition not in self._range_by_partition:
                raise ValueError(f"the batch holds records of {topic_partition}, but no range for it")

    @cached_property
    def _range_by_partition(self) -> Mapping[TopicPartition, OffsetRange]:
        return {r.topic_partition: r for r in self.ranges}

    @cached_property
    def messages(self) -> Sequence[Message]:
        """All records (``confluent_kafka.Message``), partition by partition, in offset order within each."""
        if len(self.ranges) == 1:
            return self.records.get(self.ranges[0].topic_partition, ())
        return [message for r in self.ranges for message in self.records.get(r.topic_partition, ())]

    def __len__(self) -> int:
        """The number of records."""
        return sum(map(len, self.records.values()))

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def partition(self, topic_partition: TopicPartition) -> Batch:
        """The part of this batch that belongs to one partition; empty, without a range, if there is none."""
        found = self._range_by_partition.get(topic_partition)
        if found is None:
            return Batch((), {})
        return Batch((found,), {topic_partition: self.records.get(topic_partition, ())})

    def topic(self, name: str) -> Batch:
        """The part of this batch that belongs to one topic; empty, without ranges, if there is none."""
        ranges = tuple(r for r in self.ranges if r.topic == name)
        return Batch(ranges, {r.topic_partition: self.records.get(r.topic_partition, ()) for r in ranges})

    def to_arrow(self) -> Any:
        """The records as a ``pyarrow.Table``, for work that is done in columns.

        Its columns are ``topic``, ``partition``, ``offset``, ``timestamp`` (in UTC, to the millisecond; null where a
        record has none), ``key`` and ``value`` (binary; null as in the record). One row per record, in the order of
        ``messages``.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        return table_of({tp: self.records.get(tp, ()) for tp in self._range_by_partition})

    def decoded(self, decode: Callable[[bytes], Any]) -> Iterable[tuple[Message, Any]]:
        """Pairs of message and decoded value, lazily; a tombstone's value is ``None`` and is not decoded.

        Raises:
            RecordError: ``decode`` failed; it names topic, partition and offset and chains the cause.
        """
        for message in self.messages:
            raw = message.value()
            if raw is None:
                yield message, None
                continue
            try:
                value = decode(raw)
            except Exception as error:
                raise RecordError.of(message, "its value could not be decoded") from error
            yield message, value
