"""What a worker of an executor gives of a sink's results: what it has, and what it gives, went through pickle."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kafka_stream.batch import Batch
from kafka_stream.protocols import Sink, workers_part
from kafka_stream.types import OffsetRange

_T = TypeVar("_T")


def prepared_elsewhere(sink: Sink, given: Any) -> Any:
    """What a worker gives, which has nothing but what was sent to it; back where the sink is."""
    part = pickle.loads(pickle.dumps(workers_part(sink)))
    return pickle.loads(pickle.dumps(part.prepare(given)))


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

    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def prepared(self, sink: Sink, given: Any, cut: Callable[[Any], Sequence[Any]]) -> list[Any]:
        """What ``write`` is called with, one after the other."""
        number = next(self.numbers) % 3
        if number == 0:
            return [sink.prepare(given)]
        return [prepared_elsewhere(sink, piece) for piece in ([given] if number == 1 else cut(given))]
