"""What ``FileSink`` writes of rows and tables into Parquet: what was given, or nothing."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from pyarrow import parquet

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.files import FileSink
from tests.file_formats import NOON, SCHEMA, TIMES, refused, table


def test_columns_are_those_that_some_row_has() -> None:
    rows: list[Mapping[str, Any]] = [{"id": 1}, MappingProxyType({"name": "b", "id": None}), {"id": 3, "at": 0.5}]
    assert table(rows) == [
        {"id": 1, "name": None, "at": None},
        {"id": None, "name": "b", "at": None},
        {"id": 3, "name": None, "at": 0.5},
    ]


def test_values_of_all_kinds_come_back() -> None:
    row = {
        "bytes": b"\x00\xff",
        "price": Decimal("1.10"),
        "at": datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC),
        "day": date(2024, 2, 29),
        "offset": 2**63 - 1,
        "tags": ["a", None],
        "nested": {"a": {"b": 1}},
    }
    assert table([row]) == [row]


ITEMS = pa.struct([("n", pa.int64()), pa.field("must", pa.string(), nullable=False)])


def typed(type_: pa.DataType) -> pa.Schema:
    return pa.schema([("x", type_)])


@pytest.mark.parametrize(
    ("value", "type_", "path", "reason"),
    [
        ({"n": 1, "must": "a", "more": 2}, ITEMS, "x.more", "a key that others, or schema=, do not have"),
        ([1, 1.99], pa.list_(pa.int64()), "x[1]", "a float where others are int64"),
        (Decimal("5.5"), pa.int64(), "x", "a Decimal where others are int64"),
        ([NOON, NOON.replace(microsecond=1)], pa.list_(pa.timestamp("ms", "UTC")), "x[1]", "a datetime where others"),
        (1e39, pa.float32(), "x", "a float where others are float"),
        (1e-50, pa.float32(), "x", "a float where others are float"),
        ({"n": [1e39]}, pa.struct([("n", pa.list_(pa.float32()))]), "x.n[0]", "a float where others are float"),
        ([{"n": 1.5, "must": "a"}], pa.list_(ITEMS), "x[0].n", "a float where others are int64"),
        ({"k": 1, "l": 2.5}, pa.map_(pa.string(), pa.int64()), "x[1].value", "a float where others are int64"),
        ([("k", 1), ["l", 2]], pa.map_(pa.string(), pa.int64()), "x[1]", "a list, where a map has pairs"),
        ([None], pa.map_(pa.string(), pa.int64()), "x[0]", "a NoneType, where a map has pairs"),
        (NOON.replace(tzinfo=None), pa.timestamp("us", "UTC"), "x", "a datetime where others"),
        (NOON, pa.timestamp("us"), "x", "a datetime where others"),
        ([NOON], pa.list_(pa.date32()), "x[0]", "a datetime where others are date32"),
        (b"text", pa.string(), "x", "a bytes where others are string"),
        ("bytes", pa.binary(), "x", "a str where others are binary"),
        (time(12, tzinfo=UTC), pa.time64("us"), "x", "a time where others are time64"),
        (timedelta(microseconds=1), pa.duration("ms"), "x", "a timedelta where others are duration"),
        ({1, 2}, pa.list_(pa.int64()), "x", "a set where others are list"),
        ((1, 2), ITEMS, "x", "a tuple where others are struct"),
        ([{"n": 1, "must": "a"}, {"n": 1}], pa.list_(ITEMS), "x[1].must", None),
    ],
)
def test_nothing_is_cut_off_a_nested_value(value: Any, type_: pa.DataType, path: str, reason: str | None) -> None:
    said = f"row 1 has in {path!r} what its column cannot hold: {reason}"
    said = said if reason else f"row 1 has no value in {path!r}, which is not nullable"
    refused([{"x": None}, {"x": value}], re.escape(said), format="parquet", schema=typed(type_))


@pytest.mark.parametrize(
    ("values", "path", "reason"),
    [
        ([NOON, NOON.replace(tzinfo=None)], "x", "a datetime where others are timestamp[us, tz=UTC]"),
        ([NOON.replace(tzinfo=None), NOON], "x", "a datetime where others are timestamp[us]"),
        ([[NOON], [NOON.replace(tzinfo=None)]], "x[0]", "a datetime where others"),
        ([[NOON.date()], [NOON]], "x[0]", "a datetime where others are date32"),
        ([{"a": {"b": NOON.date()}}, {"a": {"b": NOON}}], "x.a.b", "a datetime where others are date32"),
        ([{}, {"a": 1}, {"a": "1"}], "x.a", "a str where others are int64"),
        ([1, [{"a": object()}]], "x", "a list where others are int64"),
        ([None, {}], "x", "an empty mapping, to which no row of the file gives a key"),
        ([[], [{}]], "x[0]", "an empty mapping, to which no row of the file gives a key"),
        ([{"a": 1}, {"a": "1"}], "x.a", "a str where others are int64"),
        ([1, object()], "x", "a object where others are int64"),
    ],
)
def test_no_row_changes_another_one_without_a_schema(values: list[Any], path: str, reason: str) -> None:
    said = re.escape(f"row {len(values) - 1} has in {path!r} what its column cannot hold: {reason}")
    refused([{"x": value} for value in values], said, format="parquet")


def test_a_first_row_that_goes_into_no_column_is_refused_by_its_place() -> None:
    refused([{"x": [{"a": object()}]}], r"row 0 has in 'x\[0\].a' .*: a object for which no", format="parquet")
    refused([{"x": {"a": Decimal("NaN")}}], r"row 0 has in 'x.a' .*: a Decimal for which no", format="parquet")
    refused([{"x": "a"}, {"x": b"a"}], r"row 0 has in 'x' .*: a str where others are binary", format="parquet")


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_what_no_reader_could_open_is_refused() -> None:
    assert table([{"x": _nested(20)}]) == [{"x": _nested(20)}]
    refused([{"x": _nested(60)}], "gave what Parquet has no form for: .*too deeply nested", format="parquet")
    refused([{"x": 1}, {"x": _nested(5_000)}], r"row 1 has in 'x' a value that is nested too deep", format="parquet")


def test_what_contains_itself_is_refused_before_it_ends_the_process() -> None:
    loop: list[Any] = []
    loop += [loop, [loop], {"a": loop}]
    for schema in (None, typed(pa.list_(pa.int64()))):
        refused(
            [{"x": None}, {"x": loop}], r"row 1 has in 'x' a value .* contains itself", format="parquet", schema=schema
        )


def test_times_of_several_zones_are_the_same_instants() -> None:
    berlin = NOON.astimezone(ZoneInfo("Europe/Berlin"))
    assert [row["x"] for row in table([{"x": berlin}, {"x": NOON}])] == [NOON, NOON]


def test_a_float_of_fewer_bits_means_the_nearest_one() -> None:
    (row,) = table([{"x": [0.1]}], typed(pa.list_(pa.float32())))
    assert row["x"] == [struct.unpack("f", struct.pack("f", 0.1))[0]]


def test_an_empty_mapping_is_one_if_another_row_has_keys() -> None:
    assert table([{"x": {}}, {"x": {"a": 1}}]) == [{"x": {"a": None}}, {"x": {"a": 1}}]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (pa.schema([("x", pa.int64()), ("x", pa.int64())]), "names 'x' twice"),
        (typed(pa.struct([])), "has what Parquet has no form for: "),
        (typed(pa.month_day_nano_interval()), "has what Parquet has no form for: "),
    ],
)
def test_a_schema_that_no_file_can_have_is_refused_at_construction(schema: pa.Schema, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^schema of a FileSink {reason}"):
        FileSink("results", lambda given: given, "parquet", schema=schema)


@pytest.mark.parametrize(
    ("rows", "schema", "where"),
    [
        ([{"x": {"a": 1, "b": 2}}], typed(pa.struct([("a", pa.int64())])), "x.b"),
        ([{"x": {"a": 1}}], typed(pa.struct([("b", pa.int64())])), "x.a"),
        ([{"x": 1e39}], typed(pa.float32()), "x"),
        ([{"x": [{"a": 1e-50}]}], typed(pa.list_(pa.struct([("a", pa.float32())]))), "x[].a"),
        ([{"x": NOON}], typed(pa.timestamp("us")), "x"),
        ([{"x": NOON.replace(tzinfo=None)}], typed(pa.timestamp("us", "UTC")), "x"),
        ([{"x": 5}], typed(pa.string()), "x"),
    ],
)
def test_a_table_whose_values_a_schema_would_change_is_refused(rows: Any, schema: pa.Schema, where: str) -> None:
    said = f"gave a table that is not as schema= says: in {where!r} some value would not be what it was"
    refused(pa.Table.from_pylist(rows), re.escape(said), format="parquet", schema=schema)


def test_a_table_with_a_column_twice_is_refused() -> None:
    columns = [pa.array([1]), pa.array([2])]
    refused(pa.Table.from_arrays(columns, names=["x", "x"]), "gave a table that has two columns 'x'", format="parquet")


def test_a_schema_makes_files_agree() -> None:
    rows = [{"name": None, "id": 1}, {"id": 2, "price": Decimal("3.5")}]
    first = FileSink("results", lambda given: given, "parquet", schema=SCHEMA)
    for given in (rows[:1], rows[1:], rows):
        assert parquet.read_table(pa.BufferReader(first.prepare(given))).schema.equals(SCHEMA)
    assert table(rows, SCHEMA) == [
        {"id": 1, "name": None, "price": None},
        {"id": 2, "name": None, "price": Decimal("3.50")},
    ]


@pytest.mark.parametrize(
    ("rows", "schema", "reason"),
    [
        ([{"id": 1}, {"id": 2, "nam": "a"}], SCHEMA, r"row 1 has 'nam', which is no column of schema="),
        ([{"id": 1}, {"name": "a"}], SCHEMA, r"row 1 has no value in 'id', which is not nullable"),
        ([{"id": 1}, {"id": None}], SCHEMA, r"row 1 has no value in 'id', which is not nullable"),
        ([{"id": 1}, {"id": 2}, {"id": 2**63}], SCHEMA, r"row 2 has in 'id' what its column cannot hold: "),
        (
            [{"id": 1}, {"id": 2}, {"id": 1.5}, {"id": "x"}],
            SCHEMA,
            r"row 2 has in 'id' .*: a float where others are int64",
        ),
        ([{"id": 1}, {"id": True}], SCHEMA, r"row 1 has in 'id' what its column cannot hold: "),
        (
            [{"at": NOON}, {"at": NOON.replace(microsecond=1)}],
            TIMES,
            r"row 1 has in 'at' what its column cannot hold: ",
        ),
        ([{"day": NOON.date()}, {"day": NOON}], TIMES, r"row 1 has in 'day' .*: a datetime where others are date32"),
        ([{"day": NOON.date()}, {"day": NOON}], None, r"row 1 has in 'day' .*: a datetime where others are date32"),
        ([{"id": 1, "price": Decimal("0.001")}], SCHEMA, r"row 0 has in 'price' what its column cannot hold: "),
        ([{"id": 1}, {"id": 2}, {"id": "a"}, {"id": 4}], None, r"row 2 has in 'id' what its column cannot hold: "),
        ([{"id": 1}, {"id": object()}], None, r"row 1 has in 'id' what its column cannot hold: "),
        ([{"id": 1}, {}], None, r"row 1 is an empty mapping"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: Any, schema: Any, reason: str) -> None:
    refused(rows, reason, format="parquet", schema=schema)


def test_a_table_may_be_given_in_place_of_rows() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "name": "a", "price": None},
        {"id": 2, "name": None, "price": Decimal("1.00")},
    ]
    for schema in (None, SCHEMA):
        assert table(pa.Table.from_pylist(rows, schema=SCHEMA), schema) == rows
        assert table(pa.RecordBatch.from_pylist(rows, schema=SCHEMA), schema) == rows
    sink = FileSink("results", lambda given: given, "parquet")
    assert sink.prepare(pa.Table.from_pylist([], schema=SCHEMA)) == b""


def test_a_table_takes_the_schemas_types_if_no_value_changes() -> None:
    schema = pa.schema([("id", pa.int32())])
    assert table(pa.Table.from_pylist([{"id": 7}]), schema) == [{"id": 7}]
    refused(
        pa.Table.from_pylist([{"id": 2**40}]),
        "gave a table that is not as schema= says",
        format="parquet",
        schema=schema,
    )
    refused(
        pa.Table.from_pylist([{"no": 1}]), "gave a table that is not as schema= says", format="parquet", schema=schema
    )


def test_a_table_is_no_json() -> None:
    refused(pa.Table.from_pylist([{"id": 1}]), "gave a Table")
    refused(pa.RecordBatch.from_pylist([{"id": 1}]), "RecordBatch|Array")
