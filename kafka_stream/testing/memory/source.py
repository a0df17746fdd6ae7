"""The sources of a Kafka in memory. Everything happens under that Kafka's lock."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from confluent_kafka import Message

from kafka_stream.errors import BrokerUnavailable, KafkaStreamError, OwnershipLost, TopicNotFound
from kafka_stream.protocols import Buffered, Look, OffsetAt, OpenTransaction, SourceEvent, TopicInfo, WantedTopics
from kafka_stream.source.inbox import Inbox, SourceLimits
from kafka_stream.source.topic_watch import look_at
from kafka_stream.testing.memory.group import Logs, MemoryGroup
from kafka_stream.testing.memory.log import MemoryLog
from kafka_stream.types import OffsetRange, TopicPartition, is_before_all_records, timestamp_ms


class MemorySource:
    """The ``Source`` of a ``MemoryKafka``. It has no thread: it fetches when the loop looks."""

    def __init__(
        self, logs: Logs, lock: threading.RLock, group: MemoryGroup, topics: Sequence[str], limits: SourceLimits
    ) -> None:
        self.inbox = Inbox(limits)
        self._wanted = WantedTopics.of(topics)
        self.followed: Sequence[str] = self._wanted.named
        self.mark: str | None = None
        self._logs = logs
        self._lock = lock
        self._group = group
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._reading: set[TopicPartition] = set()
        self._looked_at: Mapping[TopicPartition, int] | None = None

    def open(self, timeout_s: float, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Leave the group, if any."""
        with self._lock:
            self.inbox.void()
            self._reading.clear()
            self._group.leave(self)

    def topics(self) -> Mapping[str, TopicInfo]:
        """The stream's topics as they are now."""
        with self._lock:
            return self._logs.topics(self._wanted.among(self._logs.topic_names()))

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime) -> Mapping[TopicPartition, int]:
        """The offset of each partition's end, or of its first record at or after a time (else its latest end)."""
        with self._lock:
            try:
                return {partition: _offset(self._logs.log(partition), at) for partition in partitions}
            except TopicNotFound as error:
                if self._wanted.patterns:  # as a topic that a pattern matches may be deleted at any time
                    raise BrokerUnavailable(f"{error} (or just deleted)") from error
                raise

    def ends_before(self, partitions: Sequence[TopicPartition], at: datetime) -> Mapping[TopicPartition, int]:
        """Where the records from before a time end, those of open transactions included."""
        with self._lock:
            return {partition: self._logs.log(partition).end_before(timestamp_ms(at)) for partition in partitions}

    def open_transactions(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, OpenTransaction]:
        """The transactions behind whose beginning these partitions' latest ends stay; none ends by itself."""
        with self._lock:
            found = {partition: self._logs.log(partition).first_open() for partition in partitions}
        return {partition: transaction for partition, transaction in found.items() if transaction is not None}

    def begin_look(self, positions: Mapping[TopicPartition, int]) -> None:
        """Have ``look`` answer the next time."""
        self._looked_at = positions

    def look(self) -> Look | None:
        """The topics and ends as they are now, if they were asked for."""
        if self._looked_at is None:
            return None
        positions, self._looked_at = self._looked_at, None
        return look_at(self.topics(), positions, self.offsets)

    def trouble(self) -> KafkaStreamError | None:
        """None: memory is there."""
        return None

    def cluster_id(self) -> str | None:
        """There is no cluster."""
        return None

    def group_metadata(self, partitions: Sequence[TopicPartition]) -> object | None:
        """A token for a membership; ``None`` outside a group."""
        with self._lock:
            if self not in self._group.members:
                return None
            if self.inbox.is_revoking(partitions):
                raise OwnershipLost(f"{', '.join(map(str, partitions))} were revoked or lost: the batch is dropped")
            return self._group

    def group_members(self) -> Sequence[str]:
        """Who is in the consumer group now."""
        with self._lock:
            members = enumerate(self._group.members, 1)
            return [f"{member.mark or f'member {number}'} on this process" for number, member in members]

    def introduce(self, mark: str) -> None:
        """See ``Source``."""
        self.mark = mark

    def follow(self, topics: Sequence[str]) -> None:
        """Have the group assign partitions of these topics only."""
        with self._lock:
            self.followed = tuple(topics)
            self._group.rebalance()

    def subscribe(self) -> None:
        """Join the consumer group; assignments come as events."""
        with self._lock:
            self._group.join(self)

    def rejoin(self) -> None:
        """Leave the group and join it again; all assignments are void."""
        with self._lock:
            self.inbox.void()
            self._reading.clear()
            self._group.leave(self)
            self.inbox.renew()
            self._group.join(self)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Own exactly these partitions, without a group."""
        with self._lock:
            wanted = frozenset(partitions)
            self._reading &= wanted
            self.inbox.unassigned(self._assigned - wanted)
            new = wanted - self._assigned
            self._assigned = wanted
            self.inbox.assigned(sorted(new))

    def start_reading(self, positions: Mapping[TopicPartition, tuple[int, int | None]]) -> None:
        """Start (or restart) reading assigned partitions at ``(offset, leader_epoch)``."""
        with self._lock:
            generations = self.inbox.start({partition: offset for partition, (offset, _) in positions.items()})
            for partition, generation in generations.items():
                offset, leader_epoch = positions[partition]
                self.inbox.reading(partition, generation)
                self._reading.add(partition)
                if leader_epoch is not None and self._diverges(partition, offset, leader_epoch):
                    self._lose_position(partition, truncated=True, reason="the log was truncated")

    def _diverges(self, partition: TopicPartition, offset: int, leader_epoch: int) -> bool:
        try:
            return self._logs.log(partition).diverges(offset, leader_epoch)
        except TopicNotFound:  # a client goes on asking
            return False

    def events(self) -> Sequence[SourceEvent]:
        """What happened since the last call, in order."""
        self._fetch()
        return self.inbox.events()

    def buffered(self) -> Mapping[TopicPartition, Buffered]:
        """A snapshot of the partitions that have come further than what was taken."""
        self._fetch()
        return self.inbox.buffered()

    def take(self, ranges: Sequence[OffsetRange]) -> Mapping[TopicPartition, Sequence[Message]]:
        """Remove and return the records of planned ranges."""
        return self.inbox.take(ranges)

    def read_on_until(self, untils: Mapping[TopicPartition, int]) -> None:
        """Do not hold these partitions back before they are read up to here."""
        self.inbox.read_on_until(untils)

    def publish_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Keep these as the group's committed offsets; see ``MemoryKafka.group_offsets``."""
        with self._lock:
            self._group.offsets.update(offsets)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """The loop has finished with revoked or lost partitions."""
        with self._lock:
            self._reading.difference_update(partitions)
            self.inbox.release(partitions)
            self._group.released(self, partitions)

    def is_revoking(self, partitions: Sequence[TopicPartition]) -> bool:
        """Whether any of these is being, or was, revoked or lost."""
        return self.inbox.is_revoking(partitions)

    def wait(self, timeout_s: float) -> None:
        """Return when there is new data or an event, when ``wake`` was called, or after the timeout."""
        self._fetch()
        self.inbox.wait(timeout_s)

    def wake(self) -> None:
        """Make ``wait`` return soon; callable from a signal handler."""
        self.inbox.wake()

    def _fetch(self) -> None:
        """Fill the buffers, each up to its share of the limits."""
        with self._lock:
            fill = self.inbox.fill()
            limits, sharing = self.inbox.limits, max(len(fill), 1)
            for partition in sorted(self._reading):
                position = self.inbox.position(partition)
                left = 1.0 - fill.get(partition, 1.0)
                if position is None:
                    continue
                try:
                    log = self._logs.log(partition)
                except TopicNotFound:  # created again with fewer: a client goes on asking
                    continue
                if not log.start <= position <= log.end:
                    self._lose_position(partition, truncated=False, reason="the offset is out of range")
                elif left > 0:
                    records = math.ceil(limits.max_buffered_records / sharing * left)
                    fetched, reached = log.fetch(
                        position, records, math.ceil(limits.max_buffered_bytes / sharing * left)
                    )
                    self.inbox.add(partition, fetched)
                    self.inbox.advance(partition, reached)

    def _lose_position(self, partition: TopicPartition, *, truncated: bool, reason: str) -> None:
        self._reading.discard(partition)
        self.inbox.position_lost(partition, truncated=truncated, reason=reason)


def _offset(log: MemoryLog, at: OffsetAt | datetime) -> int:
    if isinstance(at, datetime):
        if is_before_all_records(at):
            return log.start
        found = log.offset_at(timestamp_ms(at))
        return log.stable_end if found is None else found
    return {OffsetAt.EARLIEST: log.start, OffsetAt.LATEST: log.stable_end, OffsetAt.HIGH_WATERMARK: log.end}[at]


__all__ = ["MemorySource"]
