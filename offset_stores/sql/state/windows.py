"""Where windows stand: each partition's event time, what is open, and what came late."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table, func, select

from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.state.users_tables import found_table
from kafka_stream.protocols import EventTime, LateRecords, OpenPane, StateDescription, WindowsNow
from kafka_stream.types import PositionState, TopicPartition

_PANE, _FIRST, _LAST = "pane_start_us", "first_us", "last_us"
"""The columns of the table of what is open, as ``sinks/sql/windows`` declares them."""


def now(access: Access, connection: Connection, stream: str, described: StateDescription, limit: int) -> WindowsNow:
    """See ``StateStore.windows_now``."""
    name = described.details.get("open", f"{described.table}_open")
    table = found_table(connection, str(name))
    panes, number = _open(connection, table, limit)
    return WindowsNow(
        _partitions(access, connection, stream, described),
        panes,
        number,
        _late(access, connection, stream, described, limit),
    )


def _partitions(access: Access, connection: Connection, stream: str, described: StateDescription) -> list[EventTime]:
    """All open ones: one without a row had no record yet."""
    marks = access.tables.watermarks
    rows = connection.execute(select(marks).where(marks.c.stream == stream, marks.c.state == described.name))
    known = {
        tp: EventTime(tp, row.event_time_us, row.watermark_us, row.is_idle, row.changed_at)
        for row in rows
        for tp in [TopicPartition(row.topic, row.partition)]
    }
    stored = access.read(connection, stream)
    open_ones = sorted(tp for tp, position in stored.items() if position.state is PositionState.OPEN)
    return [known.get(tp, EventTime(tp)) for tp in open_ones]


def _open(connection: Connection, table: Table | None, limit: int) -> tuple[Sequence[OpenPane], int | None]:
    if table is not None and _PANE in table.columns:
        start = table.c[_PANE]
        number = connection.execute(select(func.count(start.distinct()))).scalar_one()
        query = select(start, func.count().label("keys")).group_by(start).order_by(start).limit(limit)
        return [OpenPane(row[0], row[1]) for row in connection.execute(query)], number
    if table is not None and {_FIRST, _LAST} <= set(table.columns.keys()):
        query = select(func.min(table.c[_FIRST]), func.count(), func.max(table.c[_LAST])).select_from(table)
        first, sessions, last = connection.execute(query).one()
        return ([OpenPane(first, sessions, last)] if sessions else []), sessions
    return (), None


def _late(
    access: Access, connection: Connection, stream: str, described: StateDescription, limit: int
) -> list[LateRecords]:
    """The latest windows that have some, in order of time."""
    late = access.tables.late
    query = (
        select(late.c.window_start_us, late.c.window_end_us, late.c.late)
        .where(late.c.stream == stream, late.c.state == described.name)
        .order_by(late.c.window_end_us.desc(), late.c.window_start_us.desc())
        .limit(limit)
    )
    return [LateRecords(*row) for row in reversed(connection.execute(query).all())]


__all__ = ["now"]
