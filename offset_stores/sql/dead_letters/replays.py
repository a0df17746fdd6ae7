"""A replay through a topic: which letters it is to send, in which order, kept in their rows until it has ended.

A letter's ``replay``, ``replay_place`` and ``replay_destination`` are set while it is part of one; that two replays of
a stream cannot have the same place is a unique index, so that a stream has one at most.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, case, exc, select, update

from kafka_stream.errors import CommandRefused
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.dead_letters.table import changing, chunks, locked
from kafka_stream.protocols import LetterId, LetterStatus, Replay


def begin(access: Access, stream: str, replay: Replay) -> None:
    """As ``DeadLetterStore.begin_replay``."""
    try:
        with changing(access, "beginning a replay") as connection:
            under_way = _under_way(access, connection, stream)
            if under_way == replay:
                return
            if under_way is not None:
                raise _begun(stream, under_way.id)
            waiting = set(locked(access, connection, stream, replay.letters, LetterStatus.WAITING))
            for letter_id in replay.letters:
                if letter_id not in waiting:
                    raise CommandRefused(f"the dead letter {letter_id} of stream {stream!r} is not waiting; look again")
            _write(access, connection, stream, replay)
    except _TakenError as error:
        raise _begun(stream, "another one") from error


def under_way(access: Access, stream: str) -> Replay | None:
    """As ``DeadLetterStore.replay_under_way``."""
    with access.looking("looking for a replay", access.tables.dead_letters) as connection:
        return None if connection is None else _under_way(access, connection, stream)


def end(access: Access, stream: str, replay: Replay, sent: int, sent_are: LetterStatus) -> None:
    """As ``DeadLetterStore.end_replay``."""
    table = access.tables.dead_letters
    replaying = table.c.status == str(LetterStatus.REPLAYING)
    was_sent = table.c.replay_place < sent
    status = case(
        (replaying & was_sent & table.c.key.is_not(None), str(sent_are)),
        (replaying & was_sent, str(LetterStatus.REPLAYED)),
        (replaying, str(LetterStatus.WAITING)),
        else_=table.c.status,
    )
    statement = (
        update(table)
        .where(table.c.stream == stream, table.c.replay_place.is_not(None), table.c.replay == replay.id)
        # MariaDB goes by what it has just set: the status comes first.
        .ordered_values(
            (table.c.status, status),
            (table.c.changed_at, datetime.now(UTC)),
            (table.c.replay_destination, None),
            (table.c.replay_place, None),
            (table.c.replay, None),
        )
    )
    with changing(access, "ending a replay") as connection:
        connection.execute(statement)


class _TakenError(Exception):
    """Another replay has got the places meanwhile."""


def _begun(stream: str, which: str) -> CommandRefused:
    return CommandRefused(f"replay {which} of stream {stream!r} has begun and not ended; finish it first")


def _under_way(access: Access, connection: Connection, stream: str) -> Replay | None:
    table = access.tables.dead_letters
    columns = (table.c.topic, table.c.topic_id, table.c.partition, table.c.offset)
    query = (
        select(*columns, table.c.replay, table.c.replay_destination)
        .where(table.c.stream == stream, table.c.replay_place.is_not(None))
        .order_by(table.c.replay_place)
    )
    rows = connection.execute(query).all()
    if not rows:
        return None
    letters = tuple(LetterId(row.topic, row.topic_id, row.partition, row.offset) for row in rows)
    return Replay(rows[0].replay, rows[0].replay_destination, letters)


def _write(access: Access, connection: Connection, stream: str, replay: Replay) -> None:
    table = access.tables.dead_letters
    places = {letter_id: place for place, letter_id in enumerate(replay.letters)}
    common = {
        "status": str(LetterStatus.REPLAYING),
        "changed_at": datetime.now(UTC),
        "replay": replay.id,
        "replay_destination": replay.destination,
    }
    for these in chunks(access, stream, replay.letters):
        place = case({each.offset: places[each] for each in these.ids}, value=table.c.offset)
        try:
            connection.execute(update(table).where(these.condition).values(**common, replay_place=place))
        except exc.IntegrityError as error:
            raise _TakenError from error


__all__ = ["begin", "end", "under_way"]
