"""The order of keys through replays: the results of each key are in the order in which its records arrived first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from kafka_stream import Batch, DeadLetters, DirectStream, RecordError
from kafka_stream.admin.dead_letters import InPlace, Replaying, new_replay, replaying, waiting
from kafka_stream.admin.dead_letters.sending import Cursor, Record
from kafka_stream.errors import CommandRefused
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import STILL_WAITING, LetterStatus
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import TopicPartition

Act = tuple[Any, ...]


class Killed(BaseException):
    """The command is gone."""


class Sender:
    """Sends to a Kafka in memory; what is sent is visible at once, with its cursor. The last one fences the others."""

    def __init__(self, kafka: MemoryKafka, cursors: dict[TopicPartition, Cursor], taken: list[Sender]) -> None:
        self._kafka = kafka
        self._cursors = cursors
        self._taken = taken

    def partitions(self, topics: Collection[str]) -> Mapping[str, int]:
        return dict.fromkeys(topics, 1)

    def take_over(self, at: TopicPartition) -> Cursor | None:
        self._taken[:] = [self]
        return self._cursors.get(at)

    def send(
        self, records: Sequence[Record], cursor: Cursor, at: TopicPartition, before_commit: Callable[[], None]
    ) -> None:
        before_commit()
        if self._taken != [self]:
            raise CommandRefused("another command has taken over")
        for each in records:
            headers: Any = list(each.payload.headers)
            self._kafka.produce(
                each.topic,
                each.payload.value,
                key=each.payload.key,
                partition=0,
                headers=headers,
                timestamp_ms=each.payload.timestamp_ms,
            )
        self._cursors[at] = cursor

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class World:
    """A stream, its records, and what fails of them now."""

    store: Any
    results: Callable[[], Sequence[str]]
    write: Callable[[Any, str], None]
    batch_size: int
    kafka: MemoryKafka = field(default_factory=lambda: MemoryKafka({"orders": 1}))
    cursors: dict[TopicPartition, Cursor] = field(default_factory=dict)
    taken: list[Sender] = field(default_factory=list)
    fragile: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)
    names_it: bool = False

    def produce(self, key: str, *, fails: bool) -> None:
        number = f"{len(self.keys):04}"
        self.keys[number] = key
        if fails:
            self.fragile.add(number)
        self.kafka.produce("orders", number, key=key)

    def handle(self, batch: Batch, transaction: Any) -> None:
        for message in batch:
            value = (message.value() or b"").decode()
            if value in self.fragile:
                if self.names_it:
                    raise RecordError.of(message, "fragile")
                raise ValueError(value)
            self.write(transaction, value)

    def stream(self) -> DirectStream:
        return DirectStream(
            name="s",
            topics=["orders"],
            kafka=self.kafka,
            store=self.store,
            sink=self.handle,
            assignment="static",
            on_error="dead-letter",
            dead_letters=DeadLetters(max_ratio=1.0, max_in_a_row=1_000, keep_key_order=True),
            max_records_per_batch=self.batch_size,
        )

    def run(self) -> None:
        self.kafka.produce("orders", "good", key="good")  # so that it does not look like code that always fails
        self.keys["good"] = "good"
        with suppress(Exception):
            self.stream().run(until="latest")

    def replay(self, meant: Callable[[int], bool], steps: Sequence[Sequence[Act]], kill_at: int) -> None:
        left = list(steps)
        reached = 0

        def tell(_: object) -> None:
            nonlocal reached
            reached += 1
            if reached == kill_at:
                raise Killed
            for act in left.pop(0) if left else ():
                self.act(act)

        with suppress(Killed, CommandRefused):
            sender = Sender(self.kafka, self.cursors, self.taken)
            work = Replaying(self.store, "s", sender, tell=tell, actor="me", returns=True)
            if work.resume() is None:
                work.run(new_replay([one for one in waiting(self.store, "s") if meant(one.offset)]))

    def in_place(self, meant: Callable[[int], bool]) -> None:
        with suppress(CommandRefused), closing(InPlace(self.stream(), self.store, "s", actor="me")) as work:
            list(work.replay([one for one in waiting(self.store, "s") if meant(one.offset)]))

    def act(self, act: Act) -> None:
        match act:
            case ("new", key, fails):
                self.produce(key, fails=fails)
            case ("run",):
                self.run()
            case ("mend", every):
                self.fragile = {value for value in self.fragile if int(value) % every}
            case ("replay", every, steps, kill_at):
                self.replay(lambda offset: offset % every == 0, steps, kill_at)
            case ("in place", every):
                self.in_place(lambda offset: offset % every == 0)
        self.check()

    def check(self) -> None:
        found: dict[str, list[str]] = {}
        for value in self.results():
            if value != "good":
                found.setdefault(self.keys[value], []).append(value)
        for values in found.values():
            assert all(one < other for one, other in pairwise(values)), values

    def finish(self) -> None:
        """Mend the code, and replay until nothing waits."""
        self.fragile.clear()
        for _ in range(6):
            self.run()
            self.replay(lambda _: True, (), 0)
        self.run()
        self.check()
        letters = list(self.store.letters("s"))
        assert not [one for one in letters if one.status in STILL_WAITING]
        assert sorted(value for value in self.results() if value != "good") == sorted(self.keys.keys() - {"good"})
        assert {one.status for one in letters} <= {LetterStatus.REPLAYED}
        values = [one.payload.value for one in letters if one.payload.value != b"good"]
        assert len(values) == len(set(values)), "a record has one letter, however often it fails"


def acts(depth: int) -> st.SearchStrategy[Act]:
    keys, every = st.sampled_from("ab"), st.integers(1, 3)
    simple: list[st.SearchStrategy[Act]] = [
        st.tuples(st.just("new"), keys, st.booleans()),
        st.tuples(st.just("new"), keys, st.just(False)),
        st.just(("run",)),
        st.tuples(st.just("mend"), every),
    ]
    if depth:
        steps = st.lists(st.lists(acts(depth - 1), max_size=2), max_size=5)
        simple.append(st.tuples(st.just("replay"), every, steps, st.integers(0, 8)))
        simple.append(st.tuples(st.just("in place"), every))
    return st.one_of(simple)


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "RECORDS_PER_TRANSACTION", 2)


def in_memory(batch_size: int) -> World:
    store = MemoryOffsetStore()
    return World(store, lambda: store.rows, lambda transaction, value: transaction.rows.append(value), batch_size)


FAILED = [("new", "a", True), ("new", "a", False), ("new", "a", False), ("run",), ("mend", 1)]


@settings(max_examples=60, deadline=None)
@given(st.lists(acts(2), max_size=10), st.integers(1, 9), st.booleans())
@example([*FAILED, ("replay", 1, [[("run",)]] * 6, 0), ("new", "a", False), ("run",)], 9, False)
@example([*FAILED, ("replay", 1, [], 0), ("new", "a", False), ("run",)], 1, False)
@example([*FAILED, ("new", "a", False), ("replay", 1, [], 0), ("run",)], 2, False)
@example([*FAILED, ("replay", 3, [], 0), ("in place", 1), ("run",)], 2, False)
@example([*FAILED[:4], ("replay", 1, [[], [], [], [("run",)]], 0), ("run",)], 3, True)
def test_results_of_a_key_are_in_the_order_of_first_arrival_each_once(
    given_acts: list[Act], batch_size: int, names_it: bool
) -> None:
    world = in_memory(batch_size)
    world.names_it = names_it
    for act in given_acts:
        world.act(act)
    world.finish()


@settings(max_examples=4, deadline=None)
@given(st.lists(acts(1), max_size=8), st.integers(1, 9))
@example([*FAILED, ("replay", 1, [[("run",)]] * 6, 0), ("new", "a", False), ("run",)], 9)
@example([*FAILED, ("new", "a", False), ("replay", 1, [], 0), ("run",)], 2)
def test_the_same_on_sqlite(given_acts: list[Act], batch_size: int) -> None:
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 's.db'}"
        engine, store = create_engine(url), SqlOffsetStore(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE results (number INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT)"))

        def results() -> Sequence[str]:
            with engine.connect() as connection:
                return list(connection.execute(text("SELECT value FROM results ORDER BY number")).scalars())

        def write(transaction: Any, value: str) -> None:
            transaction.connection.execute(text("INSERT INTO results (value) VALUES (:value)"), {"value": value})

        world = World(store, results, write, batch_size)
        for act in given_acts:
            world.act(act)
        world.finish()
        store.close()
        engine.dispose()
