"""The register of sinks that keep state, read: which a stream has, and who else keeps rows in their tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, inspect, select

from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.protocols import StateDescription, StoredState

SEEN = "seen"
WINDOWS = "windows"


def registered(access: Access, connection: Connection, stream: str) -> list[StoredState]:
    """Those of a stream, by name; none where older code has left no such table."""
    states = access.tables.states
    if not inspect(connection).has_table(states.name, schema=states.schema):
        return []
    rows = connection.execute(select(states).where(states.c.stream == stream)).all()
    return sorted(
        (StoredState(_described(row), row.closed_until_us, row.changed_at) for row in rows),
        key=lambda state: state.described.name,
    )


def with_others(access: Access, connection: Connection, stream: str, found: Sequence[StoredState]) -> list[StoredState]:
    """The same, with the other streams that keep state in the same tables."""
    states = access.tables.states
    query = select(states.c.stream, states.c.table_name).where(
        states.c.stream != stream,
        states.c.kind != SEEN,  # in a table of ours, by stream
        states.c.table_name.in_(sorted({state.described.table for state in found})),
    )
    others: dict[str, set[str]] = {}
    for other, table in connection.execute(query) if found else ():
        others.setdefault(table, set()).add(other)
    return [
        StoredState(
            state.described,
            state.closed_until_us,
            state.changed_at,
            tuple(sorted(others.get(state.described.table, ()))),
        )
        for state in found
    ]


def _described(row: Any) -> StateDescription:
    details = _details(row.details)
    key = details.pop("key", [])
    return StateDescription(row.state, row.kind, row.table_name, tuple(map(str, key)), details)


def _details(text: str) -> dict[str, Any]:
    """What a sink said of itself; nothing, if it is none of ours."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return dict(found) if isinstance(found, Mapping) else {}


__all__ = ["SEEN", "WINDOWS", "registered", "with_others"]
