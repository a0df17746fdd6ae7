"""The values check themselves."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from kafka_stream.types import (
    MAX_OFFSET,
    Claim,
    Guarantee,
    OffsetRange,
    Owner,
    Phase,
    StoredPosition,
    TopicPartition,
    is_strictly_ascending,
    timestamp_ms,
)
from tests.fakes import ORDERS_0, ORDERS_1

OWNER = Owner("o1", "host-a", "v7")


def test_topic_partition_sorts_by_topic_then_number() -> None:
    partitions = [TopicPartition("b", 0), TopicPartition("a", 10), TopicPartition("a", 9)]
    assert sorted(partitions) == [TopicPartition("a", 9), TopicPartition("a", 10), TopicPartition("b", 0)]
    assert str(ORDERS_1) == "orders[1]"
    assert {ORDERS_0: 1}[TopicPartition("orders", 0)] == 1


def test_topic_partition_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="needs a topic name"):
        TopicPartition("", 0)
    with pytest.raises(ValueError, match="partition -1 of 'orders' is negative"):
        TopicPartition("orders", -1)


def test_partitions_ascend_strictly_if_sorted_and_none_comes_twice() -> None:
    assert is_strictly_ascending([])
    assert is_strictly_ascending([ORDERS_1])
    assert is_strictly_ascending([ORDERS_0, ORDERS_1, TopicPartition("payments", 0)])
    assert not is_strictly_ascending([ORDERS_1, ORDERS_0])
    assert not is_strictly_ascending([ORDERS_0, ORDERS_1, ORDERS_1])
    assert not is_strictly_ascending([TopicPartition("payments", 0), ORDERS_1])


def test_range_is_half_open() -> None:
    r = OffsetRange(ORDERS_0, 5, 8)
    assert (len(r), bool(r), 5 in r, 7 in r, 8 in r, 4 in r) == (3, True, True, True, False, False)
    assert str(r) == "orders[0] [5, 8)"
    assert (r.topic, r.partition) == ("orders", 0)
    assert not OffsetRange(ORDERS_0, 5, 5)
    assert len(OffsetRange(ORDERS_0, 5, 5)) == 0


def test_range_keeps_the_whole_of_64_bits() -> None:
    assert OffsetRange(ORDERS_0, 0, MAX_OFFSET).until_offset == 2**63 - 1
    with pytest.raises(ValueError, match="until_offset of orders"):
        OffsetRange(ORDERS_0, 0, MAX_OFFSET + 1)


@pytest.mark.parametrize(
    ("first", "until", "what"), [(-1, 3, "from_offset of orders"), (3, -1, "until_offset"), (4, 3, "ends before")]
)
def test_range_refuses_nonsense(first: int, until: int, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        OffsetRange(ORDERS_0, first, until)


def test_values_are_frozen() -> None:
    r = OffsetRange(ORDERS_0, 0, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        r.until_offset = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        ORDERS_0.partition = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        ORDERS_0.anything = 2  # type: ignore[attr-defined]


def test_owner_reads_well() -> None:
    assert str(OWNER) == "o1 on host-a, version v7"
    assert str(Owner("o1", "host-a")) == "o1 on host-a"


def test_stored_position_checks_its_offsets() -> None:
    assert StoredPosition(MAX_OFFSET, 1).planned_until is None
    with pytest.raises(ValueError, match="next_offset is -1"):
        StoredPosition(-1, 1)
    with pytest.raises(ValueError, match="planned_until is -2"):
        StoredPosition(0, 1, planned_until=-2)


def _claim(*ranges: OffsetRange, epochs: dict[TopicPartition, int] | None = None) -> Claim:
    return Claim("s", OWNER, ranges, {ORDERS_0: 1, ORDERS_1: 1} if epochs is None else epochs, {}, {})


def test_claim_has_sorted_ranges_one_per_partition_each_with_an_epoch() -> None:
    zero, one = OffsetRange(ORDERS_0, 0, 1), OffsetRange(ORDERS_1, 0, 1)
    assert _claim(zero, one).ranges == (zero, one)
    with pytest.raises(ValueError, match="at least one partition"):
        _claim()
    with pytest.raises(ValueError, match="sorted by topic and partition"):
        _claim(one, zero)
    with pytest.raises(ValueError, match="one range per partition"):
        _claim(zero, OffsetRange(ORDERS_0, 1, 2))
    with pytest.raises(ValueError, match=r"no owner epoch for orders\[1\]"):
        _claim(zero, one, epochs={ORDERS_0: 1})


def test_enumerations_are_their_names_in_settings_and_logs() -> None:
    assert str(Guarantee.EXACTLY_ONCE) == "exactly-once"
    assert Guarantee("at-least-once") is Guarantee.AT_LEAST_ONCE
    assert [str(phase) for phase in Phase] == [
        "after_fetch",
        "after_prepare",
        "after_plan",
        "after_claim",
        "after_attempt",
        "after_set_aside",
        "after_write",
        "after_advance",
        "after_commit",
    ]


def test_a_time_becomes_the_millisecond_that_does_not_come_before_it() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    whole = 1_767_225_600_000
    assert timestamp_ms(start) == whole
    assert timestamp_ms(start + timedelta(microseconds=1)) == whole + 1
    assert timestamp_ms(start + timedelta(microseconds=999)) == whole + 1
    assert all(timestamp_ms(start + timedelta(milliseconds=n)) == whole + n for n in range(1_000)), (
        "as floats may not be"
    )
