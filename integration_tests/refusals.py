"""What keeps a client out of a cluster, or of a store: each kind once, with the settings that run into it.

A row says how the client is set up, which right it lacks, and what it is to be told: an error of a type, in one
sentence. What runs with a row is looked at by ``Watch``: nothing of it may show a secret.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integration_tests.secured_kafka import KEY_PASSWORD, SECRETS, STREAM, SecuredKafka
from integration_tests.servers import random_name
from integration_tests.tls_servers import TlsServers
from kafka_stream import DirectStream
from kafka_stream.cli.exit_status import ExitStatus, exit_status
from kafka_stream.errors import ConfigurationError, KafkaStreamError, NotAuthorized
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.sinks.kafka import KafkaSink

WAIT_S = 60.0
RECORDS = 10
Settings = Callable[[SecuredKafka, Path], dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One way to be kept out. ``missing`` is the right that is not granted, or all are."""

    settings: Settings
    sentence: str
    error: type[KafkaStreamError] = NotAuthorized
    missing: str | None = None


CREDENTIALS = r"^\S+ refused the credentials \(.+\); check security\.protocol, sasl\.mechanism"
KEY = r"settings were refused: .*\bssl\.key\.location failed.*; check that the file .+, and ssl\.key\.password"
TLS = r"^the TLS handshake with \S+ failed \(.+\); check ssl\.ca\.location"


def _login(mechanism: str, password: str | None = None) -> Settings:
    return lambda kafka, _: kafka.login(STREAM, mechanism, password=password)


def _unknown_authority(kafka: SecuredKafka, _: Path) -> dict[str, Any]:
    other = str(kafka.certificates.other_authority.certificate)
    return {**kafka.login(STREAM), "ssl.ca.location": other}


def _of_unknown_client(kafka: SecuredKafka, _: Path) -> dict[str, Any]:
    return kafka.mutual(kafka.certificates.other_authority.issue(STREAM, "DNS:stream"))


def _of_expired_client(kafka: SecuredKafka, _: Path) -> dict[str, Any]:
    return kafka.mutual(kafka.certificates.of_client(STREAM, days=-1))


def _wrong_key_password(kafka: SecuredKafka, _: Path) -> dict[str, Any]:
    return kafka.mutual(kafka.certificates.of_client(STREAM, password=KEY_PASSWORD), password="wrong-key-password")


def _wrong_token(kafka: SecuredKafka, _: Path) -> dict[str, Any]:
    return kafka.token(STREAM, oauth_cb=refused_token)


def _wrong_client_secret(kafka: SecuredKafka, _: Path) -> dict[str, Any]:
    return oidc(kafka, STREAM, secret="wrong-secret")


def oidc(kafka: SecuredKafka, user: str, secret: str) -> dict[str, Any]:
    """The settings of a client that asks the issuer for its tokens by librdkafka's own means."""
    return kafka.token(
        user,
        **{
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": user,
            "sasl.oauthbearer.client.secret": secret,
            "sasl.oauthbearer.token.endpoint.url": kafka.issuer.url,
        },
    )


def refused_token(config: str) -> tuple[str, float]:
    """An ``oauth_cb`` whose token nobody has signed."""
    return "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzdHJlYW0ifQ.token-secret", time.time() + 300


LOGINS: Mapping[str, Row] = {
    "wrong password, PLAIN": Row(_login("PLAIN", "wrong-secret"), CREDENTIALS),
    "wrong password, SCRAM-SHA-256": Row(_login("SCRAM-SHA-256", "wrong-secret"), CREDENTIALS),
    "wrong password, SCRAM-SHA-512": Row(_login("SCRAM-SHA-512", "wrong-secret"), CREDENTIALS),
    "a token that is refused": Row(_wrong_token, CREDENTIALS),
    "wrong secret at the issuer": Row(_wrong_client_secret, CREDENTIALS),
    "wrong password of the key": Row(_wrong_key_password, KEY, ConfigurationError),
    "unknown authority": Row(_unknown_authority, TLS, ConfigurationError),
    "expired certificate": Row(lambda kafka, _: kafka.tls(kafka.ports.expired), TLS, ConfigurationError),
    "wrong host name": Row(lambda kafka, _: kafka.tls(kafka.ports.elsewhere), TLS, ConfigurationError),
    "no client certificate": Row(lambda kafka, _: kafka.tls(kafka.ports.mutual), TLS, ConfigurationError),
    "unknown client certificate": Row(_of_unknown_client, TLS, ConfigurationError),
    "expired client certificate": Row(_of_expired_client, TLS, ConfigurationError),
}
"""Who is not let in at all."""

RIGHTS: Mapping[str, Row] = {
    "no right on the topic": Row(
        _login("PLAIN"),
        r"^\S+ refused access to topics .+; grant this principal READ and DESCRIBE on the topic$",
        missing="topic",
    ),
    "no right on the group": Row(
        _login("PLAIN"),
        r"^\S+ refused access to .*group.+; grant this principal READ on the consumer group$",
        missing="group",
    ),
}
"""Who is let in, and may not do what the stream has to, whatever its store."""

RIGHTS_IN_KAFKA: Mapping[str, Row] = {
    "no right on the transactional ids": Row(
        _login("PLAIN"),
        r"^\S+ refused taking over the transactional id .+; grant this principal WRITE and DESCRIBE on the transa",
        missing="transactional id",
    ),
    "no right on the cluster": Row(
        _login("PLAIN"),
        r"^topic '\S+\.dead-letters', which dead letters go to, could not be created at .+: grant CREATE on it",
        missing="cluster",
    ),
}

STORES = ("sqlite", "postgresql", "mariadb", "zookeeper", "kafka")


class Secured:
    """A stream on the secured broker, with its offsets in any store, and what it may do."""

    def __init__(self, kafka: SecuredKafka, servers: TlsServers | None, directory: Path) -> None:
        self.kafka = kafka
        self.name = random_name("stream")
        self.topic = kafka.create_topic(partitions=2)
        self.results = kafka.create_topic(partitions=1)
        self.directory = directory
        self._servers = servers
        kafka.produce(self.topic, [str(number) for number in range(RECORDS)])

    def grant_all_but(self, missing: str | None = None) -> None:
        """Everything that a stream with its offsets in Kafka needs, on the topics, the group and the ids."""
        grants: list[tuple[str, str, tuple[str, ...], bool]] = [
            ("topic", self.topic, ("read",), False),
            ("topic", self.results, ("write",), False),
            ("group", self.name, ("read",), False),
            ("transactional id", f"{self.name}:", ("write",), True),
        ]
        for kind, name, operations, by_prefix in grants:
            if kind != missing or name == self.results:
                self.kafka.grant(STREAM, kind, name, *operations, by_prefix=by_prefix)

    def url(self, store: str) -> str:
        """A store that is not in Kafka, by its URL."""
        if store == "sqlite":
            return f"sqlite:///{self.directory}/offsets.db"
        assert self._servers is not None
        urls = {"postgresql": self._servers.postgres, "mariadb": self._servers.mariadb}
        return (urls | {"zookeeper": self._servers.zookeeper})[store]()

    def stream(
        self, store: str, client: Mapping[str, Any], assignment: str = "static", **settings: Any
    ) -> DirectStream:
        """A stream that logs in with these settings; with its offsets in Kafka it has results there, too."""
        into_kafka = KafkaSink(self.results, lambda batch: [message.value() for message in batch])
        in_kafka = store == "kafka"
        return DirectStream(
            name=self.name,
            topics=[self.topic],
            kafka=client,
            store=KafkaOffsetStore() if in_kafka else self.url(store),
            sink=into_kafka if in_kafka else _nothing,
            assignment=assignment,
            **settings,
        )

    def refusal(self, stream: DirectStream, row: Row) -> str:
        """What a stream says as it ends, by itself, within seconds: of the row's type, in one sentence."""
        stream.start()
        try:
            stream.wait(WAIT_S)
        except KafkaStreamError as error:
            return self._checked(error, row)
        finally:
            stream.stop()
        raise AssertionError(f"the stream goes on: {stream.status()}")

    def assert_no_secret(self, *printed: object) -> None:
        """Nothing of what was printed, or would be, has a password or a token in it."""
        for each in printed:
            for text in (str(each), repr(each)):
                assert not [secret for secret in (*SECRETS, *self.kafka.issuer.tokens) if secret in text], text

    def _checked(self, error: KafkaStreamError, row: Row) -> str:
        said = str(error)
        assert isinstance(error, row.error), (type(error), said)
        assert exit_status(error) is ExitStatus.USAGE
        assert re.search(row.sentence, said), said
        assert "\n" not in said, said
        return said


def _nothing(prepared: Any, transaction: Any) -> None:
    pass


__all__ = [
    "LOGINS",
    "RECORDS",
    "RIGHTS",
    "RIGHTS_IN_KAFKA",
    "STORES",
    "WAIT_S",
    "Row",
    "Secured",
    "oidc",
    "refused_token",
]
