"""A ``FileSink`` asked for the content of a file, and what is read back from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.files import FileSink

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("price", pa.decimal128(10, 2)),
    ]
)

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
TIMES = pa.schema([("at", pa.timestamp("ms", "UTC")), ("day", pa.date32())])


def table(rows: Any, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    data = FileSink("results", lambda given: given, "parquet", schema=schema).prepare(rows)
    return parquet.read_table(pa.BufferReader(data)).to_pylist()


def refused(rows: Any, reason: str, **options: Any) -> None:
    with pytest.raises(ProcessingError, match=reason):
        FileSink("results", lambda given: given, **options).prepare(rows)
