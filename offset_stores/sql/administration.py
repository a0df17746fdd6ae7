"""What operators' commands do to the tables: each in one transaction, past the locks of batches in flight."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, and_, bindparam, case, false, or_, select, update

from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.history import remember, stops, was_done
from kafka_stream.offset_stores.sql.statements import Wanted
from kafka_stream.offset_stores.sql.tables import position_of
from kafka_stream.protocols import Action, ActionKind, Change, Decide, HistoryEntry, TopicState, TopicStatus
from kafka_stream.types import PositionState, StoredPosition, TopicPartition

_LONGEST_REASON = 1000
Beside = Callable[[Connection], Mapping[str, int]]
"""What else is done in a change's transaction, behind it: rows are deleted, so many of each table."""
_UNOWNED: Mapping[str, Any] = {"owner": None, "owner_host": None, "code_version": None}


def streams(access: Access, connection: Connection) -> list[str]:
    """The names of all streams, sorted as Python sorts."""
    return sorted(connection.execute(select(access.tables.offsets.c.stream).distinct()).scalars())


def topics(access: Access, connection: Connection, stream: str) -> dict[str, TopicStatus]:
    """The markers of a stream's topics."""
    table = access.tables.topics
    rows = connection.execute(select(table).where(table.c.stream == stream).order_by(table.c.topic))
    return {row.topic: _status(row) for row in rows}


def nothing_beside(_: Connection) -> Mapping[str, int]:
    """A change of offsets alone."""
    return {}


def change(
    access: Access,
    stream: str,
    partitions: Collection[TopicPartition],
    action: Action,
    decide: Decide,
    beside: Beside = nothing_beside,
) -> Mapping[TopicPartition, StoredPosition]:
    """Lock, decide, move and remember; see ``AdministeredStore``."""
    ordered = sorted(set(partitions))

    def work(connection: Connection) -> Mapping[TopicPartition, StoredPosition]:
        if not was_done(access, connection, stream, action):
            entries = _change(access, connection, stream, ordered, action, decide)
            cleared = beside(connection)
            remember(access, connection, stream, [replace(entry, cleared=cleared or None) for entry in entries])
        return access.read(connection, stream, ordered)

    return access.with_locks(
        work, session=action.id, stream=stream, partitions=ordered, doing=f"moving offsets ({action.kind})"
    )


def rehearse(access: Access, stream: str, changes: Sequence[Change]) -> None:
    """Do it as ``change`` would, up to the commit; see ``AdministeredStore``."""
    ordered = sorted({each.topic_partition for each in changes})
    action = Action(uuid.uuid4().hex, ActionKind.MIGRATE, "a rehearsal")

    def work(connection: Connection) -> None:
        entries = _change(access, connection, stream, ordered, action, lambda _: changes)
        remember(access, connection, stream, entries)
        raise _RehearsedError

    with suppress(_RehearsedError):
        access.with_locks(work, session=action.id, stream=stream, partitions=ordered, doing="rehearsing a move")


class _RehearsedError(Exception):
    """Takes back what was rehearsed."""


def close_topics(access: Access, stream: str, names: Collection[str], action: Action, reason: str | None) -> None:
    """Close positions and markers; see ``AdministeredStore``."""
    state = TopicState.DELETED if reason is None else TopicState.CLOSED
    kept = None if reason is None else reason[:_LONGEST_REASON]

    def work(connection: Connection) -> None:
        markers = _locked_markers(access, connection, stream, names)
        # A topic that was given away may still be deleted; what was deleted has nothing to give away.
        closing = sorted(name for name, marker in markers.items() if marker.state not in {state, TopicState.DELETED})
        offsets, table = access.tables.offsets, access.tables.topics
        found = _locked(
            access, connection, select(offsets).where(offsets.c.stream == stream, offsets.c.topic.in_(closing))
        )
        connection.execute(
            update(table)
            .where(table.c.stream == stream, table.c.topic.in_(closing))
            .values(state=str(state), state_reason=kept)
        )
        connection.execute(
            update(offsets)
            .where(offsets.c.stream == stream, offsets.c.topic.in_(closing))
            .values(
                owner_epoch=offsets.c.owner_epoch + 1,
                state=str(PositionState.CLOSED),
                state_reason=kept,
                changed_at=datetime.now(UTC),
                **_UNOWNED,
            )
        )
        stays = [Change(tp, position.next_offset) for tp, position in found.items()]
        remember(access, connection, stream, _moved(action, found, stays))

    with access.mapping("looking for the partitions"), access.reading() as connection:
        partitions = [tp for tp in access.read(connection, stream) if tp.topic in names]
    access.with_locks(work, session=action.id, stream=stream, partitions=partitions, doing="closing topics")


def live_owners(access: Access, connection: Connection, stream: str) -> list[str]:
    """The stored owners that have not recorded a stop, in words."""
    stored = access.read(connection, stream).values()
    owners = {position.owner.id: position.owner for position in stored if position.owner is not None}
    stopped = stops(access, connection, stream, owners)
    return sorted(str(owner) for owner in owners.values() if owner.id not in stopped)


def _change(
    access: Access,
    connection: Connection,
    stream: str,
    ordered: Sequence[TopicPartition],
    action: Action,
    decide: Decide,
) -> list[HistoryEntry]:
    """What is to be remembered of it."""
    # The markers first, as a takeover does: none comes in between, not even of partitions without a row.
    markers = _locked_markers(access, connection, stream, {tp.topic for tp in ordered})
    found = _locked(access, connection, _rows(access, stream, ordered))
    changes = sorted(decide(found), key=lambda c: c.topic_partition)
    _move(access, connection, stream, found, changes)
    _reopen(access, connection, stream, markers, changes)
    return _moved(action, found, changes)


def _locked_markers(
    access: Access, connection: Connection, stream: str, names: Collection[str]
) -> dict[str, TopicStatus]:
    """Lock the topics' markers in order; those that are not there are inserted."""
    table, now = access.tables.topics, datetime.now(UTC)
    ordered = sorted(names)
    rows = [{"stream": stream, "topic": name, "topic_id": None, "now": now} for name in ordered]
    if rows:
        connection.execute(access.statements.insert_marker, rows)
    query = select(table).where(table.c.stream == stream, table.c.topic.in_(ordered)).order_by(table.c.topic)
    return {row.topic: _status(row) for row in connection.execute(query.with_for_update())}


def _rows(access: Access, stream: str, partitions: Sequence[TopicPartition]) -> Select[Any]:
    offsets = access.tables.offsets
    numbers: dict[str, list[int]] = {}
    for tp in partitions:
        numbers.setdefault(tp.topic, []).append(tp.partition)
    wanted = or_(
        false(),  # nothing, if nothing is wanted
        *(and_(offsets.c.topic == topic, offsets.c.partition.in_(each)) for topic, each in numbers.items()),
    )
    return select(offsets).where(offsets.c.stream == stream, wanted)


def _locked(access: Access, connection: Connection, query: Select[Any]) -> dict[TopicPartition, StoredPosition]:
    """Lock the rows in key order, as batches and takeovers do, and read them: what a batch held is settled now."""
    offsets = access.tables.offsets
    rows = connection.execute(query.order_by(offsets.c.topic, offsets.c.partition).with_for_update())
    return {TopicPartition(row.topic, row.partition): position_of(row) for row in rows}


def _move(
    access: Access,
    connection: Connection,
    stream: str,
    found: Mapping[TopicPartition, StoredPosition],
    changes: Sequence[Change],
) -> None:
    new = [c.topic_partition for c in changes if c.topic_partition not in found]
    if new:
        relation = access.database.relation([Wanted(tp.topic, tp.partition) for tp in new])
        unowned = {"owner": None, "host": None, "version": None}
        values = {"stream": stream, "now": datetime.now(UTC), **unowned, **relation}
        connection.execute(access.statements.insert_missing, values)
    if not changes:
        return
    offsets = access.tables.offsets
    higher, at_least = offsets.c.owner_epoch + 1, bindparam("at_least_epoch", type_=BigInteger)
    statement = (
        update(offsets)
        .where(
            offsets.c.stream == stream,
            offsets.c.topic == bindparam("of_topic"),
            offsets.c.partition == bindparam("of_partition"),
        )
        .values(
            next_offset=bindparam("to_offset"),
            leader_epoch=bindparam("to_leader_epoch"),
            topic_id=bindparam("to_topic_id"),
            owner_epoch=case((higher > at_least, higher), else_=at_least),
            planned_until=None,
            plan_kind=None,
            state=str(PositionState.OPEN),
            state_reason=None,
            changed_at=datetime.now(UTC),
            **_UNOWNED,
        )
    )
    connection.execute(statement, [_parameters(c) for c in changes])


def _parameters(change: Change) -> dict[str, Any]:
    return {
        "of_topic": change.topic_partition.topic,
        "of_partition": change.topic_partition.partition,
        "to_offset": change.next_offset,
        "to_leader_epoch": change.leader_epoch,
        "to_topic_id": change.topic_id,
        "at_least_epoch": change.at_least_epoch,
    }


def _reopen(
    access: Access, connection: Connection, stream: str, markers: Mapping[str, TopicStatus], changes: Sequence[Change]
) -> None:
    """Open the markers of the changed topics, and begin anew what is still closed there."""
    table, now = access.tables.topics, datetime.now(UTC)
    ids: dict[str, str | None] = {}
    for each in changes:
        topic = each.topic_partition.topic
        ids[topic] = ids.get(topic) or each.topic_id
    for topic, topic_id in ids.items():
        marker = markers[topic]
        values: dict[str, Any] = {}
        if marker.topic_id is None and topic_id is not None:
            values["topic_id"] = topic_id
        if marker.state is not TopicState.OPEN:
            values |= {"state": str(TopicState.OPEN), "state_reason": None, "started_at": now, "topic_id": topic_id}
            reopening = {"stream": stream, "topic": topic, "topic_id": topic_id, "now": now}
            connection.execute(access.statements.reopen_rest, reopening)
        if values:
            connection.execute(update(table).where(table.c.stream == stream, table.c.topic == topic).values(**values))


def _moved(
    action: Action, found: Mapping[TopicPartition, StoredPosition], changes: Sequence[Change]
) -> list[HistoryEntry]:
    now = datetime.now(UTC)
    entries = []
    for each in changes:
        before = found.get(each.topic_partition)
        if before is not None and before.state is PositionState.CLOSED and action.kind is not ActionKind.DELETE:
            before = None
        entries.append(
            HistoryEntry(
                at=now,
                action=action,
                topic_partition=each.topic_partition,
                from_offset=None if before is None else before.next_offset,
                until_offset=each.next_offset,
                leader_epoch=None if before is None else before.leader_epoch,
                topic_id=None if before is None else before.topic_id,
            )
        )
    return entries


def _status(row: Any) -> TopicStatus:
    return TopicStatus(TopicState(row.state), row.state_reason, row.topic_id, row.started_at)


__all__ = ["Beside", "change", "close_topics", "live_owners", "nothing_beside", "rehearse", "streams", "topics"]
