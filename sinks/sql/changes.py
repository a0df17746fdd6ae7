"""What a batch changes in a table, computed before the transaction opens: pure, and the same however often it runs.

The outcome does not depend on where one batch ends and the next begins: changes to one key that fall into one batch
are folded into what they would have come to one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

from kafka_stream.errors import ProcessingError
from sinks.sql.target import Target

OnConflict: TypeAlias = Literal["error", "ignore", "update"]
Values: TypeAlias = tuple[Any, ...]
Key: TypeAlias = Hashable
"""A row's key: the bare value if it is one column, which sorts and hashes faster, otherwise a tuple."""


class Delete:
    """In place of a row: delete the row with this key, if it is there.

    ``Delete(5)``, or ``Delete("eu", 5)`` for a key of two columns, in the key's order.

    Raises:
        ValueError: no key was given.
    """

    __slots__ = ("key",)

    def __init__(self, *key: Any) -> None:
        if not key:
            raise ValueError("a Delete names the key of the row to delete, as in Delete(5)")
        self.key: Final = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Delete) and self.key == other.key

    def __hash__(self) -> int:
        return hash((Delete, self.key))

    def __repr__(self) -> str:
        return f"Delete({', '.join(map(repr, self.key))})"


@dataclass(frozen=True, slots=True)
class Changes:
    """What one batch does to a table: first the deletes, then each group of rows with the same columns.

    ``deletes`` holds keys. ``contended`` holds the keys of all changes, in key order, if more than one statement
    writes them: two writers that take these in order first do not deadlock.
    """

    deletes: Sequence[Values]
    groups: Sequence[tuple[tuple[str, ...], Sequence[Values]]]
    contended: Sequence[Values]

    def __len__(self) -> int:
        """The number of rows written and deleted."""
        return len(self.deletes) + sum(len(rows) for _, rows in self.groups)


class Layout:
    """A set of columns in table order, and where a row of them has its keys."""

    __slots__ = ("columns", "key_of", "uniques")

    def __init__(self, columns: tuple[str, ...], key: tuple[str, ...], uniques: Sequence[tuple[str, ...]]) -> None:
        self.columns = columns
        self.key_of = self._getter(key) if key and set(key) <= set(columns) else None
        self.uniques = [(i, self._getter(unique)) for i, unique in enumerate(uniques) if set(unique) <= set(columns)]

    def _getter(self, names: tuple[str, ...]) -> Callable[[Values], Key]:
        return itemgetter(*(self.columns.index(name) for name in names))


Run: TypeAlias = tuple[Layout, list[Values]]


class ChangeReader:
    """Folds what ``to_rows`` gave into ``Changes`` of one table. Safe to use from several threads."""

    def __init__(self, target: Target, on_conflict: OnConflict, uniques: Sequence[tuple[str, ...]]) -> None:
        """``uniques`` are the sets of columns whose conflicts "ignore" ignores."""
        self._target = target
        self._on_conflict = on_conflict
        self._uniques = uniques
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._full = self._layout(tuple(target.columns))

    def read(self, rows: Iterable[Any]) -> Changes:
        """The changes that these rows and deletes come to.

        Raises:
            ProcessingError: something is no row, has an unknown column, or lacks its key; it names row and column.
        """
        runs = list(self._runs(rows if isinstance(rows, list) else list(rows)))
        try:
            deleted, kept = self._drop_deleted(runs)
            if self._on_conflict == "update":
                return self._updates(deleted, kept)
            if self._on_conflict == "ignore":
                return self._firsts(deleted, kept)
            return self._as_given(deleted, kept)
        except TypeError as error:
            raise self._refusal(f"a value of a key cannot be compared with others ({error})") from error

    def _layout(self, columns: tuple[str, ...]) -> Layout:
        found = self._layouts.get(columns)
        if found is None:
            found = self._layouts.setdefault(columns, Layout(columns, self._target.key, self._uniques))
        return found

    # From objects to tuples in table order

    def _runs(self, given: list[Any]) -> Iterator[Run | list[Key]]:
        """Consecutive rows of one layout, and consecutive deletes."""
        if set(map(type, given)) == {tuple} and set(map(len, given)) == {len(self._full.columns)}:
            yield self._full, given
            return
        shapes: dict[tuple[str, ...], tuple[Layout, Callable[[Any], Values]]] = {}
        run: list[Any] = []
        current: Layout | None = None
        for number, row in enumerate(given):
            layout: Layout | None
            values: Any
            if isinstance(row, tuple):
                layout, values = self._full, self._checked_tuple(number, row)
            elif isinstance(row, dict | Mapping):
                names = tuple(row)
                layout, getter = shapes.get(names) or shapes.setdefault(names, self._shape(number, names))
                values = getter(row)
            elif isinstance(row, Delete):
                layout, values = None, self._checked_delete(number, row)
            else:
                raise self._refusal(f"row {number} is a {type(row).__name__}, not a mapping, a tuple or a Delete")
            if layout is not current and run:
                yield (current, run) if current else run
                run = []
            current = layout
            run.append(values)
        if run:
            yield (current, run) if current else run

    def _shape(self, number: int, names: tuple[str, ...]) -> tuple[Layout, Callable[[Any], Values]]:
        """The layout for a mapping's names, and what makes a tuple of such a mapping."""
        if unknown := [name for name in names if name not in self._target.columns]:
            raise self._refusal(
                f"row {number} has {unknown[0]!r}, which is no column that can be written; "
                f"these are {', '.join(self._target.columns)}"
            )
        if not names:
            raise self._refusal(f"row {number} is an empty mapping")
        columns = tuple(name for name in self._target.columns if name in names)
        layout = self._layout(columns)
        if len(columns) == 1:
            return layout, lambda row: (row[columns[0]],)
        return layout, itemgetter(*columns)

    def _checked_tuple(self, number: int, row: Values) -> Values:
        if len(row) != len(self._full.columns):
            raise self._refusal(
                f"row {number} is a tuple of {len(row)} values; in table order they are {', '.join(self._full.columns)}"
            )
        return row

    def _checked_delete(self, number: int, delete: Delete) -> Key:
        key = self._target.key
        if not key:
            raise self._refusal(f"row {number} is {delete!r}, but the table has no primary key: name its key=(…)")
        if len(delete.key) != len(key):
            raise self._refusal(f"row {number} is {delete!r}, but the key is ({', '.join(key)})")
        bare: Key = delete.key[0] if len(key) == 1 else delete.key
        self._check_not_null([bare])
        return bare

    # From one change after the other to what they come to

    def _drop_deleted(self, runs: Iterable[Run | list[Key]]) -> tuple[set[Key], list[Run]]:
        """Take out each row that a later delete removes; what is left of the deletes comes before all rows."""
        in_order = list(runs)
        deleted: set[Key] = set()
        kept: list[Run] = []
        for run in reversed(in_order):
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
        return self._changes(deleted, _grouped((layout, row) for layout, rows in runs for row in rows))

    def _updates(self, deleted: set[Key], runs: list[Run]) -> Changes:
        """One row per key: columns that a later row does not have are kept from the earlier ones."""
        latest: dict[Key, tuple[Layout, Values]] = {}
        for layout, rows in runs:
            key_of = self._key_of(layout)
            for key, row in zip(map(key_of, rows), rows, strict=True):
                earlier = latest.get(key)
                latest[key] = (layout, row) if earlier is None else self._merge(*earlier, layout, row)
        self._check_not_null(latest)
        # A full row replaces all that a deleted one held; only a partial one must not find it.
        gone = {key for key in deleted if key not in latest or latest[key][0] is not self._full}
        return self._changes(gone, _grouped(latest[key] for key in _in_order(latest)))

    def _merge(self, old: Layout, old_row: Values, new: Layout, new_row: Values) -> tuple[Layout, Values]:
        if old is new or set(old.columns) <= set(new.columns):
            return new, new_row
        merged = dict(zip(old.columns, old_row, strict=True)) | dict(zip(new.columns, new_row, strict=True))
        layout, getter = self._shape(0, tuple(merged))
        return layout, getter(merged)

    def _firsts(self, deleted: set[Key], runs: list[Run]) -> Changes:
        """The first row of each key, in key order; rows that conflict with nothing come last, as given."""
        seen: set[Key] = set()
        keyed: dict[Key, tuple[Layout, Values]] = {}
        rest: list[tuple[Layout, Values]] = []
        for layout, rows in runs:
            for row in rows:
                keys = [(i, key) for i, getter in layout.uniques if not _has_null(key := getter(row))]
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

    # What is refused

    def _key_of(self, layout: Layout) -> Callable[[Values], Key]:
        if layout.key_of is None:
            missing = [name for name in self._target.key if name not in layout.columns]
            raise self._refusal(
                f"a row with the columns {', '.join(layout.columns)} has no {missing[0]!r}, which is of the key"
            )
        return layout.key_of

    def _check_not_null(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if _has_null(key):
                name = self._target.key[key.index(None)] if isinstance(key, tuple) else self._target.key[0]
                raise self._refusal(f"{name!r} is None in a row or a Delete, but it is of the key")

    def _refusal(self, reason: str) -> ProcessingError:
        return ProcessingError(f"to_rows of the SqlSink for table {self._target.name}: {reason}")


def _grouped(rows: Iterable[tuple[Layout, Values]]) -> dict[Layout, list[Values]]:
    groups: dict[Layout, list[Values]] = {}
    for layout, row in rows:
        groups.setdefault(layout, []).append(row)
    return groups


def _has_null(key: Key) -> bool:
    return key is None or (type(key) is tuple and None in key)


def _in_order(keys: Iterable[Key]) -> list[Any]:
    """The same order in every process. Values that cannot be compared, such as enum members, go by their text."""
    unordered: list[Any] = list(keys)
    try:
        return sorted(unordered)
    except TypeError:
        return sorted(unordered, key=repr)
