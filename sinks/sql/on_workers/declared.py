"""A table's declaration and a dialect, as they travel to workers: what is asked of them there, and nothing else."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from sqlalchemy import Column, Dialect, MetaData, Table, null
from sqlalchemy.engine import URL
from sqlalchemy.types import NullType, TypeEngine

from kafka_stream.sinks.sql.target import Target

_PLAIN = (bool, int, str, NoneType)
_FUNCTIONS = ("_json_serializer", "_json_deserializer")


def with_types(target: Target) -> Target:
    """The table's columns alone, without what else belongs to it: keys of others, indexes, functions of defaults."""
    return _sent(target, {name: it.type for name, it in target.table_columns.items()})


def names_of(target: Target) -> Target:
    """The same, with nothing but names."""
    return _sent(target, {name: NullType() for name in target.table_columns})


def _sent(target: Target, types: Mapping[str, TypeEngine[Any]]) -> Target:
    columns = {name: _column(it, types[name]) for name, it in target.table_columns.items()}
    table = Table(target.table.name, MetaData(), schema=target.table.schema)
    return Target(table, columns, {name: columns[name] for name in target.columns}, target.key)


def _column(declared: Column[Any], type_: TypeEngine[Any]) -> Column[Any]:
    default: Any = None
    if declared.default is not None:
        default = 0 if declared.default.is_scalar else null()  # it is made where the row is written
    return Column(declared.name, type_, key=declared.key, default=default)


@dataclass(frozen=True)
class SentDialect:
    """A dialect by its name, with what was set of it; itself it cannot be pickled."""

    name: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, dialect: Dialect) -> SentDialect | None:
        """``None`` if the name leads to another one."""
        settings = {name: value for name, value in vars(dialect).items() if _is_plain(value) or name in _FUNCTIONS}
        sent = cls(f"{dialect.name}+{dialect.driver}", settings)
        return sent if _is_same(type(sent.dialect()), type(dialect)) else None

    def dialect(self) -> Dialect:
        """The dialect, of no connection.

        Raises:
            ImportError: its driver is not installed.
        """
        kind: Any = URL.create(self.name).get_dialect()
        dialect: Dialect = kind(dbapi=kind.import_dbapi())
        vars(dialect).update(self.settings)
        return dialect


class _Pickler(pickle.Pickler):
    """An ``Enum`` holds on to the ``MetaData`` of the table that it is declared for, with all there is in it."""

    def reducer_override(self, obj: Any) -> Any:
        return (MetaData, ()) if isinstance(obj, MetaData) else NotImplemented


def packed(declared: Any) -> bytes:
    """Something with types of columns in it, pickled, without the tables that these are of.

    Raises:
        Exception: something in it cannot be pickled.
    """
    out = io.BytesIO()
    _Pickler(out).dump(declared)
    return out.getvalue()


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (type(value) is tuple and all(map(_is_plain, value)))


def _is_same(one: type, other: type) -> bool:
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


__all__ = ["SentDialect", "names_of", "packed", "with_types"]
