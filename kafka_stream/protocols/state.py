"""What operators' commands need of a store that sinks keep state through: look at it, clear it as offsets move."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from kafka_stream.protocols.administration import Action, AdministeredStore, Decide
from kafka_stream.protocols.sinks import StateDescription, StatefulSink
from kafka_stream.types import TopicPartition


@dataclass(frozen=True, slots=True)
class StoredState:
    """A sink that has kept state, as it said of itself in its last batch.

    ``closed_until_us`` is how far its windows are closed, in microseconds since 1970. ``also_of`` are other streams
    whose sinks say that they keep theirs in the same table.
    """

    described: StateDescription
    closed_until_us: int | None
    changed_at: datetime
    also_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clearing:
    """What is cleared together with a change of offsets: what ``sinks`` keep, by themselves, and what others kept.

    Of ``partitions`` alone where it can be told what was made of which; everything else as a whole.
    """

    partitions: Sequence[TopicPartition]
    sinks: Sequence[StatefulSink] = ()


@dataclass(frozen=True, slots=True)
class EventTime:
    """How far a partition has come, for windows; all ``None`` where it had no record yet. Times in microseconds."""

    topic_partition: TopicPartition
    event_time_us: int | None = None
    watermark_us: int | None = None
    is_idle: bool = False
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OpenPane:
    """What is open from a time on: ``keys`` is how many rows; ``last_us`` is of sessions, their last record's time."""

    start_us: int
    keys: int
    last_us: int | None = None


@dataclass(frozen=True, slots=True)
class LateRecords:
    """How many records came late for a window."""

    start_us: int
    end_us: int
    late: int


@dataclass(frozen=True, slots=True)
class WindowsNow:
    """Where a sink's windows stand. ``partitions`` are all open ones of the stream, sorted.

    ``panes`` are the first of those that are open, and ``open_panes`` is how many there are; of sessions there is one
    for all, from the first one's start to the last one's last record. ``open_panes`` is ``None`` where it is not known
    where they are.
    """

    partitions: Sequence[EventTime]
    panes: Sequence[OpenPane]
    open_panes: int | None
    late: Sequence[LateRecords]


@runtime_checkable
class StateStore(AdministeredStore, Protocol):
    """A store through whose transactions sinks keep state that can be looked at. Raises as ``AdministeredStore``."""

    def states(self, stream: str) -> Sequence[StoredState]:
        """The register of a stream's sinks that keep state, by name. Reads only; empty where older code ran."""

    def state_rows(
        self, stream: str, described: StateDescription, partitions: Collection[TopicPartition] | None = None
    ) -> Mapping[str, int | None]:
        """How many rows each of its tables has, and ``None`` for one that is not there. Reads only.

        Of these partitions alone, where it can be told what was made of which.
        """

    def find_state(
        self, stream: str, described: StateDescription, key: Sequence[str], limit: int
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of a key, whose parts are as people write them, in the order of the table's key. Reads only.

        Raises:
            ConfigurationError: the table is not there, or a part is nothing that its column holds.
        """

    def find_seen(
        self, stream: str, described: StateDescription, hashes: Collection[bytes], text: str, limit: int
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of keys that have gone on, by their hashes; where there are none, by how people read them."""

    def windows_now(self, stream: str, described: StateDescription, limit: int) -> WindowsNow:
        """Where windows stand: ``limit`` of what is open, and of the latest windows with late records. Reads only."""

    def change_and_clear(
        self, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide, clearing: Clearing
    ) -> Mapping[str, int]:
        """As ``change``, and in its transaction clear what sinks keep; how many rows were deleted of each table.

        Nothing of the stream is in flight meanwhile on the ``partitions`` that ``decide`` is asked about: whoever
        clears what is not of some partitions alone names all open ones.

        Raises:
            CommandRefused: as ``change``; or other streams keep their state in one of the tables.
            StoreUnavailable: somebody has taken another partition over meanwhile; try again.
        """


def is_of_partitions(described: StateDescription) -> bool:
    """Whether it can be told of each of its rows what partition's records it was made of."""
    return described.kind == "seen" or described.details.get("scope") == "partition"


__all__ = [
    "Clearing",
    "EventTime",
    "LateRecords",
    "OpenPane",
    "StateStore",
    "StoredState",
    "WindowsNow",
    "is_of_partitions",
]
