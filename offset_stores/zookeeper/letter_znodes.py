"""Pure: dead letters as znodes: their names, and the readable JSON in them.

    <chroot>/kafka_stream/<stream>/+letters/<topic>:<topic id>:<partition>:<offset>         the record and the error
    <chroot>/kafka_stream/<stream>/+letters/<topic>:<topic id>:<partition>:<offset>/state   what has become of it
    <chroot>/kafka_stream/<stream>/+replay                                                  the replay that has begun

A state is small, so that those of many letters can change in one request. Bytes are in base64.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from kafka_stream.offset_stores.zookeeper.znodes import escaped, fields_of, json_of, reading, unescaped
from kafka_stream.protocols import STILL_WAITING, DeadLetter, LetterError, LetterId, LetterStatus, Payload, Replay

STATE = "state"


def name_of(letter_id: LetterId) -> str:
    """A letter's znode, without those above it."""
    topic, topic_id, partition, offset = letter_id
    return f"{escaped(topic)}:{escaped(topic_id)}:{partition}:{offset}"


def ids_in(names: Iterable[str]) -> list[LetterId]:
    """The letters among the names of a folder's children, sorted."""
    found = []
    for name in names:
        topic, *parts = name.split(":")
        if len(parts) == 3 and all(each.isdecimal() for each in parts[1:]):
            found.append(LetterId(unescaped(topic), unescaped(parts[0]), int(parts[1]), int(parts[2])))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class State:
    """What has become of a letter, and what is looked for often."""

    status: LetterStatus
    key: bytes | None
    first_failed_at: datetime
    attempts: int
    changed_at: datetime
    note: str | None = None

    @property
    def waits(self) -> bool:
        """Whether later records with its key join it."""
        return self.status in STILL_WAITING

    def moved(self, status: LetterStatus, at: datetime, note: str | None = None) -> State:
        """The same letter in another status."""
        return replace(self, status=status, changed_at=at, note=note or self.note)

    def encoded(self) -> bytes:
        """As readable JSON."""
        return json_of(
            status=self.status,
            key=_text(self.key),
            first_failed_at=_iso(self.first_failed_at),
            attempts=self.attempts,
            changed_at=_iso(self.changed_at),
            note=self.note,
        )

    @classmethod
    def decoded(cls, data: bytes, path: str) -> State:
        """What was encoded; raises ``SchemaMismatch`` if it is something else."""
        with reading(path):
            found = fields_of(data)
            return cls(
                LetterStatus(found["status"]),
                _bytes(found.get("key")),
                datetime.fromisoformat(found["first_failed_at"]),
                int(found["attempts"]),
                datetime.fromisoformat(found["changed_at"]),
                found.get("note"),
            )


def state_of(letter: DeadLetter, before: State | None) -> State:
    """Of a letter that is set aside, perhaps once more: then its first failure is kept."""
    return State(
        LetterStatus.WAITING,
        letter.payload.key,
        letter.first_failed_at if before is None else before.first_failed_at,
        1 if before is None else before.attempts + 1,
        letter.last_failed_at,
    )


def encoded(letter: DeadLetter) -> bytes:
    """The record and the error as readable JSON."""
    payload, error = letter.payload, letter.error
    return json_of(
        value=_text(payload.value),
        headers=[[name, _text(value)] for name, value in payload.headers] or None,
        timestamp_ms=payload.timestamp_ms,
        error=error.type,
        message=error.message,
        traceback=error.traceback or None,
        code_version=letter.code_version,
        failed_at=_iso(letter.last_failed_at),
    )


def decoded(data: bytes, path: str, stream: str, letter_id: LetterId, state: State) -> DeadLetter:
    """What was encoded; raises ``SchemaMismatch`` if it is something else."""
    with reading(path):
        found = fields_of(data)
        headers = tuple((name, _bytes(value)) for name, value in found.get("headers", ()))
        return DeadLetter(
            stream=stream,
            id=letter_id,
            payload=Payload(state.key, _bytes(found.get("value")), headers, found.get("timestamp_ms")),
            error=LetterError(found["error"], found["message"], found.get("traceback", "")),
            code_version=found.get("code_version"),
            first_failed_at=state.first_failed_at,
            last_failed_at=datetime.fromisoformat(found["failed_at"]),
            attempts=state.attempts,
            status=state.status,
            note=state.note,
            changed_at=state.changed_at,
        )


def encoded_replay(replay: Replay) -> bytes:
    """A replay's plan as readable JSON."""
    return json_of(replay=replay.id, destination=replay.destination, letters=[list(one) for one in replay.letters])


def decoded_replay(data: bytes, path: str) -> Replay:
    """What was encoded; raises ``SchemaMismatch`` if it is something else."""
    with reading(path):
        found = fields_of(data)
        return Replay(found["replay"], found.get("destination"), tuple(LetterId(*one) for one in found["letters"]))


def without_traceback(letter: DeadLetter) -> DeadLetter:
    """The same letter, a little smaller."""
    return replace(letter, error=replace(letter.error, traceback=""))


def _text(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _bytes(text: Any) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


__all__ = [
    "STATE",
    "State",
    "decoded",
    "decoded_replay",
    "encoded",
    "encoded_replay",
    "ids_in",
    "name_of",
    "state_of",
    "without_traceback",
]
