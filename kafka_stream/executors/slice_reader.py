"""Reading slices of partitions, on any thread: with consumers that are kept, and go on where they left off."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from confluent_kafka import Consumer

from kafka_stream.executors.partition_reader import (
    MakeConsumer,
    PartitionReader,
    look_at_nothing,
    slice_settings,
)
from kafka_stream.executors.pieces import Piece, PieceCutter
from kafka_stream.protocols.executors import Slice, WhileWaiting

_MOST_KEPT = 4
_FRESH_S = 2.0
"""How long what was fetched ahead is good for: of a log that was replaced meanwhile it would be the old one's."""


@dataclass(frozen=True, slots=True)
class _Kept:
    reader: PartitionReader
    since: float


class SliceReader:
    """Reads slices, read-committed. Building one connects to nothing; several threads may read at a time.

    ``kafka`` are librdkafka's settings, ``group_id`` the group that is named to the broker and not joined. A few
    consumers are kept: who reads on where the slice before ended goes on with what was fetched; one that failed is
    closed.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        group_id: str,
        make: MakeConsumer = Consumer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = slice_settings(kafka, group_id)
        self._make = make
        self._clock = clock
        self._lock = Lock()
        self._kept: list[_Kept] = []  # those that read last come last
        self._is_closed = False

    def read(self, part: Slice, piece_bytes: int | None, look: WhileWaiting = look_at_nothing) -> Generator[Piece]:
        """The records of a slice, in pieces that cover it, of so many bytes at most; all in one if ``None`` is given.

        A slice without a record has no piece. Whoever does not read to the end closes the iterator. ``look`` is called
        while the broker is waited for, and may raise.

        Raises:
            PositionGone: the broker does not have it any more.
            TransientError: the broker does not answer, or gave nothing for 30 s.
            ConfigurationError: it refuses, or a record is too large for the settings.
            KafkaStreamError: the partition cannot be read on.
        """
        reader = self._reader_for(part, look)
        try:
            cutter = PieceCutter(part.range, piece_bytes)
            for messages in reader.records(part.range.until_offset, look):
                yield from cutter.add(messages)
            yield from cutter.finish()
        except BaseException:  # one that was left amid a slice, too
            reader.close()
            raise
        self._keep(reader)

    def close(self) -> None:
        """Let all consumers go; those that read just now, when they have come to the end of their slice."""
        with self._lock:
            self._is_closed = True
            kept, self._kept = self._kept, []
        for one in kept:
            one.reader.close()

    def _reader_for(self, part: Slice, look: WhileWaiting) -> PartitionReader:
        """One that goes on, or begins, at the slice's first offset."""
        reader, goes_on = self._taken(part)
        if goes_on:
            return reader
        try:
            reader.start(part, look)
        except BaseException:
            reader.close()
            raise
        return reader

    def _taken(self, part: Slice) -> tuple[PartitionReader, bool]:
        """A reader that is nobody else's now, and whether it stands where the slice begins."""
        with self._lock:
            chosen = self._chosen(part)
            if chosen is not None:
                self._kept.remove(chosen)
        if chosen is None:
            return PartitionReader(self._settings, self._make, self._clock), False
        return chosen.reader, self._goes_on(chosen, part)

    def _chosen(self, part: Slice) -> _Kept | None:
        """That which goes on there; else one of the partition; else, if there are many, the one that rested longest."""
        for one in self._kept:
            if self._goes_on(one, part):
                return one
        of_partition = [one for one in self._kept if one.reader.partition == part.range.topic_partition]
        if of_partition:
            return of_partition[0]
        return self._kept[0] if len(self._kept) >= _MOST_KEPT else None

    def _goes_on(self, one: _Kept, part: Slice) -> bool:
        stands_there = (one.reader.partition, one.reader.position) == (
            part.range.topic_partition,
            part.range.from_offset,
        )
        return stands_there and self._clock() - one.since < _FRESH_S

    def _keep(self, reader: PartitionReader) -> None:
        with self._lock:
            self._kept.append(_Kept(reader, self._clock()))
            surplus = self._kept[:] if self._is_closed else self._kept[: max(0, len(self._kept) - _MOST_KEPT)]
            self._kept = self._kept[len(surplus) :]
        for one in surplus:
            one.reader.close()


__all__ = ["SliceReader"]
