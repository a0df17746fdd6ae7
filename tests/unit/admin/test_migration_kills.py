"""A migration, and taking it back, killed before and after each of their steps: repeated or taken back, it is whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafka_stream.admin.migration import fence_and_migrate, take_back
from kafka_stream.admin.transfer import delete
from kafka_stream.errors import CommandRefused, KafkaStreamError, OwnershipLost
from kafka_stream.protocols import AdministeredStore
from kafka_stream.testing.store_backend import commit, epochs_of, next_offsets
from kafka_stream.types import PositionState
from tests.admin_fakes import ME, OTHER, STREAM, Files, NewStore, plan_a_range, started
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2

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
