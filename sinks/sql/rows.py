"""From what ``to_rows`` gives to tuples of known columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.sql.target import Target

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


class RowReader:
    """Reads rows of one table. Safe to use from several threads."""

    def __init__(self, target: Target, uniques: Sequence[tuple[str, ...]]) -> None:
        """``uniques`` are the sets of columns that each layout gives the keys of."""
        self._target = target
        self._uniques = uniques
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self.full = self._layout(tuple(target.columns))

    def runs(self, rows: Iterable[Any]) -> list[Run | list[Key]]:
        """Consecutive rows of one layout, and the keys of consecutive deletes.

        Raises:
            ProcessingError: something is no row, or has an unknown column; it names row and column.
        """
        return list(self._runs(rows if isinstance(rows, list) else list(rows)))

    def merged(self, old: tuple[Layout, Values], new: tuple[Layout, Values]) -> tuple[Layout, Values]:
        """The row that has the new one's columns, and the old one's where the new one has none."""
        if old[0] is new[0] or set(old[0].columns) <= set(new[0].columns):
            return new
        row = dict(zip(old[0].columns, old[1], strict=True)) | dict(zip(new[0].columns, new[1], strict=True))
        layout, getter = self._shape(0, tuple(row))
        return layout, getter(row)

    def key_of(self, layout: Layout) -> Callable[[Values], Key]:
        """What takes the key out of a row of this layout; raises ``ProcessingError`` if it holds no whole key."""
        if layout.key_of is None:
            missing = [name for name in self._target.key if name not in layout.columns]
            raise self.refusal(
                f"a row with the columns {', '.join(layout.columns)} has no {missing[0]!r}, which is of the key"
            )
        return layout.key_of

    def check_not_null(self, keys: Collection[Key]) -> None:
        """Raise ``ProcessingError``, naming the column, if a key holds a ``None``."""
        key = self._target.key
        if len(key) == 1:
            null = key[0] if None in keys else None
        else:
            null = next((key[each.index(None)] for each in keys if isinstance(each, tuple) and None in each), None)
        if null is not None:
            raise self.refusal(f"{null!r} is None in a row or a Delete, but it is of the key")

    def refusal(self, reason: str) -> ProcessingError:
        """The error that says which sink it is about."""
        return ProcessingError(f"to_rows of the SqlSink for table {self._target.name}: {reason}")

    def _layout(self, columns: tuple[str, ...]) -> Layout:
        found = self._layouts.get(columns)
        if found is None:
            found = self._layouts.setdefault(columns, Layout(columns, self._target.key, self._uniques))
        return found

    def _runs(self, given: list[Any]) -> Iterator[Run | list[Key]]:
        kinds = set(map(type, given))
        if kinds == {tuple} and set(map(len, given)) == {len(self.full.columns)}:
            yield self.full, given
        elif kinds == {dict} and len(shapes := set(map(tuple, given))) == 1:
            layout, getter = self._shape(0, shapes.pop())
            yield layout, list(map(getter, given))
        else:
            yield from self._mixed_runs(given)

    def _mixed_runs(self, given: list[Any]) -> Iterator[Run | list[Key]]:
        shapes: dict[tuple[str, ...], tuple[Layout, Callable[[Any], Values]]] = {}
        run: list[Any] = []
        current: Layout | None = None
        for number, row in enumerate(given):
            layout: Layout | None
            values: Any
            if isinstance(row, tuple):
                layout, values = self.full, self._checked_tuple(number, row)
            elif isinstance(row, dict | Mapping):
                names = tuple(row)
                layout, getter = shapes.get(names) or shapes.setdefault(names, self._shape(number, names))
                values = getter(row)
            elif isinstance(row, Delete):
                layout, values = None, self._checked_delete(number, row)
            else:
                raise self.refusal(f"row {number} is a {type(row).__name__}, not a mapping, a tuple or a Delete")
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
            raise self.refusal(
                f"row {number} has {unknown[0]!r}, which is no column that can be written; "
                f"these are {', '.join(self._target.columns)}"
            )
        if not names:
            raise self.refusal(f"row {number} is an empty mapping")
        columns = tuple(name for name in self._target.columns if name in names)
        layout = self._layout(columns)
        if len(columns) == 1:
            return layout, lambda row: (row[columns[0]],)
        return layout, itemgetter(*columns)

    def _checked_tuple(self, number: int, row: Values) -> Values:
        if len(row) != len(self.full.columns):
            raise self.refusal(
                f"row {number} is a tuple of {len(row)} values; in table order they are {', '.join(self.full.columns)}"
            )
        return row

    def _checked_delete(self, number: int, delete: Delete) -> Key:
        key = self._target.key
        if not key:
            raise self.refusal(f"row {number} is {delete!r}, but the table has no primary key: name its key=(…)")
        if len(delete.key) != len(key):
            raise self.refusal(f"row {number} is {delete!r}, but the key is ({', '.join(key)})")
        bare: Key = delete.key[0] if len(key) == 1 else delete.key
        self.check_not_null([bare])
        return bare


def has_null(key: Key) -> bool:
    """Whether a key holds a ``None``, which conflicts with nothing."""
    return key is None or (type(key) is tuple and None in key)
