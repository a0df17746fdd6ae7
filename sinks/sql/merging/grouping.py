"""The rows of each key of a batch, brought together: combined, or so that no statement has two of one key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kafka_stream.sinks.sql.keys import InKeyOrder, order_of
from kafka_stream.sinks.sql.merging.combining import Combining, Repeated
from kafka_stream.sinks.sql.rows import Key, Layout, Values

Rows: TypeAlias = tuple[Sequence[Values], bool]
"""Rows, and whether each is of another key."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of rows in key order, of which each comes after those before it.

    ``least`` is how many rows of different keys are worth a statement of their own; ``None`` where one statement may
    have several of a key.
    """

    combining: Combining
    least: int | None = None

    def of(self, layout: Layout, rows: Sequence[Values], keys: Sequence[Key]) -> Iterator[Rows]:
        """The groups."""
        repeated = Repeated.of(rows, keys)
        if not repeated.rows:
            yield InKeyOrder(rows, keys), True
        elif (combined := self.combining.of(layout.columns, repeated)) is not None:
            yield InKeyOrder(list(combined.values()), list(combined)), True
        elif self.least is None or len(repeated.first) < self.least:
            yield InKeyOrder(rows, keys), False
        else:
            yield from _in_rounds(rows, keys, self.least)


def _in_rounds(rows: Sequence[Values], keys: Sequence[Key], least: int) -> Iterator[Rows]:
    """Each key's first rows, then each one's second, as long as there are many; then what is left.

    All keys are locked by the first ones, in their order.
    """
    rounds: list[list[Values]] = []
    counts: Counter[Key] = Counter()
    for number in order_of(keys):
        place = counts[keys[number]]
        counts[keys[number]] += 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(rows[number])
    whole = next((place for place, found in enumerate(rounds) if len(found) < least), len(rounds))
    yield from ((found, True) for found in rounds[:whole])
    if rest := [row for found in rounds[whole:] for row in found]:
        yield rest, False
