"""Pure: dead letters, and what becomes of them, as the records of a topic.

A letter keeps its record's key, value and headers. Behind these come where it was and why it failed, under the names
that Spring for Apache Kafka and Kafka Connect use, so that their tools can read the topic, and what is ours alone. How
many headers were the record's own is kept with them: it may be a letter itself that somebody has sent on.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from confluent_kafka import Message

from kafka_stream.errors import SchemaMismatch
from kafka_stream.protocols import DeadLetter, Header, LetterError, LetterId, LetterStatus, Payload, Replay

_FORMAT = 1
_OURS = "kafka-stream."
_KIND, _STREAM, _VERSION = f"{_OURS}kind", f"{_OURS}stream", f"{_OURS}format"
_LETTER, _EVENT = b"letter", b"event"
_OWN_HEADERS, _TOPIC_ID = f"{_OURS}headers", f"{_OURS}topic-id"
_FAILED_AT, _CODE_VERSION = f"{_OURS}failed-at", f"{_OURS}code-version"
_SPRING, _CONNECT = "kafka_dlt-", "__connect.errors."
_TOPIC, _PARTITION, _OFFSET = (f"{_SPRING}original-{name}" for name in ("topic", "partition", "offset"))
_TIMESTAMP, _GROUP = f"{_SPRING}original-timestamp", f"{_SPRING}original-consumer-group"
_TIMESTAMP_TYPE = f"{_TIMESTAMP}-type"
_TYPE, _MESSAGE, _TRACEBACK = (f"{_SPRING}exception-{name}" for name in ("fqcn", "message", "stacktrace"))
_AT_ONCE = 2_000
"""Letters that one event names: below 1 MB with the longest names."""


class Record(NamedTuple):
    """What is produced."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


class Seen(NamedTuple):
    """A letter as somebody has seen it: ``at`` is the offset of its record. If it failed again since, it is another."""

    id: LetterId
    at: int


class Marked(NamedTuple):
    """Letters change from one status to another; ``event`` is a name that no other change has."""

    event: str
    letters: Sequence[Seen]
    was: LetterStatus
    now: LetterStatus
    note: str | None
    at: datetime


class ReplayBegun(NamedTuple):
    """A part of a replay's letters, of which ``left`` more parts come: with the last one it has begun."""

    event: str
    replay: str
    destination: str | None
    letters: Sequence[Seen]
    left: int
    at: datetime


class ReplayEnded(NamedTuple):
    """The first ``sent`` letters of a replay were sent."""

    event: str
    replay: str
    sent: int
    at: datetime
    sent_are: LetterStatus = LetterStatus.REPLAYED


Event = Marked | ReplayBegun | ReplayEnded
_KINDS: Mapping[str, type[Event]] = {"marked": Marked, "replay-begun": ReplayBegun, "replay-ended": ReplayEnded}


def record_of(letter: DeadLetter) -> Record:
    """A letter as a record."""
    payload = letter.payload
    return Record(payload.key, payload.value, (*payload.headers, *_headers(letter)))


def _headers(letter: DeadLetter) -> Iterator[Header]:
    (topic, topic_id, partition, offset), error = letter.id, letter.error
    yield _TOPIC, topic.encode()
    yield _PARTITION, struct.pack(">i", partition)
    yield _OFFSET, struct.pack(">q", offset)
    if letter.payload.timestamp_ms is not None:
        yield _TIMESTAMP, struct.pack(">q", letter.payload.timestamp_ms)
    if letter.payload.timestamp_type is not None:
        yield _TIMESTAMP_TYPE, letter.payload.timestamp_type.encode()
    yield _GROUP, letter.stream.encode()
    yield _TYPE, _bytes(error.type)
    yield _MESSAGE, _bytes(error.message)
    if error.traceback:
        yield _TRACEBACK, _bytes(error.traceback)
    yield f"{_CONNECT}topic", topic.encode()
    yield f"{_CONNECT}partition", str(partition).encode()
    yield f"{_CONNECT}offset", str(offset).encode()
    yield f"{_CONNECT}connector.name", letter.stream.encode()
    yield f"{_CONNECT}stage", b"TASK_PUT"
    yield f"{_CONNECT}exception.class.name", _bytes(error.type)
    yield f"{_CONNECT}exception.message", _bytes(error.message)
    if error.traceback:
        yield f"{_CONNECT}exception.stacktrace", _bytes(error.traceback)
    if topic_id:
        yield _TOPIC_ID, topic_id.encode()
    if letter.code_version is not None:
        yield _CODE_VERSION, _bytes(letter.code_version)
    yield _FAILED_AT, letter.last_failed_at.astimezone(UTC).isoformat().encode()
    yield _OWN_HEADERS, str(len(letter.payload.headers)).encode()
    yield from _marks(_LETTER, letter.stream)


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # a lone surrogate has no UTF-8


def _marks(kind: bytes, stream: str) -> Iterator[Header]:
    yield _STREAM, stream.encode()
    yield _KIND, kind
    yield _VERSION, str(_FORMAT).encode()


def decoded(message: Message, stream: str) -> DeadLetter | Event | None:
    """What a record tells of a stream; ``None`` if it is another's, or nobody's.

    Raises:
        SchemaMismatch: a later version of this library wrote it, or it is damaged.
    """
    headers: Any = message.headers() or []
    found: dict[str, bytes | None] = dict(headers)
    if found.get(_STREAM) != stream.encode() or found.get(_KIND) not in (_LETTER, _EVENT):
        return None
    if found.get(_VERSION) != str(_FORMAT).encode():
        raise SchemaMismatch(
            f"the record {message.topic()}[{message.partition()}]@{message.offset()} was written by another version of "
            f"this library (format {found.get(_VERSION)!r}, known here: {_FORMAT}); upgrade this one"
        )
    try:
        return _letter(message, headers, found, stream) if found[_KIND] == _LETTER else _event(message)
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise SchemaMismatch(
            f"the record {message.topic()}[{message.partition()}]@{message.offset()} is no dead letter that this "
            f"version can read ({type(error).__name__}: {error})"
        ) from error


def _letter(message: Message, headers: Sequence[Header], found: Mapping[str, Any], stream: str) -> DeadLetter:
    topic_id = found.get(_TOPIC_ID) or b""
    (partition,), (offset,) = struct.unpack(">i", found[_PARTITION]), struct.unpack(">q", found[_OFFSET])
    at = datetime.fromisoformat(found[_FAILED_AT].decode())
    timestamp, code_version, trace = found.get(_TIMESTAMP), found.get(_CODE_VERSION), found.get(_TRACEBACK) or b""
    own, timestamp_type = int(found[_OWN_HEADERS]), found.get(_TIMESTAMP_TYPE)
    return DeadLetter(
        stream=stream,
        id=LetterId(found[_TOPIC].decode(), topic_id.decode(), partition, offset),
        payload=Payload(
            message.key(),
            message.value(),
            tuple(headers[:own]),
            None if timestamp is None else struct.unpack(">q", timestamp)[0],
            None if timestamp_type is None else _text(timestamp_type),
        ),
        error=LetterError(_text(found[_TYPE]), _text(found[_MESSAGE]), _text(trace)),
        code_version=None if code_version is None else _text(code_version),
        first_failed_at=at,
        last_failed_at=at,
        changed_at=at,
    )


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def event_record(event: Event, stream: str) -> Record:
    """A change as a record."""
    kind = next(name for name, each in _KINDS.items() if isinstance(event, each))
    fields = {**event._asdict(), "at": event.at.astimezone(UTC).isoformat(), "kind": kind}
    if not isinstance(event, ReplayEnded):
        fields["letters"] = [[*each.id, each.at] for each in event.letters]
    value = json.dumps({name: each for name, each in fields.items() if each is not None}, separators=(",", ":"))
    return Record(None, value.encode(), tuple(_marks(_EVENT, stream)))


def _event(message: Message) -> Event:
    fields = json.loads(message.value() or b"")
    kind = _KINDS[fields.pop("kind")]
    fields["at"] = datetime.fromisoformat(fields["at"])
    if "letters" in fields:
        fields["letters"] = [Seen(LetterId(*each[:-1]), each[-1]) for each in fields["letters"]]
    if kind is Marked:
        changes = {name: LetterStatus(fields.pop(name)) for name in ("was", "now")}
        return Marked(**{"note": None, **fields, **changes})
    if kind is ReplayBegun:
        return ReplayBegun(**{"destination": None, **fields})
    return ReplayEnded(**{**fields, "sent_are": LetterStatus(fields.get("sent_are", LetterStatus.REPLAYED))})


def marking(event: str, letters: Sequence[Seen], was: LetterStatus, now: LetterStatus, note: str | None, at: datetime
) -> list[Event]:  # fmt: skip
    """Changes of one status, in as many events as they need."""
    return [Marked(event, part, was, now, note, at) for part in _parts(letters)]


def beginning(event: str, replay: Replay, letters: Sequence[Seen], at: datetime) -> list[Event]:
    """A replay's plan, in as many events as it needs; there is one also if it has no letters."""
    parts = _parts(letters) or [()]
    return [
        ReplayBegun(event, replay.id, replay.destination, part, len(parts) - 1 - number, at)
        for number, part in enumerate(parts)
    ]


def _parts(letters: Sequence[Seen]) -> list[Sequence[Seen]]:
    return [letters[begin : begin + _AT_ONCE] for begin in range(0, len(letters), _AT_ONCE)]


def without_traceback(letter: DeadLetter) -> DeadLetter:
    """The same letter, a little smaller."""
    return replace(letter, error=replace(letter.error, traceback=""))


__all__ = [
    "Event",
    "Marked",
    "Record",
    "ReplayBegun",
    "ReplayEnded",
    "Seen",
    "beginning",
    "decoded",
    "event_record",
    "marking",
    "record_of",
    "without_traceback",
]
