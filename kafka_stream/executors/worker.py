"""What a worker does with a task: read its slices, prepare them piece by piece, and send back what that gave."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from kafka_stream.batch import Batch
from kafka_stream.errors import FailedElsewhere
from kafka_stream.executors.packing import dumped, unpacked
from kafka_stream.executors.pieces import Piece
from kafka_stream.executors.preparation import EventLoops, Preparation
from kafka_stream.executors.slice_reader import SliceReader
from kafka_stream.protocols.causes import said
from kafka_stream.protocols.executors import Outcome, Slice, Work

_LOOPS = EventLoops()
_MOST_READERS = 4


def run(packed_work: bytes, slices: Sequence[Slice]) -> Outcome:
    """One task, in a worker's process, on any of its threads; what it keeps for the next one stays in the process.

    Raises:
        PositionGone: the broker does not have what is to be read.
        FailedElsewhere: user code failed, or rejected a record.
        ConfigurationError: the work cannot be loaded here, or what it gives cannot be sent back.
        TransientError: the broker does not answer.
        KafkaStreamError: a partition cannot be read on.
    """
    work = unpacked(packed_work)
    return outcome_of(work, slices, _READERS.of(work.stream, work.kafka))


def outcome_of(
    work: Work, slices: Sequence[Slice], reader: SliceReader, clock: Callable[[], float] = time.monotonic
) -> Outcome:
    """What the slices come to, read by this reader; raises as ``run`` does."""
    preparation = Preparation(work.prepare, work.sinks, work.by_range, _LOOPS)
    piece_bytes = None if any(work.by_range) else work.piece_bytes
    counts = [_Counts() for _ in slices]
    values: list[Sequence[Any]] = []
    started, prepare_s = clock(), 0.0
    for part, count in zip(slices, counts, strict=True):
        with closing(reader.read(part, piece_bytes)) as pieces:
            for piece in pieces:
                begun = clock()
                values.append(_prepared(preparation, piece.batch(), work.stream))
                prepare_s += clock() - begun
                count.add(piece)
    read_s = clock() - started - prepare_s
    return Outcome(
        records=[count.records for count in counts],
        value_bytes=[count.value_bytes for count in counts],
        leader_epochs=[count.leader_epoch for count in counts],
        values=dumped(values, f"prepare, or a sink's, of stream {work.stream!r}"),
        worker=worker_name(os.getpid()),
        read_s=read_s,
        prepare_s=prepare_s,
    )


@cache
def worker_name(pid: int) -> str:
    """What tells this process apart, for people."""
    return f"{socket.gethostname()}:{pid}"


@dataclass(slots=True)
class _Counts:
    """What is known of a slice."""

    records: int = 0
    value_bytes: int = 0
    leader_epoch: int | None = None

    def add(self, piece: Piece) -> None:
        self.records += len(piece.messages)
        self.value_bytes += piece.value_bytes
        self.leader_epoch = piece.leader_epoch


def _prepared(preparation: Preparation, batch: Batch, stream: str) -> Sequence[Any]:
    """What each sink takes of a piece; any failure of user code is the same one: the driver does it over."""
    where = f"on {batch.ranges[0]}, of stream {stream!r}"
    try:
        values = preparation.values(batch)
    except BaseException as error:  # it would end the worker, and tell nobody why
        raise FailedElsewhere(f"prepare failed in {worker_name(os.getpid())} {where}: {said(error)}") from error
    if batch.rejected:
        raise FailedElsewhere(f"prepare rejected {len(batch.rejected)} records in {worker_name(os.getpid())} {where}")
    return values


class _Readers:
    """The readers of this process: one for each stream and its Kafka settings, of the streams that it served last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: list[tuple[str, Mapping[str, Any], SliceReader]] = []

    def of(self, stream: str, kafka: Mapping[str, Any]) -> SliceReader:
        """The one that reads for a stream."""
        with self._lock:
            for place, (name, settings, found) in enumerate(self._kept):
                if name == stream and settings == kafka:
                    self._kept.append(self._kept.pop(place))
                    return found
            reader = SliceReader(kafka, str(kafka.get("group.id", stream)))
            self._kept.append((stream, kafka, reader))
            surplus = self._kept[:-_MOST_READERS]
            self._kept = self._kept[-_MOST_READERS:]
        for _, _, unused in surplus:
            unused.close()
        return reader


_READERS = _Readers()

__all__ = ["outcome_of", "run", "worker_name"]
