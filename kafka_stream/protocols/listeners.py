"""The port of a listener: what it is told about a stream's life."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from kafka_stream.types import Guarantee, OffsetRange, Owner, Phase, TopicPartition


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What a worker of an executor did: how many records, in how many seconds, reading and preparing them."""

    records: int
    busy_s: float

    def __add__(self, other: WorkerShare) -> WorkerShare:
        return WorkerShare(self.records + other.records, self.busy_s + other.busy_s)


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """One committed batch's report about itself. Durations are in seconds; ``lag`` is in offsets, after this batch.

    ``lag`` is ``None`` for a partition whose end is not known. ``bytes`` counts record values. ``attempt`` is the
    number of the attempt that went well, from 1; ``dead_letters`` counts those of the ``records`` that were set aside,
    ``duplicates`` those that a ``Deduplicate`` has kept back. ``workers`` are those of the stream's executor that read
    and prepared it, by name; ``prepare_s`` is then their time, divided by how many can be at work at once.
    ``fetch_s`` is what it took to take the records that clients had fetched before. ``times`` are the timestamps of
    each partition's first and last record, where they are known here: not where workers read them.
    """

    stream: str
    batch: int
    ranges: tuple[OffsetRange, ...]
    records: int
    bytes: int
    prepare_s: float
    claim_s: float
    write_s: float
    commit_s: float
    lag: Mapping[TopicPartition, int | None]
    guarantee: Guarantee
    committed_at: datetime
    attempt: int = 1
    dead_letters: int = 0
    duplicates: int = 0
    workers: Mapping[str, WorkerShare] = field(default_factory=dict)
    fetch_s: float = 0.0
    times: Mapping[TopicPartition, tuple[datetime, datetime]] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """From the start of ``prepare`` to the end of the commit."""
        return self.prepare_s + self.claim_s + self.write_s + self.commit_s


class Listener(Protocol):
    """Told about a stream's life, on the loop's thread. An error it raises is logged and changes nothing.

    Subclass ``kafka_stream.progress.StreamListener`` to implement only some methods.
    """

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """A batch has come to a named point. Called for every batch: keep it cheap.

        The next batch may be fetched while one is written and committed: ``ranges`` tell which one it is about.
        """

    def on_batch(self, progress: BatchProgress) -> None:
        """A batch was committed."""

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """The stream has opened its store and its source."""

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Partitions were taken over and are read from these offsets."""

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """A batch was dropped and is retried after a delay."""

    def on_released(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions that were taken over went to another member, or the group took them away."""

    def on_moved(self, partition: TopicPartition, from_offset: int, until_offset: int) -> None:
        """What was stored was gone, and it goes on at another offset, as ``on_data_loss`` says."""

    def on_settled(self, committed: bool) -> None:
        """The store was asked about a commit whose answer was lost: it had taken effect, or had not."""

    def on_pinned(self, pinned: Mapping[TopicPartition, datetime]) -> None:
        """Since when somebody's open transaction has kept what is behind it from us, if for a minute or longer.

        Told when it changes; empty: nothing is kept any more. It is ``status().pinned``.
        """

    def on_stop(self, error: BaseException | None) -> None:
        """The stream has stopped; with what stopped it, if it failed."""


@runtime_checkable
class OffsetMirror(Listener, Protocol):
    """A listener that has the stream's offsets written to its consumer group too, for others to look at."""

    def mirror_through(self, publish: Callable[[Mapping[TopicPartition, int]], None]) -> None:
        """Called when a run begins, before anything else, with its ``Source.publish_offsets``."""


__all__ = [
    "BatchProgress",
    "Listener",
    "OffsetMirror",
]
