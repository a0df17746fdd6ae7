"""TLS that cannot work is said at once, with what to set, and not taken for a broker that does not answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from integration_tests.secured_kafka import SecuredKafka
from integration_tests.servers import KafkaServer
from integration_tests.tls_listener import Authority, TlsListener
from kafka_stream.cli.exit_status import ExitStatus, exit_status
from kafka_stream.errors import ConfigurationError
from kafka_stream.source.kafka_source import KafkaSource
from kafka_stream.source.limits import SourceLimits

LONG_S = 600.0
"""A client that takes the failure for silence waits so long."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def refusal(address: str, **config: Any) -> str:
    """What opening a source says, which is the user's to mend."""
    settings: Mapping[str, Any] = {name.replace("_", "."): value for name, value in config.items()}
    source = KafkaSource({"bootstrap.servers": address, **settings}, "group", ["topic"], SourceLimits())
    try:
        with pytest.raises(ConfigurationError) as raised:
            source.open(LONG_S)
    finally:
        source.close()
    assert exit_status(raised.value) is ExitStatus.USAGE
    return str(raised.value)


@pytest.mark.parametrize(
    ("subject", "days"), [("DNS:elsewhere.example", 2), ("IP:127.0.0.1", -1)], ids=["another host's name", "expired"]
)
def test_a_certificate_that_is_not_valid(authority: Authority, subject: str, days: int) -> None:
    with TlsListener(authority.issue("wrong", subject, days)) as listener:
        message = refusal(listener.address, security_protocol="SSL", ssl_ca_location=str(authority.certificate))
    assert f"the TLS handshake with {listener.address} failed" in message
    assert "certificate verify failed" in message
    assert "has not expired and is for the name by which it is reached" in message


def test_an_authority_that_is_not_known(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    with TlsListener(authority.issue("right")) as listener:
        message = refusal(listener.address, security_protocol="SSL", ssl_ca_location=str(other.certificate))
    assert "check ssl.ca.location" in message


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_plain_text_to_a_port_that_speaks_tls(authority: Authority, protocol: str) -> None:
    login = {"sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": "p"} if "SASL" in protocol else {}
    with TlsListener(authority.issue("plain")) as listener:
        message = refusal(listener.address, security_protocol=protocol, **login)
    assert message == (
        f"{listener.address} speaks TLS, but security.protocol is {protocol}, so no broker could be reached: set it to "
        "SSL, or to SASL_SSL where it asks for credentials"
    )


def test_tls_to_a_brokers_plain_text_port(kafka: KafkaServer) -> None:
    assert refusal(kafka.bootstrap_servers, security_protocol="SSL") == (
        f"{kafka.bootstrap_servers} does not speak TLS, but security.protocol is SSL, so no broker could be reached: "
        "set it to PLAINTEXT, or to SASL_PLAINTEXT where it asks for credentials"
    )


def test_no_credentials_to_a_port_that_asks_for_them(secured_kafka: SecuredKafka) -> None:
    assert "asks for credentials, but security.protocol is PLAINTEXT" in refusal(secured_kafka.client_address)
