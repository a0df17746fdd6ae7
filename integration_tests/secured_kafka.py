"""One broker with TLS, passwords, tokens and ACLs, for what a client sees that is not let in, or may not do it."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from integration_tests.engine import SECURED_FILE, Compose, DockerEngine, wait_until
from integration_tests.servers import KafkaServer, ServerPorts, cluster_id, free_port
from integration_tests.tls_listener import Authority, Certificate
from integration_tests.token_issuer import FromIssuer, TokenIssuer

ADMIN = "admin"
STREAM = "stream"
NOBODY = "nobody"
"""Users of the broker: the first may do everything, the second what ``grant`` gave it, the third nothing."""

KEY_PASSWORD = "the-key-password"
"""Of the key of a client's certificate."""
SECRETS = ("-secret", "key-password")
"""What every secret of the tests' own has in it: no output may."""

_WAIT_S = 60.0
_SCRAM = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_JAAS = f"""login.KafkaServer {{
  {_PLAIN} required user_admin="admin-secret" user_stream="stream-secret" user_nobody="nobody-secret";
  org.apache.kafka.common.security.scram.ScramLoginModule required;
}};
"""


@dataclass(frozen=True)
class SecuredPorts:
    """The ports of the listeners that are not in docker-compose.yml."""

    internal: int = field(default_factory=free_port)
    login: int = field(default_factory=free_port)
    token: int = field(default_factory=free_port)
    mutual: int = field(default_factory=free_port)
    expired: int = field(default_factory=free_port)
    elsewhere: int = field(default_factory=free_port)

    def variables(self) -> dict[str, str]:
        """What docker-compose.secured.yml reads."""
        return {f"KAFKA_{name.upper()}_PORT": str(port) for name, port in vars(self).items()}


class Certificates:
    """The broker's certificates, and what else it reads from a folder; and those of its clients."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broker = directory / "broker"
        self.authority = Authority(directory / "authority")
        self.other_authority = Authority(directory / "other-authority")
        self.issuer = TokenIssuer(directory / "issuer")
        self.broker.mkdir()
        for name, subject, days in (
            ("server", "IP:127.0.0.1", 2),
            ("expired", "IP:127.0.0.1", -1),
            ("elsewhere", "DNS:elsewhere.example", 2),
        ):
            issued = self.authority.issue(name, subject, days)
            self._write(f"{name}.keystore", issued.key.read_text() + issued.path.read_text())
        self._write("ca.pem", self.authority.certificate.read_text())
        self._write("jaas.conf", _JAAS)
        self._write("jwks.json", self.issuer.jwks)
        for each in (directory, self.broker):
            each.chmod(0o755)  # the broker's user is another one

    def of_client(self, user: str, days: int = 2, *, password: str | None = None) -> Certificate:
        """A client's certificate."""
        return self.authority.issue(user, f"DNS:{user}", days, password=password)

    def _write(self, name: str, content: str) -> None:
        path = self.broker / name
        path.write_text(content)
        path.chmod(0o644)


class SecuredKafka(KafkaServer):
    """A broker whose clients log in; what is inherited (``create_topic``, ``produce``, …) goes past the ACLs.

    ``client_address`` is where the clients under test go, and ``credentials(user)`` are librdkafka's settings with
    which one of ``ADMIN``, ``STREAM`` and ``NOBODY`` does; ``login``, ``token`` and ``mutual`` are those over TLS::

        secured_kafka.grant(STREAM, "topic", topic, "describe", "read")
        secured_kafka.grant(STREAM, "group", stream, "read")
        secured_kafka.grant(STREAM, "transactional id", f"{stream}:", "write", "describe", by_prefix=True)
        DirectStream(kafka=secured_kafka.credentials(STREAM), …)
        DirectStream(kafka=secured_kafka.credentials(STREAM, password="wrong"), …)

    Grants are taken back after each test.
    """

    def __init__(self, compose: Compose, ports: ServerPorts, secured: SecuredPorts, certificates: Certificates) -> None:
        super().__init__(f"127.0.0.1:{secured.internal}")
        self.client_address = f"127.0.0.1:{ports.kafka}"
        self.ports = secured
        self.certificates = certificates
        self.issuer = certificates.issuer
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

    def login(self, user: str, mechanism: str = "PLAIN", *, password: str | None = None) -> dict[str, Any]:
        """The settings of a client that logs in with a password over TLS."""
        credentials = {"sasl.username": user, "sasl.password": password or f"{user}-secret"}
        return {
            **self.tls(self.ports.login),
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": mechanism,
        } | credentials

    def token(self, user: str, **settings: Any) -> dict[str, Any]:
        """The settings of a client that logs in with a token, which it asks the issuer for by ``oauth_cb``."""
        callback = {"oauth_cb": FromIssuer(self.issuer.url, user)}
        sasl = {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}
        return {**self.tls(self.ports.token), **sasl, **(settings or callback)}

    def mutual(self, certificate: Certificate, *, password: str | None = None) -> dict[str, Any]:
        """The settings of a client that shows a certificate."""
        files = {"ssl.certificate.location": str(certificate.path), "ssl.key.location": str(certificate.key)}
        return {**self.tls(self.ports.mutual), **files} | ({"ssl.key.password": password} if password else {})

    def tls(self, port: int, **settings: Any) -> dict[str, Any]:
        """The settings of a client that says of itself nothing, at one of the listeners with TLS."""
        trusted = {"ssl.ca.location": str(self.certificates.authority.certificate), **settings}
        return {"bootstrap.servers": f"127.0.0.1:{port}", "security.protocol": "SSL", **trusted}

    def add_scram_user(self, user: str, mechanism: str) -> None:
        """Have a user log in by SCRAM, until ``remove_scram_user``."""
        info = ScramCredentialInfo(_SCRAM[mechanism], 4096)
        self._alter(UserScramCredentialUpsertion(user, info, f"{user}-secret".encode()))
        assert wait_until(lambda: user in self._scram_users(), _WAIT_S)

    def remove_scram_user(self, user: str, mechanism: str) -> None:
        """Take the password away; who is logged in is asked again within seconds."""
        self._alter(UserScramCredentialDeletion(user, _SCRAM[mechanism]))

    def _alter(self, alteration: Any) -> None:
        for altered in self._admin.alter_user_scram_credentials([alteration]).values():
            altered.result(_WAIT_S)

    def _scram_users(self) -> Any:
        asked: Any = self._admin.describe_user_scram_credentials()
        return asked.result(_WAIT_S)

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
    """Such a broker on ports of its own, and the issuer of its tokens, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="kafka-stream-secured-") as directory:
        certificates = Certificates(Path(directory))
        with certificates.issuer:
            yield from _running(engine, certificates)


def _running(engine: DockerEngine, certificates: Certificates) -> Iterator[SecuredKafka]:
    ports, secured = ServerPorts(), SecuredPorts()
    variables = {**ports.variables(), **secured.variables(), "KAFKA_CLUSTER_ID": cluster_id()}
    variables["KAFKA_CERTIFICATES"] = str(certificates.broker)
    compose = engine.compose_of(SECURED_FILE, f"kafka-stream-secured-{uuid.uuid4().hex[:8]}", **variables)
    try:
        compose.up("kafka")
        broker = SecuredKafka(compose, ports, secured, certificates)
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
    """A broker with TLS, SASL and ACLs; nobody but the tests' own clients and ``ADMIN`` has any right to begin with.

    ``secured_kafka.grant(STREAM, "topic", topic, "describe", "read")`` gives some, and
    ``secured_kafka.credentials(STREAM)`` are the settings of a client that logs in; see ``SecuredKafka``.
    """
    yield secured_broker
    secured_broker.revoke_all()
    secured_broker.delete_created_topics()
