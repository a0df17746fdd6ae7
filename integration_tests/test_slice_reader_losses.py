"""Slices that cannot be read whole: what is gone, or does not answer, is said, and not waited for without an end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import count

import pytest
from confluent_kafka import Consumer, Message

from integration_tests.servers import KafkaServer
from integration_tests.slice_reading import Reading, reading_of
from kafka_stream.errors import BrokerUnavailable, TopicNotFound
from kafka_stream.executors.slice_reader import SliceReader
from kafka_stream.protocols.executors import PositionGone, Slice
from kafka_stream.types import OffsetRange, TopicPartition


@pytest.fixture
def reading(kafka: KafkaServer) -> Iterator[Reading]:
    found = reading_of(kafka)
    with contextlib.closing(found.reader):
        yield found


def gone_of(reading: Reading, topic: str, begin: int, until: int, epoch: int | None = None) -> PositionGone:
    with pytest.raises(PositionGone) as gone:
        reading.records(topic, begin, until, epoch=epoch)
    assert (gone.value.lost.partition, gone.value.lost.offset) == (TopicPartition(topic, 0), begin)
    return gone.value


def test_retention_that_has_passed_a_slice(kafka: KafkaServer, reading: Reading) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, ["x"] * 50, 0)
    kafka.delete_records(topic, 0, 30)
    assert not gone_of(reading, topic, 10, 20).lost.truncated
    assert not gone_of(reading, topic, 10, 40).lost.truncated
    assert reading.offsets(topic, 30, 50) == list(range(30, 50))


def test_a_slice_behind_the_end_of_the_log(kafka: KafkaServer, reading: Reading) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, ["x"] * 50, 0)
    assert not gone_of(reading, topic, 70, 80).lost.truncated


def test_a_leader_epoch_that_the_log_does_not_continue(kafka: KafkaServer, reading: Reading) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, ["x"] * 50, 0)
    epoch = reading.pieces(topic, 0, 50)[0].leader_epoch
    assert epoch is not None
    assert reading.offsets(topic, 20, 50, epoch=epoch) == list(range(20, 50))
    assert gone_of(reading, topic, 70, 80, epoch).lost.truncated


def test_a_topic_that_was_created_again_is_shorter(kafka: KafkaServer, reading: Reading) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, ["old"] * 50, 0)
    assert len(reading.offsets(topic, 0, 50)) == 50
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=1)
    kafka.produce(topic, ["new"] * 10, 0)
    assert not gone_of(reading, topic, 50, 60).lost.truncated


def test_a_topic_that_is_gone(kafka: KafkaServer, reading: Reading) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, ["x"], 0)
    kafka.delete_topic(topic)
    with pytest.raises(TopicNotFound, match=topic):
        reading.records(topic, 0, 1)
    other = kafka.create_topic(partitions=1)
    with pytest.raises(TopicNotFound, match=r"\[1\] does not exist"):
        list(reading.reader.read(Slice(OffsetRange(TopicPartition(other, 1), 0, 1)), None))


def test_a_broker_that_cannot_be_reached_is_given_up() -> None:
    ticking = count()
    reader = SliceReader({"bootstrap.servers": "127.0.0.1:1"}, "slices", clock=lambda: float(next(ticking)))
    with contextlib.closing(reader), pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1 gave nothing of"):
        list(reader.read(Slice(OffsetRange(TopicPartition("orders", 0), 0, 10)), None))


class Waiting(Consumer):
    """A consumer for which a second passes with each look at the clock, from the first record on."""

    def __init__(self, config: dict[str, object]) -> None:
        super().__init__(config)
        self.has_begun = False
        self.now_s = 0.0

    def poll(self, timeout: float | None = None) -> Message | None:
        message = super().poll(-1 if timeout is None else timeout)
        self.has_begun |= message is not None
        return message

    def clock(self) -> float:
        self.now_s += self.has_begun
        return self.now_s


def test_an_open_transaction_that_is_in_the_way_is_not_waited_for(kafka: KafkaServer) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, ["x"] * 5, 0)
    opened = kafka.open_transaction(topic, ["open"] * 5, 0)
    made: list[Waiting] = []

    def make(config: dict[str, object]) -> Waiting:
        made.append(Waiting(config))
        return made[-1]

    config = {"bootstrap.servers": kafka.bootstrap_servers}
    reader = SliceReader(config, "slices", make, lambda: made[-1].clock() if made else 0.0)
    with contextlib.closing(reader), pytest.raises(BrokerUnavailable, match=r"gave nothing of \[5, 10\)"):
        list(reader.read(Slice(OffsetRange(TopicPartition(topic, 0), 0, 10)), None))
    opened.abort()
