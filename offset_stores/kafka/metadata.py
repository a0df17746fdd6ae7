"""What is kept beside each committed offset: our part of a position, as JSON in the offset's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.errors import ConfigurationError, SchemaMismatch
from kafka_stream.types import Owner, PlanKind, PositionState, StoredPosition, TopicPartition

VERSION = 1
_MARK = "kafka-stream"
_DELETED = "deleted"
_LONGEST = 4_000  # in bytes; brokers refuse about 4,096 (offset.metadata.max.bytes)
LONGEST_TEXT = 255
"""In characters, of each text that is stored for people only."""

_NO_EPOCH = -1

MARKS = 3
"""Of how many commands the marks are kept."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One partition's committed offset with all that we keep beside it.

    ``transactional_id`` is of the producer that committed it. ``started_with`` is how many partitions the topic had
    when the stream was started on it, so that an offset that has expired is told from a partition that is new.
    ``deleted`` is whether a closed position waits to be started again. ``marks`` are of the last commands that have
    changed it, newest first: whoever got no answer finds its own, or the one that was there before.
    """

    position: StoredPosition
    transactional_id: str | None = None
    started_with: int = 0
    deleted: bool = False
    marks: tuple[str, ...] = ()

    def marked(self, mark: str) -> Stored:
        """The same, changed by one command more."""
        return replace(self, marks=(mark, *self.marks)[:MARKS])

    @property
    def is_ours(self) -> bool:
        """Whether this library has committed it, rather than a plain consumer group."""
        return self.position.changed_at is not None


def encode(stored: Stored) -> str:
    """The metadata of one offset: compact JSON, without what is not known.

    Raises:
        ConfigurationError: it is longer than a broker takes.
    """
    position, owner = stored.position, stored.position.owner
    state = _DELETED if stored.deleted else position.state.value
    fields = {
        _MARK: VERSION,
        "epoch": position.owner_epoch,
        "owner": owner and owner.id,
        "host": owner and owner.host[:LONGEST_TEXT],
        "code_version": owner and owner.code_version and owner.code_version[:LONGEST_TEXT],
        "transactional_id": stored.transactional_id,
        "planned_until": position.planned_until,
        "plan_kind": position.plan_kind,
        "topic_id": position.topic_id,
        "started_with": stored.started_with or None,
        "marks": list(stored.marks) or None,
        "state": None if state == PositionState.OPEN else state,
        "state_reason": position.state_reason and position.state_reason[:LONGEST_TEXT],
        "changed_at": position.changed_at and position.changed_at.isoformat(),
    }
    known = {name: value for name, value in fields.items() if value is not None}
    text = json.dumps(known, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > _LONGEST:
        raise ConfigurationError(
            f"what is kept beside a committed offset takes {len(text.encode())} bytes, and Kafka stores up to 4,096: "
            "shorten the stream's name"
        )
    return text


def decode(topic_partition: TopicPartition, offset: int, leader_epoch: int | None, text: str | None) -> Stored:
    """What was stored; an offset that a plain consumer group has committed is a position nobody owns.

    Raises:
        SchemaMismatch: a later version of this library wrote it, or it is damaged.
    """
    fields = _ours(text)
    if fields is None:
        return Stored(StoredPosition(offset, 0, leader_epoch=leader_epoch))
    if fields[_MARK] != VERSION:
        raise SchemaMismatch(
            f"the committed offset of {topic_partition} was written by another version of this library (format "
            f"{fields[_MARK]!r}, known here: {VERSION}); upgrade this one"
        )
    try:
        return _from_fields(fields, offset, leader_epoch)
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaMismatch(
            f"the metadata of the committed offset of {topic_partition} is damaged ({error}); commit the offset again "
            "without metadata, with Kafka's own tools"
        ) from error


def _ours(text: str | None) -> dict[str, Any] | None:
    if not text or not text.startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return fields if _MARK in fields else None


def _from_fields(fields: dict[str, Any], offset: int, leader_epoch: int | None) -> Stored:
    owner = None
    if (owner_id := fields.get("owner")) is not None:
        owner = Owner(owner_id, fields["host"], fields.get("code_version"))
    plan_kind, changed_at = fields.get("plan_kind"), fields.get("changed_at")
    state = fields.get("state", PositionState.OPEN)
    position = StoredPosition(
        next_offset=offset,
        owner_epoch=int(fields["epoch"]),
        owner=owner,
        planned_until=fields.get("planned_until"),
        plan_kind=plan_kind and PlanKind(plan_kind),
        leader_epoch=leader_epoch,
        topic_id=fields.get("topic_id"),
        state=PositionState.CLOSED if state == _DELETED else PositionState(state),
        state_reason=fields.get("state_reason"),
        changed_at=changed_at and datetime.fromisoformat(changed_at),
    )
    marks = tuple(map(str, fields.get("marks", ())))
    return Stored(position, fields.get("transactional_id"), fields.get("started_with", 0), state == _DELETED, marks)


def client_offsets(stored: Mapping[TopicPartition, Stored]) -> Sequence[ClientTopicPartition]:
    """Positions as offsets to commit."""
    return [
        ClientTopicPartition(
            tp.topic,
            tp.partition,
            each.position.next_offset,
            encode(each),
            _NO_EPOCH if each.position.leader_epoch is None else each.position.leader_epoch,
        )
        for tp, each in stored.items()
    ]


__all__ = ["LONGEST_TEXT", "MARKS", "Stored", "client_offsets", "decode", "encode"]
