"""Rows as Parquet. Imported only where the format is chosen, since it needs pyarrow."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.files.rows import RowsRefused, check_names, numbered_rows

_REFUSALS = (pa.ArrowException, OverflowError, TypeError, ValueError)
_CUT_OFF: Sequence[tuple[Callable[[pa.DataType], bool], type]] = (
    (pa.types.is_integer, float),
    (pa.types.is_date, datetime),
)


class Parquet:
    """Columns by their names; without a schema, those that some row of the file has, with types from their values.

    Also takes a ``pyarrow.Table`` or ``RecordBatch`` in place of rows.
    """

    def __init__(self, schema: Any) -> None:
        if schema is not None and not isinstance(schema, pa.Schema):
            raise ConfigurationError(f"schema of a FileSink is a {type(schema).__name__}, not a pyarrow.Schema")
        self._schema: pa.Schema | None = schema

    @property
    def suffix(self) -> str:
        """Parquet's own."""
        return ".parquet"

    def encode(self, rows: Any) -> bytes:
        """See ``Format``."""
        table = self._table(rows)
        if not table.num_rows:
            return b""
        stream = pa.BufferOutputStream()
        parquet.write_table(table, stream, compression="zstd")
        return stream.getvalue().to_pybytes()

    def _table(self, rows: Any) -> pa.Table:
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        if isinstance(rows, pa.Table):
            return self._conforming(rows)
        checked = [row for _, row in numbered_rows(rows)]
        names = self._names(checked)
        fields: Sequence[pa.Field | None] = [None] * len(names) if self._schema is None else list(self._schema)
        arrays = [_array(name, field, checked) for name, field in zip(names, fields, strict=True)]
        if self._schema is None:
            return pa.Table.from_arrays(arrays, names=names)
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _conforming(self, table: pa.Table) -> pa.Table:
        if self._schema is None:
            return table
        try:
            return table.cast(self._schema)
        except _REFUSALS as error:
            raise RowsRefused(f"gave a table that is not as schema= says: {error}") from error

    def _names(self, rows: Sequence[Mapping[Any, Any]]) -> list[str]:
        """The schema's columns, or those of all rows in the order in which they turn up."""
        known = None if self._schema is None else set(self._schema.names)
        shapes: set[tuple[Any, ...]] = set()
        found: dict[str, None] = {}
        for number, row in enumerate(rows):
            if (shape := tuple(row)) in shapes:
                continue
            shapes.add(shape)
            check_names(number, shape)
            if not shape:
                raise RowsRefused(f"row {number} is an empty mapping")
            if known is not None and (unknown := [name for name in shape if name not in known]):
                raise RowsRefused(f"row {number} has {unknown[0]!r}, which is no column of schema=")
            found.update(dict.fromkeys(shape))
        return list(found) if self._schema is None else self._schema.names


def _array(name: str, field: pa.Field | None, rows: Sequence[Mapping[Any, Any]]) -> pa.Array:
    """One column.

    Raises:
        RowsRefused: naming the first row whose value does not fit the type, or the values before it.
    """
    values = [row.get(name) for row in rows]
    if field is not None and not field.nullable and None in values:
        raise RowsRefused(f"row {values.index(None)} has no value in {name!r}, which is not nullable")
    wanted = None if field is None else field.type
    try:
        return _converted(values, wanted)
    except _REFUSALS:
        pass
    number = bisect_left(range(len(values)), True, key=lambda last: _why_not(values[: last + 1], wanted) is not None)
    error = _why_not(values[: number + 1], wanted)
    raise RowsRefused(f"row {number} has in {name!r} what its column cannot hold: {error}") from error


def _converted(values: Sequence[Any], wanted: pa.DataType | None) -> pa.Array:
    """As pyarrow converts, but for what it would cut off without a word."""
    array = pa.array(values, wanted)
    for is_cutting, cut in _CUT_OFF:
        if is_cutting(array.type) and any(isinstance(value, cut) for value in values):
            raise TypeError(f"a {cut.__name__} where others are {array.type}")
    if wanted is not None and pa.types.is_timestamp(wanted):
        pa.array(values).cast(wanted)  # refuses a time that is finer than the type's unit
    return array


def _why_not(values: Sequence[Any], wanted: pa.DataType | None) -> Exception | None:
    try:
        _converted(values, wanted)
    except _REFUSALS as error:
        return error
    return None
