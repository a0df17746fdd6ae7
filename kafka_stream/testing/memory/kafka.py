"""A Kafka in memory, for tests of streams: ``DirectStream(kafka=MemoryKafka(), …)``."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import Message

from kafka_stream.errors import TopicNotFound
from kafka_stream.protocols import Slice, Source, TopicInfo, WhileWaiting
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.testing.memory.group import MemoryGroup
from kafka_stream.testing.memory.log import MemoryLog
from kafka_stream.testing.memory.source import MemorySource
from kafka_stream.types import OffsetRange, TopicPartition


class MemoryTransaction:
    """Records that are in the log and not yet visible; they pin the last stable offset until it ends."""

    def __init__(self, kafka: MemoryKafka, number: int) -> None:
        self._kafka = kafka
        self._number = number

    def produce(
        self, topic: str, value: bytes | str | None, *, partition: int = 0, timestamp_ms: int | None = None
    ) -> int:
        """Add a record; return its offset."""
        return self._kafka._append(  # noqa: SLF001 - its part
            topic, value, partition=partition, timestamp_ms=timestamp_ms, transaction=self._number
        )

    def commit(self) -> None:
        """Make the records visible; a marker takes one offset in each partition."""
        self._kafka._end(self._number, MemoryLog.commit)  # noqa: SLF001

    def abort(self) -> None:
        """End it; the records are never visible, and a marker takes one offset in each partition."""
        self._kafka._end(self._number, MemoryLog.abort)  # noqa: SLF001


class _Topic:
    def __init__(self, name: str, partitions: int) -> None:
        self.id = uuid.uuid4().hex
        self.logs = [MemoryLog(TopicPartition(name, number)) for number in range(partitions)]


class MemoryKafka:
    """Topics, transactions, retention and consumer groups in this process; thread-safe.

    ``source`` gives a source that keeps the same contract as the real one (``testing.source_contract``): committed
    records only, gaps, ends of partitions, groups. It serves the tests of handlers and of the loop; it is no broker:
    nothing is stored, and nothing times out.

    Example::

        kafka = MemoryKafka({"orders": 2})
        kafka.produce("orders", '{"id": 1}', key="1")
        stream.replace(kafka=kafka, store="sqlite:///test.db").run(until="latest")
    """

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        self._lock = threading.RLock()
        self._topics: dict[str, _Topic] = {}
        self._groups: dict[str, MemoryGroup] = {}
        self._sources: list[MemorySource] = []
        self._transactions = itertools.count()
        self._keyless = itertools.count()
        for name, partitions in (topics or {}).items():
            self.create_topic(name, partitions)

    # Topics ---------------------------------------------------------------------------------------------------------

    def create_topic(self, name: str, partitions: int = 1) -> str:
        """Create a topic; return its name."""
        with self._lock:
            if name in self._topics:
                raise ValueError(f"topic {name!r} exists already")
            self._topics[name] = _Topic(name, partitions)
            self._changed()
        return name

    def add_partitions(self, name: str, total: int) -> None:
        """Give a topic more partitions, ``total`` in all."""
        with self._lock:
            logs = self._topic(name).logs
            logs.extend(MemoryLog(TopicPartition(name, number)) for number in range(len(logs), total))
            self._changed()

    def delete_topic(self, name: str) -> None:
        """Delete a topic, with its records."""
        with self._lock:
            self._topic(name)
            del self._topics[name]
            self._changed()

    def recreate_topic(self, name: str, partitions: int | None = None) -> None:
        """Delete a topic and create it again under its name: empty, with another id."""
        with self._lock:
            before = self._topic(name)
            self._topics[name] = _Topic(name, partitions or len(before.logs))
            self._changed()

    # Records --------------------------------------------------------------------------------------------------------

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        timestamp_ms: int | None = None,
    ) -> int:
        """Append a record, visible at once; return its offset.

        Without ``partition`` the key decides, as librdkafka's default partitioner does; records without a key take
        turns. ``timestamp_ms`` is now if not given.
        """
        with self._lock:
            if partition is None:
                partition = self._partition_for(topic, key)
            return self._append(topic, value, partition=partition, key=key, headers=headers, timestamp_ms=timestamp_ms)

    def open_transaction(
        self, topic: str | None = None, values: Iterable[bytes | str | None] = (), *, partition: int = 0
    ) -> MemoryTransaction:
        """Begin a transaction, with some records if they are given; it stays open until it is committed or aborted."""
        transaction = MemoryTransaction(self, next(self._transactions))
        for value in values:
            assert topic is not None, "values go to a topic"
            transaction.produce(topic, value, partition=partition)
        return transaction

    def skip(self, topic: str, partition: int, offsets: int = 1) -> None:
        """Use up offsets without a record, as compaction and markers do."""
        with self._lock:
            self.log(TopicPartition(topic, partition)).skip(offsets)
            self._changed()

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Do what retention does: move the log's start to ``before_offset``."""
        with self._lock:
            self.log(TopicPartition(topic, partition)).delete_before(before_offset)
            self._changed()

    def elect_leader(self, topic: str, partition: int) -> None:
        """Do what a restart of the partition's broker does: nothing is lost, and the leader epoch grows."""
        with self._lock:
            self.log(TopicPartition(topic, partition)).elect_leader()
            self._changed()

    def truncate(self, topic: str, partition: int, from_offset: int) -> None:
        """Lose the tail of a log, as an unclean leader election does; the leader epoch grows."""
        with self._lock:
            self.log(TopicPartition(topic, partition)).truncate(from_offset)
            self._changed()

    # Reading --------------------------------------------------------------------------------------------------------

    def group_offsets(self, group_id: str) -> Mapping[TopicPartition, int]:
        """The committed offsets of a group: what a ``GroupOffsetMirror`` has published."""
        with self._lock:
            return dict(self._groups[group_id].offsets) if group_id in self._groups else {}

    def source(self, group_id: str, topics: Sequence[str], limits: SourceLimits) -> Source:
        """A source that reads these topics, in this group if it subscribes. What ``DirectStream`` calls."""
        with self._lock:
            group = self._groups.setdefault(group_id, MemoryGroup(self))
            source = MemorySource(self, self._lock, group, topics, limits)
            self._sources.append(source)
            return source

    def read(self, ranges: Sequence[OffsetRange], look: WhileWaiting) -> Mapping[TopicPartition, Sequence[Message]]:
        """All visible records of these ranges, as workers read them.

        Raises:
            PositionGone: the log does not have them.
        """
        return {r.topic_partition: self.read_slice(Slice(r)) for r in ranges}

    def read_slice(self, wanted: Slice) -> Sequence[Message]:
        """The visible records of one slice; raises as ``read``."""
        with self._lock:
            return self.log(wanted.range.topic_partition).read(wanted)

    def close(self) -> None:
        """Nothing to give back."""

    def topics(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        """These topics as they are now.

        Raises:
            TopicNotFound: one does not exist.
        """
        with self._lock:
            return {name: TopicInfo(len(self._topic(name).logs), self._topic(name).id) for name in names}

    def topic_names(self) -> Sequence[str]:
        """All topics that there are, sorted."""
        with self._lock:
            return sorted(self._topics)

    def log(self, partition: TopicPartition) -> MemoryLog:
        """One partition's log.

        Raises:
            TopicNotFound: the topic has no such partition.
        """
        logs = self._topic(partition.topic).logs
        if partition.partition >= len(logs):
            raise TopicNotFound(f"{partition} does not exist in this MemoryKafka; {partition.topic} has {len(logs)}")
        return logs[partition.partition]

    def partitions(self, names: Iterable[str]) -> Sequence[TopicPartition]:
        """All partitions of those of these topics that exist, sorted."""
        with self._lock:
            return [
                log.partition for name in sorted(set(names) & self._topics.keys()) for log in self._topics[name].logs
            ]

    # -----------------------------------------------------------------------------------------------------------------

    def _topic(self, name: str) -> _Topic:
        if name not in self._topics:
            raise TopicNotFound(
                f"topic {name!r} does not exist in this MemoryKafka; create_topic() it, or correct topics=[…]"
            )
        return self._topics[name]

    def _partition_for(self, topic: str, key: bytes | str | None) -> int:
        count = len(self._topic(topic).logs)
        if key is None:
            return next(self._keyless) % count
        return zlib.crc32(key.encode() if isinstance(key, str) else key) % count

    def _append(
        self,
        topic: str,
        value: bytes | str | None,
        *,
        partition: int,
        key: bytes | str | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        timestamp_ms: int | None = None,
        transaction: int | None = None,
    ) -> int:
        with self._lock:
            offset = self.log(TopicPartition(topic, partition)).append(
                value,
                key=key,
                headers=headers,
                timestamp_ms=time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms,
                transaction=transaction,
            )
            self._changed()
            return offset

    def _end(self, transaction: int, end: Callable[[MemoryLog, int], None]) -> None:
        with self._lock:
            for topic in self._topics.values():
                for log in topic.logs:
                    end(log, transaction)
            self._changed()

    def _changed(self) -> None:
        for group in self._groups.values():
            group.rebalance()
        for source in self._sources:
            source.wake()


__all__ = ["MemoryKafka", "MemoryTransaction"]
