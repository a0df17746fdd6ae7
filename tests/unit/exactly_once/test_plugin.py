"""The plugin's fixtures, as pytest finds them; a broker in Docker is one of integration_tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from kafka_stream import Batch, DirectStream
from kafka_stream.errors import BrokerUnavailable, MissingExtra
from kafka_stream.testing import MemoryOffsetStore, plugin
from kafka_stream.testing.exactly_once import broker


def test_the_plugin_is_that_of_the_entry_point() -> None:
    (point,) = entry_points(group="pytest11", name="kafka_stream")
    assert point.load() is plugin


def test_a_stream_reads_the_mock_cluster_into_memory(
    kafka_stream_mock_broker: Mapping[str, Any], kafka_stream_memory_store: MemoryOffsetStore
) -> None:
    producer = Producer(dict(kafka_stream_mock_broker))
    producer.produce("orders", "x", partition=0)
    assert producer.flush(30) == 0

    def write(batch: Batch, transaction: Any) -> None:
        transaction.rows += [message.value() for message in batch]

    DirectStream(
        name="s", topics=["orders"], kafka=kafka_stream_mock_broker, store=kafka_stream_memory_store, sink=write
    ).run(until="latest")
    assert kafka_stream_memory_store.rows == [b"x"]


def test_a_sqlite_file_is_the_tests_own(kafka_stream_sqlite: str, tmp_path: Path) -> None:
    assert kafka_stream_sqlite == f"sqlite:///{tmp_path / 'kafka-stream.db'}"


def test_a_broker_that_is_named_has_to_answer(
    kafka_stream_mock_broker: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(broker.ADDRESS, kafka_stream_mock_broker["bootstrap.servers"])
    with broker.broker_in_docker(tmp_path) as address:
        assert address == kafka_stream_mock_broker["bootstrap.servers"]
    monkeypatch.setattr(broker, "_NAMED_PATIENCE_S", 0.1)
    monkeypatch.setenv(broker.ADDRESS, "127.0.0.1:1")
    with (
        pytest.raises(BrokerUnavailable, match=r"no Kafka answers at 127\.0\.0\.1:1"),
        broker.broker_in_docker(tmp_path),
    ):
        pytest.fail("nothing is there")


def test_without_pytest_docker_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(broker.ADDRESS, raising=False)
    monkeypatch.setitem(sys.modules, "pytest_docker.plugin", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kafka-stream\[testing\]'"), broker.broker_in_docker(tmp_path):
        pytest.fail("there is nothing to start it with")


def test_the_container_listens_where_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(broker.NETWORK, raising=False)
    published = broker._compose_file(20_001, 20_002)
    assert 'ports: ["127.0.0.1:20001:20001"]' in published
    assert "PLAINTEXT://0.0.0.0:20001" in published
    monkeypatch.setenv(broker.NETWORK, "host")
    on_host = broker._compose_file(20_001, 20_002)
    assert "network_mode: host" in on_host
    assert "0.0.0.0" not in on_host
    assert "PLAINTEXT://127.0.0.1:20001" in on_host
