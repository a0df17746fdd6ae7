"""Plumbing of the Kafka source on librdkafka's mock cluster, which proves nothing about transactions."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Producer

from kafka_stream.errors import BrokerUnavailable, ConfigurationError, TopicNotFound
from kafka_stream.protocols import OffsetAt, TopicInfo
from kafka_stream.source.consumer.creation import consumer_settings
from kafka_stream.source.kafka_source import KafkaSource, SourceLimits
from kafka_stream.testing.source_reader import Reader
from kafka_stream.types import TopicPartition

ORDERS = [TopicPartition("orders", n) for n in range(4)]


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """A mock cluster with 1,000 records in the four partitions of "orders"."""
    config = {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}
    producer = Producer(config, logger=logging.getLogger("mock"))
    for n in range(1000):
        producer.produce("orders", f"order {n}", partition=n % 4)
    assert producer.flush(30) == 0
    brokers = producer.list_topics(timeout=30).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    producer.close()


@pytest.fixture
def opened(servers: str) -> Iterator[Callable[..., Reader]]:
    with ExitStack() as stack:

        def open_reader(*topics: str, **config: Any) -> Reader:
            named = {name.replace("__", "."): value for name, value in config.items()}
            source = KafkaSource({"bootstrap.servers": servers, **named}, "group", topics, SourceLimits())
            source.open(30)
            stack.callback(source.close)
            return Reader(source)

        yield open_reader


def test_everything_is_read(opened: Callable[..., Reader]) -> None:
    reader = opened("orders")
    reader.assign(ORDERS)
    reader.read(dict.fromkeys(ORDERS, 0), dict.fromkeys(ORDERS, 250))
    assert sorted(v for values in reader.values.values() for v in values) == sorted(f"order {n}" for n in range(1000))
    reader.read({ORDERS[2]: 249}, {ORDERS[2]: 250})
    assert reader.values[ORDERS[2]] == ["order 998"]


def test_a_group_member_reads_too(opened: Callable[..., Reader]) -> None:
    reader = opened("orders")
    reader.source.subscribe()
    reader.until(lambda: reader.assigned == set(ORDERS))
    reader.read(dict.fromkeys(ORDERS, 100), dict.fromkeys(ORDERS, 250))


def test_what_the_mock_cluster_cannot_say(opened: Callable[..., Reader]) -> None:
    source = opened("orders").source
    assert source.topics() == {"orders": TopicInfo(4, None)}
    assert source.group_members() == ()
    assert source.offsets(ORDERS, OffsetAt.EARLIEST) == dict.fromkeys(ORDERS, 0)
    assert source.offsets(ORDERS, OffsetAt.LATEST) == dict.fromkeys(ORDERS, 250)
    assert source.offsets(ORDERS, OffsetAt.HIGH_WATERMARK) == dict.fromkeys(ORDERS, 250)
    assert source.offsets(ORDERS[:1], datetime.now(UTC)) == {ORDERS[0]: 250}
    assert source.offsets([], OffsetAt.LATEST) == {}


def test_a_time_without_a_zone_is_refused(opened: Callable[..., Reader]) -> None:
    with pytest.raises(ValueError, match="has no zone"):
        opened("orders").source.offsets(ORDERS, datetime(2026, 1, 1))


def test_a_missing_topic_is_named_with_where_and_what_to_do(opened: Callable[..., Reader], servers: str) -> None:
    expected = f"topic 'ordres' does not exist on {servers}; create it, or correct topics=['orders', 'ordres']"
    for _ in range(2):  # asking did not create it
        with pytest.raises(TopicNotFound) as error:
            opened("orders", "ordres").source.topics()
        assert str(error.value) == expected


def test_users_callbacks_are_called_and_logs_go_to_logging(
    opened: Callable[..., Reader], caplog: pytest.LogCaptureFixture
) -> None:
    statistics: list[dict[str, Any]] = []
    caplog.set_level(logging.DEBUG, "kafka_stream.librdkafka")
    reader = opened(
        "orders",
        stats_cb=lambda text: statistics.append(json.loads(text)),
        statistics__interval__ms=50,
        debug="consumer",
        client__id="the-users-name",
    )
    reader.until(lambda: statistics and caplog.records)
    assert statistics[0]["client_id"] == "the-users-name"
    assert {record.name for record in caplog.records} == {"kafka_stream.librdkafka"}
    assert not [record for record in caplog.records if "CONFWARN" in record.getMessage()]


def test_an_unreachable_broker_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        source = KafkaSource({"bootstrap.servers": address}, "group", ["orders"], SourceLimits())
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match=f"no Kafka broker answered at {address} within 0.2 s"):
                source.open(0.2)
        source.close()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"no.such.setting": 1}, "No such configuration property"),
        ({"security.protocol": "carrier pigeon"}, "Invalid value"),
        ({"test.mock.num.brokers": 1}, "an empty cluster of its own"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: dict[str, Any], reason: str, servers: str) -> None:
    source = KafkaSource({"bootstrap.servers": servers, **config}, "group", ["orders"], SourceLimits())
    with pytest.raises(ConfigurationError, match=reason):
        source.open(30)


def test_what_the_guarantee_rests_on_cannot_be_set_otherwise() -> None:
    wrong = {"enable.auto.commit": True, "auto.offset.reset": "earliest", "enable.partition.eof": False}
    settings = consumer_settings({**wrong, "fetch.wait.max.ms": 7}, "group")
    assert settings["enable.auto.commit"] is False
    assert settings["enable.auto.offset.store"] is False
    assert settings["enable.partition.eof"] is True
    assert settings["auto.offset.reset"] == "error"
    assert settings["isolation.level"] == "read_committed"
    assert settings["partition.assignment.strategy"] == "cooperative-sticky"
    assert settings["fetch.wait.max.ms"] == 7
    assert settings["group.id"] == "group"
