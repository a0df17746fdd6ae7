"""Pure but for certificates, which are read: librdkafka's settings of a connection as options of Spark's Kafka source.

Spark hands what begins with ``kafka.`` to Kafka's Java client. Settings that say how to reach the cluster are
translated, or refused; what tunes librdkafka alone is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kafka_stream.errors import ConfigurationError

_SERVERS = ("bootstrap.servers", "metadata.broker.list")
_MECHANISMS = ("sasl.mechanism", "sasl.mechanisms")
_SAME = (
    *("check.crcs", "client.dns.lookup", "client.id", "client.rack", "connections.max.idle.ms", "fetch.max.bytes"),
    *("fetch.min.bytes", "metadata.max.age.ms", "reconnect.backoff.max.ms", "reconnect.backoff.ms"),
    *("retry.backoff.max.ms", "retry.backoff.ms", "socket.connection.setup.timeout.ms"),
)
_OTHER_NAMES = {
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "fetch.wait.max.ms": "fetch.max.wait.ms",
    "max.partition.fetch.bytes": "max.partition.fetch.bytes",
}
_LOGINS = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
_OF_TLS = ("ssl.", "enable.ssl.certificate.verification", "https.")
_OF_SASL = ("sasl.", "enable.sasl.", "oauth")
_TRANSLATED_SASL = {*_MECHANISMS, "sasl.username", "sasl.password"}
_TRANSLATED_TLS = {
    *("ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location", "ssl.certificate.pem"),
    *("ssl.key.location", "ssl.key.pem", "ssl.key.password", "ssl.endpoint.identification.algorithm"),
}
_OLD_KEYS = ("BEGIN RSA PRIVATE KEY", "BEGIN EC PRIVATE KEY", "BEGIN DSA PRIVATE KEY")


def java_settings(kafka: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """What Spark's source takes in place of librdkafka's settings; what the user has ``given`` comes before it.

    Certificates go as text, since a path means something else on each executor. If one option of SASL, or of TLS, is
    given, all of it is the user's. The names of what is given are in lower case.

    Raises:
        ConfigurationError: a setting of the connection cannot be said to the Java client, or a file not be read.
    """
    protocol = str(kafka.get("security.protocol", "plaintext")).upper()
    found = {"security.protocol": protocol}
    for name in (*_SERVERS, *_SAME, *_OTHER_NAMES):
        if name in kafka:
            found[_OTHER_NAMES.get(name, _SERVERS[0] if name in _SERVERS else name)] = option_text(kafka[name])
    if protocol.startswith("SASL_") and not _is_any(given, "kafka.sasl."):
        found |= _login(kafka)
    if protocol.endswith("SSL") and not _is_any(given, "kafka.ssl."):
        found |= _certificates(kafka)
    options = {**{f"kafka.{name}": value for name, value in found.items()}, **given}
    if "kafka.bootstrap.servers" not in options:
        raise ConfigurationError("SparkExecutor needs the Kafka setting 'bootstrap.servers': Spark reads from there")
    return options


def _is_any(names: Iterable[str], start: str) -> bool:
    return any(name.startswith(start) for name in names)


def option_text(value: Any) -> str:
    """As an option of Spark's says it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _login(kafka: Mapping[str, Any]) -> dict[str, str]:
    _refuse_others(kafka, _OF_SASL, _TRANSLATED_SASL)
    mechanism = str(next((kafka[name] for name in _MECHANISMS if name in kafka), "GSSAPI"))
    if (module := _LOGINS.get(mechanism)) is None:
        raise _untranslatable("sasl.mechanism", f" {mechanism!r}", "sasl.jaas.config")
    username, password = (_quoted(str(kafka.get(f"sasl.{name}", ""))) for name in ("username", "password"))
    jaas = f"{module} required username={username} password={password};"
    return {"sasl.mechanism": mechanism, "sasl.jaas.config": jaas}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _certificates(kafka: Mapping[str, Any]) -> dict[str, str]:
    if str(kafka.get("enable.ssl.certificate.verification", "true")).lower() != "true":
        raise _untranslatable("enable.ssl.certificate.verification", "", "ssl.engine.factory.class")
    _refuse_others(kafka, _OF_TLS, {*_TRANSLATED_TLS, "enable.ssl.certificate.verification"})
    found: dict[str, str] = {}
    if (authority := _pem(kafka, "ssl.ca")) is not None:
        found |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": authority}
    certificate, key = _pem(kafka, "ssl.certificate"), _pem(kafka, "ssl.key")
    if certificate is not None and key is not None:
        if any(old in key for old in _OLD_KEYS):
            raise ConfigurationError(
                "Spark's Kafka client reads private keys in the form PKCS#8 only: convert what 'ssl.key.location' or "
                "'ssl.key.pem' names with `openssl pkcs8 -topk8`"
            )
        found |= {"ssl.keystore.type": "PEM", "ssl.keystore.certificate.chain": certificate, "ssl.keystore.key": key}
    if "ssl.key.password" in kafka:
        found["ssl.key.password"] = str(kafka["ssl.key.password"])
    if (algorithm := kafka.get("ssl.endpoint.identification.algorithm")) is not None:
        found["ssl.endpoint.identification.algorithm"] = "" if algorithm == "none" else str(algorithm)
    return found


def _refuse_others(kafka: Mapping[str, Any], starts: tuple[str, ...], translated: set[str]) -> None:
    for name in kafka:
        if name.startswith(starts) and name not in translated:
            raise _untranslatable(name, "", name)


def _untranslatable(name: str, value: str, java_name: str) -> ConfigurationError:
    return ConfigurationError(
        f"the Kafka setting {name!r}{value} cannot be translated for Spark's Kafka client: say it as that has it, in "
        f"SparkExecutor(…, options={{'kafka.{java_name}': …}})"
    )


def _pem(kafka: Mapping[str, Any], name: str) -> str | None:
    if (text := kafka.get(f"{name}.pem")) is not None:
        return str(text)
    if (place := kafka.get(f"{name}.location")) is None:
        return None
    try:
        return Path(str(place)).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"what the Kafka setting '{name}.location' names cannot be read as a PEM file here, to be sent to Spark's "
            f"executors ({type(error).__name__}): name one file"
        ) from error


__all__ = ["java_settings", "option_text"]
