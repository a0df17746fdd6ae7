"""What a source does as a member of a consumer group: a part of ``source_contract`` (needs pytest)."""
# ruff: noqa: D102 - a test's name says what it shows

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest

from kafka_stream.errors import OwnershipLost
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.testing.source_reader import WAIT_S, Reader, SourceHarness
from kafka_stream.types import OffsetRange, TopicPartition


class OpenedSources:
    """What the parts of the contract begin with: sources that are closed after each test."""

    @pytest.fixture
    def harness(self) -> SourceHarness:
        """The Kafka under test; subclasses define it."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self, harness: SourceHarness) -> Iterator[Callable[..., Reader]]:
        """A function that opens a source and gives its reader."""
        with ExitStack() as stack:

            def open_reader(
                topics: str | Sequence[str], *, group_id: str | None = None, limits: SourceLimits | None = None
            ) -> Reader:
                names = [topics] if isinstance(topics, str) else topics
                source = harness.source(group_id or f"group-{names[0]}", names, limits or SourceLimits())
                source.open(WAIT_S)
                stack.callback(source.close)
                return Reader(source)

            yield open_reader


class SourceGroupContract(OpenedSources):
    """Assignments by a group, and topics that are followed or not. Readers are closed after each test."""

    def test_a_group_member_reads_what_it_is_assigned(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        topic = harness.create_topic(2)
        partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
        for partition in partitions:
            harness.produce(topic, partition.partition, ["a", "b", "c"])
        harness.delete_records(topic, 1, 1)
        reader = opened(topic)
        assert reader.source.group_members() == []
        reader.source.subscribe()
        reader.until(lambda: reader.assigned == set(partitions))
        assert len(reader.source.group_members()) == 1
        assert reader.source.buffered() == {}
        reader.read({partitions[0]: 0, partitions[1]: 2}, dict.fromkeys(partitions, 3))
        assert reader.values == {partitions[0]: ["a", "b", "c"], partitions[1]: ["c"]}

    def test_a_revoked_partition_moves_once_it_is_released(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        topic = harness.create_topic(2)
        partitions = {TopicPartition(topic, 0), TopicPartition(topic, 1)}
        for partition in partitions:
            harness.produce(topic, partition.partition, ["a", "b", "c"])
        first = opened(topic, group_id=f"shared-{topic}")
        first.source.subscribe()
        first.until(lambda: first.assigned == partitions)
        first.start(dict.fromkeys(partitions, 0))
        for partition in partitions:
            first.buffered(partition, 3)
        second = opened(topic, group_id=f"shared-{topic}")
        second.source.subscribe()
        first.until(lambda: first.revoked, take=False)
        (moving,) = first.revoked
        (kept,) = partitions - {moving}
        assert first.source.is_revoking([kept, moving])
        assert not first.source.is_revoking([kept])
        assert moving not in first.source.buffered()
        first.take([OffsetRange(moving, 0, 3)])  # the batch in hand is finished
        assert first.values[moving] == ["a", "b", "c"]
        second.look()
        assert second.assigned == set()
        first.source.release([moving])

        def handed_over() -> bool:
            first.look()
            return second.assigned == {moving}

        second.until(handed_over)
        second.read({moving: 1}, {moving: 3})
        assert second.values[moving] == ["b", "c"]
        assert first.source.is_revoking([moving])
        with pytest.raises(OwnershipLost):
            first.source.take([OffsetRange(moving, 0, 3)])
        harness.produce(topic, kept.partition, ["d"])
        first.until(lambda: first.positions[kept] >= 4)
        assert first.values[kept] == ["a", "b", "c", "d"]

    def test_a_member_that_rejoins_is_assigned_anew(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, ["a", "b"])
        reader = opened(partition.topic)
        reader.source.subscribe()
        reader.until(lambda: reader.assigned)
        reader.read({partition: 0}, {partition: 2})
        reader.events.clear()
        reader.source.rejoin()
        reader.until(lambda: reader.assigned == {partition})
        assert not reader.revoked
        assert not reader.source.is_revoking([partition])
        assert reader.source.buffered() == {}
        reader.read({partition: 1}, {partition: 2})

    def test_a_member_is_assigned_the_topics_that_it_follows(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        one, two = (harness.create_topic(1) for _ in range(2))
        of_one, of_two = TopicPartition(one, 0), TopicPartition(two, 0)
        reader = opened([f"^({one}|{two})$"], group_id=f"group-{one}")
        assert reader.source.topics().keys() == {one, two}
        reader.source.follow([one])
        reader.source.subscribe()
        reader.until(lambda: reader.assigned == {of_one})
        harness.produce(one, 0, ["a"])
        harness.produce(two, 0, ["b", "c"])
        reader.read({of_one: 0}, {of_one: 1})
        reader.source.follow([one, two])
        reader.until(lambda: reader.assigned == {of_one, of_two})
        reader.read({of_two: 0}, {of_two: 2})
        reader.source.follow([two])
        reader.until(lambda: reader.revoked == {of_one})
        reader.source.release([of_one])
        harness.produce(two, 0, ["d"])
        reader.until(lambda: reader.values[of_two] == ["b", "c", "d"])
        assert reader.values[of_one] == ["a"]

    def test_a_member_that_follows_nothing_waits(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        topic = harness.create_topic(1)
        reader = opened([f"^{topic}$"], group_id=f"group-{topic}")
        reader.source.subscribe()
        reader.look()
        assert reader.assigned == set()
        reader.source.follow([topic])
        reader.until(lambda: reader.assigned == {TopicPartition(topic, 0)})


__all__ = ["OpenedSources", "SourceGroupContract"]
