"""The ports of sinks: what their writes are, and what they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from typing_extensions import TypeVar

from kafka_stream.types import OffsetRange, Owner, TopicPartition, Writes

TransactionT_contra = TypeVar("TransactionT_contra", contravariant=True, default=Any)
"""What ``write`` needs of a transaction; a store whose transaction has that, and perhaps more, will do."""


@runtime_checkable
class Sink(Protocol[TransactionT_contra]):
    """Where results go. A plain function ``write(prepared, transaction)`` counts as one through the transaction.

    Its type parameter is what ``write`` needs of the transaction: best a small ``Protocol`` of the sink's own (a sink
    imports no store), so that a type checker rejects a store without it. One that uses no transaction says ``object``.
    """

    @property
    def writes(self) -> Writes:
        """What the writes are; constant."""

    @property
    def needs(self) -> str | None:
        """The kind of transaction that ``write`` needs (``"sql"``, …), or ``None`` if it does not use it."""

    def describe(self) -> str:
        """Where the results go, for people; never holds a secret."""

    def prepare(self, prepared: Any) -> Any:
        """Turn what the user's ``prepare`` gave (or the batch) into what ``write`` takes; pure, may run again."""

    def write(self, prepared: Any, transaction: TransactionT_contra) -> None:
        """Write one batch's results. Never called with an empty batch. Raising rolls the batch back."""


@runtime_checkable
class OverlappingSink(Sink[TransactionT_contra], Protocol[TransactionT_contra]):
    """A sink that knows from where on a write is the server's work: the next batch is taken and prepared beside that.

    Beside any other sink's ``write`` that begins before it, and the write's own requests wait for the interpreter.
    """

    def write_overlapping(self, prepared: Any, transaction: TransactionT_contra, go_on: Callable[[], None]) -> None:
        """As ``write``; calls ``go_on`` on its way, which returns soon and raises nothing, and may be called again."""


class WorkersPart(Protocol):
    """What workers of an executor have of a sink; it can be pickled, and is not changed by what it does."""

    def prepare(self, prepared: Any) -> Any:
        """As the sink's ``prepare``; what it gives can be pickled, and the sink's ``write`` takes it."""


@runtime_checkable
class ConvertingSink(Sink[TransactionT_contra], Protocol[TransactionT_contra]):
    """A sink with a part of its own for an executor's workers; of any other sink, they get the sink itself, pickled.

    ``write`` is then called once for each part of a batch that a worker has prepared, in the order of partitions and
    offsets, in the batch's one transaction: to the sink, a part is as a batch of its own. What workers give holds as
    little as can be of what a failure is explained by: a ``ProcessingError`` of ``write`` about it has the batch
    prepared in the process that writes, by the sink itself, and written anew.
    """

    @property
    def work_changed(self) -> int:
        """Grows when ``for_workers`` would give something new, as after a first look at a table; only in ``write``.

        What older parts have given is taken as well.
        """

    def for_workers(self) -> WorkersPart:
        """The part for workers, with what is known by now."""


def workers_part(sink: Sink) -> WorkersPart:
    """What workers get of a sink, as things stand; it may still be that it cannot be pickled."""
    return sink.for_workers() if isinstance(sink, ConvertingSink) else sink


@runtime_checkable
class RangeSink(Sink[TransactionT_contra], Protocol[TransactionT_contra]):
    """A sink whose writes are ``IDEMPOTENT_BY_RANGE``: writing a range again replaces what it had written of it.

    The user's ``prepare`` and the sink's run once per partition that has records, on ``batch.partition(tp)``, so that
    a range's results depend on that range alone; ``write`` gets ``{range: prepared}``, and what it wrote is durable
    when it returns. A restart repeats exactly the ranges that were planned, whatever has changed meanwhile.
    """

    def take_over(self, stream: str, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
        """These partitions are ours: remove what older owners left unfinished; what is written from now is ours.

        Called after the store's takeover and before a record is read; may be repeated. Leaves finished ranges alone.

        Raises:
            SinkUnavailable: try again.
            ConfigurationError: it cannot be written to.
        """

    def discard(self, planned: OffsetRange) -> None:
        """Remove, durably, what may have been written of a planned range that will not be repeated."""


@runtime_checkable
class TickingSink(Sink[TransactionT_contra], Protocol[TransactionT_contra]):
    """A sink for which time passes also when no records come: windows that close, partitions that fall idle."""

    @property
    def tick_interval_s(self) -> float:
        """How often it wants to be called, in seconds; constant."""

    def tick(self, caught_up_s: Mapping[TopicPartition, float], transaction: TransactionT_contra) -> None:
        """Called between batches, about as often as it wants, and after each takeover, in a transaction of its own.

        That claims every owned partition and moves none, so that a fenced owner's does not commit. ``caught_up_s`` are
        the owned partitions of which nothing is unread as far as the broker has said, and for how many seconds that
        has been so. A tick that fails may be repeated, and is dropped where a stop runs out of time.
        """


@runtime_checkable
class FilteringSink(Sink[TransactionT_contra], Protocol[TransactionT_contra]):
    """A member of a list of sinks that decides in the transaction which records those behind it get."""

    def before(self, sinks: Sequence[Sink]) -> Sink:
        """One sink in place of this one and those behind it; called when the stream is built.

        Raises:
            ConfigurationError: one of them cannot be behind it.
        """


@runtime_checkable
class FilteredSink(Sink[TransactionT_contra], Protocol[TransactionT_contra]):
    """A sink that keeps records back from those behind it, such as a ``FilteringSink`` gives."""

    @property
    def duplicates(self) -> int:
        """How many records the last ``write`` that succeeded has kept back."""


@dataclass(frozen=True, slots=True)
class StateDescription:
    """What a sink keeps, for operators: ``kind`` is ``"merge"``, ``"state"``, ``"windows"`` or ``"seen"``.

    ``name`` tells a stream's sinks apart, ``table`` is where the rows are, with its schema, ``key`` names the key's
    columns; ``details`` are plain values, such as a window's length.
    """

    name: str
    kind: str
    table: str
    key: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class StatefulSink(Sink[TransactionT_contra], Protocol[TransactionT_contra]):
    """A sink whose results depend on what it wrote before: moving offsets does not take that back."""

    def states(self) -> Sequence[StateDescription]:
        """What it keeps, and what those sinks keep that it hands results on to; constant, without I/O."""

    def clear(self, transaction: TransactionT_contra, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
        """Delete what it keeps, as if no record had been read; how many rows were deleted of each table.

        Where it can tell what was made of which partition, of these ``partitions`` alone.
        """


__all__ = [
    "ConvertingSink",
    "FilteredSink",
    "FilteringSink",
    "OverlappingSink",
    "RangeSink",
    "Sink",
    "StateDescription",
    "StatefulSink",
    "TickingSink",
    "WorkersPart",
    "workers_part",
]
