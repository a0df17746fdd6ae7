"""Stand-ins that a test sets up by hand, for the parts of the engine that never touch Kafka or a database."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from confluent_kafka import Message

from kafka_stream.types import TopicPartition

ORDERS_0 = TopicPartition("orders", 0)
ORDERS_1 = TopicPartition("orders", 1)
ORDERS_2 = TopicPartition("orders", 2)


def record(
    offset: int, value: bytes | None = b"", *, partition: int = 0, topic: str = "orders", key: bytes | None = None
) -> Message:
    """One consumed record."""
    return Message(topic=topic, partition=partition, offset=offset, key=key, value=value)


class BufferedRecords:
    """``protocols.Buffered`` over ``(offset, size)`` pairs: the plain reading of its docstrings."""

    def __init__(self, records: Sequence[tuple[int, int]], position: int) -> None:
        self._offsets = [offset for offset, _ in records]
        self._sizes = [size for _, size in records]
        self._position = position

    @property
    def records(self) -> int:
        return len(self._offsets)

    @property
    def value_bytes(self) -> int:
        return sum(self._sizes)

    @property
    def position(self) -> int:
        return self._position

    def until_after(self, records: int) -> int:
        return self._offsets[records] if records < len(self._offsets) else self._position

    def records_before(self, offset: int) -> int:
        return sum(1 for one in self._offsets if one < offset)

    def records_within(self, value_bytes: int) -> int:
        fitting = sum(1 for total in accumulate(self._sizes) if total <= value_bytes)
        return min(max(1, fitting), len(self._sizes))

    def value_bytes_of(self, records: int) -> int:
        return sum(self._sizes[:records])


def consecutive(first: int, count: int, size: int = 1) -> BufferedRecords:
    """Records without gaps."""
    return BufferedRecords([(first + i, size) for i in range(count)], first + count)
