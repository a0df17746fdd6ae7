"""Taking over: first start, epochs, outstanding plans, and every way in which records can be gone."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from kafka_stream.errors import (
    BrokerUnavailable,
    ConfigurationError,
    LogTruncated,
    OffsetOutOfRange,
    OutstandingPlan,
    StoreUnavailable,
    TopicRecreated,
)
from kafka_stream.protocols import PositionLost, TopicInfo
from kafka_stream.types import OffsetRange, PlanKind, TopicPartition
from tests.fakes import ORDERS_0, ORDERS_1
from tests.owning import ME, World, running

USERS_0 = TopicPartition("users", 0)


# --------------------------------------------------------------------------------------------------------- first start


def test_first_start_stores_the_start_of_all_partitions_before_anything_is_read() -> None:
    world = World()
    world.ownership.initialise(world.source.topics(), "latest")
    assert {tp: p.next_offset for tp, p in world.store.stored.items()} == {ORDERS_0: 100, ORDERS_1: 100}
    assert world.store.stored[ORDERS_0].topic_id == "id-1"
    assert world.source.reading == {}


def test_a_later_start_resolves_nothing() -> None:
    world = World()
    world.ownership.initialise(world.source.topics(), "latest")
    world.source.log_of(ORDERS_0, 10, 500)
    world.source.calls.clear()
    world.ownership.initialise({"orders": TopicInfo(2, "id-1")}, "latest")
    assert world.store.stored[ORDERS_0].next_offset == 100
    assert world.source.calls == []


def test_a_topic_that_joins_a_stream_is_started_by_itself() -> None:
    world = World()
    world.store.started.add("orders")
    world.source.log_of(USERS_0, 3, 9)
    world.ownership.initialise({"orders": TopicInfo(2, "id-1"), "users": TopicInfo(1, None)}, "earliest")
    assert list(world.store.stored) == [USERS_0]
    assert world.store.stored[USERS_0].next_offset == 3


def test_starts_by_offset_by_time_and_where_nothing_is_said() -> None:
    world = World()
    world.ownership.initialise(world.source.topics(), {ORDERS_1: 42})
    assert {tp: p.next_offset for tp, p in world.store.stored.items()} == {ORDERS_0: 10, ORDERS_1: 42}
    world = World()
    world.source.at_time = {ORDERS_0: 77}
    world.ownership.initialise(world.source.topics(), datetime(2026, 1, 1, tzinfo=UTC))
    assert {tp: p.next_offset for tp, p in world.store.stored.items()} == {ORDERS_0: 77, ORDERS_1: 100}


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ({ORDERS_0: 101}, r"start=101 of orders\[0\] lies beyond its end, which is 100"),
        ({TopicPartition("orders", 2): 0}, r"start names orders\[2\], which is not a partition that this stream owns"),
    ],
)
def test_a_start_that_cannot_be_is_refused_before_it_is_stored(start: Any, sentence: str) -> None:
    world = World()
    with pytest.raises(ConfigurationError, match=sentence):
        world.ownership.initialise(world.source.topics(), start)
    assert world.store.stored == {}


# ------------------------------------------------------------------------------------------------------------ takeover


def test_takeover_raises_the_epoch_and_reads_from_what_is_stored_then() -> None:
    world = World()
    world.stored(ORDERS_0, 42, leader_epoch=5)
    world.stored(ORDERS_1, 100)
    world.ownership.take_over([ORDERS_1, ORDERS_0])
    assert world.ownership.next_offsets() == {ORDERS_0: 42, ORDERS_1: 100}
    assert world.source.reading == {ORDERS_0: (42, 5), ORDERS_1: (100, None)}
    assert world.ownership.positions[ORDERS_0].owner_epoch == 2
    assert world.ownership.claim((OffsetRange(ORDERS_0, 42, 50),), {}).epochs == {ORDERS_0: 2}
    assert world.store.stored[ORDERS_0].owner == ME


def test_a_new_partition_begins_at_0() -> None:
    world = World()
    world.source.log_of(ORDERS_1, 0, 5)
    world.ownership.take_over([ORDERS_1])
    assert world.source.reading == {ORDERS_1: (0, None)}


def test_taking_over_nothing_asks_nobody() -> None:
    world = World()
    world.ownership.take_over([])
    assert (world.source.calls, world.store.calls) == ([], [])


def test_what_an_older_owner_commits_up_to_the_takeover_is_no_truncation() -> None:
    world = World()
    world.stored(ORDERS_0, 90)

    def older_owner_commits_what_was_just_produced() -> None:
        world.source.log_of(ORDERS_0, 10, 120)
        world.stored(ORDERS_0, 110)

    world.store.on_take_over = older_owner_commits_what_was_just_produced
    world.ownership.take_over([ORDERS_0])
    assert world.ownership.next_offsets() == {ORDERS_0: 110}


@pytest.mark.parametrize("kind", PlanKind)
def test_an_outstanding_plan_is_refused_naming_the_range(kind: PlanKind) -> None:
    world = World()
    world.stored(ORDERS_0, 42)
    world.stored(ORDERS_1, 50, planned_until=60, plan_kind=kind)
    with pytest.raises(
        OutstandingPlan, match=r"stream 's' has an outstanding plan for orders\[1\] \[50, 60\)"
    ) as caught:
        world.ownership.take_over([ORDERS_0, ORDERS_1])
    assert caught.value.range == OffsetRange(ORDERS_1, 50, 60)
    assert world.source.reading == {}


def test_a_takeover_that_failed_can_be_tried_again() -> None:
    world = World()
    world.stored(ORDERS_0, 42)
    world.store.failures["take_over"] = [StoreUnavailable("x")]
    world.source.failures["offsets"] = [BrokerUnavailable("x")]
    with pytest.raises(StoreUnavailable):
        world.ownership.take_over([ORDERS_0])
    with pytest.raises(BrokerUnavailable):
        world.ownership.take_over([ORDERS_0])
    assert world.ownership.positions == {}
    world.ownership.take_over([ORDERS_0])
    assert world.source.reading == {ORDERS_0: (42, None)}


# -------------------------------------------------------------------------------------------------- moving and leaving


def test_committed_ranges_move_the_position_and_remember_the_leader_epoch() -> None:
    world = World()
    world.stored(ORDERS_0, 42, leader_epoch=1)
    world.stored(ORDERS_1, 42, leader_epoch=1)
    world.ownership.take_over([ORDERS_0, ORDERS_1])
    ranges = (OffsetRange(ORDERS_0, 42, 50), OffsetRange(ORDERS_1, 42, 60))
    claim = world.ownership.claim(ranges, {ORDERS_0: 3})
    assert claim.topic_ids == {"orders": "id-1"}
    world.ownership.committed(claim)
    world.ownership.rewind([ORDERS_0, ORDERS_1])
    assert world.source.reading == {ORDERS_0: (50, 3), ORDERS_1: (60, None)}, "that of another offset says nothing"


def test_a_rewind_reads_again_from_what_was_committed_and_only_what_is_ours() -> None:
    world = World()
    world.stored(ORDERS_0, 42)
    world.ownership.take_over([ORDERS_0])
    world.source.reading.clear()
    world.ownership.rewind([ORDERS_0, ORDERS_1])
    assert world.source.reading == {ORDERS_0: (42, None)}


def test_what_is_dropped_is_not_ours() -> None:
    world = running()
    world.ownership.drop([ORDERS_0, ORDERS_0])
    assert list(world.ownership.positions) == [ORDERS_1]
    assert world.ownership.next_offsets().keys() == {ORDERS_1}


def test_next_offsets_and_planned_ends_follow_the_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    world = running()
    ownership = world.ownership
    monkeypatch.setattr(world.store, "plan", lambda claim: None, raising=False)
    before = ownership.next_offsets()
    first, second = (OffsetRange(tp, offset, offset + 5) for tp, offset in sorted(before.items()))
    ownership.plan(ownership.claim((first, second), {}))
    planned = ownership.planned()
    assert planned == {ORDERS_0: first.until_offset, ORDERS_1: second.until_offset}
    ownership.committed(ownership.claim((first,), {}))
    ownership.drop([ORDERS_1])
    assert (ownership.planned(), ownership.next_offsets()) == ({}, {ORDERS_0: first.until_offset})
    assert (len(planned), before[ORDERS_0]) == (2, first.from_offset), "what was handed out does not change"


# ------------------------------------------------------------------------------------------------------ unknown commit


def _claimed(world: World) -> Any:
    world.stored(ORDERS_0, 42)
    world.stored(ORDERS_1, 42)
    world.ownership.take_over([ORDERS_0, ORDERS_1])
    return world.ownership.claim((OffsetRange(ORDERS_0, 42, 50), OffsetRange(ORDERS_1, 42, 60)), {ORDERS_0: 9})


def test_an_unknown_commit_that_had_happened() -> None:
    world = World()
    claim = _claimed(world)
    world.stored(ORDERS_0, 50)
    world.stored(ORDERS_1, 60)
    assert world.ownership.settle(claim) is True
    assert world.ownership.next_offsets() == {ORDERS_0: 50, ORDERS_1: 60}
    assert world.ownership.positions[ORDERS_0].owner_epoch == world.store.stored[ORDERS_0].owner_epoch
    assert world.ownership.positions[ORDERS_0].leader_epoch == 9


def test_an_unknown_commit_that_had_not_happened() -> None:
    world = World()
    claim = _claimed(world)
    assert world.ownership.settle(claim) is False
    assert world.ownership.next_offsets() == {ORDERS_0: 42, ORDERS_1: 42}
    assert world.ownership.positions[ORDERS_0].owner_epoch == world.store.stored[ORDERS_0].owner_epoch == 3


def test_an_unknown_commit_whose_claim_alone_is_stored_is_an_outstanding_plan() -> None:
    world = World()
    claim = _claimed(world)
    world.stored(ORDERS_0, 42, planned_until=50, plan_kind=PlanKind.TRANSACTION)
    with pytest.raises(OutstandingPlan, match="as when a handler commits on its own"):
        world.ownership.settle(claim)


# ----------------------------------------------------------------------------------------------------------- data loss

LOSSES = {
    "retention": (
        5,
        OffsetOutOfRange,
        r"orders\[0\] was to be read from offset 5, .* left \[10, 100\): up to 5 records",
    ),
    "truncation": (140, LogTruncated, r"the log of orders\[0\] was truncated below offset 140"),
    "recreated": (
        42,
        TopicRecreated,
        r"topic 'orders' was deleted and created again: orders\[0\] was read up to offset 42",
    ),
}


def _lost(kind: str, on_data_loss: str) -> World:
    world = World(on_data_loss)
    world.stored(ORDERS_0, LOSSES[kind][0], leader_epoch=7, topic_id="id-0" if kind == "recreated" else "id-1")
    return world


@pytest.mark.parametrize("kind", LOSSES)
def test_a_position_that_is_gone_stops_with_what_was_wanted_and_what_there_is(kind: str) -> None:
    world = _lost(kind, "stop")
    wanted, error, sentence = LOSSES[kind]
    with pytest.raises(error, match=sentence) as caught:
        world.ownership.take_over([ORDERS_0])
    loss = caught.value
    assert (loss.partition, loss.wanted, loss.available) == (ORDERS_0, wanted, (10, 100))
    assert "on_data_loss='earliest' or 'latest'" in str(loss)
    assert (world.store.moves, world.source.reading) == ([], {})


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(("choice", "offset"), [("earliest", 10), ("latest", 95)])
def test_the_users_choice_is_stored_before_it_is_read_and_logged(
    kind: str, choice: str, offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = _lost(kind, choice)
    world.source.latest[ORDERS_0] = 95  # an open transaction begins there
    with caplog.at_level(logging.WARNING, "kafka_stream"):
        world.ownership.take_over([ORDERS_0])
    (move,) = world.store.moves
    assert move.ranges == (OffsetRange(ORDERS_0, offset, offset),)
    assert (move.topic_ids, move.leader_epochs, move.epochs) == ({"orders": "id-1"}, {}, {ORDERS_0: 2})
    assert world.source.reading == {ORDERS_0: (offset, None)}
    assert world.ownership.next_offsets() == {ORDERS_0: offset}
    assert f"Going on at offset {offset}, as on_data_loss='{choice}' says" in caplog.text


@pytest.mark.parametrize("next_offset", [10, 55, 100])
def test_the_ends_themselves_are_no_loss(next_offset: int) -> None:
    world = World()
    world.stored(ORDERS_0, next_offset)
    world.ownership.take_over([ORDERS_0])
    assert world.ownership.next_offsets() == {ORDERS_0: next_offset}


@pytest.mark.parametrize(("stored", "found"), [(None, "id-1"), ("id-1", None), (None, None)])
def test_without_topic_ids_nothing_is_concluded(stored: str | None, found: str | None) -> None:
    world = World()
    world.source.infos["orders"] = TopicInfo(2, found)
    world.stored(ORDERS_0, 42, topic_id=stored)
    world.ownership.take_over([ORDERS_0])
    assert world.ownership.next_offsets() == {ORDERS_0: 42}


def test_that_topics_have_no_ids_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.source.infos["orders"] = TopicInfo(2, None)
    world.stored(ORDERS_0, 42, topic_id=None)
    with caplog.at_level(logging.INFO, "kafka_stream"):
        world.ownership.take_over([ORDERS_0])
        world.ownership.take_over([ORDERS_0])
    assert caplog.text.count("the broker gives no topic ids") == 1


# ------------------------------------------------------------------------------------------------------- lost positions


def test_a_lost_position_of_a_partition_that_is_not_ours_is_no_concern() -> None:
    world = running()
    world.ownership.drop([ORDERS_0])
    world.store.calls.clear()
    world.ownership.position_lost(PositionLost(ORDERS_0, 42, truncated=True, reason="x"))
    assert world.store.calls == []


def test_a_lost_position_from_before_we_moved_on_is_no_loss() -> None:
    world = running("latest")
    world.ownership.committed(world.ownership.claim((OffsetRange(ORDERS_0, 42, 60),), {}))
    world.source.reading.clear()
    world.ownership.position_lost(PositionLost(ORDERS_0, 42, truncated=False, reason="x"))
    assert world.store.moves == []
    assert world.source.reading == {ORDERS_0: (60, None)}


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest", "latest"])
def test_retention_that_passed_the_position_is_answered_once(on_data_loss: str) -> None:
    world = running(on_data_loss)
    world.source.log_of(ORDERS_0, 70, 100)
    event = PositionLost(ORDERS_0, 42, truncated=False, reason="out of range")
    if on_data_loss == "stop":
        with pytest.raises(OffsetOutOfRange, match="up to 28 records are gone unread"):
            world.ownership.position_lost(event)
        return
    world.ownership.position_lost(event)
    assert len(world.store.moves) == 1
    assert world.source.reading[ORDERS_0] == ({"earliest": 70, "latest": 100}[on_data_loss], None)


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest"])
def test_a_log_that_diverged_was_truncated_although_its_offsets_are_there_again(on_data_loss: str) -> None:
    world = running(on_data_loss)
    event = PositionLost(ORDERS_0, 42, truncated=True, reason="leader epoch")
    if on_data_loss == "stop":
        with pytest.raises(LogTruncated, match="truncated below offset 42"):
            world.ownership.position_lost(event)
        return
    world.ownership.position_lost(event)
    assert world.source.reading[ORDERS_0] == (10, None)
    assert world.ownership.next_offsets()[ORDERS_0] == 10


def test_a_position_that_is_there_after_all_is_read_again() -> None:
    world = running()
    world.source.reading.clear()
    world.ownership.position_lost(PositionLost(ORDERS_0, 50, truncated=False, reason="x"))
    assert world.source.reading == {ORDERS_0: (42, None)}
