"""However often replays are killed, frozen, overtaken, abandoned and begun again: each letter is sent once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_stream.admin.dead_letters import replaying
from kafka_stream.admin.dead_letters.replaying import Replaying, ReplayStep, new_replay
from kafka_stream.admin.dead_letters.selection import waiting
from kafka_stream.errors import CommandRefused, CommitOutcomeUnknown, StoreUnavailable
from kafka_stream.protocols import LetterId, LetterStatus
from kafka_stream.testing import MemoryOffsetStore
from tests.replays import STREAM, FakeSender, ReplayKafka, keep, letter, origin, replay_id


class Killed(BaseException):
    """The process is gone: nothing that it would have done is done."""


@dataclass(frozen=True)
class Command:
    """What is run, and at which of its steps it is killed, or is frozen while another one runs."""

    what: str
    destination: str | None = None
    kill_at: int | None = None
    freeze_at: int | None = None
    meanwhile: tuple[Command, ...] = ()


class World:
    """A store, a Kafka, and commands that work on them."""

    def __init__(self, count: int, faults: list[str]) -> None:
        self.store = MemoryOffsetStore()
        self.kafka = ReplayKafka(faults=faults)
        self._offsets = iter(range(1_000))
        self.fail(count)

    def fail(self, count: int) -> None:
        """So many records more."""
        keep(self.store, [letter(next(self._offsets), partition=number % 2) for number in range(count)])

    def run(self, command: Command) -> None:
        """To its end, however it ends."""
        with contextlib.suppress(Killed, CommandRefused, StoreUnavailable, CommitOutcomeUnknown):
            self._run(command)

    def _run(self, command: Command) -> None:
        work = Replaying(
            self.store, STREAM, FakeSender(self.kafka), tell=self._steps(command), wait=lambda _: None, actor="me"
        )
        if command.what == "records fail":
            self.fail(3)
        elif command.what == "abandon":
            work.abandon()
        elif command.what == "resume":
            work.resume()
        else:
            work.resume()
            work.run(new_replay(waiting(self.store, STREAM), command.destination))

    def _steps(self, command: Command) -> Callable[[ReplayStep], None]:
        seen = 0

        def tell(_: ReplayStep) -> None:
            nonlocal seen
            seen += 1
            for other in command.meanwhile if seen == command.freeze_at else ():
                self.run(other)
            if seen == command.kill_at:
                raise Killed

        return tell

    def sent(self) -> list[LetterId]:
        return [origin(record) for record in self.kafka.records]

    def check(self) -> None:
        """What is marked was sent, and nothing that waits was."""
        found = {one.id: one.status for one in self.store.letters(STREAM)}
        sent = self.sent()
        assert len(sent) == len(set(sent))
        for one, status in found.items():
            if status is LetterStatus.REPLAYED:
                assert one in sent
            elif status is LetterStatus.WAITING:
                assert one not in sent


def commands(depth: int) -> st.SearchStrategy[Command]:
    steps = st.none() | st.integers(1, 14)
    return st.builds(
        Command,
        what=st.sampled_from(["replay", "replay", "resume", "abandon", "records fail"]),
        destination=st.sampled_from([None, "elsewhere", "orders"]),
        kill_at=steps,
        freeze_at=steps if depth else st.none(),
        meanwhile=st.lists(commands(depth - 1), max_size=3).map(tuple) if depth else st.just(()),
    )


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "RECORDS_PER_TRANSACTION", 2)


@settings(max_examples=400, deadline=None)
@given(
    count=st.integers(1, 7),
    faults=st.lists(st.sampled_from(["", "", "refused", "lost", "committed, and lost"]), max_size=6),
    run=st.lists(commands(2), max_size=5),
)
@example(3, [], [Command("replay", freeze_at=1, meanwhile=(Command("abandon"), Command("replay")))])
@example(
    5, [], [Command("replay", kill_at=1), Command("abandon", freeze_at=3, meanwhile=(Command("resume", kill_at=3),))]
)
@example(
    5, [], [Command("replay", kill_at=1), Command("abandon", freeze_at=1, meanwhile=(Command("resume", kill_at=3),))]
)
@example(3, [], [Command("replay"), Command("records fail")])
def test_each_letter_is_sent_once(count: int, faults: list[str], run: list[Command]) -> None:
    world = World(count, faults)
    for command in run:
        world.run(command)
        world.check()
    world.kafka.faults.clear()
    world.run(Command("replay"))
    world.check()
    assert {one.status for one in world.store.letters(STREAM)} == {LetterStatus.REPLAYED}
    sent = world.sent()
    assert sorted(sent) == [one.id for one in world.store.letters(STREAM)]
    assert world.store.replay_under_way(STREAM) is None
    told = {entry.action.id for entry in world.store.history(STREAM, 1_000)}
    assert told == {replay_id(record) for record in world.kafka.records}


@given(count=st.integers(1, 9), kill_at=st.integers(1, 20))
def test_a_replay_that_is_killed_and_repeated_keeps_the_order(count: int, kill_at: int) -> None:
    world = World(count, [])
    world.run(Command("replay", kill_at=kill_at))
    world.run(Command("replay"))
    sent = world.sent()
    assert all(one < other for one, other in pairwise(sent))
    assert len(sent) == count
