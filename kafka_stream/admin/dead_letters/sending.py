"""What a replay needs of Kafka: transactions that carry records and the replay's cursor, and fence each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kafka_stream.protocols import REPLAYED_FROM, DeadLetter, Header, Payload, Replay
from kafka_stream.types import TopicPartition

ANY_PARTITION = -1
"""The client chooses, by the key."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many letters of a replay were sent, and whether no more of them will be."""

    replay_id: str
    sent: int
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A letter on its way: where to, with its key, value and time, and one header more."""

    topic: str
    partition: int
    payload: Payload = field(repr=False)


class Sender(Protocol):
    """One command's transactions. After a ``TransientError`` or ``CommitOutcomeUnknown`` it takes over again."""

    def partitions(self, topics: Collection[str]) -> Mapping[str, int]:
        """How many partitions each of these topics has.

        Raises:
            TopicNotFound, NotAuthorized, BrokerUnavailable.
        """

    def take_over(self, at: TopicPartition) -> Cursor | None:
        """Fence every other sender of this stream, end what it had begun, and only then read the cursor.

        ``at`` is the partition that the cursor is an offset of. ``None`` if none was committed, or it has expired.
        """

    def send(
        self, records: Sequence[Record], cursor: Cursor, at: TopicPartition, before_commit: Callable[[], None]
    ) -> None:
        """Send these, in order, and move the cursor there, in one transaction; ``before_commit`` is called within it.

        Raises:
            CommandRefused: another sender has taken over, for good.
            CommitOutcomeUnknown: it may have been committed.
            TransientError, ProcessingError: nothing was committed.
        """

    def close(self) -> None:
        """Give the connections back."""


def cursor_partition(replay: Replay) -> TopicPartition:
    """The partition that a replay's cursor is an offset of."""
    return TopicPartition(replay.destination or replay.letters[0].topic, 0)


def destinations(replay: Replay) -> frozenset[str]:
    """The topics that a replay sends to."""
    return frozenset({replay.destination} if replay.destination else {one.topic for one in replay.letters})


def record_of(letter: DeadLetter, replay: Replay, partitions: Mapping[str, int]) -> Record:
    """What is sent for a letter.

    To the partition of the same number, so that what was in order stays so; by the key, where there is no such one.
    """
    topic, payload = replay.destination or letter.id.topic, letter.payload
    partition = letter.id.partition if letter.id.partition < partitions[topic] else ANY_PARTITION
    headers = (*payload.headers, _replayed_from(letter, replay))
    return Record(topic, partition, Payload(payload.key, payload.value, headers, payload.timestamp_ms))


def _replayed_from(letter: DeadLetter, replay: Replay) -> Header:
    where = letter.id
    told = {
        "topic": where.topic,
        "partition": where.partition,
        "offset": where.offset,
        "replay": replay.id,
        "attempts": letter.attempts,
        **({"topic_id": where.topic_id} if where.topic_id else {}),
    }
    return REPLAYED_FROM, json.dumps(told, separators=(",", ":")).encode()


__all__ = [
    "ANY_PARTITION",
    "REPLAYED_FROM",
    "Cursor",
    "Record",
    "Sender",
    "cursor_partition",
    "destinations",
    "record_of",
]
