"""What goes on by ``Deduplicate``, beside a plain program that has all of it in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from confluent_kafka import Message
from hypothesis import strategies as st

from kafka_stream.batch import Batch
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql import Deduplicate
from kafka_stream.sinks.sql.deduplication import forgetting, seen_rows
from kafka_stream.testing import message
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition
from kafka_stream.user_code import FunctionSink
from tests.elsewhere import InTurn, pieces_of

STREAM = "clicks"
TOPIC = "clicks"
PARTITIONS = (TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1))

WITHIN_MS = 10
KEYS = st.sampled_from(["a", "b", "c", "d"])

Row: TypeAlias = tuple[int, int]
"""The partition and the offset of a record."""
Records: TypeAlias = Mapping[TopicPartition, Sequence[Message]]
Steps: TypeAlias = Sequence[tuple[str, Mapping[TopicPartition, int]]]
"""What happens to so many of the next records of each partition."""


def passed(table: str = "passed") -> sa.Table:
    """Where what goes on is written, in its order."""
    return sa.Table(
        table,
        sa.MetaData(),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("partition", sa.Integer),
        sa.Column("offset", sa.BigInteger),
    )


def place(record: Message) -> Row:
    """Which record it is."""
    partition, offset = record.partition(), record.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def writing(table: sa.Table) -> Any:
    """A plain function that writes which records it got."""

    def write(batch: Iterable[Message], transaction: Any) -> None:
        rows = [dict(zip(("partition", "offset"), place(record), strict=True)) for record in batch]
        transaction.connection.execute(table.insert(), rows)

    return write


def record_of(where: TopicPartition, offset: int, key: str, time_ms: int) -> Message:
    """A record with a key and a time."""
    return message(b"", key=key, topic=where.topic, partition=where.partition, offset=offset, timestamp_ms=time_ms)


@dataclass
class Plain:
    """The plain program."""

    within_ms: int
    last: dict[bytes, int] = field(default_factory=dict)
    passed: list[Row] = field(default_factory=list)

    def take(self, records: Iterable[Message]) -> None:
        """In the order in which they are processed."""
        for record in records:
            key, (_, time_ms) = record.key(), record.timestamp()
            assert isinstance(key, bytes)
            if key not in self.last or abs(time_ms - self.last[key]) >= self.within_ms:
                self.last[key] = time_ms
                self.passed.append(place(record))


class Member:
    """One process of the stream: it owns partitions, and commits their next records, or fails to."""

    def __init__(
        self,
        url: str,
        name: str,
        table: sa.Table,
        within: str,
        partitions: Sequence[TopicPartition] = PARTITIONS,
        stream: str = STREAM,
    ) -> None:
        self._stream = stream
        self.store = SqlOffsetStore(url)
        self.store.open()
        self._owner = Owner(name, "host")
        self.store.initialise(stream, TOPIC, {tp.partition: 0 for tp in PARTITIONS}, None)
        self._stored = self.store.take_over(stream, self._owner, partitions, {})
        self.next_offsets = {tp: position.next_offset for tp, position in self._stored.items()}
        self._in_turn = InTurn()
        self.sink: Any = Deduplicate(methodcaller("key"), within).before([FunctionSink(writing(table))])

    def batch(self, records: Records, counts: Mapping[TopicPartition, int]) -> Batch:
        """So many of the next records of each partition."""
        ranges, taken = [], {}
        for tp in sorted(counts):
            begin = self.next_offsets[tp]
            end = min(begin + counts[tp], len(records[tp]))
            ranges.append(OffsetRange(tp, begin, end))
            taken[tp] = records[tp][begin:end]
        return Batch(tuple(ranges), taken)

    def begin(self, batch: Batch) -> Any:
        """The transaction of a batch."""
        epochs = {tp: position.owner_epoch for tp, position in self._stored.items()}
        return self.store.begin(Claim(self._stream, self._owner, batch.ranges, epochs, {}, {}))

    def process(self, batch: Batch, *, fails: bool = False) -> None:
        """Commit it, unless it fails first."""
        pieces = self._in_turn.pieces(batch, pieces_of) if len(batch) else []
        prepared = [self._in_turn.prepared(self.sink, piece) for piece in pieces]
        with self.begin(batch) as transaction:
            for piece in prepared:
                self.sink.write(piece, transaction)
            if fails:
                return
            transaction.advance()
            transaction.commit()
        self.next_offsets |= {r.topic_partition: r.until_offset for r in batch.ranges}

    def tick(self, caught_up_s: Mapping[TopicPartition, float]) -> None:
        """These partitions have been read to their end for so long."""
        standing = Batch(tuple(OffsetRange(tp, at, at) for tp, at in sorted(self.next_offsets.items())), {})
        with self.begin(standing) as transaction:
            self.sink.tick(caught_up_s, transaction)
            transaction.advance()
            transaction.commit()

    def close(self) -> None:
        """End of the process."""
        self.store.close()


def rows_of(connection: sa.Connection, table: sa.Table) -> list[Row]:
    """What has gone on, in order."""
    return [(row.partition, row.offset) for row in connection.execute(table.select().order_by(table.c.id))]


@st.composite
def any_times(draw: st.DrawFn) -> Records:
    """Records whose times are in no order."""
    pairs = st.lists(st.tuples(KEYS, st.integers(0, 60)), max_size=12)
    return {tp: [record_of(tp, at, *it) for at, it in enumerate(draw(pairs))] for tp in PARTITIONS}


@st.composite
def nearly_ordered_times(draw: st.DrawFn) -> Records:
    """Records that come less than ``within`` behind the largest time of their partition."""
    found: dict[TopicPartition, list[Message]] = {}
    for tp in PARTITIONS:
        latest, found[tp] = 0, []
        steps = draw(st.lists(st.tuples(KEYS, st.integers(-WITHIN_MS + 1, 3 * WITHIN_MS)), max_size=25))
        for offset, (key, step) in enumerate(steps):
            found[tp].append(record_of(tp, offset, key, 100 + latest + step))
            latest = max(latest, latest + step)
    return found


@st.composite
def cuts(draw: st.DrawFn) -> Steps:
    """What happens, and how many records of each partition are taken."""
    counts = st.fixed_dictionaries({tp: st.integers(0, 5) for tp in PARTITIONS})
    return draw(st.lists(st.tuples(st.sampled_from(["commit", "commit", "fail", "restart"]), counts), max_size=20))


@contextmanager
def unforgetting() -> Iterator[None]:
    """Nothing is forgotten; and keys are read two at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "horizon_us", lambda *_: None)
        patch.setattr(seen_rows, "KEYS_AT_ONCE", 2)
        yield


@contextmanager
def forgetting_soon(least_step: int) -> Iterator[None]:
    """With nearly every batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "LEAST_STEP", least_step)
        yield


def run(url: str, records: Records, steps: Steps) -> tuple[list[Row], list[Row]]:
    """What went on, and what the plain program lets through; all that is left is taken in the end."""
    stream = uuid.uuid4().hex
    table, plain = passed(f"passed_{stream}"), Plain(WITHIN_MS)
    rest = ("commit", dict.fromkeys(PARTITIONS, 1_000))
    engine = sa.create_engine(url)
    table.create(engine)
    member = Member(url, "first", table, f"{WITHIN_MS} ms", stream=stream)
    for number, (what, counts) in enumerate([*steps, rest]):
        if what == "restart":
            member.close()
            member = Member(url, f"member-{number}", table, f"{WITHIN_MS} ms", stream=stream)
            continue
        batch = member.batch(records, counts)
        member.process(batch, fails=what == "fail")
        if what == "commit":
            plain.take(batch)
    member.close()
    with engine.connect() as connection:
        found = rows_of(connection, table)
    table.drop(engine)
    engine.dispose()
    return found, plain.passed
