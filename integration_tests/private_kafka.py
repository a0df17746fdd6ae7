"""A broker that is one test's, or one file's: started in a project of its own, and removed with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from integration_tests.engine import Compose
from integration_tests.servers import PrivateKafka, ServerPorts


@contextmanager
def private_kafka_of(compose: Compose, ports: ServerPorts) -> Iterator[PrivateKafka]:
    """A project's broker, up for as long as the block lasts; all of the project is removed then."""
    try:
        compose.up("kafka")
        broker = PrivateKafka(compose, ports)
        broker.wait_until_up()
        yield broker
    finally:
        compose("down", "--volumes", "--timeout", "5")
