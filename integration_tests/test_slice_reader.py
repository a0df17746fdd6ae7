"""Slices of partitions on a real broker: each is read whole, by position, wherever its records are and are not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer
from integration_tests.slice_reading import Reading, reading_of
from kafka_stream.protocols.executors import Slice
from kafka_stream.types import OffsetRange, TopicPartition

WITHIN_S = 120


@pytest.fixture
def reading(kafka: KafkaServer) -> Iterator[Reading]:
    found = reading_of(kafka)
    with contextlib.closing(found.reader):
        yield found


@dataclass(frozen=True)
class Log:
    """A partition whose records are known from another consumer, and its end."""

    topic: str
    records: Sequence[tuple[int, bytes | None, bytes | None]]
    end: int
    leader_epoch: int | None

    def offsets(self, begin: int, until: int) -> list[int]:
        return [offset for offset, _, _ in self.records if begin <= offset < until]


def log_of(kafka: KafkaServer, topic: str) -> Log:
    records = [(offset, key, value) for _, offset, key, value in kafka.read_committed(topic)]
    with contextlib.closing((reading := reading_of(kafka)).reader):
        (piece,) = reading.pieces(topic, records[0][0], records[0][0] + 1)
    return Log(topic, records, kafka.end_offsets(topic)[0], piece.leader_epoch)


def abort(kafka: KafkaServer, topic: str, values: Sequence[str]) -> None:
    kafka.transaction(topic, values, 0, outcome="abort")
    # The broker answers before it writes the marker: what is produced next could take the marker's offset.
    assert wait_until(lambda: kafka.end_offsets(topic) == kafka.end_offsets(topic, committed=False), WITHIN_S)


@pytest.fixture(scope="module")
def log(kafka: KafkaServer) -> Log:
    """Aborted records and markers at its begin, in its middle and at its end, beside records of all kinds."""
    topic = kafka.create_topic(partitions=1)
    abort(kafka, topic, ["aborted"] * 7)
    kafka.produce(topic, [f"plain {n}" for n in range(10)], 0)
    kafka.transaction(topic, [f"committed {n}" for n in range(5)], 0)
    abort(kafka, topic, ["aborted"] * 30)
    abort(kafka, topic, ["aborted"] * 3)
    kafka.transaction(topic, [f"again {n}" for n in range(5)], 0)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    producer.produce(topic, None, "gone", partition=0)
    producer.produce(topic, "with headers", "key", partition=0, headers=[("trace", b"1"), ("none", None)])
    producer.produce(topic, "x" * 50_000, partition=0)
    assert producer.flush(WITHIN_S) == 0
    kafka.produce(topic, ["last"], 0)
    abort(kafka, topic, ["aborted"] * 4)
    return log_of(kafka, topic)


@pytest.fixture(scope="module")
def kept(kafka: KafkaServer) -> Iterator[Reading]:
    """One for many reads: its consumers go on, and jump."""
    found = reading_of(kafka)
    with contextlib.closing(found.reader):
        yield found


def test_a_log_has_holes_at_its_ends_and_amid(log: Log) -> None:
    offsets = log.offsets(0, log.end)
    assert offsets[0] > 0
    assert offsets[-1] < log.end - 1
    assert any(after - before > 10 for before, after in pairwise(offsets))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_all_slices_of_a_log_are_the_log(log: Log, kept: Reading, data: st.DataObject) -> None:
    inner = data.draw(st.lists(st.integers(0, log.end), max_size=6))
    piece_bytes = data.draw(st.none() | st.integers(1, 2_000))
    slices = list(pairwise(sorted({0, log.end, *inner})))
    order = data.draw(st.permutations(slices) | st.just(slices))
    epoch = data.draw(st.none() | st.just(log.leader_epoch))
    found = {
        begin: kept.pieces(log.topic, begin, until, piece_bytes=piece_bytes, epoch=epoch) for begin, until in order
    }
    for begin, until in slices:
        ends = [begin, *(piece.range.until_offset for piece in found[begin])]
        assert [piece.range.from_offset for piece in found[begin]] == ends[:-1]
        assert ends[-1] in {until, begin if not found[begin] else until}
    together = [(m.offset(), m.key(), m.value()) for begin, _ in slices for p in found[begin] for m in p.messages]
    assert together == log.records


def test_a_slice_that_holds_nothing_has_no_pieces(log: Log, reading: Reading) -> None:
    first, last = log.offsets(0, log.end)[0], log.offsets(0, log.end)[-1]
    assert reading.pieces(log.topic, 0, first) == []
    assert reading.pieces(log.topic, last + 1, log.end) == []
    assert reading.pieces(log.topic, log.end - 1, log.end) == []
    assert reading.pieces(log.topic, 3, 3) == []


def test_records_come_with_all_that_they_have(log: Log, reading: Reading) -> None:
    records = {m.key(): m for m in reading.records(log.topic, 0, log.end)}
    assert records[b"gone"].value() is None
    assert records[b"key"].headers() == [("trace", b"1"), ("none", None)]
    assert records[b"key"].leader_epoch() is not None


def test_slices_that_follow_each_other_go_on_with_one_consumer(log: Log, reading: Reading) -> None:
    cuts = range(0, log.end, 5)
    found = [m for begin in cuts for m in reading.offsets(log.topic, begin, min(begin + 5, log.end))]
    assert found == log.offsets(0, log.end)
    assert reading.consumers.made == 1


def test_a_reader_jumps_back_and_forth(log: Log, reading: Reading) -> None:
    for begin, until in ((20, 30), (8, 20), (0, 9), (50, log.end), (8, 20), (8, 20)):
        assert reading.offsets(log.topic, begin, until) == log.offsets(begin, until)
    assert reading.consumers.made == 1


def test_a_slice_that_was_left_in_its_middle_is_read_anew(log: Log, reading: Reading) -> None:
    part = Slice(OffsetRange(TopicPartition(log.topic, 0), 0, log.end))
    pieces = reading.reader.read(part, 1)
    next(pieces)
    pieces.close()
    assert reading.offsets(log.topic, 0, log.end) == log.offsets(0, log.end)


def test_what_is_written_after_a_slice_was_read_is_read_in_the_next(kafka: KafkaServer, reading: Reading) -> None:
    topic = kafka.create_topic(partitions=1)
    for begin in range(0, 30, 10):
        kafka.produce(topic, ["x"] * 10, 0)
        assert reading.offsets(topic, begin, begin + 10) == list(range(begin, begin + 10))
    assert reading.consumers.made == 1


def test_partitions_in_turn_are_read_whole_by_a_few_consumers(kafka: KafkaServer, reading: Reading) -> None:
    topic = kafka.create_topic(partitions=6)
    for partition in range(6):
        kafka.produce(topic, ["x"] * 20, partition)
    for begin in (0, 10):
        for partition in range(6):
            part = Slice(OffsetRange(TopicPartition(topic, partition), begin, begin + 10))
            (piece,) = reading.reader.read(part, None)
            assert [m.offset() for m in piece.messages] == list(range(begin, begin + 10))
            assert {m.partition() for m in piece.messages} == {partition}
    assert reading.consumers.made == 4


def test_a_compacted_log(kafka: KafkaServer, reading: Reading) -> None:
    topic = kafka.create_topic(
        partitions=1, cleanup_policy="compact", segment_ms=100, min_cleanable_dirty_ratio=0.01, retention_ms=-1
    )
    later = count()

    def is_compacted() -> bool:
        kafka.produce(topic, [(f"key {next(later) % 3}", "x" * 10) for _ in range(5)], 0)
        return len(kafka.read_committed(topic)) < kafka.end_offsets(topic)[0] - 20

    assert wait_until(is_compacted, WITHIN_S), "the broker's cleaner does not run"
    end = kafka.end_offsets(topic)[0]
    for width in (1, 7, end):
        found = [o for begin in range(0, end, width) for o in reading.offsets(topic, begin, min(begin + width, end))]
        assert found == sorted({offset for offset in found if offset is not None})
        assert set(log_of(kafka, topic).offsets(0, end)) <= set(found)


def test_a_leader_epoch_where_nothing_but_markers_follow(log: Log, reading: Reading) -> None:
    last, epoch = log.offsets(0, log.end)[-1], log.leader_epoch
    assert epoch is not None
    for part in ((last + 1, log.end), (log.end - 1, log.end), (0, log.end), (log.end, log.end)):
        assert reading.offsets(log.topic, *part, epoch=epoch) == log.offsets(*part)
