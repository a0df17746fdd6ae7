"""Pure: a table that is given in place of rows, as ``schema=`` says, if no value changes by that."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from pyarrow import compute as pc

from kafka_stream.sinks.files.fidelity import REFUSALS
from kafka_stream.sinks.files.rows import RowsRefused


def conforming(table: pa.Table, schema: pa.Schema | None) -> pa.Table:
    """The table with the schema's types; as it is, without a schema.

    Raises:
        RowsRefused: its columns are not the schema's, or some value would change.
    """
    if twice := [name for name, count in Counter(table.schema.names).items() if count > 1]:
        raise RowsRefused(f"gave a table that has two columns {twice[0]!r}")
    if schema is None or table.schema.equals(schema):
        return table
    try:
        cast = table.cast(schema)
        changes = (_changed(table[it].combine_chunks(), cast[it].combine_chunks(), it) for it in schema.names)
        changed = next(filter(None, changes), None)
    except REFUSALS as error:
        raise RowsRefused(f"gave a table that is not as schema= says: {error}") from error
    if changed is not None:
        raise RowsRefused(
            f"gave a table that is not as schema= says: in {changed!r} some value would not be what it was"
        )
    return cast


def _changed(given: pa.Array, cast: pa.Array, path: str) -> str | None:
    """Where a value has changed by a cast, if any has."""
    if given.type.equals(cast.type):
        return None
    if pa.types.is_struct(given.type) and pa.types.is_struct(cast.type):
        return _changed_field(given, cast, path)
    if _is_list(given.type) and _is_list(cast.type):
        return _changed(pc.list_flatten(given), pc.list_flatten(cast), f"{path}[]")
    return None if _is_kept(given, cast) else path


def _changed_field(given: pa.Array, cast: pa.Array, path: str) -> str | None:
    there = {cast.type.field(at).name for at in range(cast.type.num_fields)}
    for at in range(given.type.num_fields):
        name = given.type.field(at).name
        where = f"{path}.{name}"
        if name not in there:
            return where
        found = _changed(pc.struct_field(given, name), pc.struct_field(cast, name), where)
        if found is not None:
            return found
    return None


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def _is_kept(given: pa.Array, cast: pa.Array) -> bool:
    if pa.types.is_null(given.type):
        return True
    if (_kind(given.type), _kind(cast.type)) not in _KEEPING:
        return False
    if pa.types.is_floating(given.type) and pa.types.is_floating(cast.type):
        return _is_as_near_as_it_can_be(given, cast)
    try:
        return bool(cast.cast(given.type).equals(given))
    except REFUSALS:
        return False


def _is_as_near_as_it_can_be(given: pa.Array, cast: pa.Array) -> bool:
    """A float type of fewer bits means its nearest float: not none, and not infinity."""
    given, cast = given.cast(pa.float64()), cast.cast(pa.float64())
    is_finite_as_before = pc.equal(pc.is_finite(given), pc.is_finite(cast))
    is_zero_as_before = pc.equal(pc.equal(given, 0.0), pc.equal(cast, 0.0))
    return bool(pc.all(pc.and_(is_finite_as_before, is_zero_as_before)).as_py() is not False)


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_dictionary(type_):
        return _kind(type_.value_type)
    if pa.types.is_timestamp(type_):
        return "aware" if type_.tz is not None else "naive"
    return next((kind for kind, check in _KINDS.items() if any(it(type_) for it in check)), str(type_))


_KINDS = {
    "int": (pa.types.is_integer,),
    "float": (pa.types.is_floating,),
    "decimal": (pa.types.is_decimal,),
    "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    "bytes": (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    ),
    "date": (pa.types.is_date,),
    "time": (pa.types.is_time,),
    "duration": (pa.types.is_duration,),
}
_KEEPING = {(kind, kind) for kind in (*_KINDS, "aware", "naive")} | {("int", "float"), ("int", "decimal")}


__all__ = ["conforming"]
