"""What a batch comes to before it is written, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kafka_stream.batch import Batch
from kafka_stream.failures.letters import Rejection
from kafka_stream.failures.parts import RecordId
from kafka_stream.failures.turns import NOBODY_WAITS, Turn


@dataclass(frozen=True, slots=True)
class Results:
    """What each sink takes of the records of a batch that can be processed, and those that cannot.

    ``turn`` is what was decided of records with keys that were known to wait when it was prepared. ``pieces`` are what
    workers made of the batch, in order, each with a value for each sink, in place of ``values``; then none is rejected.
    """

    batch: Batch
    values: Sequence[Any] = ()
    rejections: Mapping[RecordId, Rejection] = field(default_factory=dict)
    turn: Turn = NOBODY_WAITS
    pieces: Sequence[Sequence[Any]] | None = None


Write: TypeAlias = Callable[[Results, Any], None]


@dataclass(frozen=True, slots=True)
class Writing:
    """How a processor writes a batch, or a part of it; what fails is a ``KafkaStreamError``.

    ``everywhere`` writes to all sinks, ``where_undone`` to those whose writes an attempt undoes, ``where_whole`` to the
    others, which keep whole ranges, if there are such. ``attempted`` and ``set_aside`` are told when that was done;
    ``duplicates`` tells how many records sinks have kept back of what was written last.
    """

    everywhere: Write
    where_undone: Write
    where_whole: Write | None
    attempted: Callable[[], None]
    set_aside: Callable[[], None]
    duplicates: Callable[[], int]


__all__ = ["Results", "Write", "Writing"]
