"""How many dead letters there are, of what kind, and since when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from kafka_stream.protocols import DeadLetter, LetterStatus


class LetterKind(NamedTuple):
    """What letters are counted by; ``error`` is the full name of its type."""

    topic: str
    partition: int
    error: str
    status: LetterStatus


@dataclass(frozen=True, slots=True)
class LetterCount:
    """How many letters of a kind there are; ``oldest`` and ``newest`` are first failures."""

    kind: LetterKind
    letters: int
    oldest: datetime
    newest: datetime

    def and_one_of(self, at: datetime) -> LetterCount:
        """The same with one letter more."""
        return LetterCount(self.kind, self.letters + 1, min(self.oldest, at), max(self.newest, at))


def count_letters(letters: Iterable[DeadLetter]) -> Sequence[LetterCount]:
    """All letters by kind, sorted; one of them at a time is held."""
    found: dict[LetterKind, LetterCount] = {}
    for letter in letters:
        kind, at = (
            LetterKind(letter.id.topic, letter.id.partition, letter.error.type, letter.status),
            letter.first_failed_at,
        )
        known = found.get(kind)
        found[kind] = LetterCount(kind, 1, at, at) if known is None else known.and_one_of(at)
    return [found[kind] for kind in sorted(found)]


__all__ = ["LetterCount", "LetterKind", "count_letters"]
