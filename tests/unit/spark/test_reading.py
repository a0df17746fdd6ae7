"""Exactly a batch's ranges as options of Spark's Kafka source, and counts that are spread over slices."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.errors import ConfigurationError
from kafka_stream.executors.spark.ranges import LEAST_OFFSETS_OF_A_TASK, check_options, reading_options, spread, whole
from kafka_stream.protocols.executors import Slice
from kafka_stream.types import MAX_OFFSET, OffsetRange, TopicPartition


def _range(partition: int, start: int, until: int, topic: str = "orders") -> OffsetRange:
    return OffsetRange(TopicPartition(topic, partition), start, until)


def test_both_ends_of_each_partition_are_exact() -> None:
    ranges = [_range(0, 5, 9), _range(3, 0, MAX_OFFSET), _range(1, 7, 8, "payments")]
    found = reading_options(ranges, {}, 1)
    assert json.loads(found["assign"]) == {"orders": [0, 3], "payments": [1]}
    assert json.loads(found["startingOffsets"]) == {"orders": {"0": 5, "3": 0}, "payments": {"1": 7}}
    assert json.loads(found["endingOffsets"]) == {"orders": {"0": 9, "3": MAX_OFFSET}, "payments": {"1": 8}}


def test_what_is_lost_fails_and_what_was_aborted_is_not_read() -> None:
    found = reading_options([_range(0, 0, 1)], {"kafka.isolation.level": "read_uncommitted"}, 1)
    assert found["kafka.isolation.level"] == "read_committed"
    assert found["failOnDataLoss"] == found["includeHeaders"] == "true"


@pytest.mark.parametrize(
    ("offsets", "cores", "tasks"),
    [(100, 8, None), (3, 8, None), (3 * LEAST_OFFSETS_OF_A_TASK, 8, "3"), (10**9, 8, "8"), (10**9, 1, None)],
)
def test_a_large_range_is_read_by_all_cores_and_a_small_one_by_one(offsets: int, cores: int, tasks: str | None) -> None:
    assert reading_options([_range(0, 0, offsets)], {}, cores).get("minPartitions") == tasks


def test_a_range_each_is_enough_for_as_many_cores() -> None:
    assert "minPartitions" not in reading_options([_range(0, 0, 10**9), _range(1, 0, 10**9)], {}, 2)


def test_the_users_options_come_before_defaults() -> None:
    options = {"minpartitions": "3", "kafka.max.poll.records": "7"}
    found = reading_options([_range(0, 0, 10**9)], options, 8)
    assert "minPartitions" not in found
    assert found["minpartitions"] == "3"
    assert found["kafka.max.poll.records"] == "7"


@pytest.mark.parametrize(
    "name", ["subscribe", "assign", "startingoffsets", "endingoffsets", "failondataloss", "kafka.isolation.level"]
)
def test_an_option_that_says_what_is_read_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        check_options({name: "x"})


def test_slices_that_follow_each_other_are_one_range() -> None:
    slices = [_range(0, 5, 7), _range(1, 0, 2), _range(0, 7, 12)]
    assert whole(map(Slice, slices)) == (_range(0, 5, 12), _range(1, 0, 2))


def test_slices_that_leave_a_gap_are_refused() -> None:
    with pytest.raises(ValueError, match="does not go on"):
        whole([Slice(_range(0, 0, 5)), Slice(_range(0, 6, 7))])


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=50), st.data())
def test_a_total_is_spread_without_loss_and_over_no_more_than_there_is(lengths: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(lengths)))
    found = spread(total, lengths)
    assert sum(found) == total
    assert all(0 <= part <= length for part, length in zip(found, lengths, strict=True))
