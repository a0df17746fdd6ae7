"""``RangeSource``: what is unread by offsets, nothing of which is fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kafka_stream.errors import OwnershipLost
from kafka_stream.protocols import Assigned, PositionLost, Revoked
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.source.range_source import RangeSource
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import OffsetRange, TopicPartition
from tests.simulation import eventually

FIRST, SECOND = (TopicPartition("orders", number) for number in (0, 1))


@pytest.fixture
def kafka() -> MemoryKafka:
    kafka = MemoryKafka({"orders": 2})
    for number in range(10):
        kafka.produce("orders", "x" * 100, partition=number % 2)
    return kafka


@pytest.fixture
def source(kafka: MemoryKafka) -> Iterator[RangeSource]:
    found = RangeSource(kafka.source("group", ["orders"], SourceLimits()))
    found.open(1)
    found.assign([FIRST, SECOND])
    assert [type(event) for event in found.events()] == [Assigned]
    yield found
    found.close()


def unread(source: RangeSource) -> dict[TopicPartition, tuple[int, int]]:
    """How many offsets, and up to which."""
    return {tp: (found.records, found.position) for tp, found in source.buffered().items()}


def in_time(source: RangeSource, expected: Any, look: Callable[[RangeSource], Any] = unread) -> None:
    eventually(lambda: look(source) == expected, f"{expected}")


def test_what_is_unread_lies_before_the_last_stable_offset(kafka: MemoryKafka, source: RangeSource) -> None:
    opened = kafka.open_transaction()
    opened.produce("orders", "y", partition=1)
    kafka.produce("orders", "z", partition=1)
    source.start_reading({FIRST: (2, None), SECOND: (0, 7)})
    in_time(source, {FIRST: (3, 5), SECOND: (5, 5)})
    assert source.leader_epoch(SECOND, 0) == 7
    assert source.leader_epoch(SECOND, 3) is None
    opened.commit()
    in_time(source, {FIRST: (3, 5), SECOND: (8, 8)})


def test_what_was_taken_is_not_unread_any_more_until_it_is_read_again(source: RangeSource) -> None:
    source.start_reading({FIRST: (0, None), SECOND: (0, None)})
    in_time(source, {FIRST: (5, 5), SECOND: (5, 5)})
    assert source.take([OffsetRange(FIRST, 0, 3)]) == {FIRST: ()}
    assert unread(source)[FIRST] == (2, 5)
    with pytest.raises(ValueError, match="begins at 3"):
        source.take([OffsetRange(FIRST, 0, 3)])
    source.start_reading({FIRST: (0, None)})
    assert unread(source)[FIRST] == (5, 5)


def test_nothing_of_a_partition_is_unread_before_it_is_started(source: RangeSource) -> None:
    source.start_reading({SECOND: (0, None)})
    in_time(source, {SECOND: (5, 5)})


def test_a_position_beyond_the_end_is_lost(kafka: MemoryKafka, source: RangeSource) -> None:
    source.start_reading({FIRST: (9, None), SECOND: (5, None)})
    in_time(
        source,
        [PositionLost(FIRST, 9, False, "it is beyond the end")],
        lambda source: [*source.events()][:1] if source.buffered() == {} else None,
    )


def test_what_a_worker_has_lost_comes_as_an_event_while_it_is_ours(source: RangeSource) -> None:
    source.start_reading({FIRST: (0, None)})
    ours, others = (PositionLost(tp, 0, True, "truncated") for tp in (FIRST, SECOND))
    source.lost(ours)
    source.lost(others)
    assert source.events() == [ours]
    assert source.events() == []


def test_a_partition_that_was_given_up_cannot_be_taken(kafka: MemoryKafka) -> None:
    source = RangeSource(kafka.source("group", ["orders"], SourceLimits()))
    source.open(1)
    source.subscribe()
    assert [type(event) for event in source.events()] == [Assigned]
    source.start_reading({FIRST: (0, None), SECOND: (0, None)})
    in_time(source, {FIRST: (5, 5), SECOND: (5, 5)})
    another = kafka.source("group", ["orders"], SourceLimits())
    another.subscribe()
    (event,) = source.events()
    assert isinstance(event, Revoked)
    (given_up,) = event.partitions
    assert given_up not in unread(source), "nothing more is planned of it"
    source.take([OffsetRange(given_up, 0, 2)])  # what was planned before may be finished
    source.release(event.partitions)
    with pytest.raises(OwnershipLost, match="was given up"):
        source.take([OffsetRange(given_up, 2, 4)])
    source.close()
    another.close()


def test_sizes_are_learned_from_what_workers_find(source: RangeSource) -> None:
    source.start_reading({FIRST: (0, None)})
    in_time(source, {FIRST: (5, 5)})
    for _ in range(30):
        source.learn(10, 1_000)
    found = source.buffered()[FIRST]
    assert 490 <= found.value_bytes <= 520
    assert (found.records_within(250), found.records_within(1), found.records_within(10_000)) == (2, 1, 5)
    assert (found.until_after(3), found.until_after(5), found.records_before(4)) == (3, 5, 4)
