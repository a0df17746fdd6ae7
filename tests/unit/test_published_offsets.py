"""The group's committed offsets: newest wins, at most once a second, nobody else's partitions, a failure told once."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.source import published_offsets
from kafka_stream.source.published_offsets import PublishedOffsets
from kafka_stream.types import TopicPartition

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
REFUSED = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)


class Committing:
    """A consumer that remembers what it was told to commit."""

    def __init__(self) -> None:
        self.commits: list[dict[int, int]] = []
        self.error: KafkaError | None = None

    def commit(self, *, offsets: list[ClientTopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        if self.error is not None:
            raise KafkaException(self.error)
        self.commits.append({tp.partition: tp.offset for tp in offsets})


class Clock:
    """Stands where the module looks for the time."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(published_offsets, "time", found)
    return found


def send(offsets: PublishedOffsets, consumer: Committing, *assigned: TopicPartition) -> None:
    offsets.send_due(cast("Consumer", consumer), assigned)


def answer(offset: int, error: KafkaError | None = None) -> Any:
    found = ClientTopicPartition("orders", 0, offset)
    if error is None:
        return found

    class Failed:
        topic, partition = "orders", 0

    failed = Failed()
    failed.offset, failed.error = offset, error  # type: ignore[attr-defined]
    return failed


def test_the_newest_offsets_are_sent_at_most_once_a_second(clock: Clock) -> None:
    offsets, consumer = PublishedOffsets(), Committing()
    send(offsets, consumer, A, B)
    offsets.publish({A: 5})
    send(offsets, consumer, A, B)
    offsets.publish({A: 6, B: 1})
    offsets.publish({A: 7})
    clock.now += 0.9
    send(offsets, consumer, A, B)
    assert consumer.commits == [{0: 5}]
    clock.now += 0.1
    send(offsets, consumer, A, B)
    send(offsets, consumer, A, B)
    assert consumer.commits == [{0: 5}, {0: 7, 1: 1}]


def test_what_was_given_up_is_not_sent(clock: Clock) -> None:
    offsets, consumer = PublishedOffsets(), Committing()
    offsets.publish({A: 5, B: 1})
    send(offsets, consumer, B)
    clock.now += 10
    send(offsets, consumer, A, B)
    assert consumer.commits == [{1: 1}]


@pytest.mark.parametrize("per_partition", [True, False])
def test_a_refusal_is_told_once_and_tried_again_with_what_is_newest(
    per_partition: bool, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    offsets, consumer = PublishedOffsets(), Committing()
    offsets.publish({A: 5})
    for offset in (5, 6, 7):
        send(offsets, consumer, A)
        offsets.publish({A: offset + 1})
        if per_partition:
            offsets.answered(None, [answer(offset, REFUSED)])
        else:
            offsets.answered(REFUSED, [answer(offset)])
        clock.now += 1
    assert consumer.commits == [{0: 5}, {0: 6}, {0: 7}]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the stream goes on" in caplog.text
    send(offsets, consumer, A)
    offsets.answered(None, [answer(8)])
    clock.now += 1
    send(offsets, consumer, A)
    assert consumer.commits[3:] == [{0: 8}]
    offsets.answered(REFUSED, [answer(8)])
    assert len(caplog.records) == 2


def test_what_librdkafka_does_not_take_raises_nothing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    offsets, consumer = PublishedOffsets(), Committing()
    consumer.error = REFUSED
    offsets.publish({A: 5})
    send(offsets, consumer, A)
    consumer.error = None
    clock.now += 1
    send(offsets, consumer, A)
    assert consumer.commits == [{0: 5}]
    assert len(caplog.records) == 1
