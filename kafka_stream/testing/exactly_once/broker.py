"""One Kafka broker in Docker, for a session of tests: started by pytest-docker, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from kafka_stream.errors import BrokerUnavailable, MissingExtra

ADDRESS = "KAFKA_STREAM_TEST_KAFKA"
COMPOSE = "KAFKA_STREAM_TEST_COMPOSE"
NETWORK = "KAFKA_STREAM_TEST_NETWORK"
IMAGE = "KAFKA_IMAGE"
_IMAGE = "apache/kafka:4.3.0"
_PATIENCE_S = 120.0
_NAMED_PATIENCE_S = 10.0

_COMPOSE_FILE = """\
services:
  kafka:
    image: {image}
    {network}
    environment:
      CLUSTER_ID: 5L6g3nShT-eMCtK--X86sw
      KAFKA_NODE_ID: 1
      KAFKA_PROCESS_ROLES: broker,controller
      KAFKA_LISTENERS: PLAINTEXT://{interface}:{port},CONTROLLER://127.0.0.1:{controller_port}
      KAFKA_ADVERTISED_LISTENERS: PLAINTEXT://127.0.0.1:{port}
      KAFKA_CONTROLLER_LISTENER_NAMES: CONTROLLER
      KAFKA_CONTROLLER_QUORUM_VOTERS: 1@127.0.0.1:{controller_port}
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: "false"
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1
      KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS: 4
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: 1
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: 1
      KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS: 4
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: 0
      KAFKA_HEAP_OPTS: -Xms256m -Xmx512m
"""


@contextmanager
def broker_in_docker(folder: Path) -> Iterator[str]:
    """The address of a broker that is there for as long as the block lasts, or of the one that a variable names.

    Raises:
        MissingExtra: pytest-docker is not installed.
        BrokerUnavailable: it does not answer.
    """
    if address := os.environ.get(ADDRESS):
        _wait_for(address, _NAMED_PATIENCE_S)
        yield address
        return
    try:
        from pytest_docker.plugin import get_docker_services
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"a Kafka in Docker needs pytest-docker: pip install 'kafka-stream[testing]', or name a broker in {ADDRESS}"
        ) from error
    port, controller_port = _free_port(), _free_port()
    file = folder / "kafka.yml"
    file.write_text(_compose_file(port, controller_port))
    up, down = "up --detach --quiet-pull", "down --volumes --timeout 5"
    command = os.environ.get(COMPOSE, "docker compose")
    with get_docker_services(command, str(file), _project(port), [up], [down]):
        _wait_for(f"127.0.0.1:{port}", _PATIENCE_S)
        yield f"127.0.0.1:{port}"


def _compose_file(port: int, controller_port: int) -> str:
    on_host = os.environ.get(NETWORK) == "host"
    return _COMPOSE_FILE.format(
        image=os.environ.get(IMAGE, _IMAGE),
        network="network_mode: host" if on_host else f'ports: ["127.0.0.1:{port}:{port}"]',
        interface="127.0.0.1" if on_host else "0.0.0.0",  # noqa: S104 - inside of its container
        port=port,
        controller_port=controller_port,
    )


def _project(port: int) -> str:
    """Its name in Docker, which no other project of the same process has."""
    return f"kafka-stream-broker-{os.getpid()}-{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_for(address: str, patience_s: float) -> None:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 500})
    deadline = time.monotonic() + patience_s
    while True:
        try:
            admin.list_topics(timeout=2.0)
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"no Kafka answers at {address} within {patience_s:g} s") from error
        else:
            return


__all__ = ["broker_in_docker"]
