"""The admin library on stores: resets; what they change, refuse and leave alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from kafka_stream.admin import actions
from kafka_stream.admin.actions import apply_change, new_action
from kafka_stream.admin.reset import execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ShiftBy, Target, ToCurrent, ToEarliest, ToLatest, ToOffset, ToOffsets, ToTime
from kafka_stream.admin.targets import Selection
from kafka_stream.errors import (
    CommandRefused,
    ConfigurationError,
    OwnershipLost,
    SinkUnavailable,
    StoreUnavailable,
    TopicNotFound,
)
from kafka_stream.protocols import ActionKind, AdministeredStore, OffsetAt, TopicInfo
from kafka_stream.testing.store_backend import commit, epochs_of, next_offsets
from kafka_stream.types import OffsetRange, TopicPartition
from tests.admin_fakes import (
    ME,
    STREAM,
    Brokers,
    Files,
    plan_a_range,
)
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


# Reset ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "selections", "offsets"),
    [
        (ToEarliest(), None, {ORDERS_0: 10, ORDERS_1: 0}),
        (ToLatest(), [Selection("orders")], {ORDERS_0: 100, ORDERS_1: 50, ORDERS_2: 0}),
        (ToOffset(60), [Selection("orders", (0,))], {ORDERS_0: 60, ORDERS_1: 40}),
        (ToOffset(60), None, {ORDERS_0: 60, ORDERS_1: 50}),
        (ShiftBy(-5), None, {ORDERS_0: 35, ORDERS_1: 35}),
        (ToTime(NOON), None, {ORDERS_0: 33, ORDERS_1: 50}),
        (
            ToCurrent(),
            [Selection("orders", (2,)), Selection("orders", (0,))],
            {ORDERS_0: 40, ORDERS_1: 40, ORDERS_2: 0},
        ),
        (ToOffsets({ORDERS_1: 7, ORDERS_2: 7}), None, {ORDERS_0: 40, ORDERS_1: 7, ORDERS_2: 0}),
    ],
)
def test_a_reset_is_planned_and_then_executed_asplan_a_range(
    store: AdministeredStore,
    brokers: Brokers,
    target: Target,
    selections: Sequence[Selection] | None,
    offsets: Mapping[TopicPartition, int],
) -> None:
    before = store.positions(STREAM)
    reset = prepare_reset(store, STREAM, brokers, target, selections)
    plan = reset.plan(before)
    assert store.positions(STREAM) == before
    assert execute_reset(store, reset, actor="op@here") == plan
    assert next_offsets(store) == offsets
    after = store.positions(STREAM)
    assert {after[tp].topic_id for tp in plan.offsets()} == {"id-1"}
    entries = store.history(STREAM, 10)
    assert {e.topic_partition: (e.from_offset, e.until_offset) for e in entries} == {
        p.topic_partition: (p.from_offset, p.to_offset) for p in plan.partitions
    }
    assert {(e.action.kind, e.action.actor) for e in entries} == {(ActionKind.RESET, "op@here")}


def test_the_number_of_requests_does_not_depend_on_the_partitions(store: AdministeredStore) -> None:
    asked = set()
    for partitions in (1, 1_000):
        brokers = Brokers()
        brokers.infos = {"orders": TopicInfo(partitions, "id-1")}
        all_of_them = {TopicPartition("orders", number): 0 for number in range(partitions)}
        brokers.ends = dict.fromkeys(OffsetAt, all_of_them)
        prepare_reset(store, STREAM, brokers, ToTime(NOON), [Selection("orders")])
        asked.add(brokers.asked)
    assert asked == {5}


def test_a_plan_is_made_anew_from_what_is_stored_when_it_is_executed(
    store: AdministeredStore, brokers: Brokers
) -> None:
    reset = prepare_reset(store, STREAM, brokers, ShiftBy(-10))
    taken = store.take_over(STREAM, ME, [ORDERS_0, ORDERS_1], {})
    commit(store, ME, {ORDERS_0: (40, 48)}, epochs_of(taken))
    plan = execute_reset(store, reset)
    assert plan.offsets() == {ORDERS_0: 38, ORDERS_1: 30} == next_offsets(store)
    with pytest.raises(OwnershipLost) as lost:
        commit(store, ME, {ORDERS_0: (48, 49)}, epochs_of(taken))
    assert lost.value.other is None


def test_one_partition_that_is_refused_keeps_all_where_they_are(store: AdministeredStore, brokers: Brokers) -> None:
    before = store.positions(STREAM)
    reset = prepare_reset(store, STREAM, brokers, ShiftBy(1), [Selection("orders")])
    with pytest.raises(CommandRefused, match=r"was left as it is: orders\[2\] has no stored offset to shift from"):
        execute_reset(store, reset)
    assert store.positions(STREAM) == before
    assert store.history(STREAM, 10) == []


def test_what_does_not_exist_is_not_reset(store: AdministeredStore, brokers: Brokers) -> None:
    with pytest.raises(CommandRefused, match="there is no stream 'absent'"):
        prepare_reset(store, "absent", brokers, ToEarliest())
    with pytest.raises(TopicNotFound):
        prepare_reset(store, STREAM, brokers, ToEarliest(), [Selection("absent")])
    with pytest.raises(ConfigurationError, match=r"orders\[3\] does not exist: the topic has 3 partition"):
        prepare_reset(store, STREAM, brokers, ToEarliest(), [Selection("orders", (1, 3))])


def test_what_was_planned_is_discarded_before_the_offsets_move(store: AdministeredStore, brokers: Brokers) -> None:
    plan_a_range(store)
    before = store.positions(STREAM)
    reset = prepare_reset(store, STREAM, brokers, ToOffset(45))
    with pytest.raises(CommandRefused, match="is planned and may be written"):
        execute_reset(store, reset)
    files = Files()
    files.failures = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        execute_reset(store, reset, range_sinks=[files])
    assert store.positions(STREAM) == before, "a plan that was not discarded is still there"
    files.failures = [SinkUnavailable("busy")]
    execute_reset(store, reset, range_sinks=[files])
    assert files.discarded == [OffsetRange(ORDERS_0, 40, 50)]
    assert next_offsets(store) == {ORDERS_0: 45, ORDERS_1: 45}
    assert store.positions(STREAM)[ORDERS_0].planned_until is None


@pytest.mark.parametrize("written", ["before its answer was lost", "never"])
def test_a_change_is_done_once_though_its_answer_is_lost(
    store: AdministeredStore, brokers: Brokers, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    change, failures = store.change, [StoreUnavailable("away"), StoreUnavailable("away")]

    def cut(*args: Any) -> Any:
        if failures and written == "never":
            raise failures.pop()
        found = change(*args)
        if failures:
            raise failures.pop()
        return found

    monkeypatch.setattr(store, "change", cut)
    plan = execute_reset(store, prepare_reset(store, STREAM, brokers, ShiftBy(-10)))
    assert plan.offsets() == {ORDERS_0: 30, ORDERS_1: 30} == next_offsets(store)


def test_patience_has_an_end(store: AdministeredStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "PATIENCE_S", 0.0)
    monkeypatch.setattr(store, "change", lambda *args: (_ for _ in ()).throw(StoreUnavailable("away")))
    with pytest.raises(StoreUnavailable, match="away"):
        apply_change(store, STREAM, [ORDERS_0], new_action(ActionKind.RESET), lambda _: [])
