"""``KafkaSink`` on a broker: the sinks' contract as a read-committed consumer sees it, and what becomes of a record."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from integration_tests.engine import wait_until
from integration_tests.kafka_store import bound
from integration_tests.servers import KafkaServer, random_name
from kafka_stream.batch import Batch
from kafka_stream.errors import ProcessingError, TopicNotFound, TransactionEscaped
from kafka_stream.offset_stores.kafka import KafkaTransaction
from kafka_stream.protocols import Sink
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.testing.sink_backend import OLDER, batch_from
from kafka_stream.testing.sink_contract import TransactionSinkContract
from kafka_stream.types import Claim, OffsetRange, TopicPartition


class KafkaSinkBackend:
    """A topic of one partition for the results, and a store whose one partition moves by one offset a transaction."""

    def __init__(self, server: KafkaServer, stack: ExitStack) -> None:
        self._server = server
        self.topic = server.create_topic(partitions=1)
        self._source = TopicPartition(server.create_topic(partitions=1), 0)
        self._stream = random_name("s")
        self._store = bound(server, self._stream)
        stack.callback(self._store.close)
        taken = self._store.take_over(self._stream, OLDER, [self._source], {})
        self._epoch, self._next = taken[self._source].owner_epoch, 0

    def sink(self) -> Sink:
        def to_messages(batch: Batch) -> Iterator[tuple[None, bytes]]:
            yield from ((None, value) for m in batch.messages if (value := m.value()) is not None)

        return KafkaSink(self.topic, to_messages)

    @contextmanager
    def transaction(self) -> Iterator[KafkaTransaction]:
        ranges = (OffsetRange(self._source, self._next, self._next + 1),)
        with self._store.begin(Claim(self._stream, OLDER, ranges, {self._source: self._epoch}, {}, {})) as opened:
            yield opened

    def commit(self, transaction: KafkaTransaction) -> None:
        transaction.advance()
        transaction.commit()
        self._next += 1

    def results(self) -> Sequence[int]:
        return [int(value or b"") for _, _, _, value in self._server.read_committed(self.topic)]

    def secrets(self) -> Collection[str]:
        return ()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def place(kafka: KafkaServer, stack: ExitStack) -> KafkaSinkBackend:
    return KafkaSinkBackend(kafka, stack)


class TestKafkaSink(TransactionSinkContract):
    @pytest.fixture
    def backend(self, place: KafkaSinkBackend) -> KafkaSinkBackend:
        return place


def test_key_headers_partition_and_another_topic_arrive(kafka: KafkaServer, place: KafkaSinkBackend) -> None:
    other = kafka.create_topic(partitions=3)
    sink = KafkaSink(
        place.topic,
        lambda _: [
            ("k", "v"),
            {"value": None, "key": b"gone", "headers": {"h": b"1"}},
            {"value": b"w", "topic": other, "partition": 2, "headers": [("a", b"x"), ("a", None)]},
        ],
    )
    with place.transaction() as transaction:
        sink.write(sink.prepare(None), transaction)
        place.commit(transaction)
    assert [record[2:] for record in kafka.read_committed(place.topic)] == [(b"k", b"v"), (b"gone", None)]
    assert kafka.read_committed(other) == [(2, 0, None, b"w")]
    assert headers_of(kafka, place.topic, 0) == [None, [("h", b"1")]]
    assert headers_of(kafka, other, 2) == [[("a", b"x"), ("a", None)]]


def headers_of(kafka: KafkaServer, topic: str, partition: int) -> list[object]:
    """The headers of all records of a partition."""
    found: list[object] = []
    expected = sum(1 for record in kafka.read_committed(topic) if record[0] == partition)
    with Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": random_name()}) as consumer:
        consumer.assign([ClientTopicPartition(topic, partition, OFFSET_BEGINNING)])

        def read() -> bool:
            found.extend(message.headers() for message in consumer.consume(10, 0.2) if message.error() is None)
            return len(found) == expected

        assert wait_until(read, 30)
    return found


def test_more_records_than_the_producers_queue_holds_are_waited_for(kafka: KafkaServer) -> None:
    topic, source, stream = kafka.create_topic(partitions=1), TopicPartition(kafka.create_topic(), 0), random_name("s")
    store = bound(kafka, stream, queue_buffering_max_messages=50)
    taken = store.take_over(stream, OLDER, [source], {})
    epochs = {source: taken[source].owner_epoch}
    with store.begin(Claim(stream, OLDER, (OffsetRange(source, 0, 1),), epochs, {}, {})) as transaction:
        for number in range(1_000):
            transaction.produce(topic, value=str(number))
        transaction.advance()
        transaction.commit()
    assert [int(value or b"") for *_, value in kafka.read_committed(topic)] == list(range(1_000))
    store.close()


def test_a_transaction_that_was_kept_from_an_earlier_batch_takes_no_record(place: KafkaSinkBackend) -> None:
    with place.transaction() as kept:
        kept.produce(place.topic, value=b"1")
    with place.transaction() as transaction:
        extras: tuple[dict[str, Any], ...] = ({}, {"partition": 0})
        for more in extras:
            with pytest.raises(TransactionEscaped, match="keep no transaction"):
                kept.produce(place.topic, value=b"2", **more)
        transaction.produce(place.topic, value=b"3")
        place.commit(transaction)
    assert place.results() == [3]


def test_a_record_that_is_too_large_fails_its_batch_and_names_the_topic(place: KafkaSinkBackend) -> None:
    with place.transaction() as transaction:
        transaction.produce(place.topic, value=b"fits")
        with pytest.raises(ProcessingError, match=place.topic):
            transaction.produce(place.topic, value=bytes(2_000_000))
        with pytest.raises(ProcessingError, match=place.topic):
            transaction.advance()
    assert place.results() == []
    with place.transaction() as transaction:
        transaction.produce(place.topic, value=b"1")
        place.commit(transaction)
    assert place.results() == [1]


def test_a_topic_that_refuses_a_record_when_it_is_delivered_fails_the_batch(
    kafka: KafkaServer, place: KafkaSinkBackend
) -> None:
    small = kafka.create_topic(partitions=1, max_message_bytes=1_000)
    with place.transaction() as transaction:
        transaction.produce(place.topic, value=b"1")
        transaction.produce(small, value=random.Random(0).randbytes(20_000))  # compression does not help
        with pytest.raises(ProcessingError, match=small):
            transaction.advance()
    assert place.results() == []
    with place.transaction() as transaction:
        transaction.produce(place.topic, value=b"2")
        place.commit(transaction)
    assert place.results() == [2]


def test_a_transaction_that_is_over_takes_no_records(place: KafkaSinkBackend) -> None:
    with place.transaction() as transaction:
        place.commit(transaction)
    with pytest.raises(TransactionEscaped):
        transaction.produce(place.topic, value=b"late")
    with place.transaction() as following:
        with pytest.raises(TransactionEscaped):
            transaction.produce(place.topic, value=b"late")
        place.commit(following)
    assert place.results() == []


def test_a_topic_that_does_not_exist_is_named(kafka: KafkaServer) -> None:
    missing, source, stream = random_name("missing"), TopicPartition(kafka.create_topic(), 0), random_name("s")
    store = bound(kafka, stream, topic_metadata_propagation_max_ms=500, allow_auto_create_topics=False)
    taken = store.take_over(stream, OLDER, [source], {})
    epochs = {source: taken[source].owner_epoch}
    with store.begin(Claim(stream, OLDER, (OffsetRange(source, 0, 1),), epochs, {}, {})) as transaction:
        transaction.produce(missing, value=b"1")
        with pytest.raises(TopicNotFound, match=missing):
            transaction.advance()
    store.close()


def test_a_copy_of_a_batch_is_written_as_it_is(place: KafkaSinkBackend) -> None:
    sink = KafkaSink(place.topic, lambda batch: batch)
    with place.transaction() as transaction:
        sink.write(sink.prepare(batch_from([3, 1, 2])), transaction)
        place.commit(transaction)
    assert place.results() == [3, 1, 2]
