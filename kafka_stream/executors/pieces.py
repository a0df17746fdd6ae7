"""Pure: the records of a slice, as they come, into pieces of a size: what is prepared at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.source.buffer import leader_epochs_of, offset_after
from kafka_stream.types import OffsetRange

_RECORD_BYTES = 100
"""What a record takes beside its value: tombstones fill a piece, too."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a slice that has records: all those of its range."""

    range: OffsetRange
    messages: Sequence[Message] = field(repr=False)
    value_bytes: int

    def batch(self) -> Batch:
        """What user code receives of it; a record that it rejects is remembered."""
        return Batch((self.range,), {self.range.topic_partition: self.messages}).for_attempt()

    @property
    def leader_epoch(self) -> int | None:
        """That of the last record, if the range ends right behind it."""
        partition = self.range.topic_partition
        return leader_epochs_of([self.range], {partition: self.messages}).get(partition)


class PieceCutter:
    """Pieces of one slice: their ranges follow each other and cover it, holes at its ends included.

    A piece takes at most ``piece_bytes``, or is one record; without them the whole slice is one. It is whole when the
    record behind it is known, or the slice's end: its range ends there.
    """

    def __init__(self, whole: OffsetRange, piece_bytes: int | None) -> None:
        self._whole = whole
        self._begin = whole.from_offset
        self._piece_bytes = piece_bytes
        self._messages: list[Message] = []
        self._value_bytes = 0

    def add(self, messages: Sequence[Message]) -> Iterator[Piece]:
        """The next records, in order; the pieces that are whole now."""
        sizes = list(map(len, messages))
        if self._piece_bytes is None or self._room() >= sum(sizes) + _RECORD_BYTES * len(sizes):
            self._keep(messages, sizes)
            return
        totals = list(accumulate(size + _RECORD_BYTES for size in sizes))
        start = 0
        while (fitting := self._fitting(totals, start)) < len(messages):
            self._keep(messages[start:fitting], sizes[start:fitting])
            if not self._messages:
                fitting += 1  # larger than a piece may be, and a piece of its own
                self._keep(messages[start:fitting], sizes[start:fitting])
                if fitting == len(messages):
                    return
            yield self._piece(offset_after(self._messages[-1]))
            start = fitting
        self._keep(messages[start:], sizes[start:])

    def finish(self) -> Iterator[Piece]:
        """The last piece, when there are no more records; none if the slice has none."""
        if self._messages:
            yield self._piece(self._whole.until_offset)

    def _room(self) -> int:
        """How many bytes the piece that is begun takes yet."""
        assert self._piece_bytes is not None
        return self._piece_bytes - self._value_bytes - _RECORD_BYTES * len(self._messages)

    def _fitting(self, totals: Sequence[int], start: int) -> int:
        """Where the first record stands that does not fit into the piece that is begun, from ``start`` on."""
        before = totals[start - 1] if start else 0
        return bisect_right(totals, before + self._room(), lo=start)

    def _keep(self, messages: Sequence[Message], sizes: Sequence[int]) -> None:
        self._messages += messages
        self._value_bytes += sum(sizes)

    def _piece(self, until: int) -> Piece:
        piece = Piece(OffsetRange(self._whole.topic_partition, self._begin, until), self._messages, self._value_bytes)
        self._begin, self._messages, self._value_bytes = until, [], 0
        return piece


__all__ = ["Piece", "PieceCutter"]
