"""The table of dead letters: what batches set aside, and how commands look at it and mark it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, update

from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.dead_letters.rows import letter_of, row_of, storable
from kafka_stream.protocols import IN_FLIGHT, STILL_WAITING, DeadLetter, Key, LetterFilter, LetterId, LetterStatus
from kafka_stream.types import Claim, TopicPartition

_PAGE = 500
_PAGE_OF_PAYLOADS = 50  # each may have a megabyte
_CHUNK = 500  # letters in one statement
_WAIT_S = 10.0  # for a letter that somebody processes where it is
_PAYLOADS = ("value", "headers")
_T = TypeVar("_T")


def set_aside(access: Access, connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Insert these in the connection's transaction, or replace those that are there."""
    statement = access.database.keep_letters(access.tables.dead_letters)
    for some in _parts(sorted(letters, key=lambda letter: letter.id)):
        connection.execute(statement, [row_of(letter) for letter in some])


def waiting_keys(access: Access, connection: Connection, claim: Claim) -> Mapping[Key, int]:
    """The keys of letters that wait, of the claim's partitions, and how many of each."""
    table = access.tables.dead_letters
    found: Counter[Key] = Counter()
    for topic, condition in _waiting(access, claim.stream, (r.topic_partition for r in claim.ranges)):
        query = select(table.c.partition, table.c.key, func.count()).where(condition)
        for partition, key, count in connection.execute(query.group_by(table.c.partition, table.c.key)):
            found[TopicPartition(topic, partition), key] += count  # MariaDB may tell of a long key in two rows
    return found


def waiting_letters(
    access: Access, connection: Connection, stream: str, keys: Collection[Key]
) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
    """The letters of these keys that wait."""
    table = access.tables.dead_letters
    found: dict[Key, dict[LetterId, LetterStatus]] = {key: {} for key in keys}
    for topic, condition in _waiting(access, stream, {tp for tp, _ in keys}):
        columns = (table.c.partition, table.c.key, table.c.topic_id, table.c.offset, table.c.status)
        for partition, key, topic_id, offset, status in connection.execute(select(*columns).where(condition)):
            letters = found.get((TopicPartition(topic, partition), key))
            if letters is not None:
                letters[LetterId(topic, topic_id, partition, offset)] = LetterStatus(status)
    return found


def replayed(access: Access, connection: Connection, stream: str, letters: Collection[LetterId]) -> None:
    """Mark those of these that are in flight, in the connection's transaction."""
    table = access.tables.dead_letters
    for these in chunks(access, stream, letters):
        statement = update(table).where(these.condition, table.c.status.in_(sorted(IN_FLIGHT)))
        connection.execute(statement.values(status=str(LetterStatus.REPLAYED), changed_at=datetime.now(UTC)))


def _waiting(
    access: Access, stream: str, partitions: Iterable[TopicPartition]
) -> Iterator[tuple[str, ColumnElement[bool]]]:
    """Of each topic the condition for letters of these partitions that wait and have a key."""
    table = access.tables.dead_letters
    numbers: dict[str, list[int]] = {}
    for topic, partition in partitions:
        numbers.setdefault(topic, []).append(partition)
    for topic, of_topic in numbers.items():
        yield (
            topic,
            and_(
                table.c.stream == stream,
                table.c.topic == topic,
                table.c.partition.in_(of_topic),
                table.c.status.in_(sorted(STILL_WAITING)),
                table.c.key.is_not(None),
            ),
        )


def find(access: Access, stream: str, wanted: LetterFilter, *, payloads: bool) -> Iterator[DeadLetter]:
    """Page by page, partition by partition: in the order of their ids, whatever the database's order of texts is."""
    with access.looking("looking for dead letters", access.tables.dead_letters) as connection:
        groups = [] if connection is None else _groups(access, connection, stream, wanted)
    table = access.tables.dead_letters
    columns = [column for column in table.columns if payloads or column.name not in _PAYLOADS]
    for topic, topic_id, partition in groups:
        query = select(*columns).where(
            *_of_partition(access, stream, LetterId(topic, topic_id, partition, 0)), *_conditions(access, wanted)
        )
        for letter in _pages(access, query, _PAGE_OF_PAYLOADS if payloads else _PAGE):
            if wanted.includes(letter):  # some databases compare texts without case
                yield letter


def _groups(
    access: Access, connection: Connection, stream: str, wanted: LetterFilter
) -> Sequence[tuple[str, str, int]]:
    table = access.tables.dead_letters
    query = select(table.c.topic, table.c.topic_id, table.c.partition).where(table.c.stream == stream).distinct()
    if wanted.topic is not None:
        query = query.where(table.c.topic == wanted.topic)
    if wanted.partition is not None:
        query = query.where(table.c.partition == wanted.partition)
    return sorted((topic, topic_id, partition) for topic, topic_id, partition in connection.execute(query))


def _pages(access: Access, query: Select[Any], size: int) -> Iterator[DeadLetter]:
    offset = access.tables.dead_letters.c.offset
    after = -1
    while True:
        with access.mapping("reading dead letters"), access.reading() as connection:
            rows = connection.execute(query.where(offset > after).order_by(offset).limit(size)).all()
        yield from map(letter_of, rows)
        if len(rows) < size:
            return
        after = rows[-1].offset


def _conditions(access: Access, wanted: LetterFilter) -> Iterator[ColumnElement[bool]]:
    """What of a filter the database can say; it may find more."""
    table = access.tables.dead_letters
    if wanted.offsets is not None:
        yield table.c.offset >= min(wanted.offsets, default=0)
        yield table.c.offset <= max(wanted.offsets, default=-1)
        if len(wanted.offsets) <= _CHUNK:
            yield table.c.offset.in_(sorted(wanted.offsets))
    if wanted.key is not None:
        yield table.c.key == wanted.key
    if wanted.error_type is not None:
        ends = table.c.error_type.endswith(f".{wanted.error_type}", autoescape=True)
        yield or_(table.c.error_type == wanted.error_type, ends)
    if wanted.statuses is not None:
        yield table.c.status.in_(sorted(wanted.statuses))
    if wanted.since is not None:
        yield table.c.first_failed_at >= wanted.since
    if wanted.until is not None:
        yield table.c.first_failed_at < wanted.until


def mark(
    access: Access, stream: str, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None
) -> Sequence[LetterId]:
    """Those that are in status ``was`` change to ``now``, in one transaction."""
    values: dict[str, Any] = {"status": str(now), "changed_at": datetime.now(UTC)}
    if note:
        values["note"] = storable(note)
    with changing(access, "marking dead letters") as connection:
        found = locked(access, connection, stream, ids, was)
        for these in chunks(access, stream, found):
            connection.execute(update(access.tables.dead_letters).where(these.condition).values(**values))
    return found


@contextmanager
def changing(access: Access, doing: str) -> Iterator[Connection]:
    """A transaction of a command on letters; it waits for letters that somebody else holds, but not for ever."""
    session = f"letters {secrets.token_hex(8)}"
    with access.mapping(doing), access.writing(session, _WAIT_S) as connection:
        yield connection


def locked(
    access: Access, connection: Connection, stream: str, ids: Collection[LetterId], status: LetterStatus
) -> list[LetterId]:
    """Those of the letters that are in this status, held until the end of the transaction; sorted."""
    table = access.tables.dead_letters
    found: list[LetterId] = []
    for these in chunks(access, stream, ids):
        query = select(table.c.offset).where(these.condition, table.c.status == str(status)).order_by(table.c.offset)
        offsets = connection.execute(query.with_for_update()).scalars()
        found += [these.first._replace(offset=offset) for offset in offsets]
    return found


class Chunk:
    """Some letters of one partition, as a condition; ``first`` is one of them."""

    def __init__(self, access: Access, stream: str, ids: Sequence[LetterId]) -> None:
        self.ids = ids
        self.first = ids[0]
        offset = access.tables.dead_letters.c.offset
        self.condition = and_(
            *_of_partition(access, stream, self.first), offset.in_([letter_id.offset for letter_id in ids])
        )


def chunks(access: Access, stream: str, ids: Iterable[LetterId]) -> Iterator[Chunk]:
    """The letters in the order of their ids, some at a time."""
    for _, of_partition in groupby(sorted(set(ids)), key=lambda letter_id: letter_id[:3]):
        for some in _parts(list(of_partition)):
            yield Chunk(access, stream, some)


def of_letter(access: Access, stream: str, letter_id: LetterId) -> ColumnElement[bool]:
    """The condition for one letter."""
    return Chunk(access, stream, [letter_id]).condition


def _parts(whole: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (whole[begin : begin + _CHUNK] for begin in range(0, len(whole), _CHUNK))


def _of_partition(access: Access, stream: str, letter_id: LetterId) -> Sequence[ColumnElement[bool]]:
    table = access.tables.dead_letters
    return (
        table.c.stream == stream,
        table.c.topic == letter_id.topic,
        table.c.topic_id == letter_id.topic_id,
        table.c.partition == letter_id.partition,
    )


__all__ = [
    "changing",
    "chunks",
    "find",
    "locked",
    "mark",
    "of_letter",
    "replayed",
    "set_aside",
    "waiting_keys",
    "waiting_letters",
]
