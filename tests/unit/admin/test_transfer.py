"""The admin library on stores: export, import and delete; what they change, refuse and leave alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kafka_stream.admin.offsets_file import ExportedPosition
from kafka_stream.admin.transfer import delete, export_offsets, import_offsets
from kafka_stream.errors import (
    CommandRefused,
    OwnershipLost,
    StreamClosed,
)
from kafka_stream.protocols import ActionKind, AdministeredStore, Change
from kafka_stream.protocols import TopicState as State
from kafka_stream.testing.store_backend import commit, epochs_of, next_offsets
from kafka_stream.types import OffsetRange
from tests.admin_fakes import (
    ME,
    STREAM,
    Files,
    NewStore,
    execute_change,
    plan_a_range,
)
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2

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
