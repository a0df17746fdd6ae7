"""The rows of partitions that are ours alone, kept from batch to batch: least recently used ones go first.

What a batch has written is used by the next one only if it was committed, and nobody else can have written since: the
same owner, in the same epoch of the partition, goes on exactly where that batch ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

from kafka_stream.sinks.sql.rows import Key
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.types import TopicPartition

Row: TypeAlias = Sequence[Any] | None
"""A row's columns, or that there is none."""

UNKNOWN: Final = object()


class PartitionRows(threading.local):
    """Rows by the forms of their keys. Each thread has its own, since each has a transaction of its own."""

    def __init__(self, most_rows: int, place_of: Callable[[Any], TopicPartition]) -> None:
        self._most_rows = most_rows
        self._place_of = place_of
        self._rows: dict[Key, Row] = {}
        self._until: dict[TopicPartition, tuple[str, str, int, int]] = {}
        self._before: StatefulTransaction | None = None
        self._is_open = False

    def begin(self, transaction: StatefulTransaction) -> None:
        """Drop what this batch may not use. Where it may be undone in parts, nothing is used, and nothing kept.

        The next part of a batch, in the same transaction, uses what those before it have left.
        """
        if transaction is self._before and self._is_open and not transaction.in_attempt:
            return
        before, self._before = self._before, transaction
        self._is_open = not transaction.in_attempt
        if not self._is_open or (before is not None and not before.is_committed):
            self._rows.clear()
            self._until.clear()
        if not self._is_open:
            return
        claim = transaction.claimed
        owner = claim.stream, claim.owner.id
        begins = {r.topic_partition: (*owner, claim.epochs[r.topic_partition], r.from_offset) for r in claim.ranges}
        changed = {place for place, mark in begins.items() if self._until.get(place) != mark}
        if changed:
            self._rows = {key: row for key, row in self._rows.items() if self._place_of(key) not in changed}
        for r in claim.ranges:
            self._until[r.topic_partition] = (*owner, claim.epochs[r.topic_partition], r.until_offset)

    def known(self, forms: Sequence[Key]) -> tuple[dict[Key, Sequence[Any]], Sequence[int]]:
        """The rows of these keys that are known, and the numbers of those keys that have to be read."""
        found: dict[Key, Sequence[Any]] = {}
        missing: list[int] = []
        rows = self._rows
        for number, form in enumerate(forms):
            row = rows.pop(form, UNKNOWN)
            if row is UNKNOWN:
                missing.append(number)
                continue
            rows[form] = row  # type: ignore[assignment]
            if row is not None:
                found[form] = row  # type: ignore[assignment]
        return found, missing

    def keep(self, rows: Mapping[Key, Row]) -> None:
        """These are in the table now, or are not."""
        if not self._is_open:
            return
        for form, row in rows.items():
            self._rows.pop(form, None)
            self._rows[form] = row
        if (too_many := len(self._rows) - self._most_rows) > 0:
            for form in list(islice(self._rows, too_many)):
                del self._rows[form]

    def forget(self, forms: Sequence[Key]) -> None:
        """What becomes of these rows is not known."""
        for form in forms:
            self._rows.pop(form, None)
