"""What is available and the limits, into ranges: the cases that a reader should see. The rest is in tests/property."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kafka_stream.engine.planning import FixedCost, Plan, PlanLimits, RateLimit, next_size, plan, plan_empty
from kafka_stream.types import OffsetRange, TopicPartition
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2, BufferedRecords, consecutive

MANY = PlanLimits(max_records=1_000, max_bytes=1_000_000)


def _plan(
    buffered: Mapping[TopicPartition, BufferedRecords],
    limits: PlanLimits = MANY,
    positions: Mapping[TopicPartition, int] | None = None,
    turn: TopicPartition | None = None,
) -> list[tuple[int, int, int]]:
    positions = dict.fromkeys(buffered, 0) if positions is None else positions
    ranges = plan(buffered, positions, limits, turn=turn).ranges
    return [(r.partition, r.from_offset, r.until_offset) for r in ranges]


def _served(buffered: Mapping[TopicPartition, BufferedRecords], limits: PlanLimits, turns: int) -> list[list[int]]:
    """Which partitions each of some batches moves, if nothing is taken."""
    served, turn = [], None
    for _ in range(turns):
        found = plan(buffered, dict.fromkeys(buffered, 0), limits, turn=turn)
        served.append([r.partition for r in found.ranges])
        turn = found.turn or turn
    return served


def test_all_that_is_buffered_ends_past_the_markers_that_follow() -> None:
    assert _plan({ORDERS_0: BufferedRecords([(0, 1), (4, 1)], position=10)}) == [(0, 0, 10)]


def test_a_range_that_leaves_records_ends_where_the_next_one_begins() -> None:
    buffered = {ORDERS_0: BufferedRecords([(2, 1), (4, 1), (8, 1)], position=10)}
    assert _plan(buffered, PlanLimits(2, 100)) == [(0, 0, 8)]


def test_it_starts_at_the_position_not_at_the_first_record() -> None:
    assert _plan({ORDERS_0: consecutive(7, 2)}, positions={ORDERS_0: 3}) == [(0, 3, 9)]


def test_what_is_not_owned_is_not_planned() -> None:
    assert _plan({ORDERS_0: consecutive(0, 2), ORDERS_1: consecutive(0, 2)}, positions={ORDERS_1: 0}) == [(1, 0, 2)]
    assert _plan({}) == []


def test_a_plan_says_how_many_records_it_holds_and_their_size() -> None:
    buffered = {ORDERS_0: consecutive(0, 9, size=3), ORDERS_1: consecutive(0, 2, size=5)}
    starts = dict.fromkeys(buffered, 0)
    found = plan(buffered, starts, PlanLimits(6, 1_000))
    assert (found.partitions, found.records, found.value_bytes) == ([ORDERS_0, ORDERS_1], 6, 4 * 3 + 2 * 5)
    repeated = plan(buffered, starts, PlanLimits(1, 1, planned={ORDERS_0: 7}))
    assert (repeated.partitions, repeated.records, repeated.value_bytes) == ([ORDERS_0], 7, 7 * 3)
    assert plan({}, starts, MANY) == Plan((), 0, 0)


def test_partitions_without_records_wait_for_plan_empty() -> None:
    buffered = {ORDERS_0: BufferedRecords([], 5), ORDERS_1: consecutive(0, 1)}
    assert _plan(buffered) == [(1, 0, 1)]
    assert plan_empty(buffered, {ORDERS_0: 2, ORDERS_1: 0}, MANY).ranges == (OffsetRange(ORDERS_0, 2, 5),)
    assert plan_empty(buffered, {ORDERS_0: 5, ORDERS_1: 0}, MANY).ranges == ()


def test_small_wants_are_met_whole_and_the_rest_is_shared() -> None:
    buffered = {ORDERS_0: consecutive(0, 100), ORDERS_1: consecutive(0, 3), ORDERS_2: consecutive(0, 100)}
    assert _plan(buffered, PlanLimits(43, 10_000)) == [(0, 0, 20), (1, 0, 3), (2, 0, 20)]


@pytest.mark.parametrize("max_records", [1, 2])
def test_fewer_records_than_partitions_starve_nobody(max_records: int) -> None:
    buffered = {ORDERS_0: consecutive(0, 9), ORDERS_1: consecutive(0, 9), ORDERS_2: consecutive(0, 9)}
    assert {p for served in _served(buffered, PlanLimits(max_records, 100), 3) for p in served} == {0, 1, 2}


def test_a_trickle_beside_a_backlog_does_not_starve_the_backlog() -> None:
    buffered = {ORDERS_0: consecutive(0, 1), ORDERS_1: consecutive(0, 1_000)}
    assert _served(buffered, PlanLimits(1, 100), 3) == [[0], [1], [0]]


def test_with_many_partitions_a_batch_serves_some_of_them_and_the_next_the_others() -> None:
    buffered = {TopicPartition("orders", number): consecutive(0, 100) for number in range(5)}
    limits = PlanLimits(100, 10_000, max_partitions=2)
    assert _plan(buffered, limits) == [(0, 0, 50), (1, 0, 50)]
    assert _served(buffered, limits, 4) == [[0, 1], [2, 3], [0, 4], [1, 2]]


def test_partitions_that_do_not_fill_the_batch_make_room_for_others() -> None:
    buffered = {
        TopicPartition("orders", number): consecutive(0, records) for number, records in enumerate((1, 2, 60, 9))
    }
    assert _plan(buffered, PlanLimits(40, 10_000, max_partitions=2)) == [(0, 0, 1), (1, 0, 2), (2, 0, 37)]
    assert _plan(buffered, PlanLimits(100, 10_000, max_partitions=2)) == [(0, 0, 1), (1, 0, 2), (2, 0, 60), (3, 0, 9)]


def test_records_per_partition() -> None:
    limits = PlanLimits(1_000, 10_000, max_records_per_partition=4)
    assert _plan({ORDERS_0: consecutive(0, 9), ORDERS_1: consecutive(0, 2)}, limits) == [(0, 0, 4), (1, 0, 2)]


def test_bytes_are_shared() -> None:
    buffered = {ORDERS_0: consecutive(0, 50, size=10), ORDERS_1: consecutive(0, 50, size=10)}
    assert _plan(buffered, PlanLimits(1_000, 100)) == [(0, 0, 5), (1, 0, 5)]


def test_one_record_larger_than_the_limit_is_a_batch() -> None:
    buffered = {ORDERS_0: consecutive(0, 3, size=500), ORDERS_1: consecutive(0, 3, size=10)}
    assert _plan(buffered, PlanLimits(1_000, 100)) == [(0, 0, 1)]
    assert _plan(buffered, PlanLimits(1_000, 100), turn=ORDERS_1) == [(1, 0, 3)]


def test_tombstones_take_no_bytes() -> None:
    assert _plan({ORDERS_0: consecutive(0, 50, size=0)}, PlanLimits(1_000, 1)) == [(0, 0, 50)]


def test_an_allowance_caps_a_partition_and_the_unnamed_wait() -> None:
    limits = PlanLimits(1_000, 10_000, allowances={ORDERS_0: 2})
    assert _plan({ORDERS_0: consecutive(0, 9), ORDERS_1: consecutive(0, 9)}, limits) == [(0, 0, 2)]


def test_a_bound_ends_the_range_even_in_the_middle_of_a_gap() -> None:
    limits = PlanLimits(1_000, 10_000, bounds={ORDERS_0: 5})
    assert _plan({ORDERS_0: BufferedRecords([(0, 1), (3, 1), (8, 1)], 9)}, limits) == [(0, 0, 5)]
    assert _plan({ORDERS_0: BufferedRecords([(0, 1), (3, 1)], 4)}, limits) == [(0, 0, 4)]
    assert _plan({ORDERS_0: BufferedRecords([(0, 1), (3, 1)], 9)}, limits) == [(0, 0, 5)]
    assert _plan({ORDERS_0: BufferedRecords([(5, 1)], 9)}, limits) == []


def test_the_way_to_a_bound_without_records_is_progress() -> None:
    limits = PlanLimits(1_000, 10_000, bounds={ORDERS_0: 5})
    assert plan_empty({ORDERS_0: BufferedRecords([(7, 1)], 9)}, {ORDERS_0: 2}, limits).ranges == (
        OffsetRange(ORDERS_0, 2, 5),
    )
    assert plan_empty({ORDERS_0: BufferedRecords([], 4)}, {ORDERS_0: 2}, limits).ranges == (
        OffsetRange(ORDERS_0, 2, 4),
    )
    assert plan_empty({ORDERS_0: BufferedRecords([(7, 1)], 9)}, {ORDERS_0: 5}, limits).ranges == ()
    assert plan_empty({ORDERS_0: BufferedRecords([(7, 1)], 9)}, {ORDERS_0: 7}, limits).ranges == ()


def test_partitions_without_a_bound_are_not_read() -> None:
    limits = PlanLimits(1_000, 10_000, bounds={ORDERS_0: 5})
    assert _plan({ORDERS_1: consecutive(0, 3)}, limits) == []
    assert plan_empty({ORDERS_1: BufferedRecords([], 3)}, {ORDERS_1: 0}, limits).ranges == ()


def test_batches_double_while_they_are_fast_and_full() -> None:
    assert next_size(1_000, 1_000, 0.01, 1.0, 50_000) == 2_000
    assert next_size(1_000, 1_000, 0.0, 1.0, 50_000) == 2_000
    assert next_size(40_000, 40_000, 0.1, 1.0, 50_000) == 50_000
    assert next_size(1_000, 1_000, 0.8, 1.0, 50_000) == 1_250


def test_a_batch_that_was_not_full_says_nothing_about_a_larger_one() -> None:
    assert next_size(1_000, 999, 0.01, 1.0, 50_000) == 1_000


def test_batches_shrink_while_they_are_slow_but_never_to_nothing() -> None:
    assert next_size(1_000, 1_000, 2.0, 1.0, 50_000) == 500
    assert next_size(1_000, 1_000, 100.0, 1.0, 50_000) == 250
    assert next_size(1, 1, 100.0, 1.0, 50_000) == 1


def test_rate_is_a_token_bucket_per_partition() -> None:
    rate = RateLimit(10.0)
    owned = {ORDERS_0: 0, ORDERS_1: 0}
    assert rate.allowances(owned, 100.0) == {ORDERS_0: 10, ORDERS_1: 10}
    rate.spend(ORDERS_0, 10)
    assert rate.allowances(owned, 100.0) == {ORDERS_0: 0, ORDERS_1: 10}
    assert rate.allowances(owned, 100.25) == {ORDERS_0: 2, ORDERS_1: 10}
    assert rate.allowances(owned, 1_000.0) == {ORDERS_0: 10, ORDERS_1: 10}


def test_a_rate_below_one_a_second_still_lets_a_record_through() -> None:
    rate = RateLimit(0.25)
    assert rate.allowances({ORDERS_0: 0}, 0.0) == {ORDERS_0: 1}
    rate.spend(ORDERS_0, 1)
    assert rate.allowances({ORDERS_0: 0}, 3.9) == {ORDERS_0: 0}
    assert rate.allowances({ORDERS_0: 0}, 4.0) == {ORDERS_0: 1}


def _sizes(fixed_s: float, per_record_s: float, batches: int = 40) -> list[int]:
    """The sizes that are asked for of a sink with these costs and an endless backlog; target 1 s, at most 50,000."""
    size, cost, sizes = 1_000, FixedCost(), []
    for _ in range(batches):
        duration_s = fixed_s + size * per_record_s
        cost.observe(size, duration_s)
        size = next_size(size, size, duration_s, cost.attainable_s(1.0), 50_000)
        sizes.append(size)
    return sizes


def test_a_cost_that_no_smaller_batch_would_save_does_not_shrink_batches() -> None:
    assert min(_sizes(2.0, 0.0)) >= 250
    assert _sizes(2.0, 0.0)[-1] == 50_000
    assert 1_800 <= _sizes(2.0, 0.001)[-1] <= 2_200, "as long for the records as for the rest"


def test_a_slow_record_still_shrinks_batches() -> None:
    assert 18 <= _sizes(0.0, 0.05)[-1] <= 21
    assert 900 <= _sizes(0.1, 0.001)[-1] <= 1_000


def test_one_slow_batch_is_no_fixed_cost() -> None:
    cost = FixedCost()
    for records, duration_s in ((2_000, 0.2), (1_000, 3.0)):
        cost.observe(records, duration_s)
    assert cost.estimate_s <= 0.2
