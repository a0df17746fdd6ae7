"""Rows into the panes that are open, merged with those that are there, which are not read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from kafka_stream.protocols import WorkersPart
from kafka_stream.sinks.sql.changes import Changes
from kafka_stream.sinks.sql.merging.aggregates import Add, Aggregate, Greatest, Least
from kafka_stream.sinks.sql.merging.merge import Merge
from kafka_stream.sinks.sql.on_workers.shipped import Shipped
from kafka_stream.sinks.sql.sink import SqlSink
from kafka_stream.sinks.sql.windows.event_time.aggregates import Fold, Part
from kafka_stream.sinks.sql.windows.tables import WindowTables


@dataclass(frozen=True, slots=True)
class _Connected:
    """All that is shown of a transaction: panes are a part of the windows, and no state of their own."""

    connection: Connection


class Adding:
    """Adds to the table of open panes; rows are of all its columns."""

    def __init__(self, tables: WindowTables) -> None:
        merge = Merge({part.name: _merged(part) for part in tables.plan.parts})
        self._sink = SqlSink(tables.open, list, merge)

    def prepare(self, rows: Sequence[tuple[Any, ...]]) -> Changes:
        """What is to be done, as far as it can be before the transaction; pure."""
        return self._sink.prepare(rows)

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``."""
        return self._sink.work_changed

    def for_workers(self) -> WorkersPart:
        """What workers have of it; see ``ConvertingSink``."""
        return self._sink.for_workers()

    def write(self, changes: Changes | Shipped, connection: Connection) -> None:
        """Add them."""
        self._sink.write(changes, _Connected(connection))


def _merged(part: Part) -> Aggregate:
    if part.fold.adds:
        return Add()
    return Least() if part.fold is Fold.LEAST else Greatest()
