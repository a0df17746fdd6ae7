"""What the sinks' contract works with: the sink under test, and batches whose results are known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from kafka_stream.batch import Batch
from kafka_stream.protocols import RangeSink, Sink
from kafka_stream.testing.messages import message
from kafka_stream.types import OffsetRange, Owner, TopicPartition

STREAM = "orders"
P0 = TopicPartition("orders", 0)
P1 = TopicPartition("orders", 1)
P2 = TopicPartition("orders", 2)
OLDER = Owner("older-1f3a", "host-a", "v1")
NEWER = Owner("newer-9c2e", "host-b", None)


class SinkBackend(Protocol):
    """What the contract needs to know of a sink. Made anew for each test, with an empty place for the results."""

    def sink(self) -> Sink:
        """The sink of one more process. Its results are the numbers that ``numbers_of`` gives for a batch, in order."""

    def transaction(self) -> AbstractContextManager[Any]:
        """What the store gives to ``write``; leaving it without ``commit`` rolls it back. Opened once at a time."""

    def commit(self, transaction: Any) -> None:
        """Make durable what was written through the transaction; nothing if the sink does not use it."""

    def results(self) -> Sequence[int]:
        """The results that a reader sees, in the order in which each partition's were written."""

    def secrets(self) -> Collection[str]:
        """What the sink or its transaction was configured with and must not show, such as a password."""


class RangeSinkBackend(SinkBackend, Protocol):
    """What the contract needs to know of a sink by range, too."""

    def sink(self) -> RangeSink:
        """The sink of one more process, which has taken nothing over."""

    def results(self) -> Sequence[int]:
        """The results that a reader sees: of each partition in the order of their offsets."""

    def leave_unfinished(self, owner: Owner, planned: OffsetRange) -> None:
        """Leave behind what an owner does that is killed in the middle of writing a range."""

    def unfinished(self) -> Collection[TopicPartition]:
        """The partitions of which something unfinished lies around."""


def numbers_of(batch: Batch) -> list[int]:
    """The numbers that the contract's records hold, one a record, in order; a record without a value gives none."""
    return [int(value) for record in batch.messages if (value := record.value()) is not None]


def batch_from(numbers: Sequence[int | None], topic_partition: TopicPartition = P0, from_offset: int = 0) -> Batch:
    """A batch of one partition, a record a number, at the offsets from ``from_offset`` on."""
    tp = topic_partition
    records = [
        message(None if number is None else str(number), topic=tp.topic, partition=tp.partition, offset=offset)
        for offset, number in enumerate(numbers, start=from_offset)
    ]
    return Batch((OffsetRange(tp, from_offset, from_offset + len(numbers)),), {tp: records})


def merged(*batches: Batch) -> Batch:
    """One batch of several partitions."""
    records = {tp: messages for batch in batches for tp, messages in batch.records.items()}
    return Batch(tuple(sorted(r for batch in batches for r in batch.ranges)), records)


def prepared_for(sink: Sink, batch: Batch) -> Any:
    """What the loop hands to ``sink.write``: for a sink by range, what its ``prepare`` gave for each of them."""
    if not isinstance(sink, RangeSink):
        return sink.prepare(batch)
    parts = {r: batch.partition(r.topic_partition) for r in batch.ranges}
    return {r: sink.prepare(part) for r, part in parts.items() if len(part)}


def write_and_commit(backend: SinkBackend, sink: Sink, *batches: Batch) -> None:
    """Process batches as the loop does, one after the other, each in a transaction of its own."""
    for batch in batches:
        prepared = prepared_for(sink, batch)
        with backend.transaction() as transaction:
            sink.write(prepared, transaction)
            backend.commit(transaction)


__all__ = [
    "NEWER",
    "OLDER",
    "P0",
    "P1",
    "P2",
    "STREAM",
    "RangeSinkBackend",
    "SinkBackend",
    "batch_from",
    "merged",
    "numbers_of",
    "prepared_for",
    "write_and_commit",
]
