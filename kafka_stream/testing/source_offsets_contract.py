"""What a source says of topics and offsets: a part of ``source_contract`` (needs pytest)."""
# ruff: noqa: D102 - a test's name says what it shows

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from kafka_stream.errors import TopicNotFound
from kafka_stream.protocols import OffsetAt
from kafka_stream.testing.source_group_contract import OpenedSources
from kafka_stream.testing.source_reader import Reader, SourceHarness
from kafka_stream.types import TopicPartition


class SourceOffsetsContract(OpenedSources):
    """Topics, and offsets by end and by time. Readers are closed after each test."""

    def test_topics_have_partitions_and_ids(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        topic = harness.create_topic(3)
        info = opened(topic).source.topics()[topic]
        assert info.partitions == 3
        assert info.topic_id

    def test_a_missing_topic_is_named_and_not_created(self, opened: Callable[..., Reader]) -> None:
        reader = opened("no-such-topic")
        for _ in range(2):
            with pytest.raises(TopicNotFound, match="'no-such-topic' does not exist"):
                reader.source.topics()

    def test_new_partitions_are_seen(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        topic = harness.create_topic(1)
        reader = opened(topic)
        assert reader.source.topics()[topic].partitions == 1
        harness.add_partitions(topic, 3)
        assert reader.source.topics()[topic].partitions == 3
        harness.produce(topic, 2, ["a"])
        added = TopicPartition(topic, 2)
        reader.assign([added])
        reader.read({added: 0}, {added: 1})
        assert reader.values[added] == ["a"]

    def test_a_recreated_topic_has_another_id(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        topic = harness.create_topic(1)
        reader = opened(topic)
        before = reader.source.topics()[topic].topic_id
        harness.recreate_topic(topic)
        assert reader.source.topics()[topic].topic_id != before

    def test_offsets_of_all_kinds(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        topic = harness.create_topic(2)
        first, empty = TopicPartition(topic, 0), TopicPartition(topic, 1)
        harness.produce(topic, 0, ["a", "b", "c"])
        harness.abort(topic, 0, ["x", "y"])
        harness.open_transaction(topic, 0, ["z"])
        harness.delete_records(topic, 0, 1)
        source = opened(topic).source
        assert source.offsets([first, empty], OffsetAt.EARLIEST) == {first: 1, empty: 0}
        assert source.offsets([first, empty], OffsetAt.LATEST) == {first: 6, empty: 0}
        assert source.offsets([first, empty], OffsetAt.HIGH_WATERMARK) == {first: 7, empty: 0}
        now = datetime.now(UTC)
        assert source.offsets([first, empty], now - timedelta(days=1)) == {first: 1, empty: 0}
        assert source.offsets([first, empty], now + timedelta(days=1)) == {first: 6, empty: 0}

    @pytest.mark.parametrize(
        "at",
        [
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC) - timedelta(milliseconds=1),
            datetime(1970, 1, 1, tzinfo=UTC) - timedelta(milliseconds=2),
            datetime.min.replace(tzinfo=UTC),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        ],
        ids=str,
    )
    def test_a_time_before_all_records_is_where_the_log_starts(
        self, harness: SourceHarness, opened: Callable[..., Reader], at: datetime
    ) -> None:
        """In Kafka's requests a negative time means something else."""
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, ["a", "b", "c"])
        harness.delete_records(partition.topic, 0, 1)
        source = opened(partition.topic).source
        assert source.offsets([partition], at) == {partition: 1}
        assert source.ends_before([partition], at) == {partition: 1}

    def test_where_the_records_from_before_a_time_end(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        topic = harness.create_topic(3)
        stable, pinned, empty = (TopicPartition(topic, number) for number in range(3))
        harness.produce(topic, 0, ["a", "b"])
        harness.produce(topic, 1, ["a"])
        harness.open_transaction(topic, 1, ["b", "c"])
        harness.produce(topic, 1, ["d"])
        source, now = opened(topic).source, datetime.now(UTC)
        before, after = now - timedelta(days=1), now + timedelta(days=1)
        assert source.ends_before([stable, pinned, empty], before) == {stable: 0, pinned: 0, empty: 0}
        assert source.ends_before([stable, pinned, empty], after) == {stable: 2, pinned: 4, empty: 0}
        assert source.offsets([pinned], after) == {pinned: 1}, "where a stable record is asked for"

    def test_which_transaction_keeps_an_end_and_since_when(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        topic = harness.create_topic(3)
        stable, pinned, empty = (TopicPartition(topic, number) for number in range(3))
        harness.produce(topic, 0, ["a", "b"])
        harness.produce(topic, 1, ["a"])
        before = datetime.now(UTC) - timedelta(seconds=1)
        transaction = harness.open_transaction(topic, 1, ["b", "c"])
        harness.produce(topic, 1, ["d"])
        reader = opened(topic)
        source = reader.source
        found = source.open_transactions([stable, pinned, empty])
        assert found.keys() == {pinned}
        assert found[pinned].offset == 1
        since = found[pinned].since
        assert since is not None
        assert before <= since <= datetime.now(UTC)
        assert not found[pinned].hangs, "it is young"
        assert source.open_transactions([stable, empty]) == {}
        transaction.commit()
        reader.until(lambda: not source.open_transactions([pinned]))


__all__ = ["SourceOffsetsContract"]
