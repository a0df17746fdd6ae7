"""The port of a source: one consumer, its events and its buffers."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from confluent_kafka import Message

from kafka_stream.errors import KafkaStreamError
from kafka_stream.types import OffsetRange, TopicPartition


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
class Look:
    """What the broker said about a stream's topics when it was asked.

    ``ends`` are the latest, empty where nobody answered about them; ``pinned`` are those up to which everything was
    read, and behind which an open transaction keeps something.
    """

    topics: Mapping[str, TopicInfo]
    ends: Mapping[TopicPartition, int]
    pinned: Mapping[TopicPartition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """What keeps a partition's end: the transaction that begins at ``offset``, with a record made at ``since``.

    ``since`` is ``None`` where the record could not be read in time. It ``hangs`` if it is older than brokers let one
    run: nothing but an operator ends it.
    """

    offset: int
    since: datetime | None
    hangs: bool


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

    All methods may be called from the loop's thread; only ``wake`` from any other. Nothing is ever committed to Kafka
    but what ``publish_offsets`` is given, and that is never read back. Records of a partition are delivered in offset
    order, each once per ``start_reading``, none that was aborted, none before the given offset.
    """

    def open(self, timeout_s: float, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Connect and start the consumer's thread.

        From now on nothing is waited for any more, for longer than a moment, once ``is_stopping`` says so.

        Raises:
            BrokerUnavailable: no broker answered within ``timeout_s``, or before the stop.
            NotAuthorized: it refused us.
        """

    def close(self) -> None:
        """Leave the group, if any, and end the thread. Never raises; may be called twice."""

    def topics(self) -> Mapping[str, TopicInfo]:
        """The stream's topics as the broker knows them now: those that are named, and those that patterns match.

        Raises:
            TopicNotFound: one that is named does not exist; the message names it.
            NotAuthorized: one may not be read.
            BrokerUnavailable: no answer.
        """

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime) -> Mapping[TopicPartition, int]:
        """The offset of each partition's end, or of its first record at or after a time (else its latest end).

        A fixed number of requests, whatever the number of partitions. Raises ``BrokerUnavailable``.
        """

    def ends_before(self, partitions: Sequence[TopicPartition], at: datetime) -> Mapping[TopicPartition, int]:
        """Where each partition's records from before a time end: the offset of the first at or after it, else its end.

        Records of open transactions count: whether those from before the time are ever to be read is not known yet.
        A fixed number of requests, whatever the number of partitions. Raises ``BrokerUnavailable``.
        """

    def open_transactions(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, OpenTransaction]:
        """The transactions behind whose beginning these partitions' latest ends stay; may take some seconds.

        Raises ``BrokerUnavailable``.
        """

    def begin_look(self, positions: Mapping[TopicPartition, int]) -> None:
        """Ask for the topics and the ends of partitions that are read up to here, unless it is being done.

        Returns at once; the answer ends a ``wait``.
        """

    def look(self) -> Look | None:
        """The answer that has come since the last call; ``None`` while there is none. Does not wait.

        Raises:
            TopicNotFound, NotAuthorized, BrokerUnavailable: it is this, in place of an answer.
        """

    def trouble(self) -> KafkaStreamError | None:
        """Why nothing can be read just now, as far as it is known without asking. From any thread."""

    def cluster_id(self) -> str | None:
        """The id of the cluster that is read; ``None`` where there is none. Raises ``BrokerUnavailable``."""

    def group_metadata(self, partitions: Sequence[TopicPartition]) -> object | None:
        """The membership under which these partitions are ours, for a transactional offset commit (KIP-447).

        Captured only while none of them is being, or was, revoked or lost: what is captured later would let a commit
        in that a rebalance should have fenced. ``None`` outside a group.

        Raises:
            OwnershipLost: one of them is being, or was, revoked or lost.
        """

    def read_on_until(self, untils: Mapping[TopicPartition, int]) -> None:
        """Do not hold these partitions back, however full the buffer is, before they are read up to here.

        For planned ranges, which are taken whole. Replaces what an earlier call said of a partition.
        """

    def group_members(self) -> Sequence[str]:
        """Who is in the consumer group now, as ``client id on host``; empty without a group.

        Raises ``BrokerUnavailable``.
        """

    def introduce(self, mark: str) -> None:
        """Let ``mark`` be seen by the group's other members, as the client id unless the user has given one.

        Called before ``subscribe``; again with the same mark after a failure.
        """

    def follow(self, topics: Sequence[str]) -> None:
        """Have the group assign partitions of these topics, and of no others, now or once it is joined.

        Called where patterns choose the topics, whenever others match; the starts of all of them are stored.
        """

    def subscribe(self) -> None:
        """Join the consumer group; assignments come as events. Raises ``BrokerUnavailable``."""

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

    def publish_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Have these committed as the group's offsets, soon, so that others see the lag: advice, not a promise.

        Returns at once and raises nothing; a failure is logged, once until it works again. Given up with a partition.
        """

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """The loop has finished with revoked or lost partitions: let the rebalance go on."""

    def is_revoking(self, partitions: Sequence[TopicPartition]) -> bool:
        """Whether any of these is being, or was, revoked or lost since it was assigned. From any thread."""

    def wait(self, timeout_s: float) -> None:
        """Return when there is new data or an event, when ``wake`` was called, or after the timeout."""

    def wake(self) -> None:
        """Make ``wait`` return soon. Callable from any thread and from a signal handler."""


__all__ = [
    "Assigned",
    "Buffered",
    "Failed",
    "Look",
    "Lost",
    "OffsetAt",
    "OpenTransaction",
    "PositionLost",
    "Revoked",
    "Source",
    "SourceEvent",
    "TopicInfo",
]
