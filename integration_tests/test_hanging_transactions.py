"""A transaction that nobody ends, on a real broker: a bounded run ends and names it, a running stream says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from integration_tests.engine import wait_until
from integration_tests.results import ResultTable
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.streams import WAIT_S, assert_exactly_once, stored_offsets, stream_of, wait_for_rows
from kafka_stream import TopicPartition
from kafka_stream.errors import HangingTransaction
from kafka_stream.progress import StreamListener

AGE = timedelta(hours=1)
"""Of the records of a transaction that hangs: brokers let none be open for longer than 15 minutes."""
BEFORE, INSIDE, BEHIND = 20, 3, 10


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for a minute otherwise is waited for a second."""
    for name in ("engine.bounds.NO_PROGRESS_S", "engine.loop.NO_PROGRESS_S", "engine.topic_look.PINNED_S"):
        monkeypatch.setattr(f"kafka_stream.{name}", 1.0)
    monkeypatch.setattr("kafka_stream.engine.topic_look.LOOK_INTERVAL_S", 0.2)


@pytest.fixture
def producer(kafka: KafkaServer) -> Iterator[Producer]:
    """Of the transaction that hangs; ends it."""
    config = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": random_name("hangs"), "log_level": 0}
    made = Producer({**config, "transaction.timeout.ms": 300_000})
    made.init_transactions(WAIT_S)
    made.begin_transaction()
    yield made
    made.abort_transaction(WAIT_S)


@pytest.fixture
def partition(kafka: KafkaServer, producer: Producer) -> TopicPartition:
    """The partition whose end is kept, between records that can be read and some that cannot."""
    name = kafka.create_topic(partitions=2)
    kafka.produce(name, [f"committed {n}" for n in range(BEFORE)], 0)
    made = datetime.now(UTC) - AGE
    for number in range(INSIDE):
        producer.produce(name, f"open {number}", partition=0, timestamp=int(made.timestamp() * 1000))
    assert producer.flush(WAIT_S) == 0
    kafka.produce(name, [f"committed {n}" for n in range(BEFORE, BEFORE + BEHIND)], 0)
    return TopicPartition(name, 0)


class Pins(StreamListener):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Mapping[TopicPartition, datetime]] = []

    def on_pinned(self, pinned: Mapping[TopicPartition, datetime]) -> None:
        self.told.append(pinned)


@pytest.mark.parametrize("by", ["offset", "time", "latest"])
def test_a_bounded_run_ends_and_names_partition_offset_and_age(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, partition: TopicPartition, by: str
) -> None:
    stream = stream_of(kafka, postgres, partition.topic)
    until = {"offset": {partition: BEFORE + INSIDE + BEHIND}, "time": datetime.now(UTC), "latest": "latest"}[by]
    with pytest.raises(HangingTransaction) as found:
        stream.run(until=until)
    error = found.value
    assert (error.partitions, error.partition, error.offset) == ((partition,), partition, BEFORE)
    assert error.age_s is not None
    assert error.age_s >= AGE.total_seconds()
    assert f"the end of {partition} is pinned at {BEFORE} by an open transaction" in str(error)
    assert re.search(r"whose first record is 36\d\d s old", str(error))
    assert table.count() == BEFORE, "what comes before it is committed"
    assert stored_offsets(stream)[partition] == BEFORE


def test_a_running_stream_says_so_and_goes_on_when_it_is_ended(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, partition: TopicPartition, producer: Producer
) -> None:
    pins = Pins()
    stream = stream_of(kafka, postgres, partition.topic, listeners=[pins])
    with stream:
        assert wait_until(lambda: pins.told, WAIT_S)
        assert [told.keys() for told in pins.told] == [{partition}]
        assert stream.status().pinned == pins.told[0]
        assert table.count() == BEFORE
        producer.abort_transaction(WAIT_S)
        wait_for_rows(table, BEFORE + BEHIND, stream)
        assert wait_until(lambda: len(pins.told) == 2, WAIT_S)
        assert pins.told[1] == {}
    producer.begin_transaction()  # for the fixture to end
    assert_exactly_once(kafka, partition.topic, table)
