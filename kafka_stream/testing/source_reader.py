"""What the sources' contract needs: a loop in small, and what a Kafka under test can be made to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import Message

from kafka_stream.protocols import Assigned, Buffered, Failed, PositionLost, Revoked, Source, SourceEvent
from kafka_stream.source.buffer import offset_of
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.types import OffsetRange, TopicPartition

WAIT_S = 30.0


class OpenTransaction(Protocol):
    """A transaction whose records are in the log."""

    def commit(self) -> None:
        """Make them visible."""


class SourceHarness(Protocol):
    """What the contract does to the Kafka that the source under test reads."""

    def create_topic(self, partitions: int) -> str:
        """A fresh topic; returns its name."""

    def recreate_topic(self, topic: str) -> None:
        """Delete a topic and create it again, with as many partitions."""

    def add_partitions(self, topic: str, total: int) -> None:
        """Give it more, ``total`` in all."""

    def produce(self, topic: str, partition: int, values: Sequence[str]) -> None:
        """Append records outside of any transaction; visible when it returns."""

    def abort(self, topic: str, partition: int, values: Sequence[str]) -> None:
        """Write records in a transaction and abort it: a marker takes one more offset."""

    def open_transaction(self, topic: str, partition: int, values: Sequence[str]) -> OpenTransaction:
        """Write records in a transaction and leave it open."""

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Move the log's start, as retention does."""

    def source(self, group_id: str, topics: Sequence[str], limits: SourceLimits) -> Source:
        """The source under test, not open yet."""


class Reader:
    """A loop in small: it takes whatever is buffered, and keeps events and records."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.events: list[SourceEvent] = []
        self.positions: dict[TopicPartition, int] = {}
        self.values: dict[TopicPartition, list[str]] = {}
        self.offsets: dict[TopicPartition, list[int]] = {}

    def until(self, condition: Callable[[], object], *, take: bool = True) -> None:
        """Look at events (and take records) until a condition holds; fail after 30 s."""
        deadline = time.monotonic() + WAIT_S
        while True:
            self.look(take=take)
            if condition():
                return
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"still not so after {WAIT_S:g} s; events {self.events}, positions {self.positions}"
                )
            self.source.wait(0.1)

    def look(self, *, take: bool = True) -> None:
        """One turn."""
        self.events.extend(self.source.events())
        if failures := [event for event in self.events if isinstance(event, Failed)]:
            raise failures[0].error
        if take and (buffered := self.source.buffered()):
            self.take([OffsetRange(p, self.positions[p], b.position) for p, b in sorted(buffered.items())])

    def take(self, ranges: Sequence[OffsetRange]) -> Mapping[TopicPartition, Sequence[Message]]:
        """Take ranges and keep what they hold."""
        taken = self.source.take(ranges)
        assert set(taken) == {r.topic_partition for r in ranges}
        for r in ranges:
            messages = taken[r.topic_partition]
            assert all(offset_of(m) in r for m in messages)
            self.offsets.setdefault(r.topic_partition, []).extend(map(offset_of, messages))
            self.values.setdefault(r.topic_partition, []).extend((m.value() or b"").decode() for m in messages)
            self.positions[r.topic_partition] = r.until_offset
        return taken

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Start reading, without leader epochs."""
        self.positions.update(positions)
        for partition in positions:
            self.values[partition], self.offsets[partition] = [], []
        self.source.start_reading({partition: (offset, None) for partition, offset in positions.items()})

    def read(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        """Start there, and read up to these positions exactly."""
        self.start(positions)
        self.until(lambda: all(self.positions[p] >= end for p, end in ends.items()))
        assert {p: self.positions[p] for p in ends} == ends

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Assign and wait for the event."""
        self.source.assign(partitions)
        self.until(lambda: set(partitions) <= self.assigned, take=False)

    @property
    def assigned(self) -> set[TopicPartition]:
        """All partitions of all assignments seen."""
        return {p for event in self.events if isinstance(event, Assigned) for p in event.partitions}

    @property
    def revoked(self) -> set[TopicPartition]:
        """All partitions of all revocations seen."""
        return {p for event in self.events if isinstance(event, Revoked) for p in event.partitions}

    @property
    def lost(self) -> list[PositionLost]:
        """The positions that were lost."""
        return [event for event in self.events if isinstance(event, PositionLost)]

    def buffered(self, partition: TopicPartition, position: int) -> Buffered:
        """Wait until so much of one partition is buffered, without taking it."""
        self.until(lambda: self._position(partition) >= position, take=False)
        return self.source.buffered()[partition]

    def _position(self, partition: TopicPartition) -> int:
        buffered = self.source.buffered()
        return buffered[partition].position if partition in buffered else -1


__all__ = ["WAIT_S", "OpenTransaction", "Reader", "SourceHarness"]
