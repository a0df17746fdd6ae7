"""Who may commit, and from where: first starts, takeovers, planned ranges, and the settling of unknown commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, TextClause, select

from kafka_stream.claims import closed, why_not_claimed, why_not_ours, why_not_planned
from kafka_stream.errors import KafkaStreamError, OutstandingPlan, OwnershipLost, StoreUnavailable
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.statements import Wanted
from kafka_stream.offset_stores.sql.transaction import wanted_rows
from kafka_stream.protocols import TopicState
from kafka_stream.types import Claim, Owner, PlanKind, PositionState, StoredPosition, TopicPartition

_LONGEST_TEXT = 255  # of what is stored for people only
_MANY = 50  # partitions; with fewer, no plan of a statement is slow
_REMOVED = "its row was removed"
_STARTING = "starting"  # begins the session's name where no owner is known yet


class _NotOurs(Exception):
    """Some of the claim's rows are not as they must be; rolled back before it is looked why."""


def initialise(access: Access, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
    """Store the starts and the marker in one transaction, unless the marker is there."""
    rows = [Wanted(topic, number, from_offset=offset, topic_id=topic_id) for number, offset in sorted(starts.items())]

    def store(connection: Connection) -> None:
        statements = access.statements
        values = {"stream": stream, "topic": topic, "topic_id": topic_id, "now": datetime.now(UTC)}
        reopened = connection.execute(statements.reopen_marker, values).rowcount
        if not reopened and not connection.execute(statements.insert_marker, values).rowcount:
            return
        if rows:
            connection.execute(statements.insert_starts, {**values, **access.database.relation(rows)})
        # What is still closed was not among the topic's partitions this time: should it come back, it is a new one.
        connection.execute(statements.reopen_rest, values)

    partitions = [TopicPartition(topic, number) for number in sorted(starts)]
    access.with_locks(
        store, session=f"{_STARTING} {stream}", stream=stream, partitions=partitions, doing="storing the start"
    )


def take_over(
    access: Access, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
) -> Mapping[TopicPartition, StoredPosition]:
    """Raise all epochs in one transaction, whoever holds them, and read what is stored then."""
    ordered = sorted(set(partitions))
    rows = [Wanted(tp.topic, tp.partition, topic_id=topic_ids.get(tp.topic)) for tp in ordered]

    def take(connection: Connection) -> Mapping[TopicPartition, StoredPosition]:
        _refuse_closed_topics(access, connection, stream, ordered)
        values = {
            "stream": stream,
            "owner": owner.id,
            "host": owner.host[:_LONGEST_TEXT],
            "version": None if owner.code_version is None else owner.code_version[:_LONGEST_TEXT],
            "now": datetime.now(UTC),
            **access.database.relation(rows),
        }
        connection.execute(access.statements.insert_missing, values)
        connection.execute(access.statements.raise_epochs, values)
        found = access.read(connection, stream, ordered)
        for tp in ordered:
            if found[tp].state is PositionState.CLOSED:
                raise closed(stream, str(tp), found[tp].state_reason)
        return found

    if not ordered:
        return {}
    taken = access.with_locks(
        take, session=owner.id, stream=stream, partitions=ordered, doing="taking over the partitions"
    )
    if len(ordered) >= _MANY:
        access.count_rows(owner.id)
    return taken


def _refuse_closed_topics(
    access: Access, connection: Connection, stream: str, partitions: Sequence[TopicPartition]
) -> None:
    """The markers are locked (shared) until the end, so that no delete comes in between."""
    topics = access.tables.topics
    names = sorted({tp.topic for tp in partitions})
    query = select(topics.c.topic, topics.c.state, topics.c.state_reason)
    query = query.where(topics.c.stream == stream, topics.c.topic.in_(names)).order_by(topics.c.topic)
    for row in connection.execute(query.with_for_update(read=True)):
        if row.state != TopicState.OPEN:
            raise closed(stream, f"topic {row.topic!r}", row.state_reason or row.state)


def reclaim(access: Access, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
    """Raise the epochs of a claim if they are still ours, which waits for (or ends) the claim's own transaction."""
    partitions = [r.topic_partition for r in claim.ranges]

    def take(connection: Connection) -> Mapping[TopicPartition, StoredPosition]:
        _move(access, connection, access.statements.reclaim, claim)
        return access.read(connection, claim.stream, partitions)

    try:
        return access.with_locks(
            take, session=claim.owner.id, stream=claim.stream, partitions=partitions, doing="settling a commit"
        )
    except _NotOurs:
        raise _why_not_ours(access, claim) from None


def plan(access: Access, claim: Claim) -> None:
    """Make the claim's ranges durable as planned ones, or find them so."""
    try:
        _move_in_its_own_transaction(access, access.statements.plan, claim, "planning a batch")
    except _NotOurs:
        stored = _stored(access, claim)
        raise why_not_planned(claim, stored, access.where, _REMOVED) or _held_for_a_moment(access, claim) from None


def reposition(access: Access, claim: Claim) -> None:
    """Move positions without records."""
    statements = access.statements
    discarding = claim.plan_kind is PlanKind.RANGE
    statement = statements.reposition_discarding if discarding else statements.reposition
    try:
        _move_in_its_own_transaction(access, statement, claim, "moving positions")
    except _NotOurs:
        error = why_not(access, claim)
        if isinstance(error, OutstandingPlan):
            raise OwnershipLost(str(error), range=error.range, other=claim.owner) from error
        raise error from None


def _move_in_its_own_transaction(access: Access, statement: TextClause, claim: Claim, doing: str) -> None:
    access.with_locks(
        lambda connection: _move(access, connection, statement, claim),
        session=claim.owner.id,
        stream=claim.stream,
        partitions=[r.topic_partition for r in claim.ranges],
        doing=doing,
    )


def _move(access: Access, connection: Connection, statement: TextClause, claim: Claim) -> None:
    values = {
        "stream": claim.stream,
        "owner": claim.owner.id,
        "now": datetime.now(UTC),
        **access.database.relation(wanted_rows(claim)),
    }
    moved = connection.execute(statement, values).rowcount
    if access.database.rows_changed(connection, moved) != len(claim.ranges):
        raise _NotOurs


def why_not(access: Access, claim: Claim) -> KafkaStreamError:
    """Read what is stored, after the rollback, and say why a claim did not succeed."""
    return why_not_claimed(claim, _stored(access, claim), access.where, _REMOVED) or _held_for_a_moment(access, claim)


def _why_not_ours(access: Access, claim: Claim) -> KafkaStreamError:
    return why_not_ours(claim, _stored(access, claim), access.where, _REMOVED) or _held_for_a_moment(access, claim)


def _stored(access: Access, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
    with access.mapping("looking why a claim failed"), access.reading() as connection:
        return access.read(connection, claim.stream, [r.topic_partition for r in claim.ranges])


def _held_for_a_moment(access: Access, claim: Claim) -> StoreUnavailable:
    return StoreUnavailable(
        f"another transaction held rows of stream {claim.stream!r} in {access.where}, at or after {claim.ranges[0]}, "
        "and left them as they were"
    )


__all__ = ["initialise", "plan", "reclaim", "reposition", "take_over", "why_not"]
