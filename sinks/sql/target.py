"""The table that rows go to: which columns can be written, what names them, and what is unique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy import inspect as sqlalchemy_inspect
from sqlalchemy.orm import Mapper

from kafka_stream.errors import ConfigurationError


@dataclass(frozen=True)
class Target:
    """A table as a sink sees it.

    ``table_columns`` are all columns by the name that mappings use (a column's key; of an ORM class its attribute), in
    table order; ``columns`` those of them that the database does not compute. ``key`` names the columns of the key in
    its own order, empty without one.
    """

    table: Table
    table_columns: dict[str, Column[Any]]
    columns: dict[str, Column[Any]]
    key: tuple[str, ...]

    @property
    def name(self) -> str:
        """The table's name, with its schema if it has one."""
        return self.table.fullname

    @classmethod
    def of(cls, table: Any, key: Sequence[str] | None, taker: str = "SqlSink") -> Target:
        """The target for a ``Table`` or an ORM class; ``key`` of ``None`` means the primary key.

        ``taker`` is who takes it, for errors.

        Raises:
            ConfigurationError: it is neither, it spans several tables, or ``key`` is not declared to be unique.
        """
        found, columns = _table_of(table, taker)
        name_of = {column: name for name, column in columns.items()}
        writable = {name: column for name, column in columns.items() if not _is_generated(column)}
        if key is None:
            primary = tuple(name_of[column] for column in found.primary_key.columns)
            return cls(found, columns, writable, primary)
        wanted = (key,) if isinstance(key, str) else tuple(key)
        if unknown := [name for name in wanted if name not in columns]:
            raise ConfigurationError(
                f"key={wanted!r} of the {taker} for table {found.fullname} names {unknown[0]!r}, which is no column "
                f"of it; its columns are {', '.join(columns)}"
            )
        if set(wanted) not in map(set, _unique_sets(found, name_of)) or len(set(wanted)) != len(wanted):
            raise ConfigurationError(
                f"key={wanted!r} of the {taker} for table {found.fullname} is neither its primary key nor a unique "
                "constraint of it; declare a UniqueConstraint on exactly these columns, in the Table and the database"
            )
        return cls(found, columns, writable, wanted)


def _table_of(table: Any, taker: str) -> tuple[Table, dict[str, Column[Any]]]:
    """The table and its columns by the names that mappings use."""
    if isinstance(table, Table):
        return table, dict(table.columns)
    mapper = sqlalchemy_inspect(table, raiseerr=False) if isinstance(table, type) else None
    if not isinstance(mapper, Mapper):
        raise ConfigurationError(
            f"{taker} writes to a sqlalchemy Table or an ORM class, not to {type(table).__name__} {table!r}"
        )
    found = mapper.persist_selectable
    if not isinstance(found, Table):
        raise ConfigurationError(
            f"the ORM class {table.__name__} is mapped to more than one table; give {taker} the Table to write to"
        )
    attributes = {column: attribute.key for attribute in mapper.column_attrs for column in attribute.columns}
    return found, {attributes.get(column, column.key): column for column in found.columns}


def _is_generated(column: Column[Any]) -> bool:
    """Whether the database computes the column always, and refuses a value."""
    return column.computed is not None or (column.identity is not None and bool(column.identity.always))


def _unique_sets(table: Table, name_of: dict[Column[Any], str]) -> list[tuple[str, ...]]:
    """The primary key, all unique constraints, and unique indexes over plain columns of all rows."""
    found = [
        tuple(name_of[column] for column in constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint)
    ]
    for index in table.indexes:
        is_partial = any(options.get("where") is not None for options in index.dialect_options.values())
        if index.unique and not is_partial and all(isinstance(part, Column) for part in index.expressions):
            found.append(tuple(name_of[column] for column in index.columns))
    return found
