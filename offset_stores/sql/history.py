"""The history table: one row per action, whose ``moves`` are JSON, one array per partition.

``[topic, partition, from_offset, until_offset]``, with leader epoch and topic id of before behind them where they are
known. Behind those of the first one are the batch's number of attempts and of dead letters, and the rows of state that
were deleted of each table. Code that does not know what comes last does not look at it; kinds of actions that this code
does not know are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, delete, insert, inspect, select

from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.protocols import Action, ActionKind, HistoryEntry
from kafka_stream.types import TopicPartition

_LONGEST_TEXT = 255  # of what is stored for people only
_OF_THE_BATCH = 6  # where in the first move that begins which is of the whole batch
_RECORDING_TIMEOUT_S = 1.0


def record(access: Access, stream: str, entries: Sequence[HistoryEntry], keep_for: timedelta) -> None:
    """Remember these and forget what is older, in one transaction."""
    history = access.tables.history
    with (
        access.mapping("recording the history"),
        access.writing(f"history {stream}", _RECORDING_TIMEOUT_S) as connection,
    ):
        remember(access, connection, stream, entries)
        connection.execute(
            delete(history).where(history.c.stream == stream, history.c.at < datetime.now(UTC) - keep_for)
        )


def remember(access: Access, connection: Connection, stream: str, entries: Iterable[HistoryEntry]) -> None:
    """Insert these in the connection's transaction."""
    ordered = sorted(entries, key=lambda e: (e.at, e.action.id, e.topic_partition))
    rows = [_row(stream, list(of_one)) for _, of_one in groupby(ordered, key=lambda e: (e.at, e.action))]
    if rows:
        connection.execute(insert(access.tables.history), rows)


def was_done(access: Access, connection: Connection, stream: str, action: Action) -> bool:
    """Whether an action is remembered."""
    history = access.tables.history
    query = select(history.c.action).where(history.c.stream == stream, history.c.action == action.id)
    return connection.execute(query).first() is not None


def stops(access: Access, connection: Connection, stream: str, owners: Collection[str]) -> set[str]:
    """Those of these owners that have recorded a stop; none where older code has left no such table."""
    history = access.tables.history
    if not inspect(connection).has_table(history.name, schema=history.schema):
        return set()
    query = select(history.c.action).where(
        history.c.stream == stream, history.c.kind == str(ActionKind.STOP), history.c.action.in_(sorted(owners))
    )
    return set(connection.execute(query).scalars())


def cleared_by(access: Access, connection: Connection, stream: str, action: Action) -> Mapping[str, int]:
    """The rows of state that an action has deleted of each table; nothing of one that is not remembered."""
    history = access.tables.history
    query = select(history).where(history.c.stream == stream, history.c.action == action.id)
    entries = [entry for row in connection.execute(query) for entry in _entries(row)]
    return (entries[0].cleared or {}) if entries else {}


def latest(
    access: Access, connection: Connection, stream: str, limit: int, kinds: Collection[ActionKind]
) -> list[HistoryEntry]:
    """The entries of the latest actions, newest first."""
    history = access.tables.history
    query = select(history).where(history.c.stream == stream, history.c.kind.in_(sorted(kinds)))
    query = query.order_by(history.c.at.desc(), history.c.action).limit(limit)
    return [entry for row in connection.execute(query) for entry in _entries(row)]


def _row(stream: str, entries: Sequence[HistoryEntry]) -> dict[str, Any]:
    first = entries[0]
    moves: list[list[Any]] = [
        [
            e.topic_partition.topic,
            e.topic_partition.partition,
            e.from_offset,
            e.until_offset,
            e.leader_epoch,
            e.topic_id,
        ]
        for e in entries
    ]
    moves[0] += [first.attempt, first.dead_letters, None if first.cleared is None else dict(first.cleared)]
    return {
        "stream": stream,
        "at": first.at,
        "action": first.action.id,
        "kind": str(first.action.kind),
        "actor": first.action.actor[:_LONGEST_TEXT],
        "code_version": first.code_version and first.code_version[:_LONGEST_TEXT],
        "records": first.records,
        "duration_s": first.duration_s,
        "moves": json.dumps(
            [_without_trailing_nulls(move) for move in moves], separators=(",", ":"), ensure_ascii=False
        ),
    }


def _without_trailing_nulls(move: list[Any]) -> list[Any]:
    while move[-1] is None:
        move.pop()
    return move


def _entries(row: Any) -> list[HistoryEntry]:
    action = Action(row.action, ActionKind(row.kind), row.actor)
    found = []
    moves = json.loads(row.moves)
    attempt, dead_letters, cleared = (*moves[0][_OF_THE_BATCH:], None, None, None)[:3]
    for topic, partition, from_offset, until_offset, *before in moves:
        leader_epoch, topic_id = (*before, None, None)[:2]
        found.append(
            HistoryEntry(
                at=row.at,
                action=action,
                topic_partition=TopicPartition(topic, partition),
                from_offset=from_offset,
                until_offset=until_offset,
                leader_epoch=leader_epoch,
                topic_id=topic_id,
                records=row.records,
                duration_s=row.duration_s,
                code_version=row.code_version,
                attempt=attempt,
                dead_letters=dead_letters,
                cleared=cleared,
            )
        )
    return found


__all__ = ["cleared_by", "latest", "record", "remember", "stops", "was_done"]
