"""Where a reset puts a partition, scenario by scenario, and what it says about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kafka_stream.admin.reset_plan import (
    Log,
    PartitionReset,
    ShiftBy,
    Target,
    ToCurrent,
    ToEarliest,
    ToLatest,
    ToOffset,
    ToOffsets,
    ToTime,
    plan_reset,
)
from kafka_stream.protocols import Change
from kafka_stream.types import MAX_OFFSET, PlanKind, PositionState, StoredPosition
from tests.fakes import ORDERS_0, ORDERS_1

LOG = Log(earliest=10, last_stable=90, high_watermark=100, topic_id="id-1")
AT = ToTime(datetime(2026, 3, 1, tzinfo=UTC))
STORED = StoredPosition(40, 3, topic_id="id-1")


def _planned(
    target: Target, stored: StoredPosition | None = STORED, log: Log = LOG, *, discardable: bool = False
) -> PartitionReset:
    positions = {} if stored is None else {ORDERS_0: stored}
    (found,) = plan_reset(target, {ORDERS_0: log}, positions, discardable=[ORDERS_0] if discardable else ()).partitions
    return found


@pytest.mark.parametrize(
    ("target", "to_offset", "clamped_from"),
    [
        (ToEarliest(), 10, None),
        (ToLatest(), 100, None),
        (ToOffset(55), 55, None),
        (ToOffset(10), 10, None),
        (ToOffset(100), 100, None),
        (ToOffset(9), 10, 9),
        (ToOffset(0), 10, 0),
        (ToOffset(101), 100, 101),
        (ToOffset(MAX_OFFSET), 100, MAX_OFFSET),
        (ShiftBy(5), 45, None),
        (ShiftBy(-30), 10, None),
        (ShiftBy(-31), 10, 9),
        (ShiftBy(-1_000), 10, -960),
        (ShiftBy(61), 100, 101),
        (ShiftBy(0), 40, None),
        (ToCurrent(), 40, None),
        (ToOffsets({ORDERS_0: 20, ORDERS_1: 3}), 20, None),
        (ToOffsets({ORDERS_0: 200}), 100, 200),
    ],
)
def test_where_a_target_is(target: Target, to_offset: int, clamped_from: int | None) -> None:
    found = _planned(target)
    assert (found.from_offset, found.to_offset, found.clamped_from, found.refusal) == (
        40,
        to_offset,
        clamped_from,
        None,
    )


def test_a_time_is_its_first_record_or_the_end_which_is_said() -> None:
    found = _planned(AT, log=replace(LOG, at_time=33))
    assert (found.to_offset, found.note) == (33, None)
    found = _planned(AT)
    assert (found.to_offset, found.note) == (100, "no record at or after 2026-03-01T00:00:00+00:00: to the end")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        ToTime(datetime(2026, 3, 1))


def test_what_is_not_stored_can_be_put_anywhere_but_not_shifted() -> None:
    assert _planned(ToOffset(55), None).to_offset == 55
    found = _planned(ToCurrent(), None)
    assert (found.from_offset, found.to_offset, found.note) == (None, 100, "nothing is stored: to the end")
    found = _planned(ShiftBy(3), None)
    assert (found.to_offset, found.refusal) == (
        None,
        "orders[0] has no stored offset to shift from; choose another target, or leave it out",
    )
    assert _planned(ToOffsets({ORDERS_1: 5})).refusal == "orders[0] is not among the offsets that were given"


@pytest.mark.parametrize("offset", [3, 400])
def test_the_current_offset_stays_though_the_log_does_not_have_it(offset: int) -> None:
    """As with Kafka's tool: it is how an operator fences a stream without moving it."""
    found = _planned(ToCurrent(), replace(STORED, next_offset=offset))
    assert (found.to_offset, found.skipped, found.repeated) == (offset, 0, 0)


@pytest.mark.parametrize(
    ("stored", "to_offset", "skipped", "repeated"),
    [
        (40, 60, 20, 0),
        (40, 15, 0, 25),
        (40, 40, 0, 0),
        (3, 60, 50, 0),  # 3 to 9 are gone already
        (3, 10, 0, 0),
        (400, 60, 0, 40),  # nothing was there to be read beyond the end
        (None, 60, 50, 0),
    ],
)
def test_skipped_and_repeated_are_what_the_log_has(
    stored: int | None, to_offset: int, skipped: int, repeated: int
) -> None:
    position = None if stored is None else replace(STORED, next_offset=stored)
    found = _planned(ToOffset(to_offset), position)
    assert (found.skipped, found.repeated) == (skipped, repeated)


def test_what_a_sink_by_range_may_have_written_is_discarded_first_or_the_reset_refused() -> None:
    stored = replace(STORED, planned_until=50, plan_kind=PlanKind.RANGE)
    found = _planned(ToEarliest(), stored)
    assert found.to_offset is None
    assert (found.skipped, found.repeated) == (0, 0)
    assert found.refusal is not None
    assert found.refusal.startswith("orders[0] [40, 50) is planned and may be written: start the stream")
    found = _planned(ToEarliest(), stored, discardable=True)
    assert (found.to_offset, found.refusal) == (10, None)
    assert found.note == "orders[0] [40, 50) is planned, and what is written of it will be discarded"


@pytest.mark.parametrize(
    ("target", "note"),
    [
        (ToOffset(39), "orders[0] [40, 50) is taken as not written"),
        (ToOffset(40), "orders[0] [40, 50) is taken as not written"),
        (ToCurrent(), "orders[0] [40, 50) is taken as not written"),
        (ToOffset(50), "orders[0] [40, 50) is taken as written"),
        (ToLatest(), "orders[0] [40, 50) is taken as written"),
    ],
)
def test_what_a_transaction_left_is_settled_by_a_target_on_either_side(target: Target, note: str) -> None:
    found = _planned(target, replace(STORED, planned_until=50, plan_kind=PlanKind.TRANSACTION))
    assert (found.refusal, found.note) == (None, note)


@pytest.mark.parametrize("offset", [41, 49])
@pytest.mark.parametrize("discardable", [True, False])
def test_and_not_by_one_inside(offset: int, discardable: bool) -> None:
    stored = replace(STORED, planned_until=50, plan_kind=PlanKind.TRANSACTION)
    found = _planned(ToOffset(offset), stored, discardable=discardable)
    assert found.refusal == (
        f"offset {offset} lies inside orders[0] [40, 50), whose results may be stored though its offsets are not: look "
        "at the results, then choose 40 or less if they are not there, 50 or more if they are"
    )


def test_what_is_closed_stays() -> None:
    closed = replace(STORED, state=PositionState.CLOSED, state_reason="migrated to there")
    assert _planned(ToEarliest(), closed).refusal == "orders[0] is closed (migrated to there)"
    deleted = replace(closed, state_reason=None)
    assert _planned(ToEarliest(), deleted).refusal == (
        "orders[0] is closed (it was deleted: start the stream, or import offsets)"
    )


def test_a_topic_that_was_recreated_is_said() -> None:
    found = _planned(ShiftBy(1), replace(STORED, topic_id="id-0"))
    assert found.note == "the topic was deleted and created again: the stored offset is of the old one"


def test_a_plan_is_sorted_and_becomes_changes_of_what_is_not_refused() -> None:
    plan = plan_reset(ShiftBy(5), {ORDERS_1: LOG, ORDERS_0: LOG}, {ORDERS_0: STORED})
    assert [p.topic_partition for p in plan.partitions] == [ORDERS_0, ORDERS_1]
    assert [p.topic_partition for p in plan.refused] == [ORDERS_1]
    assert plan.offsets() == {ORDERS_0: 45}
    assert plan.changes() == [Change(ORDERS_0, 45, None, "id-1")]
