"""What is read back from a file equals what was given, or the rows are refused, naming the row and the path inside it.

Types and values nested in each other, that fit and that nearly fit; with and without a schema, as rows and as tables.
"""

from __future__ import annotations

import json
import math
import re
import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import event, given
from hypothesis import strategies as st
from pyarrow import parquet

from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.files import FileSink

# Values

ZONES = [UTC, timezone(timedelta(hours=-5, minutes=-30)), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")]
NAIVE = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31))
AWARE = st.builds(
    lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold),
    st.datetimes(datetime(2023, 10, 29), datetime(2023, 11, 6)) | NAIVE,
    st.sampled_from(ZONES),
    st.integers(0, 1),
)
INTS = st.integers(-3, 3) | st.sampled_from([2**n + d for n in (8, 15, 24, 31, 53, 63, 64) for d in (-1, 0, 1)])
FLOATS = st.floats() | st.sampled_from([1.0, 1.5, 0.1, 1e39, 1e-50, 70_000.0, 1e-9, 5e-324])
DECIMALS = st.decimals(allow_nan=True, places=2) | st.sampled_from([Decimal(5), Decimal("5.5"), Decimal("1E+3")])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    INTS,
    FLOATS,
    DECIMALS,
    st.text(max_size=3),
    st.binary(max_size=3),
    st.dates(),
    NAIVE,
    AWARE,
    st.times(),
    st.times(timezones=st.just(UTC)),
    st.timedeltas(),
    st.uuids(),
)
KEYS = st.sampled_from("abc")
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)

# Types, and values that fit them

_MILLIS = st.integers(-(10**12), 10**12)
FITTING: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint32(), st.integers(0, 2**32 - 1)),
    (pa.float64(), st.floats()),
    (pa.float32(), st.floats(width=32) | st.floats(-1e30, 1e30).filter(lambda x: x == 0 or abs(x) > 1e-30)),
    (pa.float16(), st.floats(width=16)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=3)),
    (pa.large_string(), st.text(max_size=3)),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from("abc")),
    (pa.binary(), st.binary(max_size=3)),
    (pa.binary(2), st.binary(min_size=2, max_size=2)),
    (pa.decimal128(10, 2), st.decimals(-9999, 9999, places=2) | st.integers(-9999, 9999)),
    (pa.date32(), st.dates()),
    (pa.date64(), st.dates()),
    (pa.timestamp("us"), NAIVE),
    (pa.timestamp("us", "UTC"), AWARE.filter(lambda at: 2 < at.year < 9998)),
    (pa.timestamp("us", "Europe/Berlin"), AWARE.filter(lambda at: 2 < at.year < 9998)),
    (pa.timestamp("ms"), _MILLIS.map(lambda ms: datetime(1970, 1, 1) + timedelta(milliseconds=ms))),
    (pa.timestamp("ns", "UTC"), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))),
    (pa.time64("us"), st.times()),
    (pa.time32("s"), st.times().map(lambda at: at.replace(microsecond=0))),
    (pa.duration("us"), st.timedeltas(-timedelta(days=10**5), timedelta(days=10**5))),
    (pa.duration("ms"), _MILLIS.map(lambda ms: timedelta(milliseconds=ms))),
]


def _nested(inner: st.SearchStrategy[tuple[pa.DataType, Any]]) -> st.SearchStrategy[tuple[pa.DataType, Any]]:
    def list_of(pair: tuple[pa.DataType, Any]) -> tuple[pa.DataType, Any]:
        return pa.list_(pair[0]), st.lists(pair[1] | st.none(), max_size=3)

    def struct_of(pairs: dict[str, tuple[pa.DataType, Any]]) -> tuple[pa.DataType, Any]:
        fields = {name: strategy | st.none() for name, (_, strategy) in pairs.items()}
        return pa.struct([(name, type_) for name, (type_, _) in pairs.items()]), st.fixed_dictionaries(
            {}, optional=fields
        )

    def map_of(pair: tuple[pa.DataType, Any]) -> tuple[pa.DataType, Any]:
        return pa.map_(pa.string(), pair[0]), st.dictionaries(KEYS, pair[1] | st.none(), max_size=3)

    structs = st.dictionaries(KEYS, inner, min_size=1, max_size=3).map(struct_of)
    return inner.map(list_of) | inner.map(map_of) | structs


TYPED = st.recursive(st.sampled_from(FITTING), _nested, max_leaves=4)
"""A type, and a strategy for values that fit it."""


def _column(fitting: bool) -> st.SearchStrategy[tuple[pa.DataType, list[Any]]]:
    def values(pair: tuple[pa.DataType, Any]) -> st.SearchStrategy[tuple[pa.DataType, list[Any]]]:
        one = pair[1] | st.none() if fitting else pair[1] | VALUES
        return st.tuples(st.just(pair[0]), st.lists(one, min_size=1, max_size=4))

    return TYPED.flatmap(values)


# What is equal


def is_same(given: Any, read: Any, floats: str) -> bool:
    """As Python compares, but for kinds: ``True`` is no 1, no date is a datetime. ``floats`` are the file's formats."""
    if isinstance(given, dict):
        if isinstance(read, list):  # a map
            return is_same([tuple(pair) for pair in given.items()], read, floats)
        return (
            isinstance(read, dict)
            and all(is_same(given.get(key), read.get(key), floats) if key in read else False for key in given)
            and all(read[key] is None for key in read.keys() - given.keys())
        )
    if isinstance(given, list | tuple):
        return (
            isinstance(read, list | tuple)
            and len(given) == len(read)
            and all(is_same(one, other, floats) for one, other in zip(given, read, strict=True))
        )
    if isinstance(given, float):
        return isinstance(read, float) and (
            given == read or (math.isnan(given) and math.isnan(read)) or _is_nearest(given, read, floats)
        )
    if isinstance(given, datetime) and isinstance(read, datetime) and given.tzinfo and read.tzinfo:
        return given.astimezone(UTC) == read.astimezone(UTC)
    if isinstance(given, bool | datetime) or isinstance(read, bool | datetime):
        return type(given) is type(read) and given == read
    return bool(given == read)


def _is_nearest(given: float, read: float, floats: str) -> bool:
    if not math.isfinite(read) or read == 0:
        return False
    return any(struct.unpack(code, struct.pack(code, given)) == (read,) for code in floats if _packs(code, given))


def _packs(code: str, value: float) -> bool:
    try:
        struct.pack(code, value)
    except OverflowError:
        return False
    return True


def _floats_of(type_: pa.DataType) -> str:
    return ("f" if "float" in str(type_).replace("halffloat", "") else "") + ("e" if "halffloat" in str(type_) else "")


def _written(rows: Any, schema: pa.Schema | None = None) -> list[dict[str, Any]] | str:
    """What is in the file; or why there is none."""
    try:
        data = FileSink("results", lambda given: given, "parquet", schema=schema).prepare(rows)
    except ProcessingError as refusal:
        return str(refusal)
    return parquet.read_table(pa.BufferReader(data)).to_pylist()


_WHERE = re.compile(r"row \d+ has (in '[xy][^']*'|no value in 'x[^']*')|row \d+ is an empty mapping")


@given(_column(fitting=True))
def test_what_fits_a_schema_is_written_and_comes_back(column: tuple[pa.DataType, list[Any]]) -> None:
    type_, values = column
    read = _written([{"x": value} for value in values], pa.schema([("x", type_)]))
    assert not isinstance(read, str), read
    assert all(is_same(one, other["x"], _floats_of(type_)) for one, other in zip(values, read, strict=True)), read


@given(_column(fitting=False))
def test_what_nearly_fits_a_schema_comes_back_or_is_refused(column: tuple[pa.DataType, list[Any]]) -> None:
    type_, values = column
    read = _written([{"x": value} for value in values], pa.schema([("x", type_)]))
    event("refused" if isinstance(read, str) else "written")
    if isinstance(read, str):
        assert _WHERE.search(read), read
    else:
        assert all(is_same(one, other["x"], _floats_of(type_)) for one, other in zip(values, read, strict=True)), read


ROWS = st.lists(st.fixed_dictionaries({"x": VALUES}, optional={"y": VALUES}), min_size=1, max_size=4)


@given(ROWS)
def test_without_a_schema_rows_come_back_or_are_refused(rows: list[dict[str, Any]]) -> None:
    read = _written(rows)
    event("refused" if isinstance(read, str) else "written")
    if isinstance(read, str):
        assert _WHERE.search(read), read
    else:
        assert all(is_same(one, other, "") for one, other in zip(rows, read, strict=True)), read


@given(_column(fitting=True), TYPED)
def test_a_table_comes_back_or_is_refused(
    column: tuple[pa.DataType, list[Any]], other: tuple[pa.DataType, Any]
) -> None:
    type_, values = column
    table = pa.Table.from_arrays([pa.array(values, type_)], names=["x"])
    read = _written(table, pa.schema([("x", other[0])]))
    event("refused" if isinstance(read, str) else "written")
    if isinstance(read, str):
        assert "gave a table that is not as schema= says" in read
    else:
        floats = _floats_of(type_) + _floats_of(other[0])
        given_rows = table.to_pylist()
        assert all(is_same(one["x"], it["x"], floats) for one, it in zip(given_rows, read, strict=True)), read


# JSON Lines

TEXTS = st.text(max_size=3) | st.sampled_from(["\ud800", "\udc00\ud800", "\x85", "\u2028", "\u2029", "\x00"])
JSON_KEYS = TEXTS | st.sampled_from([1, None, True, 1.5])
JSON_LEAVES = LEAVES | TEXTS | st.just(10**4000) | st.frozensets(st.integers(), max_size=2)
JSON_VALUES = st.recursive(
    JSON_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_KEYS, inner, max_size=3) | st.tuples(inner),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(TEXTS, JSON_VALUES, max_size=3), min_size=1, max_size=4))
def test_json_lines_come_back_or_are_refused(rows: list[dict[str, Any]]) -> None:
    try:
        data = FileSink("results", lambda given: given).prepare(rows)
    except ProcessingError as refusal:
        event("refused")
        assert re.search(r"row \d+ has (in ['\"]|a key)", str(refusal))
        return
    event("written")
    lines = [json.loads(line) for line in data.splitlines()]
    assert all(is_same(one, other, "") and len(one) == len(other) for one, other in zip(rows, lines, strict=True))
