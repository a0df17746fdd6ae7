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


_LONGEST_BACKOFF = "reconnect.backoff.max.ms"


def connection_settings(config: Mapping[str, Any]) -> ClientSettings:
    """The settings that say how to reach the cluster, without those of consumers and producers."""
    return ClientSettings({key: value for key, value in config.items() if key.startswith(_CONNECTION_SETTINGS)})


def servers_of(config: Mapping[str, Any]) -> str:
    """The servers to begin with, by either of the names that librdkafka has for them; empty if there are none."""
    return str(config.get("bootstrap.servers") or config.get("metadata.broker.list") or "")


def soon_again(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """How soon a broker that is away is tried again: every second, as Java's clients do, unless the user says.

    librdkafka itself waits for up to ten seconds, and a request that needs that very broker waits as long.
    """
    return {} if any(key.startswith("reconnect.") for key in config) else {_LONGEST_BACKOFF: 1_000}


__all__ = ["connection_settings", "servers_of", "soon_again"]
