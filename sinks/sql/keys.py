"""Pure: which keys Python can tell apart as the database does. Where it cannot, the order given is kept.

Two keys are one here exactly if they are one for the database. So only values of exactly one class are compared, in
columns that keep each such value as it is.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from operator import itemgetter, le
from typing import Any, TypeAlias

from sqlalchemy import Column, Dialect, Enum, Uuid, bindparam
from sqlalchemy.types import TypeDecorator

from kafka_stream.sinks.sql.facts import ColumnFacts, Kind, TableFacts
from kafka_stream.sinks.sql.rows import Key
from kafka_stream.sinks.sql.target import Target

_TEXTS = {Kind.TEXT, Kind.TEXT_OF_WORDS, Kind.TEXT_WITHOUT_CASE}

Compare: TypeAlias = Callable[[Sequence[Any]], Sequence[Any] | None]
"""Values in a form in which they are equal if the database says so; ``None`` if that cannot be said of them."""

_CLASSES: dict[Kind, type] = {
    Kind.BOOLEAN: bool,
    Kind.BYTES: bytes,
    Kind.DATE: dt.date,
    Kind.INTEGER: int,
    Kind.TEXT: str,
    Kind.TEXT_OF_WORDS: str,
    Kind.TEXT_WITHOUT_CASE: str,
    Kind.TIMESTAMP: dt.datetime,
    Kind.TIMESTAMP_WITH_ZONE: dt.datetime,
    Kind.UUID: uuid.UUID,
}


def comparison(target: Target, facts: TableFacts, dialect: Dialect) -> Callable[[Sequence[Key]], Sequence[Key] | None]:
    """What makes keys of a table comparable, all of them or none."""
    declared = [target.table_columns[name] for name in target.key]
    compares = [_compare(column, facts.columns.get(column.name, ColumnFacts()), dialect) for column in declared]
    if len(compares) == 1:
        return compares[0]

    def compare(keys: Sequence[Any]) -> Sequence[Key] | None:
        columns = []
        for position, compare_column in enumerate(compares):
            values = compare_column(list(map(itemgetter(position), keys)))
            if values is None:
                return None
            columns.append(values)
        return list(zip(*columns, strict=True))

    return compare


def incomparable(target: Target, facts: TableFacts, dialect: Dialect) -> str | None:
    """The first column of a table's key of which Python can tell no two values apart; ``None`` if there is none."""
    of_key = ((name, target.table_columns[name]) for name in target.key)
    return next(
        (name for name, it in of_key if _compare(it, facts.columns.get(it.name, ColumnFacts()), dialect) is _never),
        None,
    )


def order_of(keys: Sequence[Any]) -> Sequence[int]:
    """The numbers of keys in the order of these; those that have none, such as members of enumerations, by their text.

    Equal ones keep their order, and nothing is between them, although their texts may differ.
    """
    numbers = range(len(keys))
    try:
        if all(map(le, keys, islice(keys, 1, None))):
            return numbers
        return sorted(numbers, key=keys.__getitem__)
    except TypeError:
        texts: dict[Key, str] = {}
        return sorted(numbers, key=lambda number: texts.setdefault(keys[number], repr(keys[number])))


class InKeyOrder(Sequence[Any]):
    """Rows in the order of their keys, in which they are put when somebody looks at them: ``given`` is as they came."""

    def __init__(self, given: Sequence[Any], keys: Sequence[Key]) -> None:
        self.given = given
        self._keys = keys

    @cached_property
    def _ordered(self) -> Sequence[Any]:
        return list(map(self.given.__getitem__, order_of(self._keys)))

    def __len__(self) -> int:
        return len(self.given)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ordered)

    def __getitem__(self, at: Any) -> Any:
        return self._ordered[at]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self._ordered,)


@dataclass(frozen=True, slots=True)
class _OfClass:
    """Compares values of one class that satisfy a condition."""

    known: type
    condition: Callable[[Sequence[Any]], bool] | None = None
    form: Callable[[Any], Any] | None = None

    def __call__(self, values: Sequence[Any]) -> Sequence[Any] | None:
        if not set(map(type, values)) <= {self.known}:
            return None
        if self.condition is not None and not self.condition(values):
            return None
        return values if self.form is None else list(map(self.form, values))


def _never(_: Sequence[Any]) -> None:
    """Values that Python compares otherwise than the database does."""


def is_plain(column: Column[Any], dialect: Dialect) -> bool:
    """Whether a column's values go to the database as they are, but for their form.

    What becomes of the values of a type that somebody has written for a project, only its author knows.
    """
    in_dialect = column.type.dialect_impl(dialect)
    return in_dialect.bind_expression(bindparam("v")) is None and not any(
        isinstance(it, TypeDecorator) or type(it).__module__.partition(".")[0] != "sqlalchemy"
        for it in (column.type, in_dialect)
    )


def _compare(column: Column[Any], facts: ColumnFacts, dialect: Dialect) -> Compare:
    if not is_plain(column, dialect):
        return _never
    if isinstance(column.type, Uuid) and facts.kind in _TEXTS:
        return _OfClass(uuid.UUID)  # kept as digits
    if facts.kind is Kind.ENUM:
        known = column.type.enum_class if isinstance(column.type, Enum) else None
        return _OfClass(known or str)
    if facts.kind not in _CLASSES:
        return _never
    known = _CLASSES[facts.kind]
    if facts.kind in _TEXTS:
        return _compare_texts(facts)
    return _OfClass(known, {Kind.TIMESTAMP: _are_without_zone, Kind.TIMESTAMP_WITH_ZONE: _have_offsets}.get(facts.kind))


def _compare_texts(facts: ColumnFacts) -> Compare:
    conditions = [] if facts.kind is Kind.TEXT else [_are_printable_ascii]
    if facts.longest is not None and not facts.padded:
        conditions.append(partial(_fit, longest=facts.longest))
    form = _FORMS[facts.kind is Kind.TEXT_WITHOUT_CASE, facts.padded]
    return _OfClass(str, (lambda values: all(it(values) for it in conditions)) if conditions else None, form)


_FORMS: dict[tuple[bool, bool], Callable[[str], str] | None] = {
    (False, False): None,
    (False, True): lambda text: text.rstrip(" "),
    (True, False): str.lower,
    (True, True): lambda text: text.rstrip(" ").lower(),
}


def _fit(values: Sequence[str], longest: int) -> bool:
    """Whether none is cut: what is too long is refused, but for spaces at its end."""
    return max(map(len, values), default=0) <= longest


def _are_printable_ascii(values: Sequence[str]) -> bool:
    return all(value.isascii() and value.isprintable() for value in values)


def _are_without_zone(values: Sequence[dt.datetime]) -> bool:
    return all(value.tzinfo is None for value in values)


def _have_offsets(values: Sequence[dt.datetime]) -> bool:
    """Whether each has a fixed one: a zone's times may be the same twice, which Python does not tell apart."""
    return all(type(value.tzinfo) is dt.timezone for value in values)
