"""A stream by pattern on a real broker, while topics are created and deleted."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.streams import WAIT_S
from kafka_stream import Batch, DirectStream
from kafka_stream.admin.describe import Mark, described
from kafka_stream.admin.observation import observe
from kafka_stream.errors import ConfigurationError
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.cluster import Cluster


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the topics more often than is usual."""
    monkeypatch.setattr("kafka_stream.engine.topic_look.LOOK_INTERVAL_S", 0.3)


@pytest.fixture
def results_table(postgres: PostgresDatabase) -> PostgresDatabase:
    postgres.execute("CREATE TABLE results (topic text, value text)")
    return postgres


def write(batch: Batch, transaction: Any) -> None:
    """Which record of which topic."""
    for message in batch:
        transaction.connection.exec_driver_sql(
            "INSERT INTO results (topic, value) VALUES (%s, %s)", (message.topic(), (message.value() or b"").decode())
        )


def results(database: PostgresDatabase) -> Counter[tuple[str, str]]:
    return Counter((topic, value) for topic, value in database.execute("SELECT topic, value FROM results"))


def rows(topic: str, *numbers: int) -> Counter[tuple[str, str]]:
    return Counter((topic, str(number)) for number in numbers)


@pytest.mark.parametrize(("assignment", "protocol"), [("static", "auto"), ("group", "classic"), ("group", "consumer")])
def test_topics_that_match_come_and_go(
    kafka: KafkaServer,
    results_table: PostgresDatabase,
    caplog: pytest.LogCaptureFixture,
    assignment: str,
    protocol: str,
) -> None:
    caplog.set_level(logging.INFO, "kafka_stream")
    prefix = random_name("orders")
    old, other = kafka.create_topic(f"{prefix}.old", partitions=2), kafka.create_topic(f"other.{prefix}", partitions=1)
    kafka.produce(old, ["0", "1"])
    config = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
    stream = DirectStream(
        name=prefix,
        topics=[rf"^{prefix}\..*"],
        kafka=config,
        store=results_table.url,
        sink=write,
        start="latest",
        assignment=assignment,
        group_protocol=protocol,
    )
    with stream:
        assert wait_until(lambda: len(stream.status().positions) == 2, WAIT_S), stream.status()
        kafka.produce(old, ["2"])
        new = kafka.create_topic(f"{prefix}.new", partitions=2)
        kafka.produce(new, ["3", "4"])
        kafka.produce(other, ["5"])
        wanted = rows(old, 2) + rows(new, 3, 4)
        assert wait_until(lambda: results(results_table) == wanted, WAIT_S), (results(results_table), stream.status())
        kafka.delete_topic(old)
        assert wait_until(lambda: f"topic {old!r}: deleted, and not read any more" in caplog.text, WAIT_S), caplog.text
        kafka.produce(new, ["6"])
        wanted += rows(new, 6)
        assert wait_until(lambda: results(results_table) == wanted, WAIT_S), (results(results_table), stream.status())
        assert {tp.topic for tp in stream.status().positions} == {new}
    assert missing_topics(stream, config) == {old}


def missing_topics(stream: DirectStream, config: Mapping[str, Any]) -> set[str]:
    """Those of which ``offsets describe`` says so."""
    stream.store.open()
    positions = stream.store.positions(stream.name)
    stream.store.close()
    cluster = Cluster(config, CLIENT_LOG)
    findings = described(positions, observe(cluster, positions), datetime.now(UTC))
    cluster.close()
    return {each.topic_partition.topic for each in findings for it in each.findings if it.mark is Mark.TOPIC_MISSING}


def test_a_stream_with_offsets_in_kafka_begins_new_topics_at_their_beginning(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, target = random_name("orders"), kafka.create_topic(partitions=1)
    config = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}

    def copy(batch: Batch, transaction: Any) -> None:
        for message in batch:
            transaction.produce(target, value=json.dumps([message.topic(), (message.value() or b"").decode()]))

    def copied() -> Counter[tuple[str, str]]:
        return Counter(tuple(json.loads(value or b"")) for *_, value in kafka.read_committed(target))

    stream = DirectStream(
        name=prefix,
        topics=[f"^{prefix}-.*"],
        kafka=config,
        store=f"kafka://{kafka.bootstrap_servers}",
        sink=copy,
        start="latest",
    )
    with stream:
        assert wait_until(lambda: stream.status().state == "running", WAIT_S)
        first = kafka.create_topic(f"{prefix}-1", partitions=2)
        kafka.produce(first, ["0", "1"])
        assert wait_until(lambda: copied() == rows(first, 0, 1), WAIT_S), (copied(), stream.status())
        second = kafka.create_topic(f"{prefix}-2", partitions=2)
        kafka.produce(second, ["0", "1"])
        wanted = rows(first, 0, 1) + rows(second, 0, 1)
        assert wait_until(lambda: copied() == wanted, WAIT_S), (copied(), stream.status())


def test_a_stream_does_not_read_its_own_dead_letters(kafka: KafkaServer) -> None:
    with pytest.raises(ConfigurationError, match=r"would read its own dead letters, in topic 'orders\.dead-letters'"):
        DirectStream(
            name="orders",
            topics=["^orders.*"],
            kafka={"bootstrap.servers": kafka.bootstrap_servers},
            store=f"kafka://{kafka.bootstrap_servers}",
            sink=write,
            on_error="dead-letter",
        )
