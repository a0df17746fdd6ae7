"""Rows in the binary format of PostgreSQL's ``COPY``, encoded by a function that is made for the columns.

Numbers, texts and bytes are encoded here; for the rest psycopg's own dumpers are called. A loop over a list of encoders
for each row takes three times as long as one whose body is written for the row. So it is written: of the templates
below, and of nothing that a user has named. It collects pieces, to be joined: to extend a ``bytearray`` by each of them
takes half as long again.

A value is encoded only if its class is exactly one that is known here for its column's type. What an INSERT makes of
any other depends on casts, which a binary value does not go through.
"""

from __future__ import annotations

import datetime as dt
import decimal
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

from kafka_stream.sinks.sql.rows import Values

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

Encode: TypeAlias = Callable[[Iterable[Values]], list[bytes | bytearray]]
Convert: TypeAlias = Callable[[Any], Any]
Dump: TypeAlias = Callable[[Any], Any]


class UnknownValue(Exception):
    """A value whose class is not one that is encoded for its column's type."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the server has it.

    ``type_name`` is PostgreSQL's own (``int4``, ``_text`` for an array), or ``enum`` for any enumeration. ``convert``
    turns a row's value into what the driver takes.
    """

    type_name: str
    nullable: bool
    convert: Convert | None = None


# The struct code of types of fixed size, then the condition for a value to be encoded.
_FIXED: Mapping[str, tuple[str, str]] = {
    "bool": ("?", "{v}.__class__ is bool"),
    # What is so small that 0 would be stored, the server refuses.
    "float4": (
        "f",
        "{v}.__class__ is int or {v}.__class__ is float and ({v} == 0 or not -underflow <= {v} <= underflow)",
    ),
    "float8": ("d", "{v}.__class__ is float or {v}.__class__ is int"),
    "int2": ("h", "{v}.__class__ is int"),
    "int4": ("i", "{v}.__class__ is int"),
    "int8": ("q", "{v}.__class__ is int"),
}
# For the others the condition, and what makes bytes of the value. Lists are those of values of one class.
_IS_TEXT = ("{v}.__class__ is str", "{v}.encode()")
_SCALARS: Mapping[str, tuple[str, str]] = {
    "bytea": ("{v}.__class__ is bytes", "{v}"),
    "date": ("{v}.__class__ is date", "{dump}({v})"),
    "enum": _IS_TEXT,
    "interval": ("{v}.__class__ is timedelta", "{dump}({v})"),
    "json": ("{v}.__class__ is Json", "{dump}({v})"),  # psycopg's class, around what is to become JSON
    "jsonb": ("{v}.__class__ is Jsonb", "{dump}({v})"),
    "numeric": (
        "{v}.__class__ is Decimal or {v}.__class__ is int or {v}.__class__ is float",
        "{dump}({v} if {v}.__class__ is not float else Decimal(format({v}, '.15g')))",  # as the server casts a float
    ),
    "text": _IS_TEXT,
    "time": ("{v}.__class__ is time and {v}.tzinfo is None", "{dump}({v})"),
    "timestamp": ("{v}.__class__ is datetime and {v}.tzinfo is None", "{dump}({v})"),
    "timestamptz": ("{v}.__class__ is datetime and {v}.tzinfo is not None", "{dump}({v})"),
    "uuid": ("{v}.__class__ is UUID", "{v}.bytes"),
    "varchar": _IS_TEXT,
}
# The elements of lists: the type's number, the class, and what makes bytes of one. psycopg's dumper for elements does
# not look at the range of integers.
_ELEMENTS: Mapping[str, tuple[int, type, Dump | None]] = {
    "bool": (16, bool, struct.Struct("!?").pack),
    "float8": (701, float, struct.Struct("!d").pack),
    "int2": (21, int, struct.Struct("!h").pack),
    "int4": (23, int, struct.Struct("!i").pack),
    "int8": (20, int, struct.Struct("!q").pack),
    "numeric": (1700, decimal.Decimal, None),
    "text": (25, str, str.encode),
    "uuid": (2950, uuid.UUID, attrgetter("bytes")),
    "varchar": (1043, str, str.encode),
}
_SIZED: Mapping[str, tuple[str, str]] = {
    **_SCALARS,
    **{
        f"_{of}": (f"{{v}}.__class__ is list and set(map(type, {{v}})) <= elements_{of}", "{dump}({v})")
        for of in _ELEMENTS
    },
}
_LENGTH = struct.Struct("!i").pack
_NULL = _LENGTH(-1)
_KNOWN: Mapping[str, Any] = {
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "UnknownValue": UnknownValue,
    "date": dt.date,
    "datetime": dt.datetime,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "underflow": 2.0**-150,
    **{f"elements_{of}": {element, type(None)} for of, (_, element, _) in _ELEMENTS.items()},
}


def is_known(type_name: str) -> bool:
    """Whether values of a type can be encoded at all."""
    return type_name in _FIXED or type_name in _SIZED


def dumped_as(type_name: str) -> str | None:
    """The type whose values, or elements, the driver encodes; ``None`` if that is done here."""
    if type_name in _SCALARS:
        return type_name if "{dump}" in _SCALARS[type_name][1] else None
    element = type_name.removeprefix("_")
    return element if element != type_name and element in _ELEMENTS and _ELEMENTS[element][2] is None else None


def encoder(columns: Sequence[Column], dumper_of: Callable[[str], Dump]) -> Encode:
    """A function that encodes rows of these columns into pieces, one after the other, without header and trailer.

    ``dumper_of`` gives the driver's own encoding of a type. The function raises ``UnknownValue``, or what ``struct``, a
    converter or a dumper raises, where a value cannot be encoded.
    """
    source = _Source(dumper_of)
    source.pack("h", str(len(columns)))
    names = [f"v{number}" for number in range(len(columns))]
    for name, column in zip(names, columns, strict=True):
        source.add(name, column)
    return source.function(names)


class _Source:
    """The body of the loop, and the names that it uses; what is packed by one call is collected first."""

    def __init__(self, dumper_of: Callable[[str], Dump]) -> None:
        from psycopg import Binary
        from psycopg.types.json import Json, Jsonb

        self._names: dict[str, Any] = {**_KNOWN, "Binary": Binary, "Json": Json, "Jsonb": Jsonb}
        self._dumper_of = dumper_of
        self._lines: list[str] = []
        self._format = "!"
        self._packed: list[str] = []

    def pack(self, code: str, value: str) -> None:
        """Pack a value of fixed size, together with those before and after it."""
        self._format += code
        self._packed.append(value)

    def add(self, name: str, column: Column) -> None:
        """Encode the value of that name."""
        if column.convert is not None:
            self._names[f"convert_{name}"] = column.convert
            self._lines.append(f"{name} = convert_{name}({name})")
            if column.type_name == "bytea":
                self._lines.append(f"if {name}.__class__ is Binary: {name} = {name}.obj")  # the driver's wrapping
        if column.type_name in _FIXED:
            code, condition = _FIXED[column.type_name]
            size = struct.calcsize(f"!{code}")
            if not column.nullable:
                self._lines.append(f"if not ({condition.format(v=name)}): raise UnknownValue")
                self.pack("i", str(size))
                self.pack(code, name)
                return
            encode = f"add({self._packed_with(f'i{code}', str(size), name)})"
        else:
            condition, value = _SIZED[column.type_name]
            if "{dump}" in value:
                self._names[f"dump_{name}"] = self._dump(column.type_name)
            sized = f"{name} = {value.format(v=name, dump=f'dump_{name}')}"
            encode = f"{sized}; add({self._packed_with('i', f'len({name})')}); add({name})"
        self._lines += [
            f"if {condition.format(v=name)}: {encode}",
            f"elif {name} is None: add({self._packed_with('i', '-1')})",
            "else: raise UnknownValue",
        ]
        self._format, self._packed = "!", []

    def _dump(self, type_name: str) -> Dump:
        if type_name not in _SCALARS:
            number, _, encode = _ELEMENTS[type_name[1:]]
            return partial(_encoded_list, number, encode or self._dumper_of(type_name[1:]))
        return self._dumper_of(type_name)

    def _packed_with(self, code: str, *values: str) -> str:
        """A call that packs these after what was collected."""
        pack = f"pack_{len(self._names)}"
        self._names[pack] = struct.Struct(self._format + code).pack
        return f"{pack}({', '.join([*self._packed, *values])})"

    def function(self, names: Sequence[str]) -> Encode:
        """Compile it."""
        if self._packed:
            self._lines.append(f"add({self._packed_with('')})")
        loop = [f"for {', '.join(names)}, in rows:", *(f"  {line}" for line in self._lines)]
        body = ["out = []", "add = out.append", *loop, "return out"]
        exec("\n".join(["def encode(rows):", *(f"  {line}" for line in body)]), self._names)  # noqa: S102 - see above
        encode: Encode = self._names["encode"]
        return encode


def _encoded_list(type_number: int, encode: Dump, values: list[Any]) -> bytearray:
    if not values:
        return bytearray(struct.pack("!iii", 0, 0, type_number))
    out = bytearray(struct.pack("!iiiii", 1, None in values, type_number, len(values), 1))
    for value in values:
        if value is None:
            out += _NULL
        else:
            encoded = encode(value)
            out += _LENGTH(len(encoded)) + encoded
    return out
