"""Records that were set aside: what is kept of each, and what a store does to keep them beside the offsets."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from kafka_stream.protocols.stores import OffsetStore, StoreTransaction
from kafka_stream.types import TopicPartition


def dead_letters_topic_of(stream: str) -> str:
    """The topic that a stream's dead letters go to, if its offsets are in Kafka and no other one is named."""
    return f"{stream}.dead-letters"


class LetterStatus(enum.StrEnum):
    """What has become of a dead letter."""

    WAITING = "waiting"
    REPLAYING = "replaying"
    """Part of a replay that has begun: perhaps sent already, and not to be touched by anybody else."""
    SENT = "sent"
    """In its own topic again. Where the order of keys is kept, its key waits until the stream has processed it."""
    REPLAYED = "replayed"
    DISCARDED = "discarded"


IN_FLIGHT = frozenset({LetterStatus.REPLAYING, LetterStatus.SENT})
"""The record of such a letter may be in its topic again."""

STILL_WAITING = frozenset({LetterStatus.WAITING, *IN_FLIGHT})
"""While a key has such letters, later records with that key join them, where its order is kept."""


class LetterId(NamedTuple):
    """Which record a dead letter is of.

    ``topic_id`` is Kafka's (KIP-516), empty where no broker gave one: a topic that was created again has other records
    at the same offsets.
    """

    topic: str
    topic_id: str
    partition: int
    offset: int

    @property
    def topic_partition(self) -> TopicPartition:
        """Where the record was."""
        return TopicPartition(self.topic, self.partition)

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


Header: TypeAlias = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Payload:
    """A record's bytes, as they were. Not shown: they are the user's.

    ``timestamp_type`` says whose the time is, as Kafka's clients name it: ``CreateTime`` or ``LogAppendTime``. A store
    may leave it out.
    """

    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: tuple[Header, ...] = field(default=(), repr=False)
    timestamp_ms: int | None = None
    timestamp_type: str | None = None


AFTER_ANOTHER = "after another"
"""In place of an error's type: nothing is wrong with the record, but one with the same key waits before it."""


@dataclass(frozen=True, slots=True)
class LetterError:
    """Why a record was set aside: the error's type by its full name, what it says, and the end of its traceback.

    ``type`` may be ``AFTER_ANOTHER``. ``message`` is one line; of what a database said the values are left out.
    """

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that was set aside, and why. ``attempts`` counts its failures: the first one, and replays in place."""

    stream: str
    id: LetterId
    payload: Payload
    error: LetterError
    code_version: str | None
    first_failed_at: datetime
    last_failed_at: datetime
    attempts: int = 1
    status: LetterStatus = LetterStatus.WAITING
    note: str | None = None
    changed_at: datetime | None = None


Key: TypeAlias = tuple[TopicPartition, bytes]
"""Whose order is kept: a record's key, within its partition."""


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters are meant; what is not given does not restrict. Times are of the first failure, half-open."""

    topic: str | None = None
    partition: int | None = None
    offsets: frozenset[int] | None = None
    key: bytes | None = None
    error_type: str | None = None
    statuses: frozenset[LetterStatus] | None = None
    since: datetime | None = None
    until: datetime | None = None

    def includes(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant; an error's type may be given with or without its module."""
        return (
            self.topic in (None, letter.id.topic)
            and self.partition in (None, letter.id.partition)
            and (self.offsets is None or letter.id.offset in self.offsets)
            and (self.key is None or letter.payload.key == self.key)
            and self.error_type in (None, letter.error.type, letter.error.type.rpartition(".")[2])
            and (self.statuses is None or letter.status in self.statuses)
            and (self.since is None or letter.first_failed_at >= self.since)
            and (self.until is None or letter.first_failed_at < self.until)
        )


EVERY_LETTER = LetterFilter()

REPLAYED_FROM = "kafka-stream.replayed-from"
"""The header that names where a replayed record comes from, as JSON: ``topic``, ``partition``, ``offset``, ``replay``
(its id), ``attempts`` (how often the record had failed), and ``topic_id`` where one is known."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Letters that are to be sent to a topic, in this order: a plan that is durable before the first is sent.

    ``destination`` is the topic; ``None`` sends each to its own. How many of them were sent is known from the offset
    that the Kafka transactions which sent them have committed (``kafka_stream.admin.replay``).
    """

    id: str
    destination: str | None
    letters: tuple[LetterId, ...]


class RescuingTransaction(StoreTransaction, Protocol):
    """A batch's transaction in which a part of the batch can be tried, and records be set aside."""

    def attempt(self) -> AbstractContextManager[None]:
        """What is written inside counts only if the block ends well: else it is undone, and the transaction goes on.

        What was written before the block stays. At its end all that the store can refuse before the commit has been
        asked for (deferred constraints), and is raised as if the block had. Blocks are not nested. An error that means
        that the transaction is lost comes through as it is: nothing is tried in it any more.

        Raises:
            SpoiledTransaction: what was written was refused in a way that takes the transaction with it.
        """

    def waiting_keys(self) -> Mapping[Key, int]:
        """The keys of letters that wait (``STILL_WAITING``), of the claim's partitions, and how many of each.

        As it is once the claim has succeeded: who replays in another transaction comes before or after. A record
        without a key waits for none.
        """

    def waiting_letters(self, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """The letters of these keys that wait. Asked for after ``waiting_keys``, where replayed records have come."""

    def replayed(self, letters: Collection[LetterId]) -> None:
        """With the batch these become ``REPLAYED``, as far as they are ``IN_FLIGHT``: their records are processed.

        Called once at most, before ``set_aside``.
        """

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these beside the batch's results. Called once, after all was written and before ``advance``.

        A letter of the same id (the stream was moved back) is replaced: it waits again, its first failure is kept and
        its attempts go up.

        Raises:
            ProcessingError: one cannot be kept here (it is too large); nothing is lost, since the batch stops.
        """


@runtime_checkable
class DeadLetterStore(OffsetStore[RescuingTransaction], Protocol):
    """A store that keeps dead letters in its batches' transactions, and lets operators' commands work on them.

    Raises as ``OffsetStore`` does. Reading creates nothing; what is not there is empty.
    """

    def blames_records(self, error: BaseException) -> bool:
        """Whether an error that came out of a handler may be about a record, by type and code.

        False for what the server says whatever the record is: a table, a column or a right is missing.
        """

    def letters(
        self, stream: str, wanted: LetterFilter = EVERY_LETTER, *, payloads: bool = True
    ) -> Iterator[DeadLetter]:
        """A stream's letters in the order of their ids, a page at a time.

        Without ``payloads`` values and headers are left empty; keys are there.
        """

    def mark_letters(
        self, stream: str, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None = None
    ) -> Sequence[LetterId]:
        """Those that are in status ``was`` change to ``now``, all of them or none; returns which these were, sorted.

        ``note`` replaces the note, if it is given.
        """

    def begin_replay(self, stream: str, replay: Replay) -> None:
        """Make a replay durable: its letters go from ``WAITING`` to ``REPLAYING``. May be repeated.

        Raises:
            CommandRefused: another one has begun and not ended, or a letter is not waiting; nothing was changed.
        """

    def replay_under_way(self, stream: str) -> Replay | None:
        """The replay that has begun and not ended; its letters in the order in which it was given."""

    def end_replay(
        self, stream: str, replay: Replay, sent: int, sent_are: LetterStatus = LetterStatus.REPLAYED
    ) -> None:
        """The first ``sent`` letters are ``sent_are`` now, those without a key ``REPLAYED``, and the others wait again.

        May be repeated. A letter that is not ``REPLAYING`` any more stays as it is.
        """


@runtime_checkable
class InPlaceStore(DeadLetterStore, Protocol):
    """A store in which a letter can be processed where it is: its result and its new status in one transaction."""

    def begin_letter(self, letter: DeadLetter) -> AbstractContextManager[StoreTransaction]:
        """A transaction that holds a letter which waits: ``advance`` makes it ``REPLAYED``, ``commit`` durable.

        Of two who begin the same letter one waits for the other, and then finds that it does not wait any more.

        Raises:
            CommandRefused: it does not wait (any more); nothing was written.
        """

    def letter_failed(self, letter: DeadLetter, error: LetterError, at: datetime) -> None:
        """It failed once more: the error is replaced, its attempts go up; it still waits.

        Nothing, if it does not wait any more.
        """


__all__ = [
    "AFTER_ANOTHER",
    "EVERY_LETTER",
    "IN_FLIGHT",
    "REPLAYED_FROM",
    "STILL_WAITING",
    "DeadLetter",
    "DeadLetterStore",
    "Header",
    "InPlaceStore",
    "Key",
    "LetterError",
    "LetterFilter",
    "LetterId",
    "LetterStatus",
    "Payload",
    "Replay",
    "RescuingTransaction",
    "dead_letters_topic_of",
]
