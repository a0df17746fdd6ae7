"""The rows of each key of a batch, brought together: combined, or so that no statement has two of one key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kafka_stream.sinks.sql.merging.combining import Combining
from kafka_stream.sinks.sql.rows import Key, Layout

Rows: TypeAlias = tuple[Sequence[Any], Sequence[Key]]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of rows, of which each comes after those before it.

    ``least`` is how many rows of different keys are worth a statement of their own; ``None`` where one statement may
    have several of a key.
    """

    combining: Combining
    least: int | None = None

    def of(self, layout: Layout, rows: Sequence[Any], keys: Sequence[Key]) -> Iterator[Rows]:
        """The groups, and the keys of each."""
        if len(set(keys)) == len(keys):
            yield rows, keys
        elif (combined := self.combining.of(layout, rows, keys)) is not None:
            yield combined.rows, combined.keys
        elif self.least is None:
            yield rows, keys
        else:
            yield from _in_rounds(rows, keys, self.least)


def _in_rounds(rows: Sequence[Any], keys: Sequence[Key], least: int) -> Iterator[Rows]:
    """Each key's first rows, then each one's second, as long as there are many; then what is left."""
    rounds: list[tuple[list[Any], list[Key]]] = []
    counts: dict[Key, int] = {}
    for row, key in zip(rows, keys, strict=True):
        number = counts[key] = counts.get(key, -1) + 1
        if number == len(rounds):
            rounds.append(([], []))
        rounds[number][0].append(row)
        rounds[number][1].append(key)
    whole = next((number for number, (found, _) in enumerate(rounds) if len(found) < least), len(rounds))
    yield from rounds[:whole]
    if rest := rounds[whole:]:
        yield [row for found, _ in rest for row in found], [key for _, found in rest for key in found]
