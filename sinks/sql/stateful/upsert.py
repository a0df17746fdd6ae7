"""Inserting rows of the store's own tables, or changing those that are there, in one statement of each dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Dialect, Table
from sqlalchemy.dialects import mysql, postgresql, sqlite

Changes = Callable[[Any], Mapping[str, Any]]
"""From the row that was to be inserted, by its columns, to what is changed of the one that is there."""


def upsert(dialect: Dialect, table: Table, changes: Changes) -> Any:
    """The statement; to be executed with the rows. Two that meet on a new key wait for each other."""
    if dialect.name in ("mysql", "mariadb"):
        adding = mysql.insert(table)
        return adding.on_duplicate_key_update(dict(changes(adding.inserted)))
    statement = (postgresql if dialect.name == "postgresql" else sqlite).insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=dict(changes(statement.excluded))
    )


__all__ = ["Changes", "upsert"]
