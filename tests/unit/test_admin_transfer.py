"""The admin library on stores: export, import, delete and migration; what they change, refuse and leave alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kafka_stream.admin.offsets_file import ExportedPosition
from kafka_stream.admin.transfer import delete, export_offsets, fence_and_migrate, import_offsets, migrate
from kafka_stream.errors import (
    CommandRefused,
    KafkaStreamError,
    OwnershipLost,
    StreamClosed,
)
from kafka_stream.protocols import Action, ActionKind, AdministeredStore, Change, HistoryEntry
from kafka_stream.protocols import TopicState as State
from kafka_stream.testing.store_backend import commit, epochs_of, next_offsets
from kafka_stream.types import OffsetRange, Owner, PositionState
from tests.admin_fakes import (
    KINDS,
    ME,
    OTHER,
    STREAM,
    Files,
    NewStore,
    execute_change,
    new_stores,
    plan_a_range,
    started,
)
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2


@pytest.fixture(params=KINDS)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewStore]:
    with new_stores(request.param, tmp_path) as make:
        yield make


@pytest.fixture
def store(new_store: NewStore) -> AdministeredStore:
    """A stream at 40 in two of three partitions."""
    return started(new_store())


# Export and import ----------------------------------------------------------------------------------------------------


def test_what_was_exported_is_imported_where_nothing_was(store: AdministeredStore, new_store: NewStore) -> None:
    execute_change(store, [Change(ORDERS_0, 2**63 - 1, 5, "id-2"), Change(ORDERS_2, 0)])
    exported = export_offsets(store, STREAM)
    other = new_store()
    moved = import_offsets(other, STREAM, exported, actor="op@here")
    assert moved.changed == (ORDERS_0, ORDERS_1, ORDERS_2)
    found = export_offsets(other, STREAM)
    assert {tp: replace(p, owner_epoch=0) for tp, p in found.items()} == {
        tp: replace(p, owner_epoch=0) for tp, p in exported.items()
    }
    assert all(found[tp].owner_epoch >= exported[tp].owner_epoch for tp in exported)
    assert {e.action.kind for e in other.history(STREAM, 10)} == {ActionKind.IMPORT}
    with pytest.raises(CommandRefused, match="there is no stream 'absent'"):
        export_offsets(other, "absent")


def test_an_import_names_what_it_moves_and_the_rest_stays(store: AdministeredStore) -> None:
    before = store.positions(STREAM)
    import_offsets(store, STREAM, {ORDERS_1: ExportedPosition(3)})
    after = store.positions(STREAM)
    assert after[ORDERS_0] == before[ORDERS_0]
    assert (after[ORDERS_1].next_offset, after[ORDERS_1].owner) == (3, None)


def test_an_import_fences_who_is_at_work(store: AdministeredStore) -> None:
    taken = store.take_over(STREAM, ME, [ORDERS_0], {})
    import_offsets(store, STREAM, {ORDERS_0: ExportedPosition(3)})
    with pytest.raises(OwnershipLost):
        commit(store, ME, {ORDERS_0: (40, 41)}, epochs_of(taken))


def test_an_import_opens_what_was_deleted_if_it_names_all_of_it(store: AdministeredStore) -> None:
    exported = export_offsets(store, STREAM)
    delete(store, STREAM)
    with pytest.raises(CommandRefused, match=r"orders\[1\] is closed .* name all partitions"):
        import_offsets(store, STREAM, {ORDERS_0: exported[ORDERS_0]})
    import_offsets(store, STREAM, exported)
    assert next_offsets(store) == {ORDERS_0: 40, ORDERS_1: 40}
    assert store.topics(STREAM)["orders"].state is State.OPEN
    taken = store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    commit(store, ME, {ORDERS_0: (40, 41), ORDERS_1: (40, 41)}, epochs_of(taken))


def test_an_import_over_a_plan_discards_it_or_is_refused(store: AdministeredStore) -> None:
    plan_a_range(store)
    wanted = {ORDERS_0: ExportedPosition(45)}
    with pytest.raises(CommandRefused, match="is planned and may be written"):
        import_offsets(store, STREAM, wanted)
    files = Files()
    import_offsets(store, STREAM, wanted, range_sinks=[files])
    assert files.discarded == [OffsetRange(ORDERS_0, 40, 50)]
    assert next_offsets(store)[ORDERS_0] == 45


# Delete ---------------------------------------------------------------------------------------------------------------


def test_deleting_twice_is_deleting_once(store: AdministeredStore) -> None:
    taken = store.take_over(STREAM, ME, [ORDERS_0], {})
    assert delete(store, STREAM, actor="op@here") == ("orders",)
    deleted = store.positions(STREAM)
    assert delete(store, STREAM) == ()
    assert store.positions(STREAM) == deleted
    with pytest.raises(StreamClosed):
        commit(store, ME, {ORDERS_0: (40, 41)}, epochs_of(taken))
    assert {(e.action.kind, e.action.actor) for e in store.history(STREAM, 1)} == {(ActionKind.DELETE, "op@here")}


def test_one_topic_is_deleted_by_its_name(store: AdministeredStore) -> None:
    store.initialise(STREAM, "payments", {0: 3}, None)
    with pytest.raises(CommandRefused, match="it has no topic 'absent'"):
        delete(store, STREAM, ["orders", "absent"])
    assert delete(store, STREAM, ["payments"]) == ("payments",)
    assert store.is_started(STREAM, "orders")
    with pytest.raises(CommandRefused, match="there is no stream 'absent'"):
        delete(store, "absent")


# Migration ------------------------------------------------------------------------------------------------------------


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
