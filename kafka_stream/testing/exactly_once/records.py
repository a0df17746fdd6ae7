"""What users give as records, as what is produced of them; it can be sent to another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message

from kafka_stream.types import TopicPartition

Given = bytes | str | Message | None
"""A value (``None`` is a tombstone), or a message with key, headers and topic."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record to produce. Each topic has one partition, so that the order of all records is one."""

    topic: str
    value: bytes | str | None
    key: bytes | str | None = None
    headers: tuple[tuple[str, bytes], ...] | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is, once it was produced."""

    topic_partition: TopicPartition
    offset: int

    def __str__(self) -> str:
        return f"{self.topic_partition}@{self.offset}"


def records_of(given: Sequence[Given], topics: Sequence[str]) -> list[Record]:
    """What is produced: values go to the first of the stream's topics, messages to their own.

    Raises:
        ValueError: there are none, or a message is of another topic than the stream's.
    """
    if not given:
        raise ValueError("there are no records to show anything with")
    found = [_record(one, topics[0]) for one in given]
    if strangers := sorted({record.topic for record in found} - set(topics)):
        raise ValueError(
            f"there are records of topic {strangers[0]!r}, which the stream does not read; its topics are "
            f"{', '.join(topics)}"
        )
    return found


def _record(given: Given, topic: str) -> Record:
    if not isinstance(given, Message):
        return Record(topic, given)
    kind, timestamp_ms = given.timestamp()
    headers: Any = given.headers()
    return Record(
        given.topic() or topic,
        given.value(),
        given.key(),
        None if headers is None else tuple((name, value or b"") for name, value in headers),
        timestamp_ms if kind else None,
    )


__all__ = ["Given", "Place", "Record", "records_of"]
