"""One broker with SASL/PLAIN and ACLs, for what a client sees that cannot log in, or may not do what it asks."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from integration_tests.engine import SECURED_FILE, Compose, DockerEngine, wait_until
from integration_tests.servers import KafkaServer, ServerPorts, cluster_id, free_port

ADMIN = "admin"
STREAM = "stream"
NOBODY = "nobody"
"""Users of the broker: the first may do everything, the second what ``grant`` gave it, the third nothing."""

_WAIT_S = 60.0


class SecuredKafka(KafkaServer):
    """A broker whose clients log in; what is inherited (``create_topic``, ``produce``, …) goes past the ACLs.

    ``client_address`` is where the clients under test go, and ``credentials(user)`` are librdkafka's settings with
    which one of ``ADMIN``, ``STREAM`` and ``NOBODY`` does::

        secured_kafka.grant(STREAM, "topic", topic, "describe", "read")
        secured_kafka.grant(STREAM, "group", stream, "read")
        secured_kafka.grant(STREAM, "transactional id", f"{stream}:", "write", "describe", by_prefix=True)
        DirectStream(kafka=secured_kafka.credentials(STREAM), …)
        DirectStream(kafka=secured_kafka.credentials(STREAM, password="wrong"), …)

    Grants are taken back after each test.
    """

    def __init__(self, compose: Compose, ports: ServerPorts, internal_port: int) -> None:
        super().__init__(f"127.0.0.1:{internal_port}")
        self.client_address = f"127.0.0.1:{ports.kafka}"
        self._compose = compose

    def credentials(self, user: str, *, password: str | None = None) -> dict[str, Any]:
        """The settings that a client logs in with; a wrong password if one is given."""
        return {
            "bootstrap.servers": self.client_address,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": password or f"{user}-secret",
        }

    def grant(self, user: str, kind: str, name: str, *operations: str, by_prefix: bool = False) -> None:
        """Allow a user something on a ``topic``, ``group``, ``transactional id``, or the ``cluster`` (any name).

        ``operations`` are Kafka's, in lower case: ``read``, ``write``, ``describe``, ``describe_configs``, ….
        """
        bindings = [self._binding(user, kind, name, operation, by_prefix) for operation in operations]
        for created in self._admin.create_acls(bindings).values():
            created.result(_WAIT_S)
        assert wait_until(lambda: self._acls() >= set(bindings), _WAIT_S)

    def revoke_all(self) -> None:
        """Take everything back that was granted to anybody."""
        for deleted in self._admin.delete_acls([_ANY]).values():
            deleted.result(_WAIT_S)
        assert wait_until(lambda: not self._acls(), _WAIT_S)

    def _acls(self) -> set[AclBinding]:
        return set(self._admin.describe_acls(_ANY).result(_WAIT_S))

    def _binding(self, user: str, kind: str, name: str, operation: str, by_prefix: bool) -> AclBinding:
        kinds = {
            "topic": ResourceType.TOPIC,
            "group": ResourceType.GROUP,
            "transactional id": ResourceType.TRANSACTIONAL_ID,
            "cluster": ResourceType.BROKER,
        }
        return AclBinding(
            kinds[kind],
            "kafka-cluster" if kind == "cluster" else name,
            ResourcePatternType.PREFIXED if by_prefix else ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )


_ANY = AclBindingFilter(
    ResourceType.ANY,
    None,  # type: ignore[arg-type]  # stubs know no "any name"
    ResourcePatternType.ANY,
    None,  # type: ignore[arg-type]
    None,  # type: ignore[arg-type]
    AclOperation.ANY,
    AclPermissionType.ANY,
)


@contextlib.contextmanager
def running_secured_kafka(engine: DockerEngine) -> Iterator[SecuredKafka]:
    """Such a broker on ports of its own, for as long as the block lasts."""
    ports, internal_port = ServerPorts(), free_port()
    variables = {**ports.variables(), "KAFKA_INTERNAL_PORT": str(internal_port), "KAFKA_CLUSTER_ID": cluster_id()}
    compose = engine.compose_of(SECURED_FILE, f"kafka-stream-secured-{uuid.uuid4().hex[:8]}", **variables)
    try:
        compose.up("kafka")
        broker = SecuredKafka(compose, ports, internal_port)
        if not wait_until(broker.is_up, _WAIT_S):
            raise TimeoutError(f"the secured broker does not come up; {broker.missing()}: {compose('logs')}")
        yield broker
    finally:
        compose("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="session")
def secured_broker(engine: DockerEngine) -> Iterator[SecuredKafka]:
    """The container behind ``secured_kafka``."""
    with running_secured_kafka(engine) as broker:
        yield broker


@pytest.fixture
def secured_kafka(secured_broker: SecuredKafka) -> Iterator[SecuredKafka]:
    """A broker with SASL/PLAIN and ACLs; nobody but the tests' own clients and ``ADMIN`` has any right to begin with.

    ``secured_kafka.grant(STREAM, "topic", topic, "describe", "read")`` gives some, and
    ``secured_kafka.credentials(STREAM)`` are the settings of a client that logs in; see ``SecuredKafka``.
    """
    yield secured_broker
    secured_broker.revoke_all()
    secured_broker.delete_created_topics()
