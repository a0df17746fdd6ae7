"""Rows into the panes that are open, merged with those that are there, which are not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_

from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.stateful.upsert import upsert
from kafka_stream.sinks.sql.windows.event_time.aggregates import Fold, Part
from kafka_stream.sinks.sql.windows.tables import WindowTables


class Adding:
    """Adds to the table of open panes; rows are of all its columns, each of another key."""

    def __init__(self, tables: WindowTables) -> None:
        self._tables = tables

    def prepare(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[Mapping[str, Any]]:
        """In key order, so that two members that add to the same panes wait for each other; pure."""
        width = 1 + len(self._tables.key)
        try:
            ordered = sorted(rows, key=lambda row: row[:width])
        except TypeError:
            ordered = sorted(rows, key=lambda row: (row[0], repr(row[1:width])))
        names = self._tables.open.columns.keys()
        return [dict(zip(names, row, strict=True)) for row in ordered]

    def write(self, rows: Sequence[Mapping[str, Any]], transaction: StatefulTransaction) -> None:
        """Add them."""
        if rows:
            connection = transaction.connection
            connection.execute(upsert(connection.dialect, self._tables.open, self._changes), rows)

    def _changes(self, new: Any) -> dict[str, ColumnElement[Any]]:
        old = self._tables.open.c
        return {part.name: _merged(part, old[part.name], new[part.name]) for part in self._tables.plan.parts}


def _merged(part: Part, old: Any, new: Any) -> ColumnElement[Any]:
    """What the parts of a pane and of new records are together; where one is NULL, the other."""
    if part.fold.adds:
        return func.coalesce(old + new, old, new)
    is_next = new < old if part.fold is Fold.LEAST else new > old
    return case((or_(old.is_(None), is_next), new), else_=old)
