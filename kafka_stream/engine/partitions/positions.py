"""Where the owned partitions stand, each fact in one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import NamedTuple

from kafka_stream.types import OffsetRange, PlanKind, StoredPosition, TopicPartition


class Position(NamedTuple):
    """Where an owned partition stands: the last committed ``until_offset``, and the epoch that we commit under.

    ``planned_until`` is the end of a range that is, or may be, durably planned: the next batch is exactly that one.
    """

    next_offset: int
    owner_epoch: int
    leader_epoch: int | None
    planned_until: int | None = None

    @classmethod
    def of(cls, stored: StoredPosition) -> Position:
        """What a store holds of a partition."""
        return cls(stored.next_offset, stored.owner_epoch, stored.leader_epoch, stored.planned_until)

    def as_stored(self, topic_id: str) -> StoredPosition:
        """What a store has held of it."""
        kind = None if self.planned_until is None else PlanKind.RANGE
        return StoredPosition(
            self.next_offset, self.owner_epoch, planned_until=self.planned_until, plan_kind=kind, topic_id=topic_id
        )


class Positions(Mapping[TopicPartition, Position]):
    """The positions of the owned partitions, kept by column.

    A batch asks for the next offsets of all of them several times, and moves a few: with a thousand partitions it
    takes less than a hundredth of a batch so, and a third of one with an object per partition.
    """

    __slots__ = ("_leader_epochs", "_next_offsets", "_owner_epochs", "_planned")

    def __init__(self) -> None:
        self._next_offsets: dict[TopicPartition, int] = {}
        self._owner_epochs: dict[TopicPartition, int] = {}
        self._leader_epochs: dict[TopicPartition, int | None] = {}
        self._planned: dict[TopicPartition, int] = {}

    def __getitem__(self, topic_partition: TopicPartition) -> Position:
        return Position(
            self._next_offsets[topic_partition],
            self._owner_epochs[topic_partition],
            self._leader_epochs[topic_partition],
            self._planned.get(topic_partition),
        )

    def __iter__(self) -> Iterator[TopicPartition]:
        return iter(self._next_offsets)

    def __len__(self) -> int:
        return len(self._next_offsets)

    def __contains__(self, topic_partition: object) -> bool:
        return topic_partition in self._next_offsets

    def keys(self) -> KeysView[TopicPartition]:
        """The partitions that are owned."""
        return self._next_offsets.keys()

    def next_offsets(self) -> dict[TopicPartition, int]:
        """The next record to read of each partition."""
        return self._next_offsets.copy()

    def planned(self) -> dict[TopicPartition, int]:
        """The ends of the ranges that are to be repeated exactly, each from its partition's next offset."""
        return self._planned.copy()

    def owner_epochs(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The epochs that these are committed under."""
        return {tp: self._owner_epochs[tp] for tp in partitions}

    def unmoved(self, partitions: Iterable[TopicPartition]) -> tuple[OffsetRange, ...]:
        """An empty range at the position of each."""
        offsets = self._next_offsets
        return tuple(OffsetRange(tp, offsets[tp], offsets[tp]) for tp in sorted(partitions))

    def leader_epochs(self) -> dict[TopicPartition, int]:
        """Those of the records before the positions, where they are known."""
        return {tp: epoch for tp, epoch in self._leader_epochs.items() if epoch is not None}

    def starts_of_reading(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int | None]]:
        """Where to read each from, as ``Source.start_reading`` takes it."""
        return {tp: (self._next_offsets[tp], self._leader_epochs[tp]) for tp in partitions}

    def put(self, topic_partition: TopicPartition, position: Position) -> None:
        """It stands here, whatever was known of it."""
        self._next_offsets[topic_partition] = position.next_offset
        self._owner_epochs[topic_partition] = position.owner_epoch
        self._leader_epochs[topic_partition] = position.leader_epoch
        self._planned.pop(topic_partition, None)
        if position.planned_until is not None:
            self._planned[topic_partition] = position.planned_until

    def raise_epochs(self, epochs: Mapping[TopicPartition, int]) -> None:
        """These are ours under new epochs, and stand where they stood."""
        self._owner_epochs.update(epochs)

    def plan(self, ranges: Iterable[OffsetRange]) -> None:
        """These ranges, each from its partition's position, are to be repeated exactly from now on."""
        self._planned.update([(r.topic_partition, r.until_offset) for r in ranges])

    def commit(self, ranges: Iterable[OffsetRange], leader_epochs: Mapping[TopicPartition, int]) -> None:
        """These ranges are durable: no plan is left of them. An epoch that is not given is unknown from now on."""
        for r in ranges:
            self._next_offsets[r.topic_partition] = r.until_offset
            self._leader_epochs[r.topic_partition] = leader_epochs.get(r.topic_partition)
        if self._planned:
            for r in ranges:
                self._planned.pop(r.topic_partition, None)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """These are not owned any more."""
        for tp in partitions:
            for column in (self._next_offsets, self._owner_epochs, self._leader_epochs, self._planned):
                column.pop(tp, None)


__all__ = ["Position", "Positions"]
