"""Migration from one store to another: what it changes, refuses and leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kafka_stream.admin.migration import fence_and_migrate, migrate, take_back
from kafka_stream.errors import CommandRefused, KafkaStreamError, NotAuthorized, StreamClosed
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, AdministeredStore, HistoryEntry
from kafka_stream.testing.store_backend import commit, epochs_of, next_offsets
from kafka_stream.types import Owner, PositionState
from tests.admin_fakes import ME, OTHER, STREAM, NewStore, plan_a_range, started
from tests.fakes import ORDERS_0, ORDERS_1


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
