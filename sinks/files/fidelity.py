"""Pure: whether a column gives back the very values that it was made of, and which one it does not.

pyarrow refuses some losses and not others: it cuts fields off a struct, fractions off a float that becomes an integer,
the time off a datetime that becomes a date, and shifts times without a zone that stand beside others with one. So each
column is looked at by the kinds of its values, which is cheap; only what that leaves open is read back, value by value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa

REFUSALS = (pa.ArrowException, OverflowError, TypeError, ValueError)

_Check = Callable[[Any], bool]
_UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_DEEPEST = 100
"""Of lists in lists; a file may have about half as many that can still be read, which its footer tells."""
_EDGE_YEARS = (1, 9999)
"""In another zone they may lie beyond what Python's times can say."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a column would change: ``path`` is where it is inside the row's value; no ``reason`` is a value missing."""

    path: str
    reason: str


def is_exact(values: Sequence[Any], type_: pa.DataType, nullable: bool = True) -> bool:
    """Whether a column of this type, which pyarrow has made of these values, gives them back."""
    kinds = set(map(type, values))
    if type(None) in kinds:
        if not nullable:
            return False
        kinds.discard(type(None))
        values = [value for value in values if value is not None]
    if not kinds:
        return True
    if pa.types.is_dictionary(type_):
        return is_exact(values, type_.value_type)
    parts = _parts(type_)
    if parts is not None:
        return kinds <= parts.kinds and parts.are_exact(values)
    return (kinds == {_own_kind(type_)} and _all_fit(values, type_)) or all(map(_comes_back_as(type_), values))


def is_too_deep(values: Sequence[Any]) -> bool:
    """Whether values are nested deeper than a column can be, or contain themselves: pyarrow would end the process."""
    for _ in range(_DEEPEST):
        kinds = set(map(type, values))
        if not any(issubclass(kind, dict | list | tuple) for kind in kinds):
            return False
        once = dict(zip(map(id, values), values, strict=True)).values()  # what contains itself twice would double
        values = [
            *chain.from_iterable(it for it in once if isinstance(it, list | tuple)),
            *chain.from_iterable(it.values() for it in once if isinstance(it, dict)),
        ]
    return True


def differences(value: Any, type_: pa.DataType, nullable: bool = True, path: str = "") -> Iterator[Difference]:
    """What a column of this type would change of one value, in the order of the value; none if nothing."""
    if value is None:
        if not nullable:
            yield Difference(path, "")
        return
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    parts = _parts(type_)
    if parts is None:
        if not _comes_back_as(type_)(value):
            yield Difference(path, f"a {type(value).__name__} where others are {type_}")
    elif type(value) not in parts.kinds:
        yield Difference(path, f"a {type(value).__name__} where others are {type_}")
    else:
        yield from parts.differences(value, path)


def unconvertible(value: Any, path: str = "") -> Difference:
    """The smallest part of a value that goes into no column, whatever its type."""
    parts: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        parts = ((f".{key}", inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        parts = ((f"[{number}]", inner) for number, inner in enumerate(value))
    for name, inner in parts:
        try:
            pa.array([inner])
        except REFUSALS:
            return unconvertible(inner, f"{path}{name}")
    return Difference(path, f"a {type(value).__name__} for which no column has a type")


class _Struct:
    """Mappings; a key that one lacks reads as ``None``."""

    kinds = frozenset({dict})

    def __init__(self, type_: pa.DataType) -> None:
        self._fields = [type_.field(at) for at in range(type_.num_fields)]
        self._names = {field.name for field in self._fields}

    def are_exact(self, values: Sequence[dict[Any, Any]]) -> bool:
        return (
            bool(self._fields)
            and self._names.issuperset(chain.from_iterable(values))
            and all(is_exact([it.get(f.name) for it in values], f.type, f.nullable) for f in self._fields)
        )

    def differences(self, value: dict[Any, Any], path: str) -> Iterator[Difference]:
        if not self._fields:
            yield Difference(path, "an empty mapping, to which no row of the file gives a key")
        for name in value:
            if name not in self._names:
                yield Difference(f"{path}.{name}", "a key that others, or schema=, do not have")
        for field in self._fields:
            yield from differences(value.get(field.name), field.type, field.nullable, f"{path}.{field.name}")


class _List:
    """Lists and tuples, which read as lists."""

    kinds = frozenset({list, tuple})

    def __init__(self, field: pa.Field) -> None:
        self._field = field

    def are_exact(self, values: Sequence[Sequence[Any]]) -> bool:
        return is_exact(list(chain.from_iterable(values)), self._field.type, self._field.nullable)

    def differences(self, value: Sequence[Any], path: str) -> Iterator[Difference]:
        for number, item in enumerate(value):
            yield from differences(item, self._field.type, self._field.nullable, f"{path}[{number}]")


class _Map:
    """Mappings, or pairs, which is what they read as."""

    kinds = frozenset({dict, list, tuple})

    def __init__(self, type_: pa.DataType) -> None:
        self._key, self._item = type_.key_field, type_.item_field

    def are_exact(self, values: Sequence[Any]) -> bool:
        pairs = list(chain.from_iterable(map(_pairs, values)))
        return (
            all(type(pair) is tuple and len(pair) == 2 for pair in pairs)
            and is_exact([key for key, _ in pairs], self._key.type, nullable=False)
            and is_exact([item for _, item in pairs], self._item.type, self._item.nullable)
        )

    def differences(self, value: Any, path: str) -> Iterator[Difference]:
        for number, pair in enumerate(_pairs(value)):
            at = f"{path}[{number}]"
            if type(pair) is not tuple or len(pair) != 2:
                yield Difference(at, f"a {type(pair).__name__}, where a map has pairs of key and value")
                continue
            yield from differences(pair[0], self._key.type, False, f"{at}.key")
            yield from differences(pair[1], self._item.type, self._item.nullable, f"{at}.value")


def _parts(type_: pa.DataType) -> _Struct | _List | _Map | None:
    if pa.types.is_struct(type_):
        return _Struct(type_)
    if pa.types.is_map(type_):
        return _Map(type_)
    return _List(type_.value_field) if any(is_list(type_) for is_list in _LISTS) else None


def _pairs(value: Any) -> Any:
    return value.items() if isinstance(value, dict) else value


def _own_kind(type_: pa.DataType) -> type | None:
    """The kind of value that a type is for, of which pyarrow cuts nothing off but what ``_all_fit`` looks at."""
    kinds: Sequence[tuple[Sequence[Callable[[pa.DataType], bool]], type]] = (
        ((pa.types.is_integer,), int),
        (_TEXTS, str),
        ((pa.types.is_float64,), float),
        ((pa.types.is_boolean,), bool),
        (_BYTES, bytes),
        ((pa.types.is_timestamp,), datetime),
        ((pa.types.is_decimal,), Decimal),
        ((pa.types.is_date,), date),
        ((pa.types.is_time,), time),
        ((pa.types.is_duration,), timedelta),
    )
    return next((kind for checks, kind in kinds if any(check(type_) for check in checks)), None)


def _all_fit(values: Sequence[Any], type_: pa.DataType) -> bool:
    if pa.types.is_timestamp(type_):
        unit_us, has_zone = _UNIT_US[type_.unit], type_.tz is not None
        return all(
            (it.utcoffset() is not None) is has_zone and not it.microsecond % unit_us and it.year not in _EDGE_YEARS
            for it in values
        )
    if pa.types.is_time(type_):
        unit_us = _UNIT_US[type_.unit]
        return all(it.tzinfo is None and not it.microsecond % unit_us for it in values)
    if pa.types.is_duration(type_):
        unit_us = _UNIT_US[type_.unit]
        return all(not it.microseconds % unit_us for it in values)
    return True


def _comes_back_as(type_: pa.DataType) -> _Check:
    def comes_back(value: Any) -> bool:
        try:
            return _are_same(value, pa.array([value], type_)[0].as_py(), type_)
        except REFUSALS:
            return False

    return comes_back


def _are_same(given: Any, read: Any, type_: pa.DataType) -> bool:
    if isinstance(given, float) and isinstance(read, float):
        return _are_same_floats(given, read, type_)
    if isinstance(given, datetime) and isinstance(read, datetime) and given.utcoffset() is not None is not read.tzinfo:
        return given.astimezone(UTC) == read.astimezone(UTC)  # as they are, times of a doubled hour are never equal
    kinds: Sequence[type] = (bool, float, datetime)  # 1 == True and 1 == 1.0, and yet it was something else
    if any(isinstance(given, kind) and not isinstance(read, kind) for kind in kinds):
        return False
    return bool(given == read)


def _are_same_floats(given: float, read: float, type_: pa.DataType) -> bool:
    if given == read or (math.isnan(given) and math.isnan(read)):
        return True
    # A type of fewer bits is asked for by name, and means the nearest float that it has; not none at all.
    return not pa.types.is_float64(type_) and math.isfinite(read) and math.isfinite(given) and read != 0


__all__ = ["REFUSALS", "Difference", "differences", "is_exact", "is_too_deep", "unconvertible"]
