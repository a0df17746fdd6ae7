"""``StateSink`` where two members of a group meet on its rows: every record counts once, on PostgreSQL and MariaDB."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from integration_tests.streams import WAIT_S
from kafka_stream.errors import SinkUnavailable, StoreUnavailable
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql import StateSink, lookup
from kafka_stream.testing import message
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition

METADATA = sa.MetaData()
WORDS = sa.String(20).with_variant(sa.String(20, collation="utf8mb4_bin"), "mysql", "mariadb")
TOTALS = sa.Table(
    "totals",
    METADATA,
    sa.Column("name", WORDS, primary_key=True),
    sa.Column("shop", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
)
COUNTS = sa.Table(
    "counts",
    METADATA,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("mail", sa.String(20), unique=True),
)
STREAM = "meeting"
TOPIC = "orders"


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    found: str = request.getfixturevalue(request.param).url
    engine = sa.create_engine(found)
    METADATA.create_all(engine)
    yield found
    engine.dispose()


@contextmanager
def reading(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def totals_at(url: str) -> dict[tuple[str, int], int]:
    with reading(url) as connection:
        return {(name, shop): number for name, shop, number in connection.execute(sa.select(TOTALS))}


def counted(key: Any, records: list[Any], row: Any) -> Any:
    """A row with how many records there were."""
    return {"number": (row["number"] if row else 0) + len(records)}


class Member:
    """A process of a group: it owns one partition, and repeats what the database gives up."""

    def __init__(self, url: str, partition: int, sink: StateSink) -> None:
        self.owner = Owner(f"member-{partition}", "host")
        self.place = TopicPartition(TOPIC, partition)
        self.sink = sink
        self.store = SqlOffsetStore(url)
        self.store.open()
        self.offset = 0
        self.repeated = 0

    def take_over(self) -> None:
        self.epoch = self.store.take_over(STREAM, self.owner, [self.place], {})[self.place].owner_epoch

    def batch(self, values: Sequence[Any], before_commit: Callable[[], None] = lambda: None) -> None:
        """Commit one, however often it takes."""
        pairs = [
            (message(b"", topic=TOPIC, partition=self.place.partition, offset=self.offset + number), value)
            for number, value in enumerate(values)
        ]
        until = self.offset + len(values)
        claim = Claim(
            STREAM, self.owner, (OffsetRange(self.place, self.offset, until),), {self.place: self.epoch}, {}, {}
        )
        prepared = self.sink.prepare(pairs)
        for _ in range(100):
            try:
                with self.store.begin(claim) as transaction:
                    self.sink.write(prepared, transaction)
                    before_commit()
                    transaction.advance()
                    transaction.commit()
            except Exception as error:
                known = self.store.classify(error)
                if not isinstance(error, StoreUnavailable | SinkUnavailable) and not isinstance(
                    known, StoreUnavailable
                ):
                    raise
                self.repeated += 1
                continue
            self.offset = until
            return
        raise AssertionError("a batch is given up a hundred times")


@contextmanager
def two_members(url: str, make: Callable[[], StateSink]) -> Iterator[list[Member]]:
    members = [Member(url, partition, make()) for partition in range(2)]
    try:
        members[0].store.initialise(STREAM, TOPIC, {0: 0, 1: 0}, None)
        for member in members:
            member.take_over()
        yield members
    finally:
        for member in members:
            member.store.close()


def at_once(*actions: Callable[[], object]) -> None:
    with ThreadPoolExecutor(len(actions)) as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result(timeout=WAIT_S * 2)


def test_two_members_that_meet_on_new_and_old_keys_lose_no_update(url: str) -> None:
    """Of a small number of keys at first, so that most are met, and of more and more."""
    expected: Counter[tuple[str, int]] = Counter()

    def work(member: Member, seed: int, barrier: threading.Barrier) -> None:
        chance = random.Random(seed)
        for round_number in range(25):
            keys = [(f"n{chance.randrange(40 * (1 + round_number // 5))}", chance.randrange(2)) for _ in range(60)]
            barrier.wait(WAIT_S)
            member.batch(keys)
            with lock:
                expected.update(keys)

    lock = threading.Lock()
    with two_members(url, lambda: StateSink(TOTALS, lambda value: value, counted)) as members:
        barrier = threading.Barrier(2)
        at_once(*(partial(work, it, seed, barrier) for seed, it in enumerate(members)))
    assert totals_at(url) == dict(expected)


def test_many_rows_at_once_go_by_copy_and_still_meet(url: str) -> None:
    keys = [(f"n{number}", 1) for number in range(3_000)]
    with two_members(url, lambda: StateSink(TOTALS, lambda value: value, counted)) as members:
        barrier = threading.Barrier(2)

        def work(member: Member) -> None:
            for _ in range(2):
                barrier.wait(WAIT_S)
                member.batch([*keys, *keys[::2]])

        at_once(*(partial(work, it) for it in members))
    assert totals_at(url) == {key: 4 * (2 if number % 2 == 0 else 1) for number, key in enumerate(keys)}


def test_a_new_row_that_another_member_was_first_with_is_updated(url: str) -> None:
    """The second member has seen that there is none, and the first one commits it before the second writes its own."""
    calls: list[Any] = []

    def update(key: Any, records: list[Any], row: Any) -> Any:
        calls.append((records[0], None if row is None else row["number"]))
        if calls == [("second", None)]:
            first.batch(["first"])
        return counted(key, records, row)

    with two_members(url, lambda: StateSink(TOTALS, lambda value: ("b", 1), update)) as (first, second):
        first.batch(["warm"])  # the sink is registered, which the other one would wait for
        with reading(url) as connection:
            connection.execute(sa.delete(TOTALS))
            connection.commit()
        calls.clear()
        second.batch(["second"])
    assert calls == [("second", None), ("first", None), ("second", 1)]
    assert totals_at(url) == {("b", 1): 2}


def test_a_deadlock_is_repeated(url: str) -> None:
    """Each waits for a row of the other's, with one of its own in hand."""
    with two_members(url, lambda: StateSink(TOTALS, lambda value: value, counted)) as members:
        for member in members:
            member.batch([("a", 1), ("b", 1)])
        barrier = threading.Barrier(2)

        def work(member: Member, first: str, then: str) -> None:
            behind = StateSink(TOTALS, lambda value: value, counted)
            is_first_try = True
            ahead = member.sink

            class Both:
                """Two sinks of one batch, which lock rows in an order that no one sink would."""

                def prepare(self, pairs: Any) -> Any:
                    return pairs

                def write(self, pairs: Any, transaction: Any) -> None:
                    nonlocal is_first_try
                    ahead.write(ahead.prepare([(pairs[0][0], (first, 1))]), transaction)
                    if is_first_try:
                        is_first_try = False
                        barrier.wait(WAIT_S)
                    behind.write(behind.prepare([(pairs[0][0], (then, 1))]), transaction)

            member.sink = Both()  # type: ignore[assignment]
            member.batch(["x"])

        at_once(lambda: work(members[0], "a", "b"), lambda: work(members[1], "b", "a"))
        assert sum(member.repeated for member in members) >= 1
    assert totals_at(url) == {("a", 1): 4, ("b", 1): 4}


def test_another_unique_key_refuses_a_row_for_good(url: str) -> None:
    def update(key: str, records: list[Any], row: Any) -> Any:
        return {**counted(key, records, row), "mail": "same"}

    with two_members(url, lambda: StateSink(COUNTS, lambda value: value, update)) as (member, _):
        member.batch(["a"])
        with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
            member.batch(["b", "c"])


def test_keys_are_compared_as_the_database_does(url: str) -> None:
    """On MariaDB letters of both cases are one in a column without a binary collation; in one with it they are not."""
    is_mariadb = url.startswith("mysql")
    with two_members(url, lambda: StateSink(COUNTS, lambda value: value, counted)) as (member, _):
        member.batch(["a", "A", "b", "a "])
        member.batch(["A", "B"])
        with reading(url) as connection:
            found = {name: number for name, number, _ in connection.execute(sa.select(COUNTS))}
    assert found == ({"a": 4, "b": 2} if is_mariadb else {"a": 1, "A": 2, "a ": 1, "b": 1, "B": 1})


def test_texts_in_other_letters_are_told_apart_by_a_binary_collation(url: str) -> None:
    names = ["ä", "a", "A", "ß", "s", "日本"]
    with two_members(url, lambda: StateSink(TOTALS, lambda value: value, counted)) as (member, _):
        for _ in range(2):
            member.batch([(name, 1) for name in names])
    assert totals_at(url) == {(name, 1): 2 for name in names}


def test_rows_are_looked_up_and_held(url: str) -> None:
    with reading(url) as connection:
        connection.execute(sa.insert(TOTALS), [{"name": "a", "shop": 1, "number": 5}])
        connection.commit()
        found = lookup(TOTALS, [("a", 1), ("b", 1)], _Transaction(connection), lock=True)
        assert found == {("a", 1): {"name": "a", "shop": 1, "number": 5}}
        with reading(url) as other, pytest.raises(sa.exc.OperationalError):
            other.execute(sa.select(TOTALS).with_for_update(nowait=True))
        connection.rollback()


class _Transaction:
    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
