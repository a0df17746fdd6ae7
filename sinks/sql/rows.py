"""From what ``to_rows`` gives to tuples of known columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

from confluent_kafka import Message

from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.functions import async_belongs, refuse_awaitable
from kafka_stream.sinks.sql.target import Target

OnConflict: TypeAlias = Literal["error", "ignore", "update"]
Resolution: TypeAlias = OnConflict | Literal["merge"]
Values: TypeAlias = tuple[Any, ...]
Key: TypeAlias = Hashable
"""A row's key: the bare value if it is one column, which sorts and hashes faster, otherwise a tuple."""

ASYNC_BELONGS: Final = async_belongs("SqlSink(table, a_plain_function)")


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
    """A set of columns in table order, and where a row of them has its key; ``None`` if it holds no whole one."""

    __slots__ = ("columns", "key_of")

    def __init__(self, columns: tuple[str, ...], key: tuple[str, ...]) -> None:
        self.columns = columns
        self.key_of: Callable[[Values], Key] | None = None
        if key and set(key) <= set(columns):
            self.key_of = itemgetter(*map(columns.index, key))


def made_rows(table: str, to_rows: Callable[[Any], Iterable[Any]], prepared: Any) -> Iterable[Any]:
    """The rows for a table.

    Raises:
        ProcessingError: they are none, or are still to be made.
    """
    rows: Any = to_rows(prepared)
    refuse_awaitable(rows, f"to_rows of the SqlSink for table {table}", ASYNC_BELONGS)
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes):
        raise ProcessingError(
            f"to_rows of the SqlSink for table {table} gave a {type(rows).__name__}; "
            "it gives an iterable of mappings, tuples or Delete, which may be empty"
        )
    return rows


def _is_pair(row: Any) -> bool:
    return isinstance(row, tuple) and len(row) == 2 and isinstance(row[0], Message)


Run: TypeAlias = tuple[Layout | None, list[Any]]
"""Consecutive rows of one layout; without one, the keys of consecutive deletes, each a tuple."""


class RowReader:
    """Reads rows of one table, in the order given. Safe to use from several threads."""

    def __init__(
        self, target: Target, on_conflict: Resolution, beside: Mapping[str, Collection[str]] | None = None
    ) -> None:
        """``beside`` are the columns that a row must have if it has the one of that name."""
        self._target = target
        self._needs_key = on_conflict in ("update", "merge")
        self._beside = beside or {}
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self.full = self.layout(tuple(target.columns))

    def unpaired(self, given: Iterable[Any]) -> tuple[list[Any], Sequence[Message] | None]:
        """The rows, and the record of each where they are pairs with one.

        Raises:
            ProcessingError: some are, and others are not.
        """
        rows = given if isinstance(given, list) else list(given)
        if not rows or not _is_pair(rows[0]):
            return rows, None
        if (number := next((number for number, row in enumerate(rows) if not _is_pair(row)), None)) is not None:
            raise self.refusal(f"row {number} is no pair of a message and a row, as those before it are")
        return [row for _, row in rows], [message for message, _ in rows]

    def read(self, rows: list[Any]) -> list[Run]:
        """Consecutive rows of one layout, and consecutive deletes, each as one run.

        Raises:
            ProcessingError: something is no row, has an unknown column, or lacks its key; it names row and column.
        """
        runs = list(self._runs(rows))
        if self._needs_key:
            for layout, values in runs:
                if layout is not None:
                    self._check_not_null(list(map(self._key_of(layout), values)))
        return runs

    def _key_of(self, layout: Layout) -> Callable[[Values], Key]:
        if layout.key_of is None:
            missing = [name for name in self._target.key if name not in layout.columns]
            raise self.refusal(
                f"a row with the columns {', '.join(layout.columns)} has no {missing[0]!r}, which is of the key"
            )
        return layout.key_of

    def _check_not_null(self, keys: Sequence[Key]) -> None:
        """Raise ``ProcessingError``, naming the column, if a key holds a ``None``."""
        key = self._target.key
        values = keys if len(key) == 1 else list(chain.from_iterable(keys))  # type: ignore[arg-type]
        if type(None) in set(map(type, values)):
            null = key[next(i for i, value in enumerate(values) if value is None) % len(key)]
            raise self.refusal(f"{null!r} is None in a row or a Delete, but it is of the key")

    def refusal(self, reason: str) -> ProcessingError:
        """The error that says which sink it is about."""
        return ProcessingError(f"to_rows of the SqlSink for table {self._target.name}: {reason}")

    def layout(self, columns: tuple[str, ...]) -> Layout:
        """That of these columns, in table order; made once."""
        found = self._layouts.get(columns)
        if found is None:
            found = self._layouts.setdefault(columns, Layout(columns, self._target.key))
        return found

    def _runs(self, given: list[Any]) -> Iterator[Run]:
        kinds = set(map(type, given))
        if kinds == {tuple} and set(map(len, given)) == {len(self.full.columns)}:
            yield self.full, given
        elif kinds == {dict} and len(shapes := set(map(tuple, given))) == 1:
            layout, getter = self._shape(0, shapes.pop())
            yield layout, list(map(getter, given))
        else:
            yield from self._mixed_runs(given)

    def _mixed_runs(self, given: list[Any]) -> Iterator[Run]:
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
                yield current, run
                run = []
            current = layout
            run.append(values)
        if run:
            yield current, run

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
        for name in columns:
            if missing := [other for other in self._beside.get(name, ()) if other not in columns]:
                raise self.refusal(f"row {number} has {name!r}, which is merged by {missing[0]!r}, and not that")
        layout = self.layout(columns)
        if len(columns) == 1:
            return layout, lambda row: (row[columns[0]],)
        return layout, itemgetter(*columns)

    def _checked_tuple(self, number: int, row: Values) -> Values:
        if len(row) != len(self.full.columns):
            raise self.refusal(
                f"row {number} is a tuple of {len(row)} values; in table order they are {', '.join(self.full.columns)}"
            )
        return row

    def _checked_delete(self, number: int, delete: Delete) -> Values:
        key = self._target.key
        if not key:
            raise self.refusal(f"row {number} is {delete!r}, but the table has no primary key: name its key=(…)")
        if len(delete.key) != len(key):
            raise self.refusal(f"row {number} is {delete!r}, but the key is ({', '.join(key)})")
        self._check_not_null(list(delete.key) if len(key) == 1 else [delete.key])
        return delete.key
