"""How a batch's changes go into statements: pure, and what it comes to is what they come to one after the other.

As given, consecutive changes of one kind share a statement. Changes to different keys may change places where nothing
ties the rows of a table together and Python can tell its keys apart; then there are few statements, in key order, and
of changes to one key those are left out that come to nothing beside the others.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from confluent_kafka import Message
from sqlalchemy import Dialect

from kafka_stream.sinks.sql.facts import TableFacts
from kafka_stream.sinks.sql.folding import Folding, Keyed
from kafka_stream.sinks.sql.keys import InKeyOrder, comparison, order_of
from kafka_stream.sinks.sql.merging.grouping import Grouping
from kafka_stream.sinks.sql.narrowing import Part, parts_of
from kafka_stream.sinks.sql.rows import Key, Layout, Resolution, Run, Values
from kafka_stream.sinks.sql.target import Target

_PART = 10_000
"""Changes that are undone together when one of them is refused, where they are written as given."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows with the same columns, or the keys of deletes if ``columns`` is empty, to be written in this order.

    ``are_distinct`` says whether all are of different keys; ``None`` if that is not known. Those that are ``plain`` go
    by INSERT, whatever is quicker.
    """

    columns: tuple[str, ...]
    rows: Sequence[Values]
    are_distinct: bool | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What one batch does to a table.

    ``given`` are the changes in their own order, ``source`` is what they were made of, and ``records`` the record of
    each, if ``to_rows`` has said so. ``groups`` are the same, to be
    written one after the other; ``None`` as long as the table is not known. They may be ``parts`` of what was given, in
    its order, of which each is undone by itself. ``contended`` holds the keys of all
    changes, in key order, if more than one statement writes them: two writers that take these in order first do not
    deadlock. ``encoded`` may hold, by its number, a group in the form in which a writer hands it to the database.
    """

    given: Sequence[Run]
    source: Any = None
    records: Sequence[Message] | None = None
    groups: Sequence[Group] | None = None
    parts: Sequence[Part] | None = None
    contended: Sequence[Values] = ()
    encoded: Mapping[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of changes."""
        return sum(len(values) for _, values in self.given)

    def part(self, part: Part, *, plain: bool = False) -> Iterator[Group]:
        """These changes, as they were given."""
        begin, end = part.begin, part.end
        for layout, values in self.given:
            if rows := values[max(begin, 0) : max(end, 0)]:
                yield Group(layout.columns if layout else (), rows, plain=plain)
            begin, end = begin - len(values), end - len(values)

    def number_of(self, row: Values) -> int | None:
        """Which change a row of a group was; of those that are one object the first."""
        each = chain.from_iterable(values for _, values in self.given)
        return next((number for number, value in enumerate(each) if value is row), None)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Statements of many rows were refused, and undone; because of ``row``, perhaps."""

    row: Values | None = None

    def number(self, changes: Changes) -> int | None:
        """Which change it was."""
        return None if self.row is None else changes.number_of(self.row)


class Arrangement:
    """Puts the changes of batches into groups. Safe to use from several threads."""

    def __init__(
        self,
        target: Target,
        on_conflict: Resolution,
        facts: TableFacts,
        dialect: Dialect,
        merged: Grouping | None = None,
    ) -> None:
        """``merged`` says how the rows of each key are brought together where they are merged."""
        self._target = target
        self._on_conflict = on_conflict
        self._merged = merged
        self._columns = {name: facts.columns.get(column.name) for name, column in target.columns.items()}
        self._comparable = comparison(target, facts, dialect)
        self._folding = Folding(target, on_conflict, facts, dialect)
        key = {target.table_columns[name].name for name in target.key}
        self._may_move = bool(key) and not facts.row_by_row and facts.is_unique_only_by(key)
        self._deletes_may_move = not facts.in_circles

    def of(self, changes: Changes) -> Changes:
        """The same, in groups, with the keys that more than one of them writes."""
        given = changes.given
        is_single = len(given) == 1
        if is_single and self._on_conflict == "error":
            return _in_parts(changes)
        keyed = self._keyed(given)
        if keyed is None:
            return _in_parts(changes) if is_single else replace(changes, groups=_as_given(given))
        keyed = self._folding.of(keyed)
        moved = keyed if is_single else _scheduled(keyed)
        changes_rows = self._on_conflict in ("update", "merge") or any(layout is None for layout, _ in given)
        contended = _all_keys(keyed, len(self._target.key)) if len(moved) > 1 and changes_rows else ()
        return replace(changes, groups=list(self._grouped(moved)), contended=contended)

    def _grouped(self, moved: Sequence[Keyed]) -> Iterator[Group]:
        for layout, values, keys in moved:
            if self._merged is None or layout is None:
                yield _in_key_order(layout, values, keys)
            else:
                for rows, are_distinct in self._merged.of(layout, values, keys):
                    yield Group(layout.columns, rows, are_distinct)

    def _keyed(self, given: Sequence[Run]) -> Sequence[Keyed] | None:
        """The runs with their keys; ``None`` if what they come to may depend on their order."""
        if not self._may_move:
            return None
        keyed: list[Keyed] = []
        for layout, values in given:
            if layout is None:
                if not self._deletes_may_move and len(given) > 1:
                    return None
                keys = self._comparable([key for (key,) in values] if len(self._target.key) == 1 else values)
            elif layout.key_of is None or not self._can_be_omitted(layout):
                return None
            else:
                keys = self._comparable(list(map(layout.key_of, values)))
            if keys is None:
                return None
            keyed.append((layout, values, keys))
        return keyed

    def _can_be_omitted(self, layout: Layout) -> bool:
        """Whether the columns that rows leave out become the same in any order."""
        omitted = (name for name in self._target.columns if name not in layout.columns)
        return not any(
            (facts := self._columns[name]) is None
            or facts.depends_on_order
            or ((default := self._target.columns[name].default) is not None and not default.is_scalar)
            for name in omitted
        )


def _in_parts(changes: Changes) -> Changes:
    parts = parts_of(len(changes), _PART)
    return replace(changes, groups=[group for part in parts for group in changes.part(part)], parts=parts)


def _as_given(given: Sequence[Run]) -> Sequence[Group]:
    return [Group(layout.columns if layout else (), values) for layout, values in given]


def _in_key_order(layout: Layout | None, values: Sequence[Any], keys: Sequence[Key]) -> Group:
    """Changes to one key keep their order."""
    are_distinct = len(set(keys)) == len(keys)
    return Group(layout.columns if layout else (), InKeyOrder(values, keys), are_distinct)


def _scheduled(keyed: Sequence[Keyed]) -> Sequence[tuple[Layout | None, list[Any], list[Key]]]:
    """As few groups as it takes for each change to come after those before it with the same key."""
    groups: list[tuple[Layout | None, list[Any], list[Key]]] = []
    of_layout: dict[Layout | None, list[int]] = {}
    last: dict[Key, int] = {}
    for layout, values, keys in keyed:
        mine = of_layout.setdefault(layout, [])
        for value, key in zip(values, keys, strict=True):
            place = bisect_left(mine, last.get(key, 0))
            if place == len(mine):
                mine.append(len(groups))
                groups.append((layout, [], []))
            last[key] = mine[place]
            _, group_values, group_keys = groups[mine[place]]
            group_values.append(value)
            group_keys.append(key)
    return groups


def _all_keys(keyed: Sequence[Keyed], width: int) -> Sequence[Values]:
    """Each key once, as it was given, in key order."""
    found: dict[Key, Values] = {}
    for layout, values, keys in keyed:
        if layout is None:
            given: Iterable[Any] = values
        else:
            assert layout.key_of is not None
            given = map(layout.key_of, values) if width > 1 else ((key,) for key in map(layout.key_of, values))
        found.update(zip(keys, given, strict=True))
    each = list(found.values())
    return [each[number] for number in order_of(list(found))]
