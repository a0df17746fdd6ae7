"""Rows as Parquet. Imported only where the format is chosen, since it needs pyarrow."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.files.fidelity import REFUSALS, Difference, differences, is_exact, is_too_deep, unconvertible
from kafka_stream.sinks.files.rows import RowsRefused, check_names, numbered_rows
from kafka_stream.sinks.files.tables import conforming


class Parquet:
    """Columns by their names; without a schema, those that some row of the file has, with types from their values.

    Also takes a ``pyarrow.Table`` or ``RecordBatch`` in place of rows. What is read back equals what was given, or is
    refused: see ``fidelity``.
    """

    def __init__(self, schema: Any) -> None:
        if schema is not None and not isinstance(schema, pa.Schema):
            raise ConfigurationError(f"schema of a FileSink is a {type(schema).__name__}, not a pyarrow.Schema")
        if schema is not None:
            _check_schema(schema)
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
        try:
            return _written(table)
        except (*REFUSALS, OSError) as error:
            raise RowsRefused(f"gave what Parquet has no form for: {error}") from error

    def _table(self, rows: Any) -> pa.Table:
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        if isinstance(rows, pa.Table):
            return conforming(rows, self._schema)
        checked = [row for _, row in numbered_rows(rows)]
        names = self._names(checked)
        fields: Sequence[pa.Field | None] = [None] * len(names) if self._schema is None else list(self._schema)
        arrays = [_array(name, field, checked) for name, field in zip(names, fields, strict=True)]
        if self._schema is None:
            return pa.Table.from_arrays(arrays, names=names)
        return pa.Table.from_arrays(arrays, schema=self._schema)

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
                raise RowsRefused(f"row {number} is an empty mapping", number)
            if known is not None and (unknown := [name for name in shape if name not in known]):
                raise RowsRefused(f"row {number} has {unknown[0]!r}, which is no column of schema=", number)
            found.update(dict.fromkeys(shape))
        return list(found) if self._schema is None else self._schema.names


def _check_schema(schema: pa.Schema) -> None:
    if twice := _named_twice(schema.names):
        raise ConfigurationError(f"schema of a FileSink names {twice!r} twice")
    try:
        _written(schema.empty_table())
    except (*REFUSALS, OSError) as error:
        raise ConfigurationError(f"schema of a FileSink has what Parquet has no form for: {error}") from error


def _named_twice(names: Sequence[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _written(table: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    parquet.write_table(table, stream, compression="zstd")
    data = stream.getvalue()
    parquet.read_schema(pa.BufferReader(data))  # refuses what is nested deeper than can be read, though it was written
    return data.to_pybytes()


def _array(name: str, field: pa.Field | None, rows: Sequence[Mapping[Any, Any]]) -> pa.Array:
    """One column.

    Raises:
        RowsRefused: naming the first row whose value does not fit the type, or the values before it, and where in it.
    """
    values = [row.get(name) for row in rows]
    nullable = field is None or field.nullable
    if is_too_deep(values):
        number = next(number for number, value in enumerate(values) if is_too_deep([value]))
        raise RowsRefused(f"row {number} has in {name!r} a value that is nested too deep, or contains itself", number)
    try:
        # Looked at before it is made where the type is known: pyarrow ends the process over a map that has no pairs.
        if field is None or is_exact(values, field.type, nullable):
            array = pa.array(values, None if field is None else field.type)
            if field is not None or is_exact(values, array.type):
                return array
    except REFUSALS:
        pass
    raise _refusal(name, field, values)


def _refusal(name: str, field: pa.Field | None, values: Sequence[Any]) -> RowsRefused:
    number, found = _first_difference(values) if field is None else _first_different(values, field.type, field.nullable)
    where = f"{name}{found.path}"
    if not found.reason:
        return RowsRefused(f"row {number} has no value in {where!r}, which is not nullable", number)
    return RowsRefused(f"row {number} has in {where!r} what its column cannot hold: {found.reason}", number)


def _first_difference(values: Sequence[Any]) -> tuple[int, Difference]:
    """Without a schema: the row that goes with none of those before it, or that all of them together would change."""
    number = bisect_left(range(len(values)), True, key=lambda last: _type_of(values[: last + 1]) is None)
    known = _type_of(values[:number])
    if number == len(values):
        assert known is not None
        return _first_different(values, known)
    found = next(differences(values[number], known), None) if known is not None and number else None
    return number, found or unconvertible(values[number])


def _first_different(values: Sequence[Any], type_: pa.DataType, nullable: bool = True) -> tuple[int, Difference]:
    for number, value in enumerate(values):
        if (found := next(differences(value, type_, nullable), None)) is not None:
            return number, found
    return 0, Difference("", f"values that together are no {type_}")


def _type_of(values: Sequence[Any]) -> pa.DataType | None:
    try:
        return pa.array(values).type
    except REFUSALS:
        return None
