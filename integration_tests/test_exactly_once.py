"""``assert_exactly_once`` on real servers: the call that is made in memory, with processes that are killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from examples import mailed_orders
from examples.sample_data import sample
from integration_tests.engine import DockerEngine
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from kafka_stream import DirectStream
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.testing import assert_exactly_once
from kafka_stream.testing.exactly_once import broker
from kafka_stream.types import OF_EVERY_BATCH

SEED = 20_240_229


def orders(count: int) -> list[str]:
    return [json.dumps(order) for _, order in sample("orders", count)]


def test_processes_that_are_killed_mail_each_order_once(kafka: KafkaServer, postgres: PostgresDatabase) -> None:
    engine = sa.create_engine(postgres.url)
    mailed_orders.metadata.create_all(engine)
    survived = assert_exactly_once(
        "examples.mailed_orders:stream",
        orders(60),
        results=mailed_orders.outbox,
        kafka={"bootstrap.servers": kafka.bootstrap_servers},
        store=postgres.url,
        seed=SEED,
        kills=1,
    )
    assert set(survived.crashes) >= set(OF_EVERY_BATCH)
    with engine.connect() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(mailed_orders.outbox)).scalar_one()
    engine.dispose()
    assert count == 60, "what the rehearsal had left is not there"


def test_records_from_kafka_to_kafka_are_there_once(kafka: KafkaServer) -> None:
    """In this process: what is read is what a read-committed consumer gets."""
    target = kafka.create_topic(partitions=1)

    def make() -> DirectStream:
        return DirectStream(
            name=random_name("copies"),
            topics=["orders"],
            kafka={"bootstrap.servers": kafka.bootstrap_servers},
            store=KafkaOffsetStore(),
            sink=KafkaSink(target, lambda batch: [(m.key(), m.value()) for m in batch]),
        )

    survived = assert_exactly_once(
        make,
        orders(30),
        results=lambda: [(value or b"").decode() for _, _, _, value in kafka.read_committed(target)],
        expected=lambda records: records,
        kafka={"bootstrap.servers": kafka.bootstrap_servers},
        store=f"kafka://{kafka.bootstrap_servers}",
        seed=SEED,
        kills=0,
    )
    assert set(survived.crashes) == set(OF_EVERY_BATCH)


def test_the_plugins_broker_is_started_in_docker_and_removed(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(broker.ADDRESS, raising=False)
    monkeypatch.setenv(broker.COMPOSE, " ".join(engine.compose_command))
    monkeypatch.setenv(broker.NETWORK, "host")
    for name, image in engine.images.items():
        monkeypatch.setenv(name, image)
    with broker.broker_in_docker(tmp_path) as address:
        server = KafkaServer(address)
        assert server.is_up()
        topic = server.create_topic(partitions=1)
        server.produce(topic, ["x"])
        assert [value for _, _, _, value in server.read_committed(topic)] == [b"x"]
    assert not KafkaServer(address).is_up()
    assert f"kafka-stream-broker-{os.getpid()}" not in engine.compose("any")("ls", "--format", "json")
