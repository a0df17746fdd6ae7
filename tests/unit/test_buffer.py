"""Buffers between the fetching thread and the loop, without any Kafka."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.errors import KafkaStreamError, OwnershipLost
from kafka_stream.protocols import Assigned, Failed, Lost, PositionLost, Revoked
from kafka_stream.source.buffer import PartitionBuffer, offset_of
from kafka_stream.source.inbox import Inbox, SourceLimits
from kafka_stream.source.waker import Waker
from kafka_stream.testing import message
from kafka_stream.types import OffsetRange, TopicPartition

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def records(*offsets: int, size: int = 1) -> list[Message]:
    return [message("v" * size, topic="t", offset=offset) for offset in offsets]


class TestPartitionBuffer:
    def test_records_before_the_position_are_dropped(self) -> None:
        buffer = PartitionBuffer(5)
        assert buffer.append(records(3, 4)) == 0
        assert buffer.append(records(4, 5, 6)) == 2
        assert buffer.append(records(6, 9)) == 1
        assert (len(buffer), buffer.position, buffer.value_bytes) == (3, 10, 3)

    def test_a_position_never_goes_back(self) -> None:
        buffer = PartitionBuffer(5)
        assert buffer.advance(8)
        assert not buffer.advance(8)
        assert not buffer.advance(6)
        assert buffer.position == 8

    def test_a_range_without_records_is_progress(self) -> None:
        buffer = PartitionBuffer(0)
        buffer.advance(4)
        assert buffer.take(OffsetRange(P0, 0, 3)) == []
        assert buffer.take(OffsetRange(P0, 3, 4)) == []
        assert (buffer.start, buffer.position) == (4, 4)

    @pytest.mark.parametrize(("start", "end"), [(1, 3), (0, 5)])
    def test_only_what_is_at_the_front_can_be_taken(self, start: int, end: int) -> None:
        buffer = PartitionBuffer(0)
        buffer.append(records(0, 1, 2, 3))
        with pytest.raises(ValueError, match=r"cannot take t\[0\] .*: what is buffered is \[0, 4\)"):
            buffer.take(OffsetRange(P0, start, end))

    @given(st.sets(st.integers(5, 30)), st.integers(0, 40))
    def test_records_before_an_offset_are_counted_with_and_without_gaps(self, offsets: set[int], until: int) -> None:
        buffer = PartitionBuffer(5)
        buffer.append(records(*sorted(offsets)))
        assert buffer.snapshot().records_before(until) == sum(offset < until for offset in offsets)

    def test_a_snapshot_does_not_see_what_comes_later(self) -> None:
        buffer = PartitionBuffer(0)
        buffer.append(records(0, 1))
        snapshot = buffer.snapshot()
        buffer.append(records(2, 3))
        assert (snapshot.records, snapshot.position, snapshot.value_bytes) == (2, 2, 2)
        assert snapshot.until_after(2) == 2
        assert snapshot.records_before(99) == 2
        assert snapshot.records_within(1) == 1
        assert snapshot.value_bytes_of(99) == 2

    @given(
        gaps=st.lists(st.integers(0, 3), min_size=1, max_size=30),
        sizes=st.lists(st.integers(0, 5), min_size=30, max_size=30),
        cuts=st.lists(st.integers(1, 8), max_size=20),
        trailing=st.integers(0, 3),
        at_once=st.integers(1, 7),
    )
    def test_however_it_is_cut_every_record_is_taken_once(
        self, gaps: list[int], sizes: list[int], cuts: list[int], trailing: int, at_once: int
    ) -> None:
        offsets: list[int] = []
        for gap in gaps:
            offsets.append((offsets[-1] + 1 if offsets else 0) + gap)
        messages = [message("v" * sizes[i], topic="t", offset=offset) for i, offset in enumerate(offsets)]
        buffer = PartitionBuffer(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kafka_stream.source.buffer._RUN_RECORDS", 3)
            for start in range(0, len(messages), at_once):
                buffer.append(messages[start : start + at_once])
        buffer.advance(offsets[-1] + 1 + trailing)
        taken: list[int] = []
        for cut in [*cuts, len(messages), 1]:
            snapshot = buffer.snapshot()
            until = snapshot.until_after(cut)
            assert snapshot.records_before(until) == min(cut, snapshot.records)
            left = messages[len(taken) :]
            assert snapshot.value_bytes_of(cut) == sum(map(len, left[:cut]))
            part = buffer.take(OffsetRange(P0, buffer.start, until))
            assert len(part) == min(cut, snapshot.records)
            taken.extend(map(offset_of, part))
            assert buffer.value_bytes == sum(map(len, messages[len(taken) :]))
        assert taken == offsets
        assert buffer.start == buffer.position

    @given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=20), limit=st.integers(0, 60))
    def test_records_within_a_size_are_as_many_as_fit_or_one(self, sizes: list[int], limit: int) -> None:
        buffer = PartitionBuffer(0)
        buffer.append([message("v" * size, topic="t", offset=n) for n, size in enumerate(sizes)])
        snapshot = buffer.snapshot()
        count = snapshot.records_within(limit)
        assert snapshot.value_bytes_of(count) <= limit or count == 1
        assert count == len(sizes) or snapshot.value_bytes_of(count + 1) > limit


@pytest.fixture
def inbox() -> Inbox:
    """An inbox with two partitions that are being read from offset 0."""
    inbox = Inbox(SourceLimits(max_buffered_records=10, max_buffered_bytes=100))
    inbox.assigned([P0, P1])
    for partition, generation in inbox.start({P0: 0, P1: 0}).items():
        inbox.reading(partition, generation)
    assert inbox.events() == [Assigned((P0, P1))]
    return inbox


class TestInbox:
    def test_what_was_on_its_way_for_an_older_start_is_dropped(self, inbox: Inbox) -> None:
        old = inbox.start({P0: 50})[P0]
        new = inbox.start({P0: 70})[P0]
        inbox.add(P0, records(50))
        inbox.reading(P0, old)
        inbox.add(P0, records(51))
        inbox.advance(P0, 60)
        assert inbox.buffered() == {}
        inbox.reading(P0, new)
        inbox.add(P0, records(70))
        assert inbox.buffered()[P0].records == 1

    def test_a_revoked_partition_can_be_finished_until_it_is_released(self, inbox: Inbox) -> None:
        inbox.add(P0, records(0, 1))
        inbox.revoked([P0])
        inbox.add(P0, records(2))
        assert inbox.events() == [Revoked((P0,))]
        assert inbox.is_revoking([P0, P1])
        assert not inbox.is_revoking([P1])
        assert inbox.buffered() == {}
        assert inbox.start({P0: 0}) == {}
        assert len(inbox.take([OffsetRange(P0, 0, 1)])[P0]) == 1
        assert not inbox.wait_released([P0], 0, lambda: False)
        inbox.release([P0])
        assert inbox.wait_released([P0], 0, lambda: False)
        with pytest.raises(OwnershipLost, match=r"t\[0\] was given up before t\[0\] \[1, 2\) could be read"):
            inbox.take([OffsetRange(P0, 1, 2)])
        assert inbox.room() == 10

    def test_a_partition_that_came_back_is_in_doubt_until_the_revocation_was_seen(self, inbox: Inbox) -> None:
        inbox.add(P0, records(0))
        inbox.lost([P0])
        inbox.assigned([P0])
        assert inbox.events() == [Lost((P0,)), Assigned((P0,))]
        assert inbox.is_revoking([P0])
        with pytest.raises(OwnershipLost):
            inbox.take([OffsetRange(P0, 0, 1)])
        inbox.release([P0])
        assert not inbox.is_revoking([P0])
        assert inbox.start({P0: 7}).keys() == {P0}

    def test_a_waiting_rebalance_goes_on_when_the_loop_releases_or_the_source_closes(self, inbox: Inbox) -> None:
        inbox.revoked([P0, P1])
        outcomes: list[bool] = []
        closing = threading.Event()
        for _ in range(2):
            waiting = threading.Thread(
                target=lambda: outcomes.append(inbox.wait_released([P0, P1], 3600, closing.is_set)), daemon=True
            )
            waiting.start()
            if not closing.is_set():
                inbox.release([P0])
                inbox.release([P1])
            else:
                inbox.interrupt()
            waiting.join(30)
            inbox.assigned([P0, P1])
            inbox.revoked([P0, P1])
            closing.set()
        assert outcomes == [True, False]

    def test_a_lost_position_stops_the_partition_until_the_next_start(self, inbox: Inbox) -> None:
        inbox.add(P0, records(0, 1))
        inbox.position_lost(P0, truncated=True, reason="why")
        inbox.position_lost(P0, truncated=True, reason="again")
        inbox.add(P0, records(5))
        assert inbox.events() == [PositionLost(P0, 2, truncated=True, reason="why")]
        assert inbox.buffered()[P0].position == 2

    def test_nothing_of_a_void_assignment_is_heard_of_again(self, inbox: Inbox) -> None:
        inbox.add(P0, records(0))
        failure = KafkaStreamError("no")
        inbox.failed(failure)
        inbox.void()
        inbox.revoked([P0])
        inbox.assigned([P1])
        assert inbox.events() == [Failed(failure)]
        assert inbox.is_revoking([P0])
        assert inbox.buffered() == {}
        assert inbox.room() == 10
        inbox.renew()
        inbox.assigned([P1])
        assert inbox.events() == [Assigned((P1,))]

    def test_room_counts_records_and_bytes(self, inbox: Inbox) -> None:
        inbox.add(P0, records(0, 1, 2, size=20))
        assert inbox.room() == 2  # 40 bytes are left, for records of 20
        assert inbox.room(times=2) == 7
        inbox.add(P1, records(0, 1, size=20))
        assert inbox.room() == 0
        assert inbox.fill() == {P0: pytest.approx(1.2), P1: pytest.approx(0.8)}
        inbox.take([OffsetRange(P0, 0, 3)])
        assert inbox.fill() == {P0: 0.0, P1: pytest.approx(0.8)}
        assert inbox.room() == 3

    @pytest.mark.parametrize(
        "wrong", [{"max_buffered_records": 0}, {"max_buffered_bytes": 0}, {"revoke_timeout_s": -1}]
    )
    def test_limits_check_themselves(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match=r"buffers at least|cannot be negative"):
            SourceLimits(**wrong)


class TestWaker:
    def test_calls_are_not_lost_and_not_piled_up(self) -> None:
        waker = Waker()
        for _ in range(1000):
            waker.wake()
        waker.wait(3600)
        waker.wait(0)
        waker.wake()
        waker.wait(3600)

    def test_a_signal_handler_may_wake_its_own_thread(self) -> None:
        waker = Waker()
        before = signal.signal(signal.SIGUSR1, lambda *_: waker.wake())
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        try:
            timer.start()
            waker.wait(3600)
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
