"""What a worker of an executor gives of a sink's results: what it has, and what it gives, went through pickle."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kafka_stream.batch import Batch
from kafka_stream.protocols import ConvertingSink, Sink, workers_part
from kafka_stream.types import OffsetRange

_T = TypeVar("_T")


_SENT: dict[int, tuple[Sink, int, bytes]] = {}


def prepared_elsewhere(sink: Sink, given: Any) -> Any:
    """What a worker gives, which has nothing but what was sent to it; back where the sink is."""
    part = pickle.loads(_sent(sink))
    return pickle.loads(pickle.dumps(part.prepare(given)))


def _sent(sink: Sink) -> bytes:
    """Sent once for as long as there is nothing new."""
    changed = sink.work_changed if isinstance(sink, ConvertingSink) else 0
    of, known, part = _SENT.get(id(sink), (None, 0, b""))
    if of is not sink or known != changed:
        part = pickle.dumps(workers_part(sink))
        if len(_SENT) > 100:
            _SENT.clear()
        _SENT[id(sink)] = (sink, changed, part)
    return part


def halves(items: Sequence[_T]) -> list[Sequence[_T]]:
    """In two pieces, if there is anything in both."""
    middle = (len(items) + 1) // 2
    return [piece for piece in (items[:middle], items[middle:]) if piece]


def pieces_of(batch: Batch) -> list[Batch]:
    """In two of each partition's range, in their order; those without a record are left out."""
    pieces: list[Batch] = []
    for r in batch.ranges:
        for messages in halves(batch.records.get(r.topic_partition, ())):
            first, last = messages[0].offset(), messages[-1].offset()
            assert first is not None
            assert last is not None
            pieces.append(Batch((OffsetRange(r.topic_partition, first, last + 1),), {r.topic_partition: messages}))
    return pieces


@dataclass
class InTurn:
    """One batch is prepared here, the next one by a worker, the third by workers in pieces, and so on."""

    _number: int = 0

    def pieces(self, given: Any, cut: Callable[[Any], Sequence[Any]]) -> Sequence[Any]:
        """What the next batch is prepared and written in."""
        self._number = (self._number + 1) % 3
        return cut(given) if self._number == 0 else [given]

    def prepared(self, sink: Sink, piece: Any) -> Any:
        """What ``write`` is called with."""
        return sink.prepare(piece) if self._number == 1 else prepared_elsewhere(sink, piece)
