"""Stand-ins that a test sets up by hand, for the parts of the engine that never touch Kafka or a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import accumulate

from confluent_kafka import Message

from kafka_stream.protocols import OffsetAt, TopicInfo
from kafka_stream.types import Claim, Owner, PlanKind, StoredPosition, TopicPartition

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


class ScriptedSource:
    """``protocols.Source`` as far as a takeover needs it: topics and offsets as the test sets them."""

    def __init__(self, topics: Mapping[str, TopicInfo]) -> None:
        self.infos = dict(topics)
        self.first: dict[TopicPartition, int] = {}
        self.end: dict[TopicPartition, int] = {}
        self.latest: dict[TopicPartition, int] = {}
        self.at_time: dict[TopicPartition, int] = {}
        self.reading: dict[TopicPartition, tuple[int, int | None]] = {}
        self.untils: dict[TopicPartition, int] = {}
        self.revoking: set[TopicPartition] = set()
        self.calls: list[str] = []
        self.failures: dict[str, list[Exception]] = {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if failures := self.failures.get(name):
            raise failures.pop(0)

    def topics(self) -> Mapping[str, TopicInfo]:
        self._called("topics")
        return dict(self.infos)

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime) -> Mapping[TopicPartition, int]:
        self._called("offsets")
        if isinstance(at, datetime):
            return {tp: self.at_time.get(tp, self.latest.get(tp, 0)) for tp in partitions}
        ends = {OffsetAt.EARLIEST: self.first, OffsetAt.LATEST: self.latest, OffsetAt.HIGH_WATERMARK: self.end}
        return {tp: ends[at].get(tp, 0) for tp in partitions}

    def group_metadata(self, partitions: Sequence[TopicPartition]) -> object | None:
        return None

    def is_revoking(self, partitions: Sequence[TopicPartition]) -> bool:
        return not self.revoking.isdisjoint(partitions)

    def read_on_until(self, untils: Mapping[TopicPartition, int]) -> None:
        self.untils.update(untils)

    def start_reading(self, positions: Mapping[TopicPartition, tuple[int, int | None]]) -> None:
        self._called("start_reading")
        self.reading.update(positions)

    def log_of(self, tp: TopicPartition, first: int, end: int) -> None:
        """What the broker has of a partition, without an open transaction."""
        self.first[tp], self.end[tp], self.latest[tp] = first, end, end


class ScriptedStore:
    """``protocols.OffsetStore`` as far as a takeover needs it: plain dictionaries, and every call remembered."""

    def __init__(self) -> None:
        self.stored: dict[TopicPartition, StoredPosition] = {}
        self.started: set[str] = set()
        self.calls: list[str] = []
        self.moves: list[Claim] = []
        self.failures: dict[str, list[Exception]] = {}
        self.on_take_over: Callable[[], None] = lambda: None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if failures := self.failures.get(name):
            raise failures.pop(0)

    def is_started(self, stream: str, topic: str) -> bool:
        return topic in self.started

    def initialise(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        self._called("initialise")
        self.started.add(topic)
        for number, offset in starts.items():
            self.stored[TopicPartition(topic, number)] = StoredPosition(offset, 0, topic_id=topic_id)

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        self._called("take_over")
        self.on_take_over()
        for tp in partitions:
            found = self.stored.get(tp, StoredPosition(0, 0, topic_id=topic_ids.get(tp.topic)))
            self.stored[tp] = replace(found, owner=owner, owner_epoch=found.owner_epoch + 1)
        return {tp: self.stored[tp] for tp in partitions}

    def reclaim(self, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
        self._called("reclaim")
        for r in claim.ranges:
            found = self.stored[r.topic_partition]
            self.stored[r.topic_partition] = replace(found, owner_epoch=found.owner_epoch + 1)
        return {r.topic_partition: self.stored[r.topic_partition] for r in claim.ranges}

    def describe(self) -> str:
        return "a script"

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        return dict(self.stored)

    def plan(self, claim: Claim) -> None:
        self._called("plan")
        for r in claim.ranges:
            found = self.stored[r.topic_partition]
            self.stored[r.topic_partition] = replace(found, planned_until=r.until_offset, plan_kind=PlanKind.RANGE)

    def reposition(self, claim: Claim) -> None:
        self._called("reposition")
        self.moves.append(claim)
        for r in claim.ranges:
            tp = r.topic_partition
            self.stored[tp] = replace(
                self.stored[tp],
                next_offset=r.until_offset,
                leader_epoch=claim.leader_epochs.get(tp),
                topic_id=claim.topic_ids.get(tp.topic),
                planned_until=None,
                plan_kind=None,
            )
