"""The ports: what the one loop needs from stores, sinks, sources and listeners, each with its promise.

Adapters depend on this module; the engine depends on nothing else of theirs.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias, runtime_checkable

from confluent_kafka import Message

from kafka_stream.errors import KafkaStreamError
from kafka_stream.types import (
    Claim,
    Guarantee,
    OffsetRange,
    Owner,
    Phase,
    StoredPosition,
    TopicPartition,
    Writes,
)

# ---------------------------------------------------------------------------------------------------------------------
# Offset stores


@dataclass(frozen=True, slots=True)
class StoreCapabilities:
    """What a store offers; the guarantee is computed from it.

    ``transaction`` names the kind of transaction (``"sql"``, ``"kafka"``, ``"zookeeper"``), which a sink's ``needs``
    is compared with. ``compare_and_set`` is whether a claim is refused by the store itself. ``durable_plan`` is
    whether a planned range can be made durable before the first write.
    """

    transaction: str
    compare_and_set: bool
    durable_plan: bool


class StoreTransaction(Protocol):
    """One open transaction in which the claim has succeeded. Used by one thread, as a context manager.

    Leaving the ``with`` block without ``commit`` rolls everything back, the claim included, and gives the connection
    back clean. It never raises on the way out in place of the error that is under way.
    """

    def advance(self) -> None:
        """Move every claimed partition's ``next_offset`` to ``until_offset`` and clear its plan: the last statement.

        Raises:
            TransactionEscaped: the transaction in which the claim was made is not the current one any more: the
                handler committed it, rolled it back, or the database rolled it back behind the handler.
            OwnershipLost: the rows changed although the transaction is still ours.
            TransientError: the store did not answer or gave up the transaction.
        """

    def commit(self) -> None:
        """Make results and offsets durable. Called once, after ``advance``.

        Raises:
            CommitOutcomeUnknown: the connection broke while the commit was under way.
            TransientError: the store refused and rolled back (deadlock, serialization failure).
            ProcessingError: a deferred constraint failed.
        """


@runtime_checkable
class OffsetStore(Protocol):
    """Where positions live, and whose transaction carries a batch's results. Used by one thread at a time.

    Building one opens no connection. Every method may raise ``StoreUnavailable`` (retry), ``NotAuthorized`` or
    ``ConfigurationError`` (do not), with no password in the text. ``take_over``, ``reclaim`` and ``initialise`` may be
    called again after any failure.
    """

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store offers; constant, without I/O."""

    def describe(self) -> str:
        """Where the positions are, for people; never holds a secret."""

    def open(self) -> None:
        """Connect, refuse what cannot hold the promise (autocommit, wrong schema), create or verify tables.

        May be called again after a failure, and after ``close``.
        """

    def close(self) -> None:
        """Give all connections back. Never raises; may be called twice."""

    def is_started(self, stream: str, topic: str) -> bool:
        """Whether some owner has resolved ``start`` for this topic and it was not deleted since."""

    def initialise(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        """Durably store the start of **all** partitions of a topic, with a marker, unless the marker exists.

        The first caller wins, atomically; a later caller changes nothing. Partitions that have a row from before a
        delete are opened again at the new start, and their epochs grow.
        """

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Raise the epoch of every partition and make ``owner`` its owner; return what is stored **after** that.

        After it returns, no older owner can commit, however late it wakes up. A partition without a row is new: it is
        inserted at offset 0 (with ``topic_ids`` of its topic). It does not hang on a dead owner's locks: after a lock
        timeout of 1 s it ends the session that blocks it if that is an owner's, where the store can; otherwise it
        raises ``StoreUnavailable`` naming the stored owner.

        The returned positions carry a ``planned_until`` if one is outstanding; the caller decides what that means.

        Raises:
            StreamClosed: a partition is closed; nothing was changed.
        """

    def reclaim(self, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
        """Raise the epochs of a claim's partitions **if they are still this owner's**, and return what is stored.

        It waits for (or ends) the claim's own transaction, so it settles a ``CommitOutcomeUnknown``: a partition found
        at ``until_offset`` was committed, at ``from_offset`` it was not.

        Raises:
            OwnershipLost: some partition's owner or epoch is not as in the claim; nothing was changed.
        """

    def reposition(self, claim: Claim) -> None:
        """Move positions without any records: the user's ``on_data_loss`` choice.

        Every range of the claim goes from what is stored to ``until_offset`` (``from_offset`` is not looked at, since
        a move may go backwards: give an empty range), its leader epoch and topic id are replaced by the claim's.

        Raises:
            OwnershipLost: the owner or epoch is not as in the claim, or a plan is outstanding; nothing was changed.
        """

    def begin(self, claim: Claim) -> AbstractContextManager[StoreTransaction]:
        """Open a transaction and claim every range in it, in sorted order, before anything else is written.

        The claim succeeds for a partition if its ``next_offset`` equals ``from_offset``, owner and epoch are ours, it
        is open and no plan is outstanding; then ``planned_until`` becomes ``until_offset``.

        Raises:
            OwnershipLost, StreamClosed: some claim failed; nothing was written.
            OutstandingPlan: a planned range is stored that nobody committed; nothing was written.
        """

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        """What an exception that came out of a handler means to this store, by type and code, never by its text.

        A ``TransientError`` if the database gave the transaction up (deadlock, serialization failure, connection
        lost); ``None`` if it is the handler's own.
        """

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        """What is stored for a stream, closed partitions included. Reads only: creates no table, takes no lock.

        Empty if the stream, or the tables, do not exist.
        """


# ---------------------------------------------------------------------------------------------------------------------
# Sinks


@runtime_checkable
class Sink(Protocol):
    """Where results go. A plain function ``write(prepared, transaction)`` counts as one through the transaction."""

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

    def write(self, prepared: Any, transaction: Any) -> None:
        """Write one batch's results. Never called with an empty batch. Raising rolls the batch back."""


# ---------------------------------------------------------------------------------------------------------------------
# Sources


class OffsetAt(enum.StrEnum):
    """Which end of a partition's log: ``LATEST`` is the last stable offset, as read-committed readers see it."""

    EARLIEST = "earliest"
    LATEST = "latest"
    HIGH_WATERMARK = "high_watermark"


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What the broker says about a topic; ``topic_id`` is ``None`` where it gives none."""

    partitions: int
    topic_id: str | None


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions were assigned; they stay paused until ``start_reading`` gives their positions."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    """Partitions are to be given up; the group waits until ``release`` is called (or the source gives up waiting)."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """Partitions were lost: somebody else may own them already. Answered with ``release`` too."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The consumer reported an error that concerns the stream: a ``KafkaStreamError``, raised by the loop."""

    error: Exception


@dataclass(frozen=True, slots=True)
class PositionLost:
    """The broker does not have the position any more; the loop looks and raises the fitting ``DataLoss``.

    ``truncated`` is whether the broker said that the log diverged (leader epoch), rather than that the offset is out
    of range.
    """

    partition: TopicPartition
    offset: int
    truncated: bool
    reason: str


SourceEvent: TypeAlias = Assigned | Revoked | Lost | Failed | PositionLost


class Buffered(Protocol):
    """The fetched and not yet taken records of one partition, as the planner sees them: a snapshot."""

    @property
    def records(self) -> int:
        """How many records are buffered."""

    @property
    def value_bytes(self) -> int:
        """The size of their values, in bytes."""

    @property
    def position(self) -> int:
        """Where reading has come to: past the last record, and past markers and gaps that the broker reported."""

    def until_after(self, records: int) -> int:
        """The end of a range that holds the first ``records`` records; ``position`` if that is all of them."""

    def records_before(self, offset: int) -> int:
        """How many buffered records lie before that offset."""

    def records_within(self, value_bytes: int) -> int:
        """How many records from the front fit in that many bytes, at least one if there is any."""

    def value_bytes_of(self, records: int) -> int:
        """The size of the first ``records`` values, in bytes."""


class Source(Protocol):
    """One consumer, behind a thread of its own that keeps polling however long a batch takes.

    All methods may be called from the loop's thread; only ``wake`` from any other. Nothing is ever committed to
    Kafka. Records of a partition are delivered in offset order, each once per ``start_reading``, none that was
    aborted, none before the given offset.
    """

    def open(self, timeout_s: float) -> None:
        """Connect and start the consumer's thread.

        Raises:
            BrokerUnavailable: no broker answered within ``timeout_s``.
            NotAuthorized: it refused us.
        """

    def close(self) -> None:
        """Leave the group, if any, and end the thread. Never raises; may be called twice."""

    def topics(self) -> Mapping[str, TopicInfo]:
        """The stream's topics as the broker knows them now.

        Raises:
            TopicNotFound: one does not exist; the message names it.
            NotAuthorized: one may not be read.
            BrokerUnavailable: no answer.
        """

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime) -> Mapping[TopicPartition, int]:
        """The offset of each partition's end, or of its first record at or after a time (else its latest end).

        A fixed number of requests, whatever the number of partitions. Raises ``BrokerUnavailable``.
        """

    def group_members(self) -> Sequence[str]:
        """Who is in the consumer group now, as ``client id on host``; empty without a group.

        Raises ``BrokerUnavailable``.
        """

    def subscribe(self) -> None:
        """Join the consumer group; assignments come as events."""

    def rejoin(self) -> None:
        """Leave the group and join it again, after another owner has fenced us; all assignments are void."""

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Own exactly these partitions, without a group.

        Those that are new come back as an ``Assigned`` event.
        """

    def start_reading(self, positions: Mapping[TopicPartition, tuple[int, int | None]]) -> None:
        """Start (or restart) reading assigned partitions at ``(offset, leader_epoch)``; what was buffered is void.

        Partitions that are no longer assigned are ignored: positions loaded for an older assignment come too late.
        A leader epoch, where given, is checked against the log (KIP-320); a mismatch comes as ``PositionLost``.
        """

    def events(self) -> Sequence[SourceEvent]:
        """What happened since the last call, in order; does not wait."""

    def buffered(self) -> Mapping[TopicPartition, Buffered]:
        """A snapshot of the partitions being read whose ``position`` is past what was last taken or started at."""

    def take(self, ranges: Sequence[OffsetRange]) -> Mapping[TopicPartition, Sequence[Message]]:
        """Remove and return the records of planned ranges, each of which starts at the front of its buffer."""

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """The loop has finished with revoked or lost partitions: let the rebalance go on."""

    def is_revoking(self, partitions: Sequence[TopicPartition]) -> bool:
        """Whether any of these is being, or was, revoked or lost since it was assigned. From any thread."""

    def wait(self, timeout_s: float) -> None:
        """Return when there is new data or an event, when ``wake`` was called, or after the timeout."""

    def wake(self) -> None:
        """Make ``wait`` return soon. Callable from any thread and from a signal handler."""


# ---------------------------------------------------------------------------------------------------------------------
# Listeners


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """One committed batch's report about itself. Durations are in seconds; ``lag`` is in offsets, after this batch.

    ``lag`` is ``None`` for a partition whose end is not known. ``bytes`` counts record values.
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

    @property
    def duration_s(self) -> float:
        """From the start of ``prepare`` to the end of the commit."""
        return self.prepare_s + self.claim_s + self.write_s + self.commit_s


class Listener(Protocol):
    """Told about a stream's life, on the loop's thread. An error it raises is logged and changes nothing.

    Subclass ``kafka_stream.progress.StreamListener`` to implement only some methods.
    """

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """A batch has come to a named point. Called for every batch: keep it cheap."""

    def on_batch(self, progress: BatchProgress) -> None:
        """A batch was committed."""

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """The stream has opened its store and its source."""

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Partitions were taken over and are read from these offsets."""

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """A batch was dropped and is retried after a delay."""

    def on_stop(self, error: BaseException | None) -> None:
        """The stream has stopped; with what stopped it, if it failed."""


__all__ = [
    "Assigned",
    "BatchProgress",
    "Buffered",
    "Failed",
    "Listener",
    "Lost",
    "OffsetAt",
    "OffsetStore",
    "PositionLost",
    "Revoked",
    "Sink",
    "Source",
    "SourceEvent",
    "StoreCapabilities",
    "StoreTransaction",
    "TopicInfo",
]
