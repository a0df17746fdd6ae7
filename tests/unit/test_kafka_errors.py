"""What a refusal says: who is not known hears of credentials, who may not of the right that is missing."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from kafka_stream.errors import ConfigurationError, NotAuthorized
from kafka_stream.source.kafka_errors import refusal
from kafka_stream.source.security.logins import tls_refusal

MISSING = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "READ and DESCRIBE on the topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "READ on the consumer group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "DESCRIBE on the cluster",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "WRITE and DESCRIBE on the transactional ids",
}


@pytest.mark.parametrize("code", [KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED])
def test_refused_credentials_are_no_matter_of_grants(code: int) -> None:
    refused = refusal(KafkaError(code, "no"), "broker:9092", "access to topic orders")
    assert isinstance(refused, NotAuthorized)
    assert str(refused) == (
        "broker:9092 refused the credentials (no); check security.protocol, sasl.mechanism, and its credentials (such "
        "as sasl.username and sasl.password)"
    )


@pytest.mark.parametrize("code", MISSING)
def test_a_missing_right_is_named(code: int) -> None:
    refused = refusal(KafkaError(code, "no"), "broker:9092", "access to topic orders")
    assert isinstance(refused, NotAuthorized)
    expected = f"broker:9092 refused access to topic orders (no); grant this principal {MISSING[code]}"
    assert str(refused) == expected


def test_who_writes_needs_another_right_on_a_topic() -> None:
    error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no")
    assert str(refusal(error, "broker", "a record", topic_rights="WRITE and DESCRIBE")).endswith(
        "grant this principal WRITE and DESCRIBE on the topic"
    )


@pytest.mark.parametrize("code", [KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT])
def test_silence_is_no_refusal(code: int) -> None:
    assert refusal(KafkaError(code), "broker", "access") is None
    assert tls_refusal(KafkaError(code), "broker") is None


def test_a_failed_handshake_names_what_to_look_at() -> None:
    refused = tls_refusal(KafkaError(KafkaError._SSL, "certificate verify failed"), "broker:9093")
    assert isinstance(refused, ConfigurationError)
    assert "the TLS handshake with broker:9093 failed (certificate verify failed); check ssl.ca.location" in str(
        refused
    )
