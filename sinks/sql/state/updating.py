"""What ``update`` makes of a key's records and its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.sql.rows import Key, Layout, Values
from kafka_stream.sinks.sql.state.grouping import OfKey
from kafka_stream.sinks.sql.state.reading import key_of_read
from kafka_stream.sinks.sql.state.typed_rows import UNCHANGED, RowForm
from kafka_stream.sinks.sql.target import Target


class Decision(NamedTuple):
    """What becomes of one key; a tuple, as ``OfKey`` is.

    ``row`` are the values to write, of the columns of ``layout``; neither where nothing is to be written. ``deleted``
    is the key of a row that goes.
    """

    of: OfKey
    layout: Layout | None = None
    row: Values | None = None
    deleted: Values | None = None
    emitted: Sequence[Any] = ()


class Shape:
    """How rows with these names are written: their values in table order, with a key that they lack in its place."""

    def __init__(self, layout: Layout, key: tuple[str, ...], names: tuple[str, ...]) -> None:
        self.layout = layout
        self.has_key = any(name in names for name in key)
        self._given = [name for name in layout.columns if name in names]
        self._places = [
            len(key) + self._given.index(name) if name in names else key.index(name) for name in layout.columns
        ]
        self._is_whole = len(self._given) == len(layout.columns) > 1
        self._getter = itemgetter(*layout.columns)
        self.key_of: Callable[[Values], Key] = itemgetter(*map(layout.columns.index, key))

    def values(self, row: Mapping[str, Any], own: Values) -> Values:
        """Those of a row whose key is ``own``."""
        if self._is_whole:
            return self._getter(row)  # type: ignore[no-any-return]
        values = *own, *[row[name] for name in self._given]
        return tuple([values[place] for place in self._places])


class Updating:
    """Calls a user's ``update``. ``key_of_user`` gives what it is told of a key, ``forms`` the form of a table's."""

    def __init__(
        self,
        target: Target,
        update: Callable[..., Any],
        row_form: RowForm,
        *,
        emits: bool,
        key_of_user: Callable[[Any], Any],
    ) -> None:
        self._target = target
        self._update = update
        self._row_form = row_form
        self._emits = emits
        self._key_of_user = key_of_user
        self._key_of_stored = key_of_read(target, row_form.names)
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._layouts: dict[tuple[str, ...], Layout] = {}

    def decide(self, of: OfKey, stored: Sequence[Any] | None, form_of: Callable[[Any], Key | None]) -> Decision:
        """Call it. ``stored`` are the columns of the row that is there, as they are read.

        Raises:
            ProcessingError: it gave no row of the table, or one of another key.
            Exception: what ``update`` raises.
        """
        emitted: list[Any] = []
        more = (emitted.append,) if self._emits else ()
        outcome = self._update(self._key_of_user(of.key), of.values, self._row_form.given(stored), *more)
        if outcome is UNCHANGED:
            return Decision(of, emitted=emitted)
        own = self._own_key(of.key, stored)
        if outcome is None:
            return Decision(of, deleted=None if stored is None else own, emitted=emitted)
        row = self._row_form.taken(outcome)
        shape = self._shapes.get(names := tuple(row)) or self._shape(names)
        values = shape.values(row, own)
        if shape.has_key and (given := shape.key_of(values)) != of.key and form_of(given) != of.form:
            raise ProcessingError(
                f"update gave a row of table {self._target.name} with another key ({', '.join(self._target.key)}) than "
                "the one it was called for"
            )
        return Decision(of, shape.layout, values, emitted=emitted)

    def _own_key(self, key: Any, stored: Sequence[Any] | None) -> Values:
        """The key as the row has it, or else as the records."""
        if stored is not None:
            return self._key_of_stored(stored)
        return key if len(self._target.key) > 1 else (key,)

    def _shape(self, names: tuple[str, ...]) -> Shape:
        if unknown := [name for name in names if name not in self._target.columns]:
            raise ProcessingError(
                f"update gave a row with {unknown[0]!r}, which is no column of table {self._target.name} that can be "
                f"written; these are {', '.join(self._target.columns)}"
            )
        columns = tuple(name for name in self._target.columns if name in names or name in self._target.key)
        layout = self._layouts.setdefault(columns, Layout(columns, self._target.key))
        return self._shapes.setdefault(names, Shape(layout, self._target.key, names))
