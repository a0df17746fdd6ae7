"""The port of an offset store and its transaction, with its promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from typing_extensions import TypeVar

from kafka_stream.errors import KafkaStreamError
from kafka_stream.types import Claim, Owner, StoredPosition, TopicPartition

TransactionT_co = TypeVar("TransactionT_co", covariant=True, default=Any)
"""What ``begin`` gives: a ``StoreTransaction`` through which results can be written too."""


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
class OffsetStore(Protocol[TransactionT_co]):
    """Where positions live, and whose transaction carries a batch's results. Used by one thread at a time.

    Its type parameter is the transaction that ``begin`` gives, so that a type checker rejects a sink that cannot write
    through it: ``begin`` names that class, not the port ``StoreTransaction``.

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
        raises ``StoreUnavailable`` naming the stored owner; ``PartitionsHeld``, where it can tell that others are free.

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

        A claim whose ``plan_kind`` is ``RANGE`` clears an outstanding plan of that kind with the move (its sink has
        discarded what it had written); any other plan is refused.

        Raises:
            OwnershipLost: the owner or epoch is not as in the claim, or a plan is outstanding; nothing was changed.
        """

    def plan(self, claim: Claim) -> None:
        """Make the claim's ranges durable as planned ranges of kind ``RANGE``, all or none, before the first write.

        Called only where ``capabilities.durable_plan``, with a claim of that ``plan_kind``. Succeeds for a partition
        if its ``next_offset`` equals ``from_offset``, owner and epoch are ours, it is open, and no plan is outstanding
        but this very one: so it may be repeated, also after a failure that does not tell whether it took effect.

        Raises:
            OwnershipLost, StreamClosed: somebody else owns a partition; nothing was changed.
            OutstandingPlan: another plan is stored; nothing was changed.
        """

    def begin(self, claim: Claim) -> AbstractContextManager[TransactionT_co]:
        """Open a transaction and claim every range in it, in sorted order, before anything else is written.

        The claim succeeds for a partition if its ``next_offset`` equals ``from_offset``, owner and epoch are ours, it
        is open and no plan is outstanding; then ``planned_until`` becomes ``until_offset``. A claim whose ``plan_kind``
        is ``RANGE`` succeeds only where its own range is the outstanding plan, of that kind.

        Raises:
            OwnershipLost, StreamClosed: some claim failed; nothing was written.
            OutstandingPlan: a planned range is stored that nobody committed; nothing was written.
        """

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        """What an exception that came out of a handler means to this store, by type and code, never by its text.

        A ``TransientError`` if the database gave the batch's transaction up (deadlock, serialization failure,
        connection lost); ``None`` if it is the handler's own, as are errors of any other connection. What it was raised
        ``from`` (``__cause__``) counts; what was being handled when it was raised (``__context__``) does not.
        """

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        """What is stored for a stream, closed partitions included. Reads only: creates no table, takes no lock.

        Empty if the stream, or the tables, do not exist.
        """


@runtime_checkable
class TellingStore(OffsetStore[TransactionT_co], Protocol[TransactionT_co]):
    """A store that knows errors whose texts hold what was to be written: rows, which do not belong in a log."""

    def tell(self, error: BaseException) -> str | None:
        """What such an error says, on one line and without any value of a row; ``None`` if it is another kind of error.

        The values are taken out of the error's own text as well, and out of all that led to it.
        """


@dataclass(frozen=True, slots=True)
class StreamBinding:
    """What a stream tells a store that lives in Kafka itself.

    ``kafka`` are librdkafka's settings, secrets included: for clients only, never for printing; empty where the source
    is no broker. ``shard`` is ``None`` for a member of the consumer group, else ``"static"`` or ``"static:0/4"``.
    ``dead_letters_topic`` is where records that fail go, ``None`` if the stream stops for them.
    """

    stream: str
    group_id: str
    kafka: Mapping[str, Any] = field(repr=False)
    shard: str | None
    dead_letters_topic: str | None = None


@runtime_checkable
class BoundStore(OffsetStore[TransactionT_co], Protocol[TransactionT_co]):
    """A store that must know its stream: its client settings, its group, and how partitions are assigned."""

    def bind(self, binding: StreamBinding) -> None:
        """Called without I/O when the stream is built, and again when a run starts, before ``open``.

        Raises:
            ConfigurationError: the stream cannot keep its offsets here.
        """

    def check_cluster(self, cluster_id: str | None) -> None:
        """Called after ``open`` with the id of the cluster that is read (``None`` where it is not known).

        Raises:
            ConfigurationError: it is another one than this store's.
        """

    def refresh(self, claim: Claim) -> None:
        """Called every few seconds between batches, with an empty range per owned partition: keep them from expiring.

        Raises as ``reposition`` does.
        """


@runtime_checkable
class WaitingStore(Protocol):
    """A store that can say what it waits for, so that a handler is not blamed for it."""

    def waits_for(self) -> tuple[str, float] | None:
        """Whose answer to which request is waited for, in words that follow "waits for", and for how many seconds.

        Called from any thread; does no I/O. ``None`` if the store waits for nothing.
        """


__all__ = [
    "BoundStore",
    "OffsetStore",
    "StoreCapabilities",
    "StoreTransaction",
    "StreamBinding",
    "TellingStore",
    "WaitingStore",
]
