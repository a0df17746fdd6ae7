"""What the broker does not have any more of a batch's ranges, as far as its offsets tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from kafka_stream.errors import BrokerUnavailable, TopicNotFound
from kafka_stream.executors.spark.failures import Offsets, gone
from kafka_stream.protocols import OffsetAt, PositionLost
from kafka_stream.types import OffsetRange, TopicPartition

ORDERS, PAYMENTS = TopicPartition("orders", 0), TopicPartition("payments", 3)


def _has(first: int, end: int) -> Offsets:
    def offsets(partitions: Sequence[TopicPartition], at: OffsetAt) -> Mapping[TopicPartition, int]:
        assert at in {OffsetAt.EARLIEST, OffsetAt.HIGH_WATERMARK}
        return {ORDERS: 0 if at is OffsetAt.EARLIEST else 100, PAYMENTS: first if at is OffsetAt.EARLIEST else end}

    return offsets


def _lost(first: int, end: int) -> PositionLost | None:
    ranges = [OffsetRange(ORDERS, 0, 100), OffsetRange(PAYMENTS, 10, 20)]
    found = gone(ranges, _has(first, end))
    return None if found is None else found.lost


def test_ranges_that_are_all_there_are_not_gone() -> None:
    assert _lost(10, 20) is None


def test_what_retention_has_taken_is_lost_from_where_it_was_to_be_read() -> None:
    lost = _lost(11, 20)
    assert lost is not None
    assert (lost.partition, lost.offset, lost.truncated) == (PAYMENTS, 10, False)


def test_a_log_that_ends_too_early_was_truncated_below_where_the_range_ends() -> None:
    lost = _lost(0, 19)
    assert lost is not None
    assert (lost.partition, lost.offset, lost.truncated) == (PAYMENTS, 20, True)


def test_a_topic_that_is_not_there_may_come_again() -> None:
    def offsets(partitions: Sequence[TopicPartition], at: OffsetAt) -> Mapping[TopicPartition, int]:
        raise TopicNotFound("topic 'orders' does not exist")

    with pytest.raises(BrokerUnavailable, match="orders"):
        gone([OffsetRange(ORDERS, 0, 1)], offsets)
