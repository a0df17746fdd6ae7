"""Who may not log in, or may not see something, is told so at once, in the same words whatever the store is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from integration_tests.secured_kafka import STREAM, SecuredKafka
from integration_tests.servers import random_name
from kafka_stream import DirectStream
from kafka_stream.cli.exit_status import ExitStatus, exit_status
from kafka_stream.errors import NotAuthorized
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.sinks.kafka import KafkaSink

CREDENTIALS = "check security.protocol, sasl.mechanism, and its credentials (such as sasl.username and sasl.password)"

Run = Callable[[DirectStream], object]


def stream_on(
    kind: str, folder: Path, topic: str, client: Mapping[str, Any], name: str, assignment: str
) -> DirectStream:
    pairing: dict[str, Any] = {"store": f"sqlite:///{folder / 'offsets.db'}", "sink": lambda _batch, _transaction: None}
    if kind == "kafka":
        pairing = {"store": KafkaOffsetStore({}), "sink": KafkaSink(topic, lambda batch: [])}
    kafka = {**client, "log_level": 0}
    return DirectStream(name=name, topics=[topic], kafka=kafka, assignment=assignment, **pairing)


def refusal(stream: DirectStream) -> str:
    """Why it stopped: refused, which is the user's to mend. It would go on for ever otherwise."""
    with pytest.raises(NotAuthorized) as raised:
        stream.run()
    assert exit_status(raised.value) is ExitStatus.USAGE
    assert stream.status().error is raised.value
    return str(raised.value)


@pytest.mark.parametrize("kind", ["sqlite", "kafka"])
def test_a_wrong_password(secured_kafka: SecuredKafka, tmp_path: Path, kind: str) -> None:
    topic = secured_kafka.create_topic(partitions=1)
    client = secured_kafka.credentials(STREAM, password="wrong")
    message = refusal(stream_on(kind, tmp_path, topic, client, random_name("stream"), "static"))
    assert message.startswith(f"{secured_kafka.client_address} refused the credentials (")
    assert message.endswith(f"); {CREDENTIALS}")
    assert "grant" not in message


@pytest.mark.parametrize("kind", ["sqlite", "kafka"])
def test_no_right_on_the_topic(secured_kafka: SecuredKafka, tmp_path: Path, kind: str) -> None:
    topic, name = secured_kafka.create_topic(partitions=1), random_name("stream")
    secured_kafka.grant(STREAM, "group", name, "read", "describe")
    message = refusal(stream_on(kind, tmp_path, topic, secured_kafka.credentials(STREAM), name, "static"))
    assert message.startswith(f"{secured_kafka.client_address} refused access to topics {topic} (")
    assert message.endswith("); grant this principal READ and DESCRIBE on the topic")


def test_no_right_to_read_the_topic(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    topic, name = secured_kafka.create_topic(partitions=1), random_name("stream")
    secured_kafka.grant(STREAM, "topic", topic, "describe")
    secured_kafka.grant(STREAM, "group", name, "read")
    message = refusal(stream_on("sqlite", tmp_path, topic, secured_kafka.credentials(STREAM), name, "static"))
    assert message.endswith("); grant this principal READ and DESCRIBE on the topic")


def test_no_right_on_the_group(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    topic, name = secured_kafka.create_topic(partitions=1), random_name("stream")
    secured_kafka.grant(STREAM, "topic", topic, "read", "describe")
    message = refusal(stream_on("sqlite", tmp_path, topic, secured_kafka.credentials(STREAM), name, "group"))
    assert message.startswith(f"{secured_kafka.client_address} refused access to group {name} (")
    assert message.endswith("); grant this principal READ on the consumer group")
