"""The history table, beside older and newer code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select, text

from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, HistoryEntry
from kafka_stream.testing.store_backend import P0, P1, STREAM

AT = datetime(2026, 3, 1, tzinfo=UTC)
ENTRY = HistoryEntry(AT, Action("b1", ActionKind.BATCH, "me"), P0, 0, 5, records=5, duration_s=0.5)
LONG = timedelta(days=100_000)


def test_what_a_batch_came_to_is_where_older_code_does_not_look(tmp_path: Path) -> None:
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    store.open()
    told = [replace(ENTRY, topic_partition=tp, attempt=3, dead_letters=7) for tp in (P0, P1)]
    store.record(STREAM, told, LONG)
    with store._access.reading() as connection:
        moves = json.loads(connection.execute(select(store._access.tables.history.c.moves)).scalar_one())
    # Older code takes four, and the two that may follow.
    assert moves == [["orders", 0, 0, 5, None, None, 3, 7], ["orders", 1, 0, 5]]
    assert store.history(STREAM, 10) == told
    store.close()


def test_what_newer_code_has_done_is_passed_over(tmp_path: Path) -> None:
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    store.open()
    store.record(STREAM, [ENTRY, replace(ENTRY, action=Action("x", ActionKind.REPLAY, "me"))], LONG)
    with store._access.writing("test", 1.0) as connection:
        connection.execute(text("UPDATE kafka_stream_history SET kind = 'teleport' WHERE action = 'x'"))
    assert store.history(STREAM, 10) == [ENTRY]
    store.close()
