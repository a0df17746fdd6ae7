"""Nexmark's queries on PostgreSQL, from a topic of a real broker, give the rows of plain programs."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer

from integration_tests.servers import KafkaServer, PostgresDatabase
from kafka_stream import DirectStream
from tests.nexmark import references
from tests.nexmark.generator import END_MS, START_MS, Event, events, last_events
from tests.nexmark.queries import QUERIES, answer_of

COUNT = 8_000
PARTITIONS = 4
ARRIVED_MS = START_MS + 7_000_000


@pytest.fixture(scope="module")
def arrivals() -> list[tuple[int, Event]]:
    """When each event arrived; the last ones a day later, in each partition."""
    found = [(ARRIVED_MS + 15 * number, event) for number, event in enumerate(events(COUNT, seed=8))]
    return found + [(ARRIVED_MS + 86_400_000, event) for event in last_events() * PARTITIONS]


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer, arrivals: list[tuple[int, Event]]) -> str:
    name = kafka.create_topic(partitions=PARTITIONS)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 20, "enable.idempotence": True})
    for number, (arrived_at, event) in enumerate(arrivals):
        partition = number // 3 % PARTITIONS if event["at"] == END_MS else number % PARTITIONS
        producer.produce(name, json.dumps(event), partition=partition, timestamp=arrived_at)
    assert producer.flush(60) == 0
    return name


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_gives_the_rows_of_a_plain_program(
    kafka: KafkaServer, postgres: PostgresDatabase, topic: str, arrivals: list[tuple[int, Event]], name: str
) -> None:
    query, engine = QUERIES[name](), sa.create_engine(postgres.url)
    query.metadata.create_all(engine)
    DirectStream(
        name=name,
        topics=[topic],
        kafka={"bootstrap.servers": kafka.bootstrap_servers},
        store=postgres.url,
        prepare=query.prepare,
        sink=query.sink,
        assignment="static",
        max_records_per_batch=1_500,
    ).run(until="latest")
    found = answer_of(query, engine)
    engine.dispose()
    arrived = [event for _, event in arrivals]
    assert found == (references.query_12(arrivals) if name == "query_12" else references.OF_EVENTS[name](arrived))
    assert len(found) > 5
