"""The fetched and not yet taken records of one partition.

Confluent's ``Message`` objects are kept as they came: an object of our own per record would cost as much as
fetching it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice
from typing import TypeAlias

from confluent_kafka import Message

from kafka_stream.types import OffsetRange, TopicPartition


def offset_of(message: Message) -> int:
    """The offset of a consumed record, which always has one."""
    offset = message.offset()
    assert offset is not None
    return offset


def offset_after(message: Message) -> int:
    """The next offset to read, once a record was: the one place where an offset becomes the one after it."""
    return offset_of(message) + 1


def leader_epochs_of(
    ranges: Sequence[OffsetRange], records: Mapping[TopicPartition, Sequence[Message]]
) -> Mapping[TopicPartition, int]:
    """The epoch that each range's end was read under, where known: a later truncation is detected by it (KIP-320).

    It is that of the last record, if the range ends right after it. A marker, or an aborted record, in between may have
    been written under a newer one, which the client does not tell.
    """
    epochs = {}
    for r in ranges:
        if messages := records.get(r.topic_partition):
            epoch = messages[-1].leader_epoch()
            if epoch is not None and epoch >= 0 and offset_after(messages[-1]) == r.until_offset:
                epochs[r.topic_partition] = epoch
    return epochs


def count_before(messages: Sequence[Message], offset: int, records: int) -> int:
    """How many of the first ``records`` messages lie before an offset; a look or two where there is no gap."""
    if not records or offset_of(messages[records - 1]) < offset:
        return records
    if 0 <= (guess := offset - offset_of(messages[0])) < records and offset_of(messages[guess]) == offset:
        return guess
    return bisect_left(messages, offset, hi=records, key=offset_of)


_RUN_RECORDS = 250

Runs: TypeAlias = Sequence[tuple[int, int]]
"""Of consecutive records: how many, and the size of their values.

A record that was fetched a while ago has left the processor's caches, and to ask all of them for their length again
takes a good part of the time of fetching them.
"""


def _size_of_first(records: int, runs: Runs, messages: Sequence[Message]) -> int:
    seen = value_bytes = 0
    for run_records, run_bytes in runs:
        if seen + run_records > records:
            return value_bytes + sum(map(len, islice(messages, seen, records)))
        seen += run_records
        value_bytes += run_bytes
    return value_bytes


class BufferSnapshot:
    """What the planner sees of one partition (``protocols.Buffered``); valid until the next ``take`` of it.

    Records that arrive meanwhile are appended to the same list, behind what this snapshot counts.
    """

    __slots__ = ("_messages", "_runs", "position", "records", "value_bytes")

    def __init__(self, messages: Sequence[Message], runs: Runs, value_bytes: int, position: int) -> None:
        self._messages = messages
        self._runs = runs
        self.records = len(messages)
        self.value_bytes = value_bytes
        self.position = position

    def until_after(self, records: int) -> int:
        """The end of a range that holds the first ``records`` records; ``position`` if that is all of them."""
        return offset_of(self._messages[records]) if records < self.records else self.position

    def records_before(self, offset: int) -> int:
        """How many buffered records lie before that offset."""
        return count_before(self._messages, offset, self.records)

    def records_within(self, value_bytes: int) -> int:
        """How many records from the front fit in that many bytes, at least one if there is any."""
        if self.value_bytes <= value_bytes:
            return self.records
        fitting = 0
        for total in accumulate(map(len, islice(self._messages, self.records))):
            if total > value_bytes:
                break
            fitting += 1
        return max(fitting, 1)

    def value_bytes_of(self, records: int) -> int:
        """The size of the first ``records`` values, in bytes."""
        if records >= self.records:
            return self.value_bytes
        return _size_of_first(records, self._runs, self._messages)


class PartitionBuffer:
    """Records in offset order between ``start`` (the front) and ``position`` (where reading has come to).

    ``position`` may be past the last record: markers, aborted and compacted records leave gaps. Not thread-safe.
    """

    __slots__ = ("_messages", "_runs", "position", "start", "value_bytes")

    def __init__(self, offset: int) -> None:
        self.start = offset
        self.position = offset
        self.value_bytes = 0
        self._messages: list[Message] = []
        self._runs: list[tuple[int, int]] = []

    def __len__(self) -> int:
        """The number of records."""
        return len(self._messages)

    def append(self, run: Sequence[Message]) -> int:
        """Add records of this partition, in offset order; return the size of the values that were added, in bytes.

        Those before ``position`` were delivered already (or lie before the start) and are dropped.
        """
        if run and offset_of(run[0]) < self.position:
            run = run[bisect_left(run, self.position, key=offset_of) :]
        if not run:
            return 0
        added = sum(self._append_part(run[i : i + _RUN_RECORDS]) for i in range(0, len(run), _RUN_RECORDS))
        self.position = offset_after(run[-1])
        return added

    def _append_part(self, part: Sequence[Message]) -> int:
        added = sum(map(len, part))
        self._messages.extend(part)
        self.value_bytes += added
        records, value_bytes = len(part), added
        if self._runs and self._runs[-1][0] < _RUN_RECORDS:
            last = self._runs.pop()
            records, value_bytes = records + last[0], value_bytes + last[1]
        self._runs.append((records, value_bytes))
        return added

    def advance(self, offset: int) -> bool:
        """Reading has come to ``offset`` without a record; return whether that is further than before."""
        if offset <= self.position:
            return False
        self.position = offset
        return True

    def snapshot(self) -> BufferSnapshot:
        """What is buffered now."""
        return BufferSnapshot(self._messages, tuple(self._runs), self.value_bytes, self.position)

    def take(self, offsets: OffsetRange) -> Sequence[Message]:
        """Remove and return the records of a range.

        Raises:
            ValueError: the range does not begin at ``start``, or ends past ``position``.
        """
        if offsets.from_offset != self.start or offsets.until_offset > self.position:
            raise ValueError(f"cannot take {offsets}: what is buffered is [{self.start}, {self.position})")
        count = count_before(self._messages, offsets.until_offset, len(self._messages))
        if count == len(self._messages):
            taken, self._messages = self._messages, []
            self._runs, self.value_bytes = [], 0
        else:
            self._forget_first(count)
            taken = self._messages[:count]
            del self._messages[:count]
        self.start = offsets.until_offset
        return taken

    def _forget_first(self, records: int) -> None:
        value_bytes = _size_of_first(records, self._runs, self._messages)
        self.value_bytes -= value_bytes
        while records:
            run = self._runs.pop(0)
            if run[0] > records:
                self._runs.insert(0, (run[0] - records, run[1] - value_bytes))
                return
            records, value_bytes = records - run[0], value_bytes - run[1]


__all__ = ["BufferSnapshot", "PartitionBuffer", "count_before", "leader_epochs_of", "offset_after", "offset_of"]
