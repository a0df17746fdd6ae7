"""Pure: which of librdkafka's settings say how to reach a cluster, rather than how to read or write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka_stream.librdkafka import ClientSettings

_CONNECTION_SETTINGS = (
    "bootstrap.servers",
    "broker.address.",
    "client.",
    "connections.",
    "debug",
    "enable.sasl.",
    "enable.ssl.",
    "https.",
    "log",
    "metadata.broker.list",
    "metadata.recovery.",
    "oauth",
    "reconnect.",
    "resolve_cb",
    "retry.backoff.",
    "sasl.",
    "security.",
    "socket.",
    "ssl",
)


def connection_settings(config: Mapping[str, Any]) -> ClientSettings:
    """The settings that say how to reach the cluster, without those of consumers and producers."""
    return ClientSettings({key: value for key, value in config.items() if key.startswith(_CONNECTION_SETTINGS)})


__all__ = ["connection_settings"]
