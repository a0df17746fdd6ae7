"""A Kafka with transactions for replays, and letters to replay: for tests of what sends each of them once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kafka_stream.admin.dead_letters.sending import REPLAYED_FROM, Cursor, Record
from kafka_stream.errors import CommandRefused, CommitOutcomeUnknown, StoreUnavailable, TopicNotFound
from kafka_stream.protocols import DeadLetter, LetterError, LetterId, LetterStatus, Payload
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import TopicPartition

STREAM = "orders"
AT = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def letter(
    offset: int,
    partition: int = 0,
    *,
    topic: str = "orders",
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    error: str = "app.BadOrder",
    at: datetime = AT,
    status: LetterStatus = LetterStatus.WAITING,
) -> DeadLetter:
    """A record that could not be processed."""
    payload = Payload(key, value, (("trace", b"\x01\xff"), ("none", None)), 1_700_000_000_123)
    failure = LetterError(error, "no price", f"Traceback …\n{error}: no price")
    return DeadLetter(STREAM, LetterId(topic, "", partition, offset), payload, failure, "v7", at, at, status=status)


def keep(store: MemoryOffsetStore, letters: Sequence[DeadLetter]) -> None:
    """Have a store in memory keep these, as of a batch that has committed."""
    store.dead_letters.keep(letters)


def origin(record: Record) -> LetterId:
    """Which letter a sent record is of, by its last header."""
    told = _told(record)
    return LetterId(told["topic"], "", told["partition"], told["offset"])


def replay_id(record: Record) -> str:
    """Which replay has sent a record."""
    return str(_told(record)["replay"])


def _told(record: Record) -> dict[str, Any]:
    name, value = record.payload.headers[-1]
    assert name == REPLAYED_FROM
    assert value is not None
    found: dict[str, Any] = json.loads(value)
    return found


@dataclass
class ReplayKafka:
    """What is committed, and who may commit."""

    topics: dict[str, int] = field(default_factory=lambda: {"orders": 3, "elsewhere": 1})
    records: list[Record] = field(default_factory=list)
    offsets: dict[TopicPartition, Cursor] = field(default_factory=dict)
    epoch: int = 0
    faults: list[str] = field(default_factory=list)
    """What becomes of the next transactions: ``""``, ``"refused"``, ``"lost"``, ``"committed, and lost"``."""


class FakeSender:
    """Passes the steps of ``KafkaSender``."""

    def __init__(self, kafka: ReplayKafka) -> None:
        self._kafka = kafka
        self._epoch = -1
        self.closed = False

    def partitions(self, topics: Collection[str]) -> Mapping[str, int]:
        for name in topics:
            if name not in self._kafka.topics:
                raise TopicNotFound(f"topic {name!r} does not exist on memory; create it")
        return {name: self._kafka.topics[name] for name in topics}

    def take_over(self, at: TopicPartition) -> Cursor | None:
        self._kafka.epoch += 1
        self._epoch = self._kafka.epoch
        return self._kafka.offsets.get(at)

    def send(
        self, records: Sequence[Record], cursor: Cursor, at: TopicPartition, before_commit: Callable[[], None]
    ) -> None:
        self._refuse_fenced()
        before_commit()
        self._refuse_fenced()
        fault = self._kafka.faults.pop(0) if self._kafka.faults else ""
        if fault == "refused":
            raise StoreUnavailable("not this time")
        if fault != "lost":
            self._kafka.records += records
            self._kafka.offsets[at] = cursor
        if fault:
            raise CommitOutcomeUnknown("no answer came")

    def _refuse_fenced(self) -> None:
        if self._epoch != self._kafka.epoch:
            raise CommandRefused("another command has taken over")

    def close(self) -> None:
        self.closed = True
