"""Pure: the settings of this store's clients, from its own and the stream's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kafka_stream.errors import ConfigurationError
from kafka_stream.librdkafka import ClientSettings, why_unknown
from kafka_stream.source.connection import connection_settings, soon_again

_BROKERS = ("bootstrap.servers", "metadata.broker.list")
_SESSION, _TIMEOUT = "session.timeout.ms", "transaction.timeout.ms"
_DEFAULT_SESSION_TIMEOUT_MS = 45_000  # librdkafka's, and the brokers' group.consumer.session.timeout.ms
_DEFAULTS: Mapping[str, Any] = {
    "linger.ms": 20,
    "batch.size": 1_000_000,
    "compression.type": "lz4",
    # The next transaction's first request comes while the broker finishes the last one, and is told to try again.
    "retry.backoff.ms": 10,
}
_LONGEST_SILENCE_MS = 10_000
"""After which a broker that does not answer is given up: for one that hangs another has taken its place by then."""
_FORCED: Mapping[str, Any] = {
    "enable.idempotence": True,
    # Without it librdkafka would hand back every single record.
    "delivery.report.only.error": True,
}
_FORBIDDEN: Mapping[str, str] = {
    "transactional.id": "it is the store's fence, and made from the stream's name",
    "enable.idempotence": "a transaction rests on it",
    "acks": "a transaction needs all of them",
    "request.required.acks": "a transaction needs all acks",
    "delivery.report.only.error": "the store watches deliveries itself",
    "on_delivery": "the store watches deliveries itself",
    "dr_cb": "the store watches deliveries itself",
    "dr_msg_cb": "the store watches deliveries itself",
    "group.id": "it is the stream's name",
    "default.topic.config": "give its settings beside the others",
}
_MOCK = "test.mock.num.brokers"
_DEAD_LETTERS_TOPIC = "dead_letters_topic"
_EXAMPLE = "kafka://host1:9092,host2:9092"


def checked_config(config: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """What the user gave the store, as librdkafka's settings.

    Raises:
        ConfigurationError: the URL cannot be read, or a setting would break the guarantee.
    """
    found = dict(_from_url(config)) if isinstance(config, str) else dict(config or {})
    for key, why in _FORBIDDEN.items():
        if key in found:
            raise ConfigurationError(f"the Kafka offset store's setting {key!r} cannot be set: {why}")
    if (unknown := why_unknown(found)) is not None:
        raise ConfigurationError(f"the Kafka offset store's setting {unknown}")
    refuse_mock(found)
    return ClientSettings(found)


def dead_letters_topic_in(config: Mapping[str, Any] | str | None) -> str | None:
    """The topic that a URL names for dead letters, after ``checked_config`` has found nothing wrong with it."""
    return dict(parse_qsl(urlsplit(config).query)).get(_DEAD_LETTERS_TOPIC) if isinstance(config, str) else None


def refuse_mock(config: Mapping[str, Any]) -> None:
    """Raise ``ConfigurationError`` for librdkafka's mock cluster, which proves nothing about transactions."""
    if _MOCK in config:
        raise ConfigurationError(
            f"a Kafka offset store cannot work with {_MOCK}: librdkafka's mock cluster neither commits offsets in a "
            "transaction nor fences; use a SQL store with it"
        )


def merged_config(own: Mapping[str, Any], of_stream: Mapping[str, Any]) -> dict[str, Any]:
    """The store's own settings; brokers and security are the stream's if it names no brokers itself.

    Its timeout is the stream's all the same: for so long a killed member's successors wait for its offsets.
    """
    of_session = {_TIMEOUT: of_stream[_SESSION]} if _SESSION in of_stream else {}
    of_connection = {} if any(key in own for key in _BROKERS) else connection_settings(of_stream)
    return ClientSettings({**of_connection, **of_session, **own})


def producer_settings(config: Mapping[str, Any], session_timeout_ms: int | None = None) -> dict[str, Any]:
    """A transactional producer's settings, but for its ``transactional.id``.

    ``session_timeout_ms`` is that of the group, where it is not its members who say how long their sessions last.

    A killed owner's offsets stay unreadable until its transaction times out: not for longer than its session lasts.
    librdkafka would wait as long for a broker that hangs, too, whoever leads its partitions by then; what is sent again
    for that is not there twice (KIP-98).
    """
    defaults = {_TIMEOUT: session_timeout_ms or _DEFAULT_SESSION_TIMEOUT_MS, **_DEFAULTS}
    settings = {**defaults, **soon_again(config), **config, **_FORCED}
    if not any(key.startswith("socket.timeout") for key in config):
        settings["socket.timeout.ms"] = min(_LONGEST_SILENCE_MS, int(settings[_TIMEOUT]))
    return ClientSettings(settings)


def is_timeout_chosen(config: Mapping[str, Any]) -> bool:
    """Whether somebody has said how long a transaction may last."""
    return _TIMEOUT in config


def servers_of(config: Mapping[str, Any]) -> str | None:
    """The brokers that are named in the settings."""
    return next((str(config[key]) for key in _BROKERS if config.get(key)), None)


def _from_url(url: str) -> dict[str, Any]:
    """``kafka://h1:9092,h2:9092?security.protocol=SSL``: brokers, and librdkafka's settings as the query."""
    try:
        parts = urlsplit(url)
    except ValueError:  # not chained: it may quote a piece of a password
        raise ConfigurationError(f"the Kafka offset store's URL cannot be read; it reads {_EXAMPLE}") from None
    if parts.scheme.lower() != "kafka" or not parts.netloc:
        raise ConfigurationError(f"a Kafka offset store's URL reads {_EXAMPLE}")
    if "@" in parts.netloc or parts.path not in ("", "/") or parts.fragment:
        raise ConfigurationError(
            f"a Kafka offset store's URL has brokers and settings only, as in {_EXAMPLE}?security.protocol=SSL; give "
            "credentials as settings, KafkaOffsetStore({'sasl.username': …})"
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.pop(_DEAD_LETTERS_TOPIC, None)
    return {**query, "bootstrap.servers": unquote(parts.netloc)}


__all__ = [
    "checked_config",
    "dead_letters_topic_in",
    "is_timeout_chosen",
    "merged_config",
    "producer_settings",
    "refuse_mock",
    "servers_of",
]
