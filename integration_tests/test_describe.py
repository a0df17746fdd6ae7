"""What describe tells of a broker: ends, lag in time, marks; and how little it asks, however many partitions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from sqlalchemy import create_engine, event

from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.streams import wait_for_stable_end
from kafka_stream.admin.describe import Mark, Observation, PartitionDescription, described
from kafka_stream.admin.observation import observe, with_times
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import Owner, StoredPosition, TopicPartition

PARTITIONS = 1000
LONGEST_S = 3.0
TIMEOUT_S = 30.0


def cluster_of(kafka: KafkaServer) -> Cluster:
    found = Cluster({"bootstrap.servers": kafka.bootstrap_servers}, logging.getLogger("test"))
    found.connect(TIMEOUT_S)
    return found


def look(kafka: KafkaServer, positions: Mapping[TopicPartition, StoredPosition]) -> dict[int, PartitionDescription]:
    """Partition to what is told of it."""
    observation = observe(cluster_of(kafka), positions)
    timed = with_times(observation, positions, {"bootstrap.servers": kafka.bootstrap_servers}, TIMEOUT_S)
    return {each.topic_partition.partition: each for each in described(positions, timed, datetime.now(UTC))}


def at(topic: str, *offsets: int, **more: Any) -> dict[TopicPartition, StoredPosition]:
    return {TopicPartition(topic, number): StoredPosition(offset, 1, **more) for number, offset in enumerate(offsets)}


def produce_at(kafka: KafkaServer, topic: str, partition: int, age: timedelta, transaction: bool = False) -> Producer:
    """One record with a timestamp of the past; in a transaction that stays open, if that is asked for."""
    config: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
    producer = Producer(config | ({"transactional.id": random_name()} if transaction else {}))
    if transaction:
        producer.init_transactions(TIMEOUT_S)
        producer.begin_transaction()
    then = int((datetime.now(UTC) - age).timestamp() * 1000)
    producer.produce(topic, b"x", partition=partition, timestamp=then)
    assert producer.flush(TIMEOUT_S) == 0
    return producer


def test_ends_and_the_age_of_the_next_record(kafka: KafkaServer) -> None:
    topic = kafka.create_topic(partitions=4)
    for hours in (5, 3, 1):
        produce_at(kafka, topic, 0, timedelta(hours=hours))
    kafka.transaction(topic, ["aborted"], 1, outcome="abort")
    kafka.transaction(topic, ["one", "two"], 2)
    wait_for_stable_end(kafka, topic)
    found = look(kafka, at(topic, 1, 0, 3, 0))
    assert {number: (each.lag, each.findings) for number, each in found.items()} == {
        0: (2, ()),
        1: (2, ()),  # an aborted record and its marker: offsets, but nothing to read
        2: (0, ()),
        3: (0, ()),
    }
    assert found[0].lag_s == pytest.approx(3 * 3600, abs=60)
    assert [found[number].lag_s for number in (1, 2, 3)] == [0.0] * 3


def test_an_open_transaction_is_told_with_the_age_of_its_first_record(kafka: KafkaServer) -> None:
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, ["a", "b"], 0)
    open_since = produce_at(kafka, topic, 0, timedelta(days=2), transaction=True)
    kafka.produce(topic, ["behind it"], 0)
    found = look(kafka, at(topic, 0, 0))
    open_since.abort_transaction(TIMEOUT_S)
    log = found[0].log
    assert log is not None
    assert (log.end_offset, log.high_watermark, found[0].lag) == (2, 4, 2)
    (finding,) = found[0].findings
    assert finding.mark is Mark.END_PINNED
    assert "keeps the end at 2; 2 offset(s) behind it cannot be read yet; its first record is 2 d old" in (
        finding.explanation
    )
    assert "it hangs" in finding.explanation
    assert found[1].findings == ()


def test_offsets_that_are_gone_and_topics_that_are_another(kafka: KafkaServer) -> None:
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, [str(number) for number in range(10)], 0)
    kafka.delete_records(topic, 0, 6)
    topic_id = cluster_of(kafka).topics([topic])[topic].topic_id
    found = look(kafka, at(topic, 4, 7, 9, topic_id=topic_id))
    assert {number: [finding.mark for finding in each.findings] for number, each in found.items()} == {
        0: [Mark.RETAINED_AWAY],
        1: [Mark.BEYOND_THE_END],
        2: [Mark.PARTITION_MISSING],
    }
    assert found[0].lag_s is not None
    kafka.delete_topic(topic)
    gone = look(kafka, at(topic, 4, topic_id=topic_id))
    assert [finding.mark for finding in gone[0].findings] == [Mark.TOPIC_MISSING]
    kafka.create_topic(topic, partitions=2)
    again = look(kafka, at(topic, 0, topic_id=topic_id))
    assert [finding.mark for finding in again[0].findings] == [Mark.TOPIC_RECREATED]


# ------------------------------------------------------------------------------------------------- a thousand of them


@pytest.fixture(scope="module")
def wide(kafka: KafkaServer) -> str:
    """A topic of 1,000 partitions, a record in every tenth."""
    topic = kafka.create_topic(partitions=PARTITIONS)
    for number in range(0, PARTITIONS, 10):
        kafka.produce(topic, [str(number)], number)
    return topic


@contextmanager
def counting_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The admin client's requests, by name, while it lasts."""
    asked: list[str] = []

    def counted(name: str) -> Any:
        real = getattr(AdminClient, name)

        def call(self: AdminClient, *arguments: Any, **named: Any) -> Any:
            asked.append(name)
            return real(self, *arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("describe_topics", "list_offsets", "list_topics", "describe_consumer_groups"):
            patch.setattr(AdminClient, name, counted(name))
        yield asked


def test_a_thousand_partitions_cost_as_many_requests_as_one(
    kafka: KafkaServer, postgres: PostgresDatabase, wide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(postgres.url)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    store = SqlOffsetStore(engine)
    store.open()
    costs = {}
    for partitions in (1, PARTITIONS):
        name = random_name("stream")
        store.initialise(name, wide, dict.fromkeys(range(partitions), 0), None)
        store.take_over(name, Owner("0123", "here"), [TopicPartition(wide, n) for n in range(partitions)], {})
        cluster = cluster_of(kafka)
        statements.clear()
        with counting_requests(monkeypatch) as requests:
            began = time.monotonic()
            positions = store.positions(name)
            found = described(positions, observe(cluster, positions), datetime.now(UTC))
            elapsed_s = time.monotonic() - began
        costs[partitions] = (len(requests), len(statements))
        assert len(found) == partitions
        assert sum(each.lag or 0 for each in found) == -(-partitions // 10)
        logging.getLogger("test").info("%d partitions described in %.2f s", partitions, elapsed_s)
    engine.dispose()
    assert costs[PARTITIONS] == costs[1]
    assert costs[1][0] == 4


def test_the_times_of_a_thousand_partitions_are_read(kafka: KafkaServer, wide: str) -> None:
    positions = at(wide, *[0] * PARTITIONS)
    observation: Observation = observe(cluster_of(kafka), positions)
    timed = with_times(observation, positions, {"bootstrap.servers": kafka.bootstrap_servers}, TIMEOUT_S)
    assert timed.times is not None
    assert sorted(tp.partition for tp, time_ in timed.times.next_records.items() if time_ is not None) == list(
        range(0, PARTITIONS, 10)
    )
