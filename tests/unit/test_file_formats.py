"""What ``FileSink`` writes of rows in each format, and which rows it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from kafka_stream.errors import ConfigurationError, MissingExtra, ProcessingError, RecordError
from kafka_stream.sinks.files import FileSink
from kafka_stream.testing import batch_of, message
from tests.file_formats import SCHEMA, refused


def jsonl(rows: Any) -> bytes:
    return FileSink("results", lambda given: given).prepare(rows)


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
    assert isinstance(raised.value, RecordError)
    assert str(raised.value) == (
        f"record orders[3]@120: to_rows of the FileSink for {Path.cwd()}/results, for orders[3] [100, 121): "
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
        ("half \ud800", "text with half of a surrogate pair"),
        pytest.param(10**5000, "int: Exceeds the limit", id="a number without end"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: Any, reason: str) -> None:
    refused([{"id": 1, "x": 1}, {"id": 2, "x": value}], rf"row 1 has in 'x' what JSON cannot hold: {reason}")
    refused([MappingProxyType({"x": value})], r"row 0 has in 'x'")


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ([1, {"deep": float("inf")}], "x[1].deep", "float: Out of range float values"),
        ({"deep": "\udfff"}, "x.deep", "text with half of a surrogate pair"),
        ({"\udfff": 1}, "x", "text with half of a surrogate pair"),
        ({"a": [{"b": (1, Decimal(1))}]}, "x.a[0].b[1]", "Decimal: Object of type Decimal"),
        ({"a": {1: "b"}}, "x.a", "dict: the key 1 is a int, not text"),
        ([{None: 1}], "x[0]", "dict: the key None is a NoneType, not text"),
        ({"a": {True: 1}}, "x.a", "dict: the key True is a bool, not text"),
    ],
)
def test_the_place_in_a_row_that_json_cannot_hold_is_named(value: Any, path: str, reason: str) -> None:
    refused([{"x": {"a": [1]}}, {"x": value}], re.escape(f"row 1 has in {path!r} what JSON cannot hold: {reason}"))


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    refused([{"x": loop}], r"row 0 has in 'x' what JSON cannot hold: list: Circular")
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    refused([{"x": deep}], r"row 0 has in 'x' what JSON cannot hold: list: maximum recursion depth")


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
