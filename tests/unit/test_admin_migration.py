"""Migration from one store to another: what it changes, refuses and leaves alone, and what a kill leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kafka_stream.admin.migration import fence_and_migrate, migrate, take_back
from kafka_stream.admin.transfer import delete
from kafka_stream.errors import CommandRefused, KafkaStreamError, NotAuthorized, OwnershipLost, StreamClosed
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, AdministeredStore, HistoryEntry
from kafka_stream.testing.store_backend import commit, epochs_of, next_offsets
from kafka_stream.types import Owner, PositionState
from tests.admin_fakes import KINDS, ME, OTHER, STREAM, Files, NewStore, new_stores, plan_a_range, started
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2


@pytest.fixture(params=KINDS)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewStore]:
    with new_stores(request.param, tmp_path) as make:
        yield make


@pytest.fixture
def store(new_store: NewStore) -> AdministeredStore:
    """A stream at 40 in two of three partitions."""
    return started(new_store())


def _left(store: AdministeredStore, owner: Owner = ME) -> None:
    stop = HistoryEntry(datetime.now(UTC), Action(owner.id, ActionKind.STOP, str(owner)), ORDERS_0, 40, 40)
    store.record(STREAM, [stop], timedelta(days=1))


def test_a_migration_copies_what_is_stored_and_twice_changes_nothing(
    store: AdministeredStore, new_store: NewStore
) -> None:
    store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    _left(store)
    before = store.positions(STREAM)
    target = new_store()
    moved = migrate(store, target, STREAM, actor="op@here")
    assert moved.changed == (ORDERS_0, ORDERS_1)
    there = target.positions(STREAM)
    assert {tp: (p.next_offset, p.topic_id, p.owner) for tp, p in there.items()} == {
        tp: (p.next_offset, p.topic_id, None) for tp, p in before.items()
    }
    assert all(there[tp].owner_epoch >= before[tp].owner_epoch for tp in before)
    assert store.positions(STREAM) == before
    assert migrate(store, target, STREAM).changed == ()
    assert target.positions(STREAM) == there


def test_a_stream_that_may_be_at_work_is_migrated_only_with_a_fence(
    store: AdministeredStore, new_store: NewStore
) -> None:
    taken = store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    target = new_store()
    with pytest.raises(CommandRefused, match=r"is owned by me-1f3a on here, version v1: stop it first"):
        migrate(store, target, STREAM)
    assert target.positions(STREAM) == {}
    fence_and_migrate(store, target, STREAM)
    with pytest.raises(StreamClosed, match="migrated to"):
        commit(store, ME, {ORDERS_0: (40, 41)}, epochs_of(taken))
    with pytest.raises(StreamClosed, match="migrated to"):
        store.take_over(STREAM, OTHER, [ORDERS_0], {})
    assert next_offsets(target) == {ORDERS_0: 40, ORDERS_1: 40}


def test_fencing_twice_changes_nothing_though_the_stream_has_gone_on(
    store: AdministeredStore, new_store: NewStore
) -> None:
    target = new_store()
    fence_and_migrate(store, target, STREAM)
    taken = target.take_over(STREAM, ME, [ORDERS_0], {})
    commit(target, ME, {ORDERS_0: (40, 60)}, epochs_of(taken))
    before = (store.positions(STREAM), target.positions(STREAM))
    assert fence_and_migrate(store, target, STREAM).changed == ()
    assert (store.positions(STREAM), target.positions(STREAM)) == before


def test_a_fence_that_was_cut_off_goes_on_where_it_was(
    store: AdministeredStore, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_store()
    with monkeypatch.context() as patch:
        patch.setattr(target, "change", lambda *args: (_ for _ in ()).throw(KafkaStreamError("the power went")))
        with pytest.raises(KafkaStreamError, match="the power went"):
            fence_and_migrate(store, target, STREAM)
    with pytest.raises(CommandRefused, match="is closed"):
        migrate(store, target, STREAM)
    assert fence_and_migrate(store, target, STREAM).changed == (ORDERS_0, ORDERS_1)
    assert next_offsets(target) == {ORDERS_0: 40, ORDERS_1: 40}


def test_what_was_given_away_comes_back(store: AdministeredStore, new_store: NewStore) -> None:
    target = new_store()
    fence_and_migrate(store, target, STREAM)
    taken = target.take_over(STREAM, ME, [ORDERS_0], {})
    commit(target, ME, {ORDERS_0: (40, 60)}, epochs_of(taken))
    fence_and_migrate(target, store, STREAM)
    assert next_offsets(store) == {ORDERS_0: 60, ORDERS_1: 40}
    assert store.positions(STREAM)[ORDERS_0].state is PositionState.OPEN
    assert store.positions(STREAM)[ORDERS_0].owner_epoch > taken[ORDERS_0].owner_epoch


@pytest.mark.parametrize("move", [migrate, fence_and_migrate])
def test_a_target_with_offsets_of_its_own_is_left_alone(
    store: AdministeredStore, new_store: NewStore, move: Callable[..., object]
) -> None:
    target = new_store()
    target.open()
    target.initialise(STREAM, "orders", {0: 40, 1: 41}, "id-1")
    before = (store.positions(STREAM), target.positions(STREAM))
    with pytest.raises(CommandRefused, match=r"orders\[1\] has the offset 41 of its own there, and 40 in the source"):
        move(store, target, STREAM)
    assert (store.positions(STREAM), target.positions(STREAM)) == before


@pytest.mark.parametrize("move", [migrate, fence_and_migrate])
def test_what_is_planned_is_finished_before_it_is_migrated(
    store: AdministeredStore, new_store: NewStore, move: Callable[..., object]
) -> None:
    plan_a_range(store)
    _left(store)
    target = new_store()
    before = store.positions(STREAM)
    with pytest.raises(CommandRefused, match=r"orders\[0\] has a planned range up to 50"):
        move(store, target, STREAM)
    assert (store.positions(STREAM), target.positions(STREAM)) == (before, {})


@pytest.mark.parametrize("move", [migrate, fence_and_migrate])
def test_nothing_is_migrated_to_where_it_is_or_that_is_not_there(
    store: AdministeredStore, new_store: NewStore, move: Callable[..., object]
) -> None:
    with pytest.raises(CommandRefused, match="already; name another store"):
        move(store, store, STREAM)
    with pytest.raises(CommandRefused, match="there is no stream 'absent'"):
        move(store, new_store(), "absent")


def test_a_closed_stream_is_not_migrated_elsewhere(store: AdministeredStore, new_store: NewStore) -> None:
    first, second = new_store(), new_store()
    fence_and_migrate(store, first, STREAM)
    for move in (migrate, fence_and_migrate):
        with pytest.raises(CommandRefused, match="is closed"):
            move(store, second, STREAM)
    assert second.positions(STREAM) == {}


def test_a_store_that_loses_what_was_written_is_found_out(
    store: AdministeredStore, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_store()
    monkeypatch.setattr(target, "change", lambda *args: {})
    with pytest.raises(KafkaStreamError, match="and is not there now"):
        migrate(store, target, STREAM)


# Asking first ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [NotAuthorized("read only"), CommandRefused("too small"), KafkaStreamError("odd")])
def test_nothing_is_closed_if_the_target_would_not_take_it(
    store: AdministeredStore, new_store: NewStore, monkeypatch: pytest.MonkeyPatch, refusal: KafkaStreamError
) -> None:
    taken = store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    target = new_store()
    monkeypatch.setattr(target, "rehearse", lambda *args: (_ for _ in ()).throw(refusal))
    with pytest.raises(type(refusal), match=str(refusal)):
        fence_and_migrate(store, target, STREAM)
    assert target.positions(STREAM) == {}
    commit(store, ME, {ORDERS_0: (40, 41)}, epochs_of(taken))


def test_another_spelling_names_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with ExitStack() as stack:

        def at(url: str) -> SqlOffsetStore:
            found = SqlOffsetStore(url)
            stack.callback(found.close)
            return found

        source = started(at("sqlite:///source.db"))
        with pytest.raises(CommandRefused, match="already; name another store"):
            fence_and_migrate(source, at(f"sqlite:///{tmp_path}/source.db"), STREAM)
        fence_and_migrate(source, at("sqlite:///target.db"), STREAM)
        for spelling in (f"sqlite:///{tmp_path}/target.db", "sqlite:///link/target.db", "sqlite:///./target.db"):
            assert fence_and_migrate(source, at(spelling), STREAM).changed == ()
        with pytest.raises(CommandRefused, match="is closed"):
            fence_and_migrate(source, at("sqlite:///third.db"), STREAM)
        take_back(source, at(f"sqlite:///{tmp_path}/target.db"), STREAM)
        assert next_offsets(source) == {ORDERS_0: 40, ORDERS_1: 40}


# Stopped half-way -----------------------------------------------------------------------------------------------------

STEPS = ("open", "rehearse", "close_topics", "change")


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """A store whose process is killed before or after so many of the steps that it and its like have done."""

    def __init__(self, store: AdministeredStore, left: list[int], *, after: bool) -> None:
        self._store = store
        self._left = left
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._step(found) if name in STEPS else found

    def _step(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            self._left[0] -= 1
            if self._left[0] == 0 and not self._after:
                raise Killed
            done = act(*args)
            if self._left[0] == 0:
                raise Killed
            return done

        return step


Command = Callable[[Any, Any], object]


def killed_at(step: int, command: Command, stores: tuple[AdministeredStore, AdministeredStore], *, after: bool) -> bool:
    """Run it up to a step; whether there was such a step."""
    left = [step]
    try:
        command(*(Dying(store, left, after=after) for store in stores))
    except Killed:
        return True
    return False


def fence(source: Any, target: Any) -> object:
    return fence_and_migrate(source, target, STREAM)


def back(source: Any, target: Any) -> object:
    return take_back(source, target, STREAM)


def open_in(*stores: AdministeredStore) -> int:
    """In how many of them the stream could run."""
    return sum(
        any(position.state is PositionState.OPEN for position in store.positions(STREAM).values()) for store in stores
    )


POINTS = [(step, after) for step in range(1, 9) for after in (False, True)]


@pytest.mark.parametrize(("step", "after"), POINTS)
@pytest.mark.parametrize("then", [fence, back], ids=["repeated", "taken back"])
def test_a_migration_that_was_killed_is_repeated_or_taken_back(
    store: AdministeredStore, new_store: NewStore, step: int, after: bool, then: Command
) -> None:
    target = new_store()
    taken = store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    killed_at(step, fence, (store, target), after=after)
    assert open_in(store, target) <= 1
    if then is back and all(p.state is PositionState.OPEN for p in store.positions(STREAM).values()):
        with pytest.raises(CommandRefused, match="nothing to take back"):
            then(store, target)
        commit(store, ME, {ORDERS_0: (40, 41)}, epochs_of(taken))
        return
    then(store, target)
    there, gone = (target, store) if then is fence else (store, target)
    assert next_offsets(there) == {ORDERS_0: 40, ORDERS_1: 40}
    assert (open_in(there), open_in(gone)) == (1, 0)
    with pytest.raises(OwnershipLost):
        commit(store, ME, {ORDERS_0: (40, 41)}, epochs_of(taken))
    again = there.take_over(STREAM, OTHER, [ORDERS_0, ORDERS_1], {})
    commit(there, OTHER, {ORDERS_0: (40, 50)}, epochs_of(again))


@pytest.mark.parametrize(("step", "after"), POINTS)
def test_taking_back_what_has_gone_on_may_be_killed_as_well(
    store: AdministeredStore, new_store: NewStore, step: int, after: bool
) -> None:
    target = new_store()
    fence_and_migrate(store, target, STREAM)
    taken = target.take_over(STREAM, ME, [ORDERS_0, ORDERS_1, ORDERS_2], {})
    commit(target, ME, {ORDERS_0: (40, 60), ORDERS_2: (0, 7)}, epochs_of(taken))
    killed_at(step, back, (store, target), after=after)
    assert open_in(store, target) <= 1
    if open_in(store, target) == 0:
        with pytest.raises(CommandRefused, match="was closed there at 60 to come back"):
            fence_and_migrate(store, target, STREAM)
    if open_in(store) == 0:
        take_back(store, target, STREAM)
    assert next_offsets(store) == {ORDERS_0: 60, ORDERS_1: 40, ORDERS_2: 7}
    assert (open_in(store), open_in(target)) == (1, 0)
    fence_and_migrate(store, target, STREAM)
    assert next_offsets(target) == {ORDERS_0: 60, ORDERS_1: 40, ORDERS_2: 7}


def test_the_points_are_all_that_there_are(store: AdministeredStore, new_store: NewStore) -> None:
    target = new_store()
    assert not killed_at(9, fence, (store, target), after=False)
    assert not killed_at(9, back, (store, target), after=False)


def test_a_copy_that_fails_says_how_to_go_on(
    store: AdministeredStore, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_store()
    monkeypatch.setattr(target, "change", lambda *args: (_ for _ in ()).throw(KafkaStreamError("the power went")))
    with pytest.raises(KafkaStreamError, match=r"is closed in .*: the power went; run the same command again, or open"):
        fence_and_migrate(store, target, STREAM)


def test_what_was_started_anew_before_it_arrived_is_not_taken_for_it(
    store: AdministeredStore, new_store: NewStore
) -> None:
    target = new_store()
    for _ in range(3):
        store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    killed_at(4, fence, (store, target), after=True)
    assert open_in(store, target) == 0
    started(target)
    with pytest.raises(CommandRefused, match=r"orders\[0\] was started anew there, at offset 40, before"):
        fence_and_migrate(store, target, STREAM)
    delete(target, STREAM)
    fence_and_migrate(store, target, STREAM)
    assert (open_in(store), open_in(target)) == (0, 1)


def test_a_planned_range_is_discarded_before_a_stream_is_opened_again(
    store: AdministeredStore, new_store: NewStore
) -> None:
    target = new_store()
    real, planned = store.close_topics, False

    def plan_and_close(*args: Any) -> None:
        nonlocal planned
        if not planned:
            plan_a_range(store)
        planned = True
        real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "close_topics", plan_and_close)
        with pytest.raises(KafkaStreamError, match=r"orders\[0\] has got a planned range up to 50 meanwhile"):
            fence_and_migrate(store, target, STREAM)
    with pytest.raises(CommandRefused, match="name the application, whose sink can discard it"):
        take_back(store, target, STREAM)
    files = Files()
    take_back(store, target, STREAM, range_sinks=[files])
    assert [str(each) for each in files.discarded] == ["orders[0] [40, 50)"]
    assert next_offsets(store) == {ORDERS_0: 40, ORDERS_1: 40}
