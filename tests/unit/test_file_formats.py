"""What ``FileSink`` writes of rows in each format, and which rows it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from kafka_stream.errors import ConfigurationError, MissingExtra, ProcessingError
from kafka_stream.sinks.files import FileSink
from kafka_stream.testing import batch_of, message

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("price", pa.decimal128(10, 2)),
    ]
)

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
TIMES = pa.schema([("at", pa.timestamp("ms", "UTC")), ("day", pa.date32())])


def jsonl(rows: Any) -> bytes:
    return FileSink("results", lambda given: given).prepare(rows)


def table(rows: Any, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    data = FileSink("results", lambda given: given, "parquet", schema=schema).prepare(rows)
    return parquet.read_table(pa.BufferReader(data)).to_pylist()


def refused(rows: Any, reason: str, **options: Any) -> None:
    with pytest.raises(ProcessingError, match=reason):
        FileSink("results", lambda given: given, **options).prepare(rows)


# Both


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
@pytest.mark.parametrize("rows", [[], (), iter([]), ({} for _ in range(0))])
def test_no_rows_are_no_content(format_: Any, rows: Any) -> None:
    assert FileSink("results", lambda given: given, format_).prepare(rows) == b""


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_the_same_rows_are_the_same_content(format_: Any) -> None:
    rows = [{"id": n, "name": f"name {n}", "price": None} for n in range(100)]
    sink = FileSink("results", lambda given: given, format_)
    assert sink.prepare(rows) == sink.prepare(rows)


@pytest.mark.parametrize("options", [{}, {"format": "parquet"}, {"format": "parquet", "schema": SCHEMA}])
@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"id": 1}, (2, "a")], r"row 1 is a tuple, not a mapping from column names to values"),
        ([{"id": 1}, None], r"row 1 is a NoneType, not a mapping"),
        ({"id": 1}, r"gave a dict; it gives an iterable of mappings, which may be empty"),
        ([{"id": 1}, {"id": 2, 3: 4}], r"row 1 has the key 3, which is a int, not text"),
    ],
)
def test_what_is_no_row_is_refused(rows: Any, reason: str, options: dict[str, Any]) -> None:
    refused(rows, reason, **options)


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_a_refusal_names_directory_range_and_row(format_: Any) -> None:
    batch = batch_of([message("a", topic="orders", partition=3, offset=n) for n in (100, 120)])
    sink = FileSink(
        "results", lambda given: [{"offset": m.offset()} if m.offset() == 100 else m for m in given], format_
    )
    with pytest.raises(ProcessingError) as raised:
        sink.prepare(batch)
    assert str(raised.value) == (
        f"to_rows of the FileSink for {Path.cwd()}/results, for orders[3] [100, 121): "
        "row 1 is a Message, not a mapping from column names to values"
    )


# JSON Lines


def test_a_compact_object_a_line_in_utf_8() -> None:
    rows = [{"id": 1, "name": "Žižek", "tags": ["a", {"b": None}]}, MappingProxyType({"ok": True, "x": 1.5}), {}]
    assert jsonl(rows).decode() == '{"id":1,"name":"Žižek","tags":["a",{"b":null}]}\n{"ok":true,"x":1.5}\n{}\n'


def test_no_text_ends_a_line() -> None:
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)]))
    data = jsonl([{"text": text}, {"text": "2"}])
    assert len(data.splitlines()) == len(data.decode().splitlines()) == 2
    assert [json.loads(line)["text"] for line in data.splitlines()] == [text, "2"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"bytes", "bytes: Object of type bytes is not JSON serializable"),
        (Decimal("1.10"), "Decimal: Object of type Decimal"),
        (datetime(2024, 2, 29, tzinfo=UTC), "datetime: Object of type datetime"),
        (date(2024, 2, 29), "date: Object of type date"),
        ({1, 2}, "set: Object of type set"),
        (float("nan"), "float: Out of range float values"),
        ([1, {"deep": float("inf")}], "list: Out of range float values"),
        ("half \ud800", "text with half of a surrogate pair"),
        ({"deep": "\udfff"}, "text with half of a surrogate pair"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: Any, reason: str) -> None:
    refused([{"id": 1, "x": 1}, {"id": 2, "x": value}], rf"row 1 has in 'x' what JSON cannot hold: {reason}")
    refused([MappingProxyType({"x": value})], r"row 0 has in 'x'")


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    refused([{"x": loop}], r"row 0 has in 'x' what JSON cannot hold: list: Circular")
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    refused([{"x": deep}], r"row 0 has in 'x' what JSON cannot hold: list: maximum recursion depth")


# Parquet


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


# Refused when it is built


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"format": "csv"}, r"format='csv' of a FileSink is unknown; choose 'jsonl' or 'parquet'"),
        ({"schema": SCHEMA}, r'schema= of a FileSink is for format="parquet"'),
        ({"format": "parquet", "schema": {"id": "int64"}}, r"schema of a FileSink is a dict, not a pyarrow.Schema"),
        ({"directory": "s3://bucket/results"}, r"not to a URL"),
        ({"directory": ""}, r"FileSink writes into a directory, not into str ''"),
        ({"directory": None}, r"FileSink writes into a directory, not into NoneType None"),
    ],
)
def test_what_cannot_work_is_refused_at_construction(arguments: dict[str, Any], reason: str) -> None:
    given: dict[str, Any] = {"directory": "results", "to_rows": lambda rows: rows, **arguments}
    with pytest.raises(ConfigurationError, match=reason):
        FileSink(**given)


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "kafka_stream.sinks.files.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"needs pyarrow: pip install 'kafka-stream\[parquet\]'"):
        FileSink("results", lambda given: given, "parquet")


def test_json_lines_need_no_pyarrow() -> None:
    code = (
        "import sys; from kafka_stream.sinks.files import FileSink\n"
        "FileSink('results', lambda rows: rows).prepare([{'a': 1}])\n"
        "assert 'pyarrow' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)
