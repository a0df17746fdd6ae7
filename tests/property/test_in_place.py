"""However often processing letters in place is killed and begun again: each is processed once, a key in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.admin.dead_letters.in_place import Attempted, InPlace, InPlaceStep, Outcome
from kafka_stream.admin.dead_letters.selection import waiting
from kafka_stream.errors import CommitOutcomeUnknown, ConfigurationError, StatementRefused, StoreUnavailable
from kafka_stream.protocols import LetterId, LetterStatus
from kafka_stream.sinks.files import FileSink
from kafka_stream.stream import DirectStream
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import TopicPartition
from tests.replays import STREAM, keep, letter


class Killed(BaseException):
    """The process is gone."""


class World:
    """A store, and an application whose handler fails on some offsets."""

    def __init__(self, keys: list[int | None]) -> None:
        self.store = MemoryOffsetStore()
        self.broken: set[int] = set()
        self.seen: list[Any] = []
        kept = [
            letter(number, partition=number % 2, key=None if key is None else bytes([key]))
            for number, key in enumerate(keys)
        ]
        keep(self.store, kept)

    def write(self, batch: Any, transaction: Any) -> None:
        (message,) = batch
        transaction.rows.append((message.partition(), message.offset()))
        self.seen.append(message)
        if message.offset() in self.broken:
            raise ValueError("broken")

    def work(self, tell: Callable[[InPlaceStep], None] = lambda _: None, sink: Any = None, **more: Any) -> InPlace:
        stream = DirectStream(
            name=STREAM, topics=["orders"], kafka=MemoryKafka(), store=self.store, sink=sink or self.write,
            assignment="static", **more,
        )  # fmt: skip
        return InPlace(stream, self.store, STREAM, tell=tell)

    def run(self, kill_at: int | None = None) -> list[Attempted]:
        seen = 0

        def tell(_: InPlaceStep) -> None:
            nonlocal seen
            seen += 1
            if seen == kill_at:
                raise Killed

        found: list[Attempted] = []
        with contextlib.suppress(Killed), contextlib.closing(self.work(tell)) as work:
            found.extend(work.replay(waiting(self.store, STREAM)))
        return found

    def offset_of(self, row: tuple[int, int]) -> int:
        return row[1]


@given(
    keys=st.lists(st.none() | st.integers(0, 2), min_size=1, max_size=8),
    broken=st.sets(st.integers(0, 7), max_size=3),
    kills=st.lists(st.integers(1, 20), max_size=4),
    cuts=st.lists(st.sampled_from([None, "before", "after"]), max_size=4),
)
def test_each_letter_is_processed_once(
    keys: list[int | None], broken: set[int], kills: list[int], cuts: list[str | None]
) -> None:
    world = World(keys)
    world.broken = broken & set(range(len(keys)))
    for kill_at, cut in zip(kills, [*cuts, None, None, None, None], strict=False):
        {"before": world.store.cut_before_commit, "after": world.store.cut_after_commit}.get(str(cut), lambda: None)()
        world.run(kill_at)
        done = {one.id for one in world.store.letters(STREAM) if one.status is LetterStatus.REPLAYED}
        assert sorted(world.offset_of(row) for row in world.store.rows) == sorted(one.offset for one in done)
    failed = world.run()
    assert {each.letter.id.offset for each in failed if each.outcome is Outcome.FAILED} <= world.broken
    _held_back_in_order(world, keys)
    world.broken.clear()
    assert {each.outcome for each in world.run()} <= {Outcome.REPLAYED}
    assert {one.status for one in world.store.letters(STREAM)} == {LetterStatus.REPLAYED}
    offsets = [world.offset_of(row) for row in world.store.rows]
    assert sorted(offsets) == list(range(len(keys)))
    for key in {(number % 2, key) for number, key in enumerate(keys) if key is not None}:
        of_key = [offset for offset in offsets if (offset % 2, keys[offset]) == key]
        assert of_key == sorted(of_key)


def _held_back_in_order(world: World, keys: list[int | None]) -> None:
    """Nothing was processed that comes after a broken record of its key."""
    for row in world.store.rows:
        offset = world.offset_of(row)
        before = {n for n in world.broken if n < offset and n % 2 == offset % 2 and keys[n] == keys[offset] is not None}
        assert not before


def test_a_message_is_as_it_was_consumed() -> None:
    world = World([1])
    world.run()
    (message,) = world.seen
    assert (message.topic(), message.partition(), message.offset()) == ("orders", 0, 0)
    assert (message.key(), message.value()) == (b"\x01", b"v")
    assert message.headers() == [("trace", b"\x01\xff"), ("none", None)]
    assert message.timestamp()[1] == 1_700_000_000_123


def test_what_no_letter_causes_stops_it() -> None:
    world = World([1, 2])
    for error, raised in (
        (StoreUnavailable("away"), StoreUnavailable),
        (StatementRefused("no such table"), StatementRefused),
    ):

        def fail(batch: Any, transaction: Any, error: Exception = error) -> None:
            raise error

        with contextlib.closing(world.work(sink=fail)) as work, pytest.raises(raised):
            list(work.replay(waiting(world.store, STREAM)))
    assert {(one.status, one.attempts) for one in world.store.letters(STREAM)} == {(LetterStatus.WAITING, 1)}


def test_a_commit_that_is_never_answered_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([1])
    begin = world.store.begin_letter

    def cut(one: Any) -> Any:
        world.store.cut_before_commit()
        return begin(one)

    monkeypatch.setattr(world.store, "begin_letter", cut)
    with contextlib.closing(world.work()) as work, pytest.raises(CommitOutcomeUnknown):
        list(work.replay(waiting(world.store, STREAM)))
    assert world.store.rows == []


def test_a_letter_that_somebody_else_has_taken_is_left_to_them() -> None:
    world = World([1, None])
    ids = waiting(world.store, STREAM)
    first: list[LetterId] = []

    def tell(step: InPlaceStep) -> None:
        if step is InPlaceStep.AFTER_COMMIT and not first:
            first.append(ids[1])
            world.store.mark_letters(STREAM, [ids[1]], LetterStatus.WAITING, LetterStatus.DISCARDED)

    with contextlib.closing(world.work(tell)) as work:
        assert [each.outcome for each in work.replay(ids)] == [Outcome.REPLAYED, Outcome.GONE]
    assert len(world.store.rows) == 1


def test_a_sink_that_keeps_whole_ranges_is_refused(tmp_path: Any) -> None:
    world = World([1])
    with pytest.raises(ConfigurationError, match="keeps whole ranges, and a letter is one record"):
        world.work(sink=FileSink(tmp_path, list), guarantee="effectively-once")


def test_the_history_has_what_was_done_before_it_stopped() -> None:
    world = World([1, 2, 3])
    calls: list[int] = []

    def fail_later(batch: Any, transaction: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise StoreUnavailable("away")

    with contextlib.closing(world.work(sink=fail_later)) as work, pytest.raises(StoreUnavailable):
        list(work.replay(waiting(world.store, STREAM)))
    (entry,) = world.store.history(STREAM, 9)
    assert (entry.topic_partition, entry.from_offset, entry.until_offset, entry.records) == (
        TopicPartition("orders", 0), 0, 1, 1,
    )  # fmt: skip
