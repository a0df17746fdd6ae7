"""A stream of two owners that keep state, without its Kafka, and the plain program that it is compared with.

The plain program keeps a dict, and applies one record after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.sinks.sql import UNCHANGED, StateSink
from kafka_stream.testing import message
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition
from tests.elsewhere import InTurn, halves

TOPIC = "orders"
PLACES = [TopicPartition(TOPIC, number) for number in range(2)]
OWNERS = ["first", "second"]
METADATA = sa.MetaData()


def _declared(name: str, scope: str, metadata: sa.MetaData, *, version: int) -> sa.Table:
    of_partition = [
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("topic", sa.String(249), primary_key=True),
    ]
    return sa.Table(
        name,
        metadata,
        *(of_partition if scope == "partition" else ()),
        sa.Column("name", sa.String(20), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("total", sa.Float),
        sa.Column("last", sa.String(20), server_default="none"),
        *([sa.Column("largest", sa.Integer)] if version == 2 else ()),
    )


TABLES = {scope: _declared(f"state_of_{scope}", scope, METADATA, version=2) for scope in ("key", "partition")}
OLD_TABLES = {scope: _declared(f"state_of_{scope}", scope, sa.MetaData(), version=1) for scope in TABLES}
EMITTED = sa.Table("emitted", METADATA, sa.Column("place", sa.Integer, primary_key=True), sa.Column("what", sa.Text))

Record = tuple[str, int]
Row = dict[str, Any]
Taken = Sequence[tuple[TopicPartition, int, Record]]


def step(version: int, row: Row | None, value: int) -> Row | None:
    """What one record does to a row."""
    if value == 0:
        return None
    if value == 1:
        return row
    before = row or {"number": 0, "total": None, "last": "none"}
    after = {**before, "number": before["number"] + 1, "total": (before["total"] or 0.0) + value / 3}
    if value % 2:
        after["last"] = f"{value} " if value == 3 else f"{value}"  # spaces at the end may be cut
    if version == 2:
        after["largest"] = max(value, before.get("largest") or 0)
    return after


@dataclass
class Updates:
    """The ``update`` of a version of the code; ``calls`` are what it was given, and gave out."""

    version: int
    calls: list[Any] = field(default_factory=list)

    def __call__(self, key: str, records: list[Record], row: Row | None, emit: Any) -> Any:
        self.calls.append((key, tuple(records), repr(row)))
        after = row
        for _, value in records:
            after = step(self.version, after, value)
            if value > 4:
                emit(f"{key} {value}")
        if after == row:
            return UNCHANGED
        if after is not None and row is not None and len(records) % 2:  # what stays may be left out
            return {name: value for name, value in after.items() if name not in row or row[name] != value}
        return after


@dataclass
class Member:
    """One owner's process: its code, and the epochs that it took its partitions over with."""

    owner: Owner
    sink: StateSink
    updates: Updates
    epochs: dict[TopicPartition, int] = field(default_factory=dict)


class Model:
    """The plain program."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.rows: dict[tuple[Any, ...], Row] = {}
        self.emitted: list[str] = []

    def key(self, place: TopicPartition, name: str) -> tuple[Any, ...]:
        return (place.partition, place.topic, name) if self.scope == "partition" else (name,)

    def apply(self, version: int, records: Sequence[tuple[TopicPartition, Record]]) -> None:
        for place, (name, value) in records:
            key = self.key(place, name)
            after = step(version, self.rows.get(key), value)
            if after is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = {"largest": None, **after}
        ordered = sorted(records, key=lambda it: self.key(it[0], it[1][0]))
        self.emitted += [f"{name} {value}" for _, (name, value) in ordered if value > 4]


class World:
    """A store, two owners, and the model beside them."""

    numbers = itertools.count()

    def __init__(self, store: SqlOffsetStore, engine: sa.Engine, scope: str, cached_rows: int) -> None:
        self.store = store
        self.engine = engine
        self.scope = scope
        self.cached_rows = cached_rows
        self.in_turn = InTurn()
        self.stream = f"stream-{next(self.numbers)}"
        self.model = Model(scope)
        self.offsets = dict.fromkeys(PLACES, 0)
        store.initialise(self.stream, TOPIC, {place.partition: 0 for place in PLACES}, None)
        self.members = {name: self.member(name, version=1) for name in OWNERS}
        self.take_over("first", PLACES)

    def member(self, name: str, version: int) -> Member:
        updates = Updates(version)
        table = (TABLES if version == 2 else OLD_TABLES)[self.scope]
        sink = StateSink(
            table,
            itemgetter(0),
            updates,
            scope=self.scope,  # type: ignore[arg-type]
            partition_columns=("topic", "partition"),
            cached_rows=self.cached_rows,
            then=[self._keep],
        )
        return Member(Owner(name, "host"), sink, updates)

    @staticmethod
    def _keep(rows: list[str], transaction: Any) -> None:
        transaction.connection.execute(sa.insert(EMITTED), [{"what": what} for what in rows])

    def take_over(self, who: str, places: Sequence[TopicPartition]) -> None:
        member = self.members[who]
        for other in self.members.values():
            for place in places:
                other.epochs.pop(place, None)
        found = self.store.take_over(self.stream, member.owner, sorted(places), {})
        member.epochs.update((place, position.owner_epoch) for place, position in found.items())

    def new_code(self) -> None:
        """Processes with other code take the place of those that there are."""
        for who, member in list(self.members.items()):
            places = list(member.epochs)
            self.members[who] = self.member(who, version=2)
            if places:
                self.take_over(who, places)

    def batch(self, who: str, records: Sequence[tuple[int, Record]]) -> list[tuple[TopicPartition, int, Record]]:
        """Of the partitions that are this member's, in order, with offsets."""
        offsets = dict(self.offsets)
        found = []
        for number, record in sorted(records, key=lambda it: it[0]):
            if (place := PLACES[number]) in self.members[who].epochs:
                found.append((place, offsets[place], record))
                offsets[place] += 1
        return found

    def owner_of(self, records: Sequence[tuple[int, Record]]) -> str:
        """Of the first record's partition."""
        return next(name for name, it in self.members.items() if PLACES[records[0][0]] in it.epochs)

    def hand_over(self, places: Sequence[TopicPartition]) -> None:
        """Each to the other member."""
        owned = {place: name for name, member in self.members.items() for place in member.epochs}
        for place in places:
            self.take_over(OWNERS[owned[place] == OWNERS[0]], [place])

    def rewind(self, place: TopicPartition) -> None:
        """Back by one record: the state stays as it is."""
        who = self.owner_of([(PLACES.index(place), ("", 0))])
        until = max(0, self.offsets[place] - 1)
        ranges = (OffsetRange(place, until, until),)
        self.store.reposition(Claim(self.stream, self.members[who].owner, ranges, self.members[who].epochs, {}, {}))
        self.offsets[place] = until

    def claim(self, who: str, batch: Taken) -> Claim:
        until = {place: offset + 1 for place, offset, _ in batch}
        ranges = tuple(OffsetRange(place, self.offsets[place], until[place]) for place in sorted(until))
        return Claim(self.stream, self.members[who].owner, ranges, dict(self.members[who].epochs), {}, {})

    def commit(self, records: Sequence[tuple[int, Record]], keeps: Sequence[bool] = ()) -> None:
        """A batch; with ``keeps`` in parts, of which each is tried and stays, or is undone and not of the state."""
        who = self.owner_of(records)
        if not (batch := self.batch(who, records)):
            return
        with self.store.begin(self.claim(who, batch)) as transaction:
            if keeps:
                flagged = zip(batch, itertools.cycle(keeps), strict=False)
                for keep, part in itertools.groupby(flagged, key=lambda it: it[1]):
                    self._attempt(who, [it for it, _ in part], transaction, keep=keep)
            else:
                self.write(who, batch, transaction)
            transaction.advance()
            transaction.commit()
        self.offsets.update((place, offset + 1) for place, offset, _ in batch)

    def _attempt(self, who: str, part: Taken, transaction: SqlTransaction, *, keep: bool) -> None:
        if keep:
            with transaction.attempt():
                self.write(who, part, transaction)
            return
        with pytest.raises(KeyError), transaction.attempt():
            self.write(who, part, transaction, applies=False)
            raise KeyError("refused")

    def roll_back(self, records: Sequence[tuple[int, Record]], *, skips: bool) -> None:
        """A batch that is undone; one that ``skips`` is passed over then, as after a loss of data."""
        who = self.owner_of(records)
        if not (batch := self.batch(who, records)):
            return
        claim = self.claim(who, batch)
        with self.store.begin(claim) as transaction:
            self.write(who, batch, transaction, applies=False)
        if skips:
            self.store.reposition(claim)
            self.offsets.update((place, offset + 1) for place, offset, _ in batch)

    def write(self, who: str, batch: Taken, transaction: SqlTransaction, *, applies: bool = True) -> None:
        for piece in self.in_turn.pieces(batch, halves if applies else lambda whole: [whole]):
            self.write_piece(who, piece, transaction)
            if applies:
                updates = self.members[who].updates
                self.model.apply(updates.version, [(place, record) for place, _, record in piece])

    def write_piece(self, who: str, batch: Taken, transaction: SqlTransaction) -> None:
        member = self.members[who]
        self.check_rows(transaction.connection)
        pairs = [
            (message(b"", topic=TOPIC, partition=place.partition, offset=offset), record)
            for place, offset, record in batch
        ]
        stored = dict(self.model.rows)
        member.updates.calls.clear()
        member.sink.write(self.in_turn.prepared(member.sink, pairs), transaction)
        self.check_calls(member, batch, stored)

    def check_calls(self, member: Member, batch: Taken, stored: dict[Any, Row]) -> None:
        """Each key once, in key order, with the row that is in the table."""
        by_key: dict[Any, list[Record]] = {}
        for place, _, record in batch:
            by_key.setdefault(self.model.key(place, record[0]), []).append(record)
        expected = [
            (key[-1], tuple(by_key[key]), repr(self.as_given(member.updates.version, key, stored.get(key))))
            for key in sorted(by_key)
        ]
        assert member.updates.calls == expected

    def as_given(self, version: int, key: tuple[Any, ...], row: Row | None) -> Row | None:
        """In table order, of the columns that this version of the code knows."""
        if row is None:
            return None
        table = (TABLES if version == 2 else OLD_TABLES)[self.scope]
        whole = {**row, **dict(zip(table.primary_key.columns.keys(), key, strict=True))}
        return {name: whole[name] for name in map(str, table.columns.keys())}

    def check_rows(self, connection: sa.Connection) -> None:
        table = TABLES[self.scope]
        width = len(table.primary_key.columns)
        found = {
            tuple(row)[:width]: dict(zip(table.columns.keys()[width:], tuple(row)[width:], strict=True))
            for row in connection.execute(sa.select(table))
        }
        assert found == self.model.rows

    def check(self) -> None:
        with self.engine.connect() as connection:
            self.check_rows(connection)
            emitted = connection.execute(sa.select(EMITTED.c.what).order_by(EMITTED.c.place)).scalars().all()
        assert list(emitted) == self.model.emitted
