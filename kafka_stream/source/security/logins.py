"""Who is not let in, by what librdkafka says: refused credentials, and TLS that does not come about."""

from __future__ import annotations

import re

from confluent_kafka import KafkaError

from kafka_stream.errors import ConfigurationError
from kafka_stream.source.security.tokens import is_token_awaited

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore

_NOT_AUTHENTICATED = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
# What goes wrong before a broker has seen any credentials has the code of a refusal: a connection that breaks while the
# mechanism is agreed on, a login that is repeated sooner than the broker allows (KIP-368), an issuer without a token.
_BEFORE_LOGIN_TEXT = "mechanism handshake failed: "
_NO_SUCH_MECHANISM_TEXT = _BEFORE_LOGIN_TEXT + KafkaError(KafkaError.UNSUPPORTED_SASL_MECHANISM).str()
_FOLLOWS_TEXT = KafkaError(KafkaError._AUTHENTICATION).str()  # of requests to a broker whose own error is told as well
_NOT_ACQUIRED = "Failed to acquire SASL OAUTHBEARER token"
# RFC 8446, 6: from handshake_failure to unknown_ca, access_denied, protocol_version, certificate_required.
_ALERT_OF_CERTIFICATES = re.compile(r"SSL alert number (4[0-9]|51|70|71|116)\b")
# What an issuer answers whom other credentials would help (RFC 6749, 5.2), as librdkafka quotes it.
_REFUSED_BY_ISSUER = re.compile(r"\b40[013]\b|invalid_(?:client|grant|request|scope)|unauthorized_client|access_denied")


def is_not_authenticated(error: KafkaError) -> bool:
    """Whether the broker, or the issuer of tokens, refused the credentials, and would the next time."""
    if error.code() not in _NOT_AUTHENTICATED or is_token_awaited():
        return False
    text = error.str()
    if _NOT_ACQUIRED in text:
        return _REFUSED_BY_ISSUER.search(text) is not None
    if _BEFORE_LOGIN_TEXT in text:
        return _NO_SUCH_MECHANISM_TEXT in text
    return not text.endswith(_FOLLOWS_TEXT)


def is_tls_failure(error: KafkaError) -> bool:
    """Whether a TLS handshake has failed for a reason that lies in certificates or settings.

    From TLS 1.3 on a broker says what it has against our certificate after the handshake, and librdkafka takes that for
    a connection that breaks.
    """
    if error.code() == KafkaError._TRANSPORT:
        return _ALERT_OF_CERTIFICATES.search(error.str()) is not None
    return error.code() == KafkaError._SSL


class LastError:
    """An ``error_cb`` that keeps the error that says most of those that a client has told.

    It knows nothing of whoever made the client, who would live as long.
    """

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """The client tells of one."""
        # What was refused is the cause; "all brokers down", which follows, only its consequence.
        if self.error is None or not (is_not_authenticated(self.error) or is_tls_failure(self.error)):
            self.error = error


def tls_refusal(error: KafkaError, servers: str) -> ConfigurationError | None:
    """The typed error if a TLS handshake has failed, and would the next time."""
    if not is_tls_failure(error):
        return None
    return ConfigurationError(
        f"the TLS handshake with {servers} failed ({error.str()}); check ssl.ca.location, that the broker's "
        "certificate has not expired and is for the name by which it is reached, and ssl.certificate.location where "
        "it asks for one"
    )


__all__ = ["LastError", "is_not_authenticated", "is_tls_failure", "tls_refusal"]
