"""Pure: dead letters, counts and plans as rows: exact ones for programs, short ones for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from kafka_stream.cli.offsets.rows import Row, ago, iso, when

if TYPE_CHECKING:
    from kafka_stream.admin.dead_letters.counting import LetterCount
    from kafka_stream.admin.dead_letters.in_place import Attempted
    from kafka_stream.protocols import DeadLetter, LetterId

LIST_FIELDS = (
    *("topic", "partition", "offset", "key", "status", "error", "message", "attempts", "first_failed_at"),
    *("last_failed_at", "changed_at", "code_version", "note", "topic_id"),
)
STATS_FIELDS = ("topic", "partition", "error", "status", "letters", "oldest", "newest")
PLAN_FIELDS = ("topic", "partition", "letters", "first_offset", "last_offset")
REPLAY_FIELDS = (*PLAN_FIELDS, "to")
IN_PLACE_FIELDS = ("topic", "partition", "offset", "key", "outcome", "error", "message")
"""The keys of each kind of row, in order: those of JSON's objects, and the header of CSV."""

LESS_IMPORTANT_OF_LETTERS = (
    *("topic_id", "code_version", "changed", "last_failed", "note", "attempts", "message", "key", "failed"),
)
LESS_IMPORTANT_OF_STATS = ("newest", "oldest")
LESS_IMPORTANT_OF_PLANS = ("last_offset", "first_offset")
LESS_IMPORTANT_IN_PLACE = ("message", "key")
"""What a narrow terminal is spared, the first one first."""

_LONGEST_KEY = 24
_LONGEST_MESSAGE = 60
_SHORT_ID = 8


def letter_row(letter: DeadLetter) -> Row:
    """What is known of a letter, but for payload and traceback; ``key`` is as ``--key`` takes it."""
    from kafka_stream.admin.dead_letters.words import key_text

    where = letter.id
    return {
        "topic": where.topic,
        "partition": where.partition,
        "offset": where.offset,
        "key": key_text(letter.payload.key),
        "status": str(letter.status),
        "error": letter.error.type,
        "message": letter.error.message,
        "attempts": letter.attempts,
        "first_failed_at": iso(letter.first_failed_at),
        "last_failed_at": iso(letter.last_failed_at),
        "changed_at": iso(letter.changed_at),
        "code_version": letter.code_version,
        "note": letter.note,
        "topic_id": where.topic_id or None,
    }


def letter_for_people(letter: DeadLetter, now: datetime) -> Row:
    """The same in few columns: long texts cut, what is as usual left out, and how long ago it was."""
    row = dict(letter_row(letter))
    failed, again = row.pop("first_failed_at"), row.pop("last_failed_at")
    changed, first = row.pop("changed_at"), letter.first_failed_at
    row["key"] = _cut(row["key"], _LONGEST_KEY)
    row["error"] = _short_type(letter.error.type)
    row["message"] = _cut(letter.error.message, _LONGEST_MESSAGE)
    row["note"] = _cut(letter.note, _LONGEST_MESSAGE)
    row["attempts"] = letter.attempts if letter.attempts > 1 else None
    row["topic_id"] = letter.id.topic_id[:_SHORT_ID] or None
    row["failed"] = ago(first, now)
    row["last_failed"] = None if again == failed else ago(letter.last_failed_at, now)
    row["changed"] = None if changed in (failed, again) else ago(letter.changed_at, now)
    return row


def count_row(count: LetterCount) -> Row:
    """Letters of one kind; ``oldest`` and ``newest`` are first failures."""
    kind = count.kind
    return {
        "topic": kind.topic,
        "partition": kind.partition,
        "error": kind.error,
        "status": str(kind.status),
        "letters": count.letters,
        "oldest": iso(count.oldest),
        "newest": iso(count.newest),
    }


def count_for_people(count: LetterCount) -> Row:
    """The same with times to the second, and the error's type without its module."""
    return {
        **count_row(count),
        "error": _short_type(count.kind.error),
        "oldest": when(count.oldest),
        "newest": when(count.newest),
    }


def plan_rows(letters: Sequence[LetterId]) -> list[Row]:
    """How many letters of each partition a command is about, from which offset to which."""
    from kafka_stream.admin.dead_letters.selection import by_partition

    return [
        {
            "topic": each.topic_partition.topic,
            "partition": each.topic_partition.partition,
            "letters": each.letters,
            "first_offset": each.first_offset,
            "last_offset": each.last_offset,
        }
        for each in by_partition(letters)
    ]


def replay_rows(letters: Sequence[LetterId], destination: str | None) -> list[Row]:
    """The same, with the topic that they go to."""
    return [{**row, "to": destination or row["topic"]} for row in plan_rows(letters)]


def in_place_row(attempted: Attempted) -> Row:
    """What became of a letter."""
    row, error = letter_row(attempted.letter), attempted.error
    return {
        **{name: row[name] for name in ("topic", "partition", "offset", "key")},
        "outcome": str(attempted.outcome),
        "error": error and error.type,
        "message": error and error.message,
    }


def in_place_for_people(attempted: Attempted) -> Row:
    """The same in short."""
    row, error = in_place_row(attempted), attempted.error
    short = {"key": _cut(row["key"], _LONGEST_KEY), "error": error and _short_type(error.type)}
    return {**row, **short, "message": error and _cut(error.message, _LONGEST_MESSAGE)}


def _short_type(name: str) -> str:
    return name.rpartition(".")[2]


def _cut(text: str | None, longest: int) -> str | None:
    from kafka_stream.admin.dead_letters.words import printable

    if text is None:
        return None
    shown = printable(" ".join(text.split()) if text.strip() else text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


__all__ = [
    "IN_PLACE_FIELDS",
    "LESS_IMPORTANT_IN_PLACE",
    "LESS_IMPORTANT_OF_LETTERS",
    "LESS_IMPORTANT_OF_PLANS",
    "LESS_IMPORTANT_OF_STATS",
    "LIST_FIELDS",
    "PLAN_FIELDS",
    "REPLAY_FIELDS",
    "STATS_FIELDS",
    "count_for_people",
    "count_row",
    "in_place_for_people",
    "in_place_row",
    "letter_for_people",
    "letter_row",
    "plan_rows",
    "replay_rows",
]
