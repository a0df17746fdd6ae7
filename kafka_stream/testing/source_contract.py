"""The promise of ``protocols.Source`` as tests: every source passes the same class (needs pytest).

Subclass ``SourceContract`` and define the fixture ``harness``.
"""
# ruff: noqa: D102 - a test's name says what it shows

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from kafka_stream.errors import OwnershipLost
from kafka_stream.protocols import Assigned
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.testing.source_group_contract import SourceGroupContract
from kafka_stream.testing.source_offsets_contract import SourceOffsetsContract
from kafka_stream.testing.source_reader import WAIT_S, Reader, SourceHarness
from kafka_stream.types import OffsetRange, TopicPartition


class SourceContract(SourceOffsetsContract, SourceGroupContract):
    """Every source passes this class. Readers are closed after each test."""

    # Reading --------------------------------------------------------------------------------------------------------

    def test_every_record_of_every_partition_once_and_in_order(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        topics = [harness.create_topic(2), harness.create_topic(1)]
        partitions = [TopicPartition(topics[0], 0), TopicPartition(topics[0], 1), TopicPartition(topics[1], 0)]
        for partition in partitions:
            harness.produce(partition.topic, partition.partition, [f"{partition} {n}" for n in range(500)])
        reader = opened(topics)
        reader.assign(partitions)
        reader.read(dict.fromkeys(partitions, 0), dict.fromkeys(partitions, 500))
        for partition in partitions:
            assert reader.values[partition] == [f"{partition} {n}" for n in range(500)]
            assert reader.offsets[partition] == list(range(500))

    def test_reading_starts_in_the_middle(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, [str(n) for n in range(100)])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.read({partition: 60}, {partition: 100})
        assert reader.values[partition] == [str(n) for n in range(60, 100)]

    def test_nothing_is_read_before_it_is_started(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        topic = harness.create_topic(2)
        idle, read = TopicPartition(topic, 0), TopicPartition(topic, 1)
        for partition in (idle, read):
            harness.produce(topic, partition.partition, ["a", "b"])
        reader = opened(topic)
        reader.assign([idle, read])
        reader.read({read: 0}, {read: 2})
        assert idle not in reader.source.buffered()

    def test_records_that_arrive_later_are_read(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.start({partition: 0})
        for count in range(1, 4):
            harness.produce(partition.topic, 0, [f"record {count}"])
            reader.until(lambda: reader.positions[partition] >= count)  # noqa: B023 - called at once
        assert reader.values[partition] == ["record 1", "record 2", "record 3"]

    def test_aborted_records_are_progress_without_records(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, ["a", "b", "c", "d", "e"])
        harness.abort(partition.topic, 0, ["x", "y", "z"])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.read({partition: 0}, {partition: 9})
        assert reader.offsets[partition] == [0, 1, 2, 3, 4]
        reader.read({partition: 5}, {partition: 9})
        assert reader.offsets[partition] == []
        harness.produce(partition.topic, 0, ["f"])
        reader.until(lambda: reader.positions[partition] >= 10)
        assert reader.offsets[partition] == [9]

    def test_an_open_transaction_holds_back_what_follows(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, ["a"])
        transaction = harness.open_transaction(partition.topic, 0, ["b", "c"])
        harness.produce(partition.topic, 0, ["d"])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.read({partition: 0}, {partition: 1})
        transaction.commit()
        reader.until(lambda: reader.positions[partition] >= 5)
        assert reader.values[partition] == ["a", "b", "c", "d"]

    def test_a_new_start_voids_what_was_buffered(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, [str(n) for n in range(50)])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.start({partition: 0})
        reader.buffered(partition, 50)
        for start in (20, 0, 45, 50, 0):
            reader.start({partition: start})
            reader.until(lambda: reader.positions[partition] >= 50)
            assert reader.offsets[partition] == list(range(start, 50))

    def test_many_new_starts_in_a_row_lose_and_repeat_nothing(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        topic = harness.create_topic(2)
        partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
        for partition in partitions:
            harness.produce(topic, partition.partition, [str(n) for n in range(200)])
        reader = opened(topic)
        reader.assign(partitions)
        for turn in range(20):
            reader.start({partitions[turn % 2]: 7 * turn, partitions[1 - turn % 2]: 0})
            if turn % 3 == 0:
                reader.look()
        reader.read(dict.fromkeys(partitions, 11), dict.fromkeys(partitions, 200))
        for partition in partitions:
            assert reader.offsets[partition] == list(range(11, 200))

    # What the planner looks at --------------------------------------------------------------------------------------

    def test_a_snapshot_counts_and_cuts(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, ["1", "22", "333"])
        harness.abort(partition.topic, 0, ["x"])
        harness.produce(partition.topic, 0, ["4444"])
        harness.abort(partition.topic, 0, ["x"])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.start({partition: 0})
        buffered = reader.buffered(partition, 8)
        assert (buffered.records, buffered.value_bytes, buffered.position) == (4, 10, 8)
        assert [buffered.until_after(n) for n in (1, 2, 3, 4, 9)] == [1, 2, 5, 8, 8]
        assert [buffered.records_before(n) for n in (0, 2, 4, 5, 6, 99)] == [0, 2, 3, 3, 4, 4]
        assert [buffered.records_within(n) for n in (0, 1, 2, 3, 5, 6, 9, 10)] == [1, 1, 1, 2, 2, 3, 3, 4]
        assert [buffered.value_bytes_of(n) for n in (0, 1, 2, 3, 4, 9)] == [0, 1, 3, 6, 10, 10]

    def test_ranges_are_taken_from_the_front(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, [str(n) for n in range(10)])
        harness.abort(partition.topic, 0, ["x"])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.start({partition: 0})
        reader.buffered(partition, 12)
        reader.take([OffsetRange(partition, 0, 4)])
        assert reader.offsets[partition] == [0, 1, 2, 3]
        left = reader.source.buffered()[partition]
        assert (left.records, left.value_bytes, left.position) == (6, 6, 12)
        with pytest.raises(ValueError, match="cannot take"):
            reader.source.take([OffsetRange(partition, 0, 4)])
        with pytest.raises(ValueError, match="cannot take"):
            reader.source.take([OffsetRange(partition, 4, 13)])
        reader.take([OffsetRange(partition, 4, 11)])
        reader.take([OffsetRange(partition, 11, 12)])
        assert reader.offsets[partition] == list(range(10))
        assert partition not in reader.source.buffered()

    def test_buffers_are_bounded_and_starve_nobody(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        topic = harness.create_topic(2)
        left, drained = TopicPartition(topic, 0), TopicPartition(topic, 1)
        for partition in (left, drained):
            harness.produce(topic, partition.partition, [str(n) for n in range(1000)])
        reader = opened(topic, limits=SourceLimits(max_buffered_records=50))
        reader.assign([left, drained])
        reader.start({left: 0, drained: 0})
        most = 0

        def drain_one() -> bool:
            nonlocal most
            buffered = reader.source.buffered()
            most = max(most, sum(b.records for b in buffered.values()))
            if drained in buffered:
                reader.take([OffsetRange(drained, reader.positions[drained], buffered[drained].position)])
            return reader.positions[drained] >= 1000

        reader.until(drain_one, take=False)
        assert reader.offsets[drained] == list(range(1000))
        assert 0 < most <= 100
        reader.until(lambda: reader.positions[left] >= 1000)
        assert reader.offsets[left] == list(range(1000))

    def test_buffers_are_bounded_in_bytes(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, [f"{n:05}" + 995 * "." for n in range(500)])
        reader = opened(partition.topic, limits=SourceLimits(max_buffered_bytes=20_000))
        reader.assign([partition])
        reader.start({partition: 0})
        most = 0

        def nothing_is_missing() -> bool:
            nonlocal most
            most = max(most, sum(b.value_bytes for b in reader.source.buffered().values()))
            reader.look()
            return reader.positions[partition] >= 500

        reader.until(nothing_is_missing, take=False)
        assert reader.offsets[partition] == list(range(500))
        assert 0 < most <= 40_000

    def test_what_must_be_taken_whole_is_read_past_the_limits(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        topic = harness.create_topic(2)
        planned, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
        for partition in (planned, other):
            harness.produce(topic, partition.partition, [str(n) for n in range(3000)])
        reader = opened(topic, limits=SourceLimits(max_buffered_records=10))
        reader.assign([planned, other])
        reader.source.read_on_until({planned: 2500})
        reader.start({planned: 0, other: 0})
        assert reader.buffered(planned, 2500).records >= 2500
        reader.take([OffsetRange(planned, 0, 2500)])
        reader.until(lambda: all(reader.positions[partition] >= 3000 for partition in (planned, other)))
        assert reader.offsets == {planned: list(range(3000)), other: list(range(3000))}

    # Positions that are gone ----------------------------------------------------------------------------------------

    def test_retention_past_the_position_is_reported(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, [str(n) for n in range(10)])
        harness.delete_records(partition.topic, 0, 6)
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.start({partition: 2})
        reader.until(lambda: reader.lost)
        (lost,) = reader.lost
        assert (lost.partition, lost.offset, lost.truncated) == (partition, 2, False)
        assert lost.reason
        assert reader.source.buffered() == {}
        reader.read({partition: 6}, {partition: 10})
        assert reader.offsets[partition] == [6, 7, 8, 9]

    def test_a_position_past_the_end_is_reported(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, ["a"])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.start({partition: 1000})
        reader.until(lambda: reader.lost)
        assert reader.lost[0].offset == 1000
        reader.read({partition: 0}, {partition: 1})

    def test_a_known_leader_epoch_is_accepted(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, ["a", "b", "c"])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.start({partition: 0})
        reader.buffered(partition, 3)
        epoch = reader.take([OffsetRange(partition, 0, 3)])[partition][0].leader_epoch()
        assert epoch is not None
        reader.start({partition: 1})
        reader.source.start_reading({partition: (1, epoch)})
        reader.until(lambda: reader.positions[partition] >= 3)
        assert reader.values[partition] == ["b", "c"]

    def test_an_unknown_leader_epoch_is_a_truncated_log(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        harness.produce(partition.topic, 0, ["a", "b", "c"])
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.positions[partition] = 2
        reader.source.start_reading({partition: (2, 1000)})
        reader.until(lambda: reader.lost)
        assert (reader.lost[0].offset, reader.lost[0].truncated) == (2, True)
        reader.read({partition: 0}, {partition: 3})

    # Assignments ----------------------------------------------------------------------------------------------------

    def test_an_assignment_replaces_the_one_before(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        topic = harness.create_topic(3)
        zero, one, two = (TopicPartition(topic, n) for n in range(3))
        for n in range(3):
            harness.produce(topic, n, ["a", "b"])
        reader = opened(topic)
        assert reader.source.is_revoking([zero])
        reader.assign([zero, one])
        reader.read({zero: 0, one: 0}, {zero: 2, one: 2})
        assert not reader.source.is_revoking([zero, one])
        reader.assign([one, two])
        assert reader.source.is_revoking([zero])
        assert not reader.source.is_revoking([one, two])
        assert [e.partitions for e in reader.events if isinstance(e, Assigned)] == [(zero, one), (two,)]
        harness.produce(topic, 1, ["c"])
        reader.read({two: 0}, {two: 2, one: 3})
        assert reader.values[one] == ["a", "b", "c"]

    def test_positions_that_come_too_late_are_ignored(
        self, harness: SourceHarness, opened: Callable[..., Reader]
    ) -> None:
        topic = harness.create_topic(2)
        gone, kept = TopicPartition(topic, 0), TopicPartition(topic, 1)
        for n in range(2):
            harness.produce(topic, n, ["a"])
        reader = opened(topic)
        reader.assign([gone, kept])
        reader.assign([kept])
        reader.until(lambda: reader.source.is_revoking([gone]), take=False)
        reader.read({gone: 0, kept: 0}, {kept: 1})
        assert reader.values[gone] == []
        with pytest.raises(OwnershipLost, match="was given up"):
            reader.source.take([OffsetRange(gone, 0, 1)])

    # Waiting --------------------------------------------------------------------------------------------------------

    def test_wake_ends_a_wait_before_and_during_it(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        source = opened(harness.create_topic(1)).source
        source.wake()
        source.wait(3600)
        waiting = threading.Thread(target=source.wait, args=(3600,), daemon=True)
        waiting.start()
        source.wake()
        waiting.join(WAIT_S)
        assert not waiting.is_alive()

    def test_new_records_end_a_wait(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        partition = TopicPartition(harness.create_topic(1), 0)
        reader = opened(partition.topic)
        reader.assign([partition])
        reader.read({partition: 0}, {partition: 0})
        producing = threading.Thread(target=harness.produce, args=(partition.topic, 0, ["a"]))
        producing.start()
        deadline = time.monotonic() + WAIT_S
        while partition not in reader.source.buffered():
            assert time.monotonic() < deadline
            reader.source.wait(3600)
        producing.join()

    def test_closing_twice_is_harmless(self, harness: SourceHarness, opened: Callable[..., Reader]) -> None:
        reader = opened(harness.create_topic(1))
        reader.source.subscribe()
        reader.until(lambda: reader.assigned)
        reader.source.close()
        reader.source.close()
        assert reader.source.is_revoking(sorted(reader.assigned))


__all__ = ["SourceContract"]
