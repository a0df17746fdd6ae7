"""Pure: whose turn it is, where the order of keys is kept and records of letters come again, by a replay.

For every key the results are in the order in which its records arrived first: a replayed record has the place of its
letter, a new one comes behind all letters, and a record goes on if none that waits comes before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from confluent_kafka import Message

from kafka_stream.failures.parts import RecordId, key_of, record_id
from kafka_stream.protocols import IN_FLIGHT, REPLAYED_FROM, Header, Key, LetterId, LetterStatus

Letters: TypeAlias = Mapping[Key, Mapping[LetterId, LetterStatus]]


@dataclass(frozen=True, slots=True)
class Turn:
    """What is decided of a batch's records with keys that wait, and by what: ``held`` keys, and letters ``returning``.

    ``waiting`` are the records whose turn it is not, ``passed`` those that go on nevertheless, ``origins`` which letter
    a replayed record is of.
    """

    held: frozenset[Key] = frozenset()
    returning: Letters = field(default_factory=dict)
    waiting: Mapping[RecordId, Message] = field(default_factory=dict)
    passed: frozenset[RecordId] = frozenset()
    origins: Mapping[RecordId, LetterId] = field(default_factory=dict)


NOBODY_WAITS = Turn()


def returning_keys(messages: Iterable[Message], waiting: Mapping[Key, int]) -> frozenset[Key]:
    """The keys that wait and have a replayed record among these."""
    return frozenset(key for m in messages if (key := key_of(m)) in waiting and key is not None and _is_replayed(m))


def turn_of(
    messages: Iterable[Message], waiting: Mapping[Key, int], letters: Letters, passed: frozenset[RecordId]
) -> Turn:
    """Whose turn it is among a batch's messages, by the keys that wait and what is known of their letters.

    Those that have ``passed`` are of a part of a batch of which it was decided as a whole.
    """
    concerned = [(key, m) for m in messages if (key := key_of(m)) is not None and key in waiting]
    if not concerned:
        return NOBODY_WAITS
    known = {key: letters[key] for key in returning_keys((m for _, m in concerned), waiting) if key in letters}
    left = {key: sorted(those) for key, those in known.items()}
    held_back: dict[RecordId, Message] = {}
    went_on: set[RecordId] = set()
    origins: dict[RecordId, LetterId] = {}
    for key, message in concerned:
        record, before = record_id(message), left.get(key)
        origin = _origin(message, known.get(key, {}))
        if origin is not None and origin not in origins.values():
            origins[record] = origin
        if record in passed or (before is not None and before == []):
            went_on.add(record)
        elif before and before[0] == origins.get(record):
            went_on.add(record)
            del before[0]
        else:
            held_back[record] = message
    return Turn(frozenset(key for key, _ in concerned), known, held_back, frozenset(went_on), origins)


def headers_of(message: Message) -> tuple[Header, ...]:
    """A message's headers, their values as bytes."""
    headers: Any = message.headers() or ()
    return tuple((name, value.encode() if isinstance(value, str) else value) for name, value in headers)


def _is_replayed(message: Message) -> bool:
    headers = headers_of(message)
    return bool(headers) and headers[-1][0] == REPLAYED_FROM


def _origin(message: Message, letters: Mapping[LetterId, LetterStatus]) -> LetterId | None:
    """Which of its key's letters a record is of: one that a replay may have sent, as the record's last header says."""
    if not _is_replayed(message):
        return None
    try:
        told = json.loads(headers_of(message)[-1][1] or b"")
        one = LetterId(told["topic"], told.get("topic_id", ""), told["partition"], told["offset"])
        return one if letters.get(one) in IN_FLIGHT else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # somebody else's header


__all__ = ["NOBODY_WAITS", "Letters", "Turn", "headers_of", "returning_keys", "turn_of"]
