"""A pytest plugin with fixtures for tests of streams: pytest finds it wherever the library is installed.

    kafka_stream_broker         settings of a real Kafka, in Docker: {"bootstrap.servers": …}
    kafka_stream_mock_broker    settings of librdkafka's mock cluster, for plumbing only
    kafka_stream_memory_store   a ``MemoryOffsetStore``
    kafka_stream_sqlite         the URL of a SQLite file of the test's own

The real Kafka is one for the whole session, started when a test first asks for it (pytest-docker, of the extra
``testing``). ``KAFKA_STREAM_TEST_KAFKA=host:port`` names one that is there already, ``KAFKA_IMAGE`` another image;
``KAFKA_STREAM_TEST_COMPOSE`` another command than ``docker compose``, ``KAFKA_STREAM_TEST_NETWORK=host`` the host's
network. Imports happen in the fixtures, so that tests of anything else do not wait for them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kafka_stream.testing.memory.store import MemoryOffsetStore


@pytest.fixture(scope="session")
def kafka_stream_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """How to reach a real Kafka, as a stream takes it; make topics of your own on it, or have them made.

    Transactions, groups and topics' ids are real: what holds here holds on your cluster, but for its losses.
    """
    from kafka_stream.testing.exactly_once.broker import broker_in_docker

    with broker_in_docker(tmp_path_factory.mktemp("kafka-stream")) as address:
        yield {"bootstrap.servers": address}


@pytest.fixture
def kafka_stream_mock_broker() -> Iterator[Mapping[str, Any]]:
    """How to reach a mock cluster of librdkafka's, in this process: for plumbing only.

    It creates topics of four partitions when they are produced to. Its transactions hide nothing, commit no offsets and
    fence nobody, and its topics have no ids: it proves nothing about exactly-once.
    """
    from confluent_kafka import Producer

    settings: dict[str, Any] = {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}
    producer = Producer(settings, logger=logging.getLogger("kafka_stream.testing.mock"))
    brokers = producer.list_topics(timeout=30).brokers.values()
    yield {"bootstrap.servers": ",".join(f"{broker.host}:{broker.port}" for broker in brokers)}
    producer.close()


@pytest.fixture
def kafka_stream_memory_store() -> MemoryOffsetStore:
    """An offset store in memory; what handlers append to ``transaction.rows`` is in its ``rows`` once committed."""
    from kafka_stream.testing.memory.store import MemoryOffsetStore

    return MemoryOffsetStore()


@pytest.fixture
def kafka_stream_sqlite(tmp_path: Path) -> str:
    """The URL of a SQLite database in the test's folder, without any table of yours."""
    return f"sqlite:///{tmp_path / 'kafka-stream.db'}"
