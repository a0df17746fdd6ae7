"""What lies between a source's own side, which fetches, and the loop's thread, which takes.

Both sources (Kafka's and the one in memory) keep the ``Source`` port's promise with it.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from confluent_kafka import Message

from kafka_stream.errors import OwnershipLost
from kafka_stream.protocols import Assigned, Failed, Lost, PositionLost, Revoked, SourceEvent
from kafka_stream.source.buffer import BufferSnapshot, PartitionBuffer
from kafka_stream.source.limits import SourceLimits, Usage
from kafka_stream.source.waker import Waker
from kafka_stream.types import OffsetRange, TopicPartition


class _Stage(enum.Enum):
    STOPPED = "stopped"  # not being read: not yet, or not any more
    READING = "reading"
    LEAVING = "leaving"  # revoked or lost; what is buffered can still be taken


class _Entry:
    """One assigned partition. ``generation`` tells its newest start from all others; 0 before the first."""

    __slots__ = ("buffer", "generation", "stage")

    def __init__(self) -> None:
        self.buffer = PartitionBuffer(0)
        self.generation = 0
        self.stage = _Stage.STOPPED

    def start(self, offset: int, generation: int) -> None:
        """It is about to be read from there."""
        self.buffer, self.generation, self.stage = PartitionBuffer(offset), generation, _Stage.STOPPED

    def is_at(self, generation: int) -> bool:
        """Whether this is its newest start, and it is not leaving."""
        return self.generation == generation and self.stage is not _Stage.LEAVING


class Inbox:
    """Buffers and events, shared by two threads: the source's own side and the loop's thread."""

    def __init__(self, limits: SourceLimits) -> None:
        self.limits = limits
        self._waker = Waker()
        self._changed = threading.Condition()
        self._entries: dict[TopicPartition, _Entry] = {}
        self._events: list[SourceEvent] = []
        self._usage = Usage(limits)
        self._generation = 0
        self._read_on_until: dict[TopicPartition, int] = {}
        self._void = False
        # Replaced, never changed, so that any thread may look at them without the lock.
        self._owned: frozenset[TopicPartition] = frozenset()
        self._unreleased: frozenset[TopicPartition] = frozenset()

    # The loop's side: see ``protocols.Source`` ----------------------------------------------------------------------

    def events(self) -> Sequence[SourceEvent]:
        """What happened since the last call."""
        with self._changed:
            events, self._events = self._events, []
        return events

    def buffered(self) -> Mapping[TopicPartition, BufferSnapshot]:
        """Snapshots of the partitions that have come further than what was taken."""
        with self._changed:
            return {
                partition: entry.buffer.snapshot()
                for partition, entry in self._entries.items()
                if entry.stage is not _Stage.LEAVING and entry.buffer.position > entry.buffer.start
            }

    def take(self, ranges: Sequence[OffsetRange]) -> Mapping[TopicPartition, Sequence[Message]]:
        """Remove and return records; those of a revoked partition stay takeable until it is released.

        Raises:
            OwnershipLost: a partition is not assigned any more, or anew since the range was planned.
            ValueError: a range does not begin at the front of its buffer or ends past its position.
        """
        taken = {}
        with self._changed:
            for r in ranges:
                entry = self._entries.get(r.topic_partition)
                if entry is None or entry.generation == 0:
                    raise OwnershipLost(f"{r.topic_partition} was given up before {r} could be read", range=r)
                buffer, before = entry.buffer, (len(entry.buffer), entry.buffer.value_bytes)
                taken[r.topic_partition] = buffer.take(r)
                self._usage.remove(before[0] - len(buffer), before[1] - buffer.value_bytes)
        return taken

    def start(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Void the buffers of partitions that are about to be read from new positions; return their generations.

        Partitions that are not assigned are left out.
        """
        generations = {}
        with self._changed:
            for partition, offset in positions.items():
                entry = self._entries.get(partition)
                if entry is None or entry.stage is _Stage.LEAVING:
                    continue
                self._forget(entry)
                self._generation += 1
                entry.start(offset, self._generation)
                generations[partition] = self._generation
        return generations

    def read_on_until(self, untils: Mapping[TopicPartition, int]) -> None:
        """See ``protocols.Source``."""
        with self._changed:
            self._read_on_until = {p: until for p, until in {**self._read_on_until, **untils}.items() if until > 0}

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """The loop has finished with revoked or lost partitions."""
        with self._changed:
            released = frozenset(partitions)
            for partition in released:
                entry = self._entries.get(partition)
                if entry is not None and entry.stage is _Stage.LEAVING:
                    self._drop([partition])
            self._unreleased -= released
            self._changed.notify_all()

    def is_revoking(self, partitions: Collection[TopicPartition]) -> bool:
        """Whether any of these is not, or not any more, owned without doubt. From any thread, without waiting."""
        return not self._owned.issuperset(partitions) or not self._unreleased.isdisjoint(partitions)

    def wait(self, timeout_s: float) -> None:
        """Wait for ``wake``, which new records and events call too."""
        self._waker.wait(timeout_s)

    def wake(self) -> None:
        """Wake the loop; callable from a signal handler."""
        self._waker.wake()

    def void(self) -> None:
        """Forget every assignment, and what happens to old ones, until ``renew``."""
        with self._changed:
            self._void = True
            self._events = [event for event in self._events if isinstance(event, Failed)]
            self._drop(tuple(self._entries))
            self._unreleased = frozenset()
            self._note_owned()
            self._changed.notify_all()

    def renew(self) -> None:
        """Assignments count again."""
        with self._changed:
            self._void = False

    # The source's own side ------------------------------------------------------------------------------------------

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions are ours; nothing is read before ``start``."""
        with self._changed:
            if self._void or not partitions:
                return
            self._drop(partitions)
            self._entries.update((partition, _Entry()) for partition in partitions)
            self._note_owned()
            self._events.append(Assigned(tuple(sorted(partitions))))
        self.wake()

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions are to be given up; what is buffered stays until ``release``."""
        self._leave(partitions, Revoked)

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions are ours no more."""
        self._leave(partitions, Lost)

    def unassigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that the loop itself gave up."""
        with self._changed:
            self._drop(partitions)
            self._note_owned()

    def wait_released(
        self, partitions: Iterable[TopicPartition], timeout_s: float, cancelled: Callable[[], bool]
    ) -> bool:
        """Wait until the loop has released these; return whether it has."""
        waited_for = frozenset(partitions)
        with self._changed:
            self._changed.wait_for(lambda: cancelled() or self._unreleased.isdisjoint(waited_for), timeout_s)
            return self._unreleased.isdisjoint(waited_for)

    def interrupt(self) -> None:
        """Have ``wait_released`` look again whether it is cancelled."""
        with self._changed:
            self._changed.notify_all()

    def reading(self, partition: TopicPartition, generation: int) -> None:
        """Records that are added from now on are of this start; ignored if a newer one is on its way."""
        with self._changed:
            entry = self._entries.get(partition)
            if entry is not None and entry.is_at(generation):
                entry.stage = _Stage.READING

    def add(self, partition: TopicPartition, run: Sequence[Message]) -> None:
        """Add records in offset order; those of partitions that are not being read are dropped."""
        with self._changed:
            if (entry := self._reading(partition)) is None:
                return
            before = len(entry.buffer)
            value_bytes = entry.buffer.append(run)
            records = len(entry.buffer) - before
            if records == 0:
                return
            self._usage.add(records, value_bytes)
        self.wake()

    def advance(self, partition: TopicPartition, offset: int) -> None:
        """Reading has come to an offset without a record: markers, gaps."""
        with self._changed:
            entry = self._reading(partition)
            if entry is None or not entry.buffer.advance(offset):
                return
        self.wake()

    def stop_reading(self, partition: TopicPartition) -> int | None:
        """Accept nothing more of a partition; return its position, or ``None`` if it was not being read."""
        with self._changed:
            if (entry := self._reading(partition)) is None:
                return None
            entry.stage = _Stage.STOPPED
            return entry.buffer.position

    def position_lost(self, partition: TopicPartition, *, truncated: bool, reason: str) -> None:
        """The broker does not have the position any more; nothing is read until the next ``start``."""
        offset = self.stop_reading(partition)
        if offset is not None:
            self._put(PositionLost(partition, offset, truncated, reason))

    def failed(self, error: Exception) -> None:
        """Something concerns the stream as a whole."""
        self._put(Failed(error))

    def is_assigned(self, partition: TopicPartition, generation: int) -> bool:
        """Whether this start of a partition is still wanted."""
        with self._changed:
            entry = self._entries.get(partition)
            return entry is not None and entry.is_at(generation)

    def position(self, partition: TopicPartition) -> int | None:
        """Where reading of a partition has come to, if it is being read."""
        with self._changed:
            entry = self._reading(partition)
            return None if entry is None else entry.buffer.position

    def positions(self) -> dict[TopicPartition, int]:
        """Where reading has come to, of all that are being read."""
        with self._changed:
            return {p: e.buffer.position for p, e in self._entries.items() if e.stage is _Stage.READING}

    def used(self) -> float:
        """How much of the limits is used; 1.0 is all of it."""
        return self._usage.used()

    def added(self) -> tuple[int, int]:
        """How many records and bytes were ever added."""
        return self._usage.added

    def room(self, times: int = 1) -> int:
        """How many more records fit into so many times the limits, going by the size of the last; 0 or less if full."""
        if self._reading_on():
            return self.limits.max_buffered_records
        return self._usage.room(times)

    def fill(self) -> Mapping[TopicPartition, float]:
        """For each partition being read: how much of its share of the limits is used; 1.0 is all of it."""
        with self._changed:
            reading = {p: entry.buffer for p, entry in self._entries.items() if entry.stage is _Stage.READING}
        read_on = self._reading_on()
        records = self.limits.max_buffered_records / max(len(reading), 1)
        value_bytes = self.limits.max_buffered_bytes / max(len(reading), 1)
        return {
            p: 0.0 if p in read_on else max(len(buffer) / records, buffer.value_bytes / value_bytes)
            for p, buffer in reading.items()
        }

    # -----------------------------------------------------------------------------------------------------------------

    def _reading_on(self) -> Collection[TopicPartition]:
        """The partitions that are being read and have not come to the end of what must be taken whole."""
        if not self._read_on_until:
            return ()
        with self._changed:
            return {
                p
                for p, until in self._read_on_until.items()
                if (entry := self._reading(p)) is not None and entry.buffer.position < until
            }

    def _reading(self, partition: TopicPartition) -> _Entry | None:
        entry = self._entries.get(partition)
        return entry if entry is not None and entry.stage is _Stage.READING else None

    def _put(self, event: SourceEvent) -> None:
        with self._changed:
            if self._void and not isinstance(event, Failed):
                return
            self._events.append(event)
        self.wake()

    def _leave(self, partitions: Sequence[TopicPartition], event: type[Revoked | Lost]) -> None:
        with self._changed:
            if self._void or not partitions:
                return
            for partition in partitions:
                if (entry := self._entries.get(partition)) is not None:
                    entry.stage = _Stage.LEAVING
            self._unreleased |= frozenset(partitions)
            self._note_owned()
            self._events.append(event(tuple(sorted(partitions))))
        self.wake()

    def _note_owned(self) -> None:
        self._owned = frozenset(p for p, entry in self._entries.items() if entry.stage is not _Stage.LEAVING)

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            if (entry := self._entries.pop(partition, None)) is not None:
                self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        self._usage.remove(len(entry.buffer), entry.buffer.value_bytes)
        entry.buffer = PartitionBuffer(entry.buffer.position)


__all__ = ["Inbox", "SourceLimits"]
