"""Brokers that cannot be reached, or do not answer what a stream asks beside its batches."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration_tests.engine import wait_until
from integration_tests.kafka_proxy import KafkaProxy
from integration_tests.results import ResultTable
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, PostgresDatabase, PrivateKafka, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import SHORT_SESSIONS, WAIT_S, assert_exactly_once, stream_of, wait_for_rows
from integration_tests.test_lost_brokers import FOR_GOOD
from kafka_stream import DirectStream, TopicPartition
from kafka_stream.engine import loop
from kafka_stream.errors import BrokerUnavailable, RecordTooLarge
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.progress import StreamState
from kafka_stream.protocols import OffsetStore
from kafka_stream.sinks.kafka import KafkaSink

LONG_S = 600.0
IMPATIENT = {"reconnect.backoff.max.ms": 500}


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections, and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where connections are refused."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


# ------------------------------------------------------------------------------------------------------ while running


def test_batches_go_on_while_nobody_answers_about_the_topics(
    kafka: KafkaServer, kafka_proxy: KafkaProxy, postgres: PostgresDatabase, table: ResultTable
) -> None:
    """Each of many batches waits for the one before it; a look that held them up would take ten seconds each time."""
    topic = kafka.create_topic(partitions=1)
    client = {"bootstrap.servers": kafka_proxy.bootstrap_servers}
    with stream_of(kafka, postgres, topic, client) as stream:
        kafka.produce(topic, ["first"])
        wait_for_rows(table, 1, stream)
        assert wait_until(lambda: stream.status().lag == {TopicPartition(topic, 0): 0}, WAIT_S)
        kafka_proxy.swallow_metadata()
        assert wait_until(lambda: kafka_proxy.metadata_swallowed > 0, WAIT_S), "no look has begun"
        for number in range(50):
            kafka.produce(topic, [str(number)])
            wait_for_rows(table, 2 + number, stream)
        assert wait_until(lambda: isinstance(stream.status().error, BrokerUnavailable), WAIT_S)
        assert stream.status().lag == {TopicPartition(topic, 0): None}
        kafka_proxy.answer_metadata()
        assert wait_until(lambda: stream.status().lag == {TopicPartition(topic, 0): 0}, WAIT_S)
        assert (stream.status().state, stream.status().error) == (StreamState.RUNNING, None)
    assert_exactly_once(kafka, topic, table)


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_the_status_tells_of_brokers_that_are_away(
    private_kafka: PrivateKafka,
    postgres: PostgresDatabase,
    table: ResultTable,
    caplog: pytest.LogCaptureFixture,
    assignment: str,
) -> None:
    topic = private_kafka.create_topic(partitions=1)
    client = {**SHORT_SESSIONS, **IMPATIENT, "session.timeout.ms": 6000}
    with stream_of(private_kafka, postgres, topic, client, assignment=assignment) as stream:
        private_kafka.produce(topic, ["first"])
        wait_for_rows(table, 1, stream)
        private_kafka.kill()
        assert wait_until(lambda: stream.status().state is StreamState.RETRYING, WAIT_S)
        assert isinstance(stream.status().error, BrokerUnavailable)
        assert private_kafka.bootstrap_servers in str(stream.status().error)
        assert wait_until(lambda: 0 not in stream.status().lag.values(), WAIT_S), stream.status()
        private_kafka.start()
        private_kafka.produce(topic, ["second"])
        wait_for_rows(table, 2, stream)
        assert wait_until(lambda: stream.status().state is StreamState.RUNNING, WAIT_S)
        assert stream.status().error is None
    refused = [line for line in caplog.messages if "Connection refused" in line]
    assert 1 <= len(refused) <= 10, "a fault is told once, and then counted"
    assert_exactly_once(private_kafka, topic, table)


def test_a_record_that_is_too_large_for_the_client_is_named(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=3, max_message_bytes=3_000_000)
    for partition in range(3):
        kafka.produce(topic, [f"{partition} {number}" for number in range(20)], partition)
    kafka.produce_large(topic, 2_000_000, partition=1)
    kafka.produce(topic, ["behind it"], 1)
    limits = {"receive.message.max.bytes": 1_000_000, "fetch.max.bytes": 900_000, "message.max.bytes": 900_000}
    with pytest.raises(RecordTooLarge) as raised:
        stream_of(kafka, postgres, topic, limits).run(until="latest")
    assert (raised.value.partition, raised.value.offset) == (TopicPartition(topic, 1), 20)
    assert f"{topic}[1] from offset 20 cannot be read on" in str(raised.value)
    assert "set receive.message.max.bytes" in str(raised.value)
    assert table.count() == 60


# ----------------------------------------------------------------------------------------------------------- at a start


def stream_that_waits(address: str, topic: str, store: OffsetStore, monkeypatch: pytest.MonkeyPatch) -> DirectStream:
    """A stream whose brokers cannot be reached, and which has much patience."""
    monkeypatch.setattr(loop, "START_TIMEOUT_S", LONG_S)
    sink = KafkaSink("results", str) if isinstance(store, KafkaOffsetStore) else lambda _batch, _transaction: None
    return DirectStream(
        name=random_name("stream"),
        topics=[topic],
        kafka={"bootstrap.servers": address, "log_level": 0},
        store=store,
        sink=sink,
        assignment="static",
    )


@pytest.mark.parametrize("is_silent", [False, True], ids=["refused", "silent"])
@pytest.mark.parametrize("kind", ["sqlite", "kafka"])
def test_a_stop_while_kafka_cannot_be_reached(
    nobody: str,
    silent: str,
    kind: str,
    is_silent: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    address = silent if is_silent else nobody
    store: OffsetStore = SqlOffsetStore(f"sqlite:///{tmp_path / 'offsets.db'}")
    stream = stream_that_waits(address, "topic", KafkaOffsetStore({}) if kind == "kafka" else store, monkeypatch)
    stream.start()
    assert wait_until(lambda: stream.status().state is StreamState.STARTING, WAIT_S)
    assert stream.stop()
    summary = stream.wait(0)
    assert summary is not None
    assert (summary.batches, summary.ranges) == (0, ())
    assert (stream.status().state, stream.status().error) == (StreamState.STOPPED, None)
    assert f"was stopped before it had started: no Kafka broker had answered at {address}" in caplog.text


def test_a_signal_while_kafka_cannot_be_reached(nobody: str, tmp_path: Path) -> None:
    settings = ServiceSettings(
        bootstrap_servers=nobody, store=f"sqlite:///{tmp_path / 'offsets.db'}", topic="topic", stream="stream"
    )
    with Services(tmp_path) as services:
        service = services.start(settings)
        assert wait_until(lambda: "Connection refused" in service.report() or not service.is_running(), WAIT_S)
        service.signal(signal.SIGTERM)
        assert service.wait() == 0, service.report()
        assert "was stopped before it had started" in service.report()
        assert "batch did not finish" not in service.report()


def test_a_client_that_loses_its_brokers_at_the_start_is_replaced(
    kafka: KafkaServer,
    kafka_proxy: KafkaProxy,
    postgres: PostgresDatabase,
    table: ResultTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "START_TIMEOUT_S", LONG_S)
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, ["first"])
    kafka_proxy.forget_brokers()
    client = {**FOR_GOOD, "bootstrap.servers": kafka_proxy.bootstrap_servers}
    with stream_of(kafka, postgres, topic, client) as stream:
        assert wait_until(lambda: kafka_proxy.forgotten > 0, WAIT_S)
        kafka_proxy.remember_brokers()
        wait_for_rows(table, 1, stream)
