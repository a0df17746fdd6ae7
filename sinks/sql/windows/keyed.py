"""Rows of many keys in one condition."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, true, tuple_


def is_one_of(table: Table, names: Sequence[str], keys: Collection[Sequence[Any]]) -> ColumnElement[bool]:
    """Whether a row's values of these columns are one of these; true of all rows where there are no columns."""
    columns: list[Any] = [table.c[name] for name in names]
    if not columns:
        return true()
    if len(columns) == 1:
        found: ColumnElement[bool] = columns[0].in_([key[0] for key in keys])
        return found
    return tuple_(*columns).in_([tuple(key) for key in keys])
