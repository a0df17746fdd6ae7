"""A Kafka and a store in memory; the console script."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from tests.command_line import Invoke, in_directory
from tests.simulation import ResultsStore


@pytest.fixture
def kafka() -> MemoryKafka:
    return MemoryKafka({"orders": 2})


@pytest.fixture
def store() -> ResultsStore:
    return ResultsStore(MemoryOffsetStore())


@pytest.fixture
def mock_brokers() -> Iterator[str]:
    """A mock cluster of librdkafka's, with a record in "orders"; for plumbing only."""
    config = {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}
    producer = Producer(config, logger=logging.getLogger("mock"))
    producer.produce("orders", "x")
    assert producer.flush(30) == 0
    yield ",".join(f"{broker.host}:{broker.port}" for broker in producer.list_topics(timeout=30).brokers.values())
    producer.close()


@pytest.fixture(scope="session")
def brokers() -> Iterator[str]:
    """A mock cluster with 100 records in each of four partitions of "orders"."""
    producer = Producer(
        {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}, logger=logging.getLogger("mock")
    )
    for number in range(400):
        producer.produce("orders", str(number), partition=number % 4)
    assert producer.flush(30) == 0
    found = producer.list_topics(timeout=30).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in found)
    producer.close()


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Invoke]:
    """Run the console script in an empty directory, with nothing set in the environment."""
    with in_directory(tmp_path, capsys, monkeypatch) as run:
        yield run
