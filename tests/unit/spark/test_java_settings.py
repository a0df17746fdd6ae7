"""librdkafka's settings as options of Spark's Kafka source, whose client is Java's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafka_stream.errors import ConfigurationError
from kafka_stream.executors.spark.java_settings import java_settings

SERVERS = {"bootstrap.servers": "a:9092,b:9092"}


def _options(given: dict[str, str] | None = None, **kafka: Any) -> dict[str, str]:
    return java_settings({**SERVERS, **{name.replace("_", "."): value for name, value in kafka.items()}}, given or {})


def test_a_plain_connection_needs_its_servers_only() -> None:
    assert _options() == {"kafka.bootstrap.servers": "a:9092,b:9092", "kafka.security.protocol": "PLAINTEXT"}


def test_librdkafkas_other_name_of_the_servers_will_do() -> None:
    assert java_settings({"metadata.broker.list": "c:1"}, {})["kafka.bootstrap.servers"] == "c:1"


def test_without_servers_the_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"bootstrap\.servers"):
        java_settings({"client.id": "orders"}, {})


def test_what_both_clients_call_the_same_is_kept_and_what_one_calls_otherwise_is_renamed() -> None:
    found = _options(client_id="orders", check_crcs=True, fetch_wait_max_ms=50, reconnect_backoff_ms=10)
    assert found["kafka.client.id"] == "orders"
    assert found["kafka.check.crcs"] == "true"
    assert found["kafka.fetch.max.wait.ms"] == "50"
    assert found["kafka.reconnect.backoff.ms"] == "10"


def test_what_tunes_librdkafka_alone_is_left_out() -> None:
    assert _options(queued_min_messages=1, statistics_interval_ms=5, group_id="x", socket_timeout_ms=5) == _options()


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
@pytest.mark.parametrize(
    ("mechanism", "module"),
    [("PLAIN", "plain.PlainLoginModule"), ("SCRAM-SHA-256", "scram.ScramLoginModule"), ("SCRAM-SHA-512", "scram.")],
)
def test_a_login_becomes_a_jaas_entry(name: str, mechanism: str, module: str) -> None:
    login = {name: mechanism, "sasl.username": "ann", "sasl.password": 'a "quoted" \\ word'}
    found = java_settings({**SERVERS, "security.protocol": "sasl_ssl", **login}, {})
    assert found["kafka.security.protocol"] == "SASL_SSL"
    assert found["kafka.sasl.mechanism"] == mechanism
    jaas = found["kafka.sasl.jaas.config"]
    assert f"org.apache.kafka.common.security.{module}" in jaas
    assert jaas.endswith(' required username="ann" password="a \\"quoted\\" \\\\ word";')


def test_a_login_of_a_connection_that_has_none_is_left_out() -> None:
    assert _options(sasl_username="ann", sasl_mechanism="GSSAPI") == _options()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sasl.mechanism": "GSSAPI"}, "'sasl.mechanism' 'GSSAPI'.*kafka.sasl.jaas.config"),
        ({}, "GSSAPI"),
        ({"sasl.mechanism": "PLAIN", "sasl.kerberos.principal": "x"}, "'sasl.kerberos.principal'.*options="),
        ({"sasl.mechanism": "PLAIN", "oauth_cb": print}, "'oauth_cb'"),
    ],
)
def test_a_login_that_cannot_be_translated_is_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        java_settings({**SERVERS, "security.protocol": "SASL_PLAINTEXT", **settings}, {})


@pytest.mark.parametrize(
    "setting",
    ["ssl.cipher.suites", "ssl.keystore.location", "ssl.crl.location", "ssl.ca.certificate.stores", "https.ca.pem"],
)
def test_a_setting_of_tls_that_cannot_be_translated_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{setting!r}.*options=\{{'kafka\."):
        java_settings({**SERVERS, "security.protocol": "ssl", setting: "x"}, {})


def test_unverified_certificates_are_refused_and_verified_ones_are_what_java_does() -> None:
    verified = {**SERVERS, "security.protocol": "ssl", "enable.ssl.certificate.verification": True}
    assert java_settings(verified, {})["kafka.security.protocol"] == "SSL"
    with pytest.raises(ConfigurationError, match="verification"):
        java_settings({**verified, "enable.ssl.certificate.verification": False}, {})


def test_certificates_travel_as_text(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("the authority")
    (tmp_path / "key.pem").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    found = _options(
        security_protocol="SSL",
        ssl_ca_location=str(tmp_path / "ca.pem"),
        ssl_certificate_pem="ours",
        ssl_key_location=str(tmp_path / "key.pem"),
        ssl_key_password="secret",
        ssl_endpoint_identification_algorithm="none",
    )
    assert {name.removeprefix("kafka.ssl."): value for name, value in found.items() if ".ssl." in name} == {
        "truststore.type": "PEM",
        "truststore.certificates": "the authority",
        "keystore.type": "PEM",
        "keystore.certificate.chain": "ours",
        "keystore.key": "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        "key.password": "secret",
        "endpoint.identification.algorithm": "",
    }


@pytest.mark.parametrize("place", ["missing.pem", "."])
def test_a_certificate_that_cannot_be_read_names_the_setting(place: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'ssl\.ca\.location'"):
        _options(security_protocol="SSL", ssl_ca_location=str(tmp_path / place))


def test_a_key_of_the_old_form_says_how_to_convert_it() -> None:
    with pytest.raises(ConfigurationError, match="pkcs8 -topk8"):
        _options(security_protocol="SSL", ssl_certificate_pem="c", ssl_key_pem="-----BEGIN RSA PRIVATE KEY-----")


def test_what_is_given_comes_first_and_takes_its_kind_over() -> None:
    given = {"kafka.sasl.jaas.config": "theirs", "kafka.ssl.truststore.location": "/on/executors"}
    kafka = {"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI", "ssl.cipher.suites": "x", **SERVERS}
    found = java_settings(kafka, {**given, "kafka.bootstrap.servers": "inside:9092", "minpartitions": "7"})
    assert found == {
        **given,
        "kafka.bootstrap.servers": "inside:9092",
        "kafka.security.protocol": "SASL_SSL",
        "minpartitions": "7",
    }


def test_no_refusal_shows_a_password() -> None:
    settings = {**SERVERS, "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.password": "hunter2"}
    with pytest.raises(ConfigurationError) as refused:
        java_settings({**settings, "ssl.keystore.password": "hunter2"}, {})
    assert "hunter2" not in str(refused.value)
