"""``WindowSink`` beside a plain program: windows, closes, what is told of them and what was late are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_stream.sinks.sql.windows import reading
from tests.elsewhere import halves
from tests.window_model import Key, Program, Sent, Setup, in_order, rows
from tests.window_world import World

TUMBLING = [Setup(), Setup(lateness=7), Setup(retention=20), Setup(size=5, every=5, lateness=30)]
SLIDING = [Setup(30, 10), Setup(12, 4, lateness=5), Setup(20, 10, retention=25)]
SESSIONS = [Setup(gap=10), Setup(gap=5, lateness=8), Setup(gap=10, retention=20)]
UPDATED_PANES = [
    Setup(late="update", retention=20),
    Setup(30, 10, late="update", retention=30),
    Setup(12, 4, lateness=3, late="update", retention=8),
]
UPDATED_SESSIONS = [
    Setup(gap=10, late="update", retention=30),
    Setup(gap=10, lateness=5, late="update", retention=12),
]
KEYS: dict[int, Sequence[Key]] = {0: [()], 1: [("a",), ("b",), ("B",)], 2: [("a", 1), ("a", 2), ("b", 1)]}


@dataclass(frozen=True)
class Batch:
    """So many records of each partition that has some left, which are committed or read again."""

    takes: tuple[int, ...]
    commits: bool = True


@dataclass(frozen=True)
class Tick:
    """Some partitions have had nothing for long enough, others have something unread."""

    idle: frozenset[int]
    unread: frozenset[int] = frozenset()
    commits: bool = True


@dataclass(frozen=True)
class Restart:
    """A new process, whose code may allow another lateness."""

    lateness: int | None = None


@dataclass(frozen=True)
class Grown:
    """The topic has one partition more."""


@pytest.fixture(scope="module", autouse=True)
def _windows_close_in_small_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ROWS_AT_ONCE", 2)
        yield


Step: TypeAlias = Batch | Tick | Restart | Grown
PARTITIONS = 3
KNOWN_IN_TURN = (1, 2, 0)
"""A topic grows to have them, one after the other."""


MOVES = [-40, -25, -12, -7, -3, 0, 0, 1, 4, 6, 9, 10, 11, 14, 25]
"""From the latest record of a partition to its next one, in seconds; those that go back do not move it."""


@st.composite
def topics(draw: st.DrawFn, width: int) -> dict[int, list[Sent]]:
    """Records of each partition: mostly later than those before, sometimes early, with gaps, with a key's again."""
    found: dict[int, list[Sent]] = {}
    for partition in range(PARTITIONS):
        moves = draw(st.lists(st.sampled_from(MOVES), min_size=partition and 2, max_size=10))
        now, records = draw(st.integers(-10, 20)), []
        for offset, move in enumerate(moves):
            now = max(now, now + move)
            at = now if move >= 0 else now + move
            value = draw(st.integers(-3, 9) | st.none())
            records.append(Sent(partition, offset, draw(st.sampled_from(KEYS[width])), at, value))
        found[partition] = records
    return found


takes = st.tuples(*[st.integers(0, 3)] * PARTITIONS)
often = st.sampled_from([True, True, True, False])
batches: st.SearchStrategy[Step] = st.builds(Batch, takes, often)
some = st.frozensets(st.integers(0, PARTITIONS - 1))
ticks: st.SearchStrategy[Step] = st.builds(Tick, some, some | st.just(frozenset()), often)
restarts: st.SearchStrategy[Step] = st.builds(Restart, st.none() | st.integers(0, 12))


class Both:
    """The sink and the program, side by side."""

    def __init__(self, setup: Setup, width: int, topic: dict[int, list[Sent]]) -> None:
        self.left = {partition: list(records) for partition, records in topic.items()}
        self.world = World(setup, width, [KNOWN_IN_TURN[0]])
        self.program = Program(setup, [KNOWN_IN_TURN[0]])

    def run(self, steps: Sequence[Step]) -> None:
        """All steps, then what is left of the topic."""
        for step in [*steps, Grown(), Grown(), Batch((10, 10, 10))]:
            self.run_one(step)

    def run_one(self, step: Step) -> None:
        """One step, after which all is the same."""
        self._step(step)
        self._check()

    def _step(self, step: Step) -> None:
        if isinstance(step, Batch):
            self._batch(step)
        elif isinstance(step, Tick):
            unread = set(step.unread) & set(self.world.partitions)
            idle = set(step.idle) & set(self.world.partitions) - unread
            told = self.world.tick(idle, unread, commits=step.commits)
            assert told == (self.program.tick(idle, unread) if step.commits else [])
        elif isinstance(step, Restart):
            lateness = self.program.setup.lateness if step.lateness is None else step.lateness
            self.world.restart(lateness)
            self.program.lateness = lateness
        elif len(self.world.partitions) < PARTITIONS:
            for partitions in (self.world.partitions, self.program.partitions):
                partitions.append(KNOWN_IN_TURN[len(partitions)])

    def _batch(self, step: Batch) -> None:
        taken = [sent for it in self.world.partitions for sent in self.left[it][: step.takes[it]]]
        if not taken:
            return
        pieces = self.world.in_turn.pieces(taken, halves)
        told = self.world.pieces(pieces, commits=step.commits)
        if step.commits:
            assert told == [row for piece in pieces for row in self.program.read(piece)]
            for sent in taken:
                self.left[sent.partition].remove(sent)

    def _check(self) -> None:
        assert self.world.rows() == self.program.table()
        assert self.world.late() == sorted((sent.partition, sent.offset) for sent in self.program.kept_late)
        assert self.world.late_counts() == self.program.late_counts
        assert self.world.closed_until() == self.program.closed


@st.composite
def stories(draw: st.DrawFn, setups: Sequence[Setup]) -> tuple[Setup, int, dict[int, list[Sent]], list[Step]]:
    """A sink, a topic, and all that may happen."""
    width = draw(st.sampled_from([1, 1, 0, 2]))
    kinds = batches | batches | batches | ticks | restarts | st.just(Grown())
    return draw(st.sampled_from(setups)), width, draw(topics(width)), draw(st.lists(kinds, max_size=12))


@settings(max_examples=150, deadline=None)
@given(stories([*TUMBLING, *SLIDING]))
def test_windows_of_panes_are_those_of_a_plain_program(story: Any) -> None:
    setup, width, topic, steps = story
    Both(setup, width, topic).run(steps)


@settings(max_examples=100, deadline=None)
@given(stories(SESSIONS))
def test_sessions_are_those_of_a_plain_program(story: Any) -> None:
    setup, width, topic, steps = story
    Both(setup, width, topic).run(steps)


@settings(max_examples=150, deadline=None)
@given(stories(UPDATED_PANES))
def test_what_late_records_correct_is_what_a_plain_program_has(story: Any) -> None:
    setup, width, topic, steps = story
    Both(setup, width, topic).run(steps)


@settings(max_examples=150, deadline=None)
@given(stories(UPDATED_SESSIONS))
def test_what_late_records_make_of_sessions_is_what_a_plain_program_has(story: Any) -> None:
    setup, width, topic, steps = story
    Both(setup, width, topic).run(steps)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*TUMBLING[:2], *SLIDING[:2], *SESSIONS[:2]]), topics(1), st.lists(takes, max_size=12))
def test_without_idle_partitions_nothing_depends_on_how_the_topic_is_read(
    setup: Setup, topic: dict[int, list[Sent]], cuts: list[tuple[int, ...]]
) -> None:
    """Each partition is read by itself here, to its end: what is late in it is its own affair."""
    on_time = [sent for records in topic.values() for sent in _on_time(setup, records)]
    latest = [max((sent.at for sent in records), default=None) for records in topic.values()]
    world = World(setup, 1, [0, 1, 2])
    left = {partition: list(records) for partition, records in topic.items()}
    for cut in [*cuts, (10, 10, 10)]:
        taken = [sent for it, count in enumerate(cut) for sent in left[it][:count]]
        left = {it: left[it][count:] for it, count in enumerate(cut)}
        if taken:
            world.batch(taken)
    end = None if None in latest else min(it for it in latest if it is not None) - setup.lateness
    expected = [row for window, row in rows(setup, on_time).items() if end is not None and window[1] <= end]
    assert world.rows() == in_order(expected)
    late = {sent for records in topic.values() for sent in records} - set(on_time)
    assert world.late() == sorted((sent.partition, sent.offset) for sent in late)


def _on_time(setup: Setup, records: Sequence[Sent]) -> list[Sent]:
    found, largest = [], None
    for sent in records:
        due = sent.at + 1 if setup.gap is not None else sent.at - sent.at % setup.every + setup.every
        if largest is None or due > largest - setup.lateness:
            found.append(sent)
        largest = sent.at if largest is None else max(largest, sent.at)
    return found


def test_the_stories_close_windows_and_have_late_records() -> None:
    """One that does all of it, by hand: else all of the above might hold of nothing."""
    topic = {1: [Sent(1, it, ("a",), at, 1) for it, at in enumerate([1, 12, 3, 31])], 2: [], 0: []}
    both = Both(replace(SLIDING[0], size=20), 1, topic)
    told = [0]
    for step in (Batch((0, 3, 0)), Grown(), Restart(), Batch((0, 1, 0), commits=False), Batch((0, 1, 0))):
        both.run_one(step)
        told.append(len(both.world.rows()))
    both.run_one(Tick(frozenset({2})))
    assert told == [0, 1, 1, 1, 1, 1]
    assert both.world.late() == [(1, 2)]
    assert [(row["start"], row["end"], row["records"]) for row in both.world.rows()] == [
        (-10, 10, 1),
        (0, 20, 2),
        (10, 30, 1),
    ]
