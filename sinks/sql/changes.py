"""What a batch changes in a table, computed before the transaction opens: pure, and the same however often it runs.

The outcome does not depend on where one batch ends and the next begins: changes to one key that fall into one batch
are folded into what they would have come to one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, TypeAlias

from kafka_stream.sinks.sql.rows import Key, Layout, RowReader, Run, Values, has_null
from kafka_stream.sinks.sql.target import Target

OnConflict: TypeAlias = Literal["error", "ignore", "update"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one batch does to a table: first the deletes, then each group of rows with the same columns.

    ``deletes`` holds keys. ``contended`` holds the keys of all changes, in key order, if more than one statement
    writes them: two writers that take these in order first do not deadlock. ``encoded`` may hold, by their columns,
    rows in the form in which a writer hands them to the database.
    """

    deletes: Sequence[Values]
    groups: Sequence[tuple[tuple[str, ...], Sequence[Values]]]
    contended: Sequence[Values]
    encoded: Mapping[tuple[str, ...], Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of rows written and deleted."""
        return len(self.deletes) + sum(len(rows) for _, rows in self.groups)


class ChangeReader:
    """Folds what ``to_rows`` gave into ``Changes`` of one table. Safe to use from several threads."""

    def __init__(self, target: Target, on_conflict: OnConflict, uniques: Sequence[tuple[str, ...]]) -> None:
        """``uniques`` are the sets of columns whose conflicts "ignore" ignores."""
        self._target = target
        self._on_conflict = on_conflict
        self._rows = RowReader(target, uniques)

    def read(self, rows: Iterable[Any]) -> Changes:
        """The changes that these rows and deletes come to.

        Raises:
            ProcessingError: something is no row, has an unknown column, or lacks its key; it names row and column.
        """
        runs = self._rows.runs(rows)
        try:
            deleted, kept = self._drop_deleted(runs)
            if self._on_conflict == "update":
                return self._updates(deleted, kept)
            if self._on_conflict == "ignore":
                return self._firsts(deleted, kept)
            return self._as_given(deleted, kept)
        except TypeError as error:
            raise self._rows.refusal(f"a value of a key cannot be compared with others ({error})") from error

    def _drop_deleted(self, runs: list[Run | list[Key]]) -> tuple[set[Key], list[Run]]:
        """Take out each row that a later delete removes; what is left of the deletes comes before all rows."""
        deleted: set[Key] = set()
        kept: list[Run] = []
        for run in reversed(runs):
            if isinstance(run, list):
                deleted.update(run)
                continue
            layout, rows = run
            if deleted and (key_of := layout.key_of):
                rows = [row for row in rows if key_of(row) not in deleted]
            if rows:
                kept.append((layout, rows))
        kept.reverse()
        return deleted, kept

    def _as_given(self, deleted: set[Key], runs: list[Run]) -> Changes:
        if len(runs) == 1:
            return self._changes(deleted, dict(runs))
        return self._changes(deleted, _grouped((layout, row) for layout, rows in runs for row in rows))

    def _updates(self, deleted: set[Key], runs: list[Run]) -> Changes:
        """One row per key: columns that a later row does not have are kept from the earlier ones."""
        if len(runs) == 1 and not deleted:
            layout, rows = runs[0]
            last = dict(zip(map(self._rows.key_of(layout), rows), rows, strict=True))
            self._rows.check_not_null(last)
            return self._changes(set(), {layout: [last[key] for key in _in_order(last)]})
        latest: dict[Key, tuple[Layout, Values]] = {}
        for layout, rows in runs:
            key_of = self._rows.key_of(layout)
            for key, row in zip(map(key_of, rows), rows, strict=True):
                earlier = latest.get(key)
                latest[key] = (layout, row) if earlier is None else self._rows.merged(earlier, (layout, row))
        self._rows.check_not_null(latest)
        # A full row replaces all that a deleted one held; only a partial one must not find it.
        gone = {key for key in deleted if key not in latest or latest[key][0] is not self._rows.full}
        return self._changes(gone, _grouped(latest[key] for key in _in_order(latest)))

    def _firsts(self, deleted: set[Key], runs: list[Run]) -> Changes:
        """The first row of each key, in key order; rows that conflict with nothing come last, as given."""
        seen: set[Key] = set()
        keyed: dict[Key, tuple[Layout, Values]] = {}
        rest: list[tuple[Layout, Values]] = []
        for layout, rows in runs:
            for row in rows:
                keys = [(i, key) for i, getter in layout.uniques if not has_null(key := getter(row))]
                if not keys:
                    rest.append((layout, row))
                elif seen.isdisjoint(keys):
                    seen.update(keys)
                    keyed[keys[0]] = layout, row
        return self._changes(deleted, _grouped(chain((keyed[key] for key in _in_order(keyed)), rest)))

    def _changes(self, deleted: set[Key], groups: Mapping[Layout, list[Values]]) -> Changes:
        contended: set[Key] = set()
        if (deleted or self._on_conflict == "update") and len(groups) + bool(deleted) > 1:
            contended = deleted.union(
                *(map(layout.key_of, rows) for layout, rows in groups.items() if layout.key_of is not None)
            )
        return Changes(
            deletes=self._key_values(deleted),
            groups=[(layout.columns, rows) for layout, rows in groups.items()],
            contended=self._key_values(contended),
        )

    def _key_values(self, keys: Iterable[Key]) -> Sequence[Values]:
        ordered: list[Any] = _in_order(keys)
        return [(key,) for key in ordered] if len(self._target.key) == 1 else ordered


def _grouped(rows: Iterable[tuple[Layout, Values]]) -> dict[Layout, list[Values]]:
    groups: dict[Layout, list[Values]] = {}
    for layout, row in rows:
        groups.setdefault(layout, []).append(row)
    return groups


def _in_order(keys: Iterable[Key]) -> list[Any]:
    """The same order in every process. Values that cannot be compared, such as enum members, go by their text."""
    unordered: list[Any] = list(keys)
    try:
        return sorted(unordered)
    except TypeError:
        return sorted(unordered, key=repr)
