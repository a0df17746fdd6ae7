"""One partition's log in memory: records, gaps, transactions, retention, leader epochs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from confluent_kafka import Message

from kafka_stream.protocols import OpenTransaction, PositionGone, PositionLost, Slice
from kafka_stream.source.buffer import offset_of
from kafka_stream.testing.messages import message
from kafka_stream.types import MAX_OFFSET, TopicPartition

LONGEST_TRANSACTION = timedelta(minutes=15)
"""As brokers have it by default."""


class MemoryLog:
    """What a broker keeps of one partition. Not thread-safe."""

    def __init__(self, partition: TopicPartition) -> None:
        self.partition = partition
        self.start = 0
        self.end = 0
        self._records: list[Message] = []
        self._aborted: set[int] = set()
        self._open: dict[int, list[int]] = {}
        self._epoch_starts = [0]

    @property
    def stable_end(self) -> int:
        """The last stable offset: where the first open transaction begins."""
        return min((offsets[0] for offsets in self._open.values() if offsets), default=self.end)

    @property
    def leader_epoch(self) -> int:
        """It grows when a leader is elected, also where the log's tail is replaced."""
        return len(self._epoch_starts) - 1

    def append(
        self,
        value: bytes | str | None,
        *,
        key: bytes | str | None,
        headers: Sequence[tuple[str, bytes]] | None,
        timestamp_ms: int,
        transaction: int | None = None,
    ) -> int:
        """Add a record, of an open transaction if one is given; return its offset."""
        offset = self.end
        self._records.append(
            message(
                value,
                key=key,
                topic=self.partition.topic,
                partition=self.partition.partition,
                offset=offset,
                headers=headers,
                timestamp_ms=timestamp_ms,
                leader_epoch=self.leader_epoch,
            )
        )
        if transaction is not None:
            self._open.setdefault(transaction, []).append(offset)
        self.end += 1
        return offset

    def skip(self, offsets: int) -> None:
        """Use up offsets without a record, as markers and compaction do."""
        self.end += offsets

    def commit(self, transaction: int) -> None:
        """End a transaction with a marker; its records are visible from now on."""
        if self._open.pop(transaction, None):
            self.skip(1)

    def abort(self, transaction: int) -> None:
        """End a transaction with a marker; its records are never visible."""
        if offsets := self._open.pop(transaction, None):
            self._aborted.update(offsets)
            self.skip(1)

    def first_open(self) -> OpenTransaction | None:
        """The open transaction that keeps the end; it hangs if it is older than brokers let one run."""
        offset = self.stable_end
        if offset == self.end:
            return None
        since = datetime.fromtimestamp(self._records[self._index(offset)].timestamp()[1] / 1000, UTC)
        return OpenTransaction(offset, since, hangs=datetime.now(UTC) - since > LONGEST_TRANSACTION)

    def delete_before(self, offset: int) -> None:
        """Move the log's start, as retention does."""
        self.start = max(self.start, min(offset, self.end))
        del self._records[: self._index(self.start)]

    def truncate(self, offset: int) -> None:
        """Lose the tail from ``offset`` on, as an unclean leader election does; what follows has a new leader epoch."""
        self.end = min(self.end, max(offset, self.start))
        del self._records[self._index(self.end) :]
        self.elect_leader()

    def elect_leader(self) -> None:
        """Have what follows a new leader epoch."""
        self._epoch_starts.append(self.end)

    def diverges(self, offset: int, leader_epoch: int) -> bool:
        """Whether what was read up to ``offset`` under that epoch has been replaced since (KIP-320)."""
        if leader_epoch > self.leader_epoch:
            return True
        return offset > min(self._epoch_starts[leader_epoch + 1 :], default=self.end)

    def fetch(self, position: int, records: int, value_bytes: int) -> tuple[list[Message], int]:
        """Visible records from ``position`` on, up to either limit, and where reading has come to with them."""
        end = self.stable_end
        fetched: list[Message] = []
        size = 0
        for index in range(self._index(position), len(self._records)):
            record = self._records[index]
            offset = offset_of(record)
            if offset >= end:
                break
            if len(fetched) >= records or size >= value_bytes:
                return fetched, offset
            if offset not in self._aborted:
                fetched.append(record)
                size += len(record)
        return fetched, end

    def read(self, wanted: Slice) -> list[Message]:
        """The visible records of a slice, as a worker reads it.

        Raises:
            PositionGone: they are not there, or not any more.
        """
        r = wanted.range
        truncated = wanted.leader_epoch is not None and self.diverges(r.from_offset, wanted.leader_epoch)
        if truncated or not self.start <= r.from_offset <= self.end or r.until_offset > self.end:
            lost = PositionLost(self.partition, r.from_offset, truncated, "the log does not have it")
            raise PositionGone(f"{r} cannot be read", lost=lost)
        fetched, _ = self.fetch(r.from_offset, len(r), MAX_OFFSET)
        return [record for record in fetched if offset_of(record) < r.until_offset]

    def offset_at(self, timestamp_ms: int) -> int | None:
        """The first stable record at or after a time."""
        for record in self._records:
            if record.timestamp()[1] >= timestamp_ms and offset_of(record) < self.stable_end:
                return offset_of(record)
        return None

    def end_before(self, timestamp_ms: int) -> int:
        """The first record at or after a time, of an open transaction or not; else the end."""
        later = (offset_of(record) for record in self._records if record.timestamp()[1] >= timestamp_ms)
        return next(later, self.end)

    def _index(self, offset: int) -> int:
        return bisect_left(self._records, offset, key=offset_of)


__all__ = ["MemoryLog"]
