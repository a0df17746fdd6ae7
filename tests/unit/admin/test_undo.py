"""The admin library on stores: undo; what it puts back, refuses and leaves alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kafka_stream.admin.history import plan_undo, prepare_undo, undo
from kafka_stream.admin.offsets_file import ExportedPosition
from kafka_stream.admin.reset import execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ToCurrent, ToEarliest, ToOffset
from kafka_stream.admin.transfer import delete, import_offsets
from kafka_stream.errors import (
    CommandRefused,
)
from kafka_stream.protocols import Action, ActionKind, AdministeredStore, Change, HistoryEntry, TopicInfo
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.testing.store_backend import claim_of, commit, epochs_of, next_offsets
from kafka_stream.types import OffsetRange, PlanKind
from tests.admin_fakes import (
    ME,
    STREAM,
    Brokers,
    Files,
    execute_change,
)
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


# Reset ----------------------------------------------------------------------------------------------------------------


def test_undo_puts_back_what_a_reset_changed_once(store: AdministeredStore, brokers: Brokers) -> None:
    execute_change(store, [Change(ORDERS_0, 44, 7, "id-0")])
    before = store.positions(STREAM)
    brokers.infos = {"orders": TopicInfo(3, "id-2")}
    execute_reset(store, prepare_reset(store, STREAM, brokers, ToEarliest()))
    planned = prepare_undo(store, STREAM)
    assert undo(store, STREAM, actor="op@here") == planned
    after = store.positions(STREAM)
    assert {tp: (p.next_offset, p.leader_epoch, p.topic_id) for tp, p in after.items()} == {
        tp: (p.next_offset, p.leader_epoch, p.topic_id) for tp, p in before.items()
    }
    with pytest.raises(
        CommandRefused, match=r"last changed by a command \(undo\) at .* by op@here, which is not undone"
    ):
        undo(store, STREAM)


def test_undo_puts_back_what_was_looked_at_and_nothing_that_came_in_between(
    store: AdministeredStore, brokers: Brokers
) -> None:
    execute_reset(store, prepare_reset(store, STREAM, brokers, ToEarliest()))
    looked_at = prepare_undo(store, STREAM)
    execute_reset(store, prepare_reset(store, STREAM, brokers, ToOffset(33)), actor="another@host")
    before = store.positions(STREAM)
    with pytest.raises(CommandRefused, match=r"the reset at .* by another@host came in between"):
        undo(store, STREAM, action_id=looked_at.action.id)
    assert store.positions(STREAM) == before
    undo(store, STREAM, action_id=prepare_undo(store, STREAM).action.id)


def test_a_command_between_the_look_at_the_history_and_the_change_is_not_overlooked(
    store: AdministeredStore, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute_reset(store, prepare_reset(store, STREAM, brokers, ToEarliest()))
    looked_at = prepare_undo(store, STREAM)
    real = store.change

    def overtaken(*args: Any) -> Any:
        monkeypatch.setattr(store, "change", real)
        execute_reset(store, prepare_reset(store, STREAM, brokers, ToCurrent()))
        return real(*args)

    monkeypatch.setattr(store, "change", overtaken)
    with pytest.raises(CommandRefused, match="came in between"):
        undo(store, STREAM, action_id=looked_at.action.id)


def test_undo_of_an_import(store: AdministeredStore) -> None:
    import_offsets(store, STREAM, {ORDERS_1: ExportedPosition(3)})
    undo(store, STREAM)
    assert next_offsets(store) == {ORDERS_0: 40, ORDERS_1: 40}


def test_takeovers_and_batches_elsewhere_are_no_hindrance(store: AdministeredStore) -> None:
    import_offsets(store, STREAM, {ORDERS_1: ExportedPosition(3)})
    taken = store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    commit(store, ME, {ORDERS_0: (40, 41)}, epochs_of(taken))
    batch = HistoryEntry(datetime.now(UTC), Action("b", ActionKind.BATCH, str(ME)), ORDERS_0, 40, 41)
    store.record(STREAM, [batch], timedelta(days=1))
    undo(store, STREAM)
    assert next_offsets(store) == {ORDERS_0: 41, ORDERS_1: 40}


def test_once_a_batch_has_committed_there_is_no_undo(store: AdministeredStore, brokers: Brokers) -> None:
    execute_reset(store, prepare_reset(store, STREAM, brokers, ToOffset(20)))
    taken = store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    commit(store, ME, {ORDERS_1: (20, 30)}, epochs_of(taken))
    before = store.positions(STREAM)
    words = r"batches have committed orders\[1\] up to 30 since the reset at .* at 20: reset it to 40 if that is meant"
    with pytest.raises(CommandRefused, match=words):
        undo(store, STREAM)
    assert prepare_undo(store, STREAM).refusals
    assert store.positions(STREAM) == before


def test_there_may_be_nothing_to_undo(store: AdministeredStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandRefused, match="no reset or import of stream 'orders' is in the history"):
        undo(store, STREAM)
    with pytest.raises(CommandRefused, match="there is no stream 'absent'"):
        undo(store, "absent")
    import_offsets(store, STREAM, {ORDERS_2: ExportedPosition(3)})
    with pytest.raises(CommandRefused, match=r"orders\[2\] was not stored before the import"):
        undo(store, STREAM)
    delete(store, STREAM)
    with pytest.raises(CommandRefused, match=r"\(delete\)"):
        undo(store, STREAM)


def test_a_store_without_history_says_so() -> None:
    class Forgetful(MemoryOffsetStore):
        keeps_history = False

    with pytest.raises(CommandRefused, match="memory keeps no history"):
        undo(Forgetful(), STREAM)


def test_undo_over_a_plan_discards_it_or_is_refused(store: AdministeredStore) -> None:
    import_offsets(store, STREAM, {ORDERS_0: ExportedPosition(3)})
    taken = store.take_over(STREAM, ME, [ORDERS_0], {})
    store.plan(replace(claim_of(ME, {ORDERS_0: (3, 50)}, taken), plan_kind=PlanKind.RANGE))
    with pytest.raises(CommandRefused, match="is planned and may be written"):
        undo(store, STREAM)
    files = Files()
    undo(store, STREAM, range_sinks=[files])
    assert files.discarded == [OffsetRange(ORDERS_0, 3, 50)]
    assert next_offsets(store)[ORDERS_0] == 40


def test_what_is_gone_cannot_be_put_back() -> None:
    entry = HistoryEntry(NOON, Action("r", ActionKind.RESET, "op"), ORDERS_0, 5, 6)
    assert plan_undo([entry], {}).refusals == ("orders[0] is not stored any more",)
