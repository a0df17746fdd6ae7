"""Who owns which partitions, by a fixed rule."""

from __future__ import annotations

import pytest

from kafka_stream.engine.assignment import GroupAssignment, StaticAssignment, assignment_from
from kafka_stream.errors import TopicNotFound
from kafka_stream.protocols import TopicInfo
from kafka_stream.types import TopicPartition

TOPICS = {"users": TopicInfo(2, None), "orders": TopicInfo(5, "id")}


def test_texts() -> None:
    assert assignment_from("group") == GroupAssignment()
    assert assignment_from("static") == StaticAssignment(0, 1)
    assert assignment_from("static:2/4") == StaticAssignment(2, 4)


def test_static_owns_everything_sorted() -> None:
    owned = StaticAssignment().partitions(TOPICS)
    assert list(owned) == sorted(owned)
    assert len(owned) == 7


@pytest.mark.parametrize("count", range(1, 6))
def test_shards_are_disjoint_and_together_own_everything(count: int) -> None:
    shards = [StaticAssignment(index, count).partitions(TOPICS) for index in range(count)]
    owned = [tp for shard in shards for tp in shard]
    assert sorted(owned) == list(StaticAssignment().partitions(TOPICS))


def test_a_partition_stays_in_its_shard_when_the_topic_grows() -> None:
    grown = {**TOPICS, "orders": TopicInfo(9, "id")}
    before, after = StaticAssignment(1, 3).partitions(TOPICS), StaticAssignment(1, 3).partitions(grown)
    assert set(before) <= set(after)
    assert TopicPartition("orders", 7) in after


def test_a_shard_of_nothing_is_refused() -> None:
    with pytest.raises(TopicNotFound, match="shard 5 of 6 owns no partition of orders, users; use at most as many"):
        StaticAssignment(5, 6).partitions(TOPICS)
