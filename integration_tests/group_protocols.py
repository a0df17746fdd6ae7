"""Consumer groups by Kafka's two protocols, as their coordinator sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._group import ConsumerGroupDescription

from integration_tests.engine import wait_until
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import SHORT_SESSIONS

_TIMEOUT_S = 60.0


def group_of(servers: str, group: str) -> ConsumerGroupDescription:
    """A group's protocol and members, as soon as its coordinator says."""
    found: list[ConsumerGroupDescription] = []
    admin = AdminClient({"bootstrap.servers": servers})

    def is_told() -> bool:
        try:
            found.append(admin.describe_consumer_groups([group])[group].result(_TIMEOUT_S))
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
        return bool(found)

    assert wait_until(is_told, _TIMEOUT_S), f"nobody describes group {group}"
    return found[-1]


def protocol_of(servers: str, group: str) -> str:
    """``classic`` or ``consumer``."""
    return str(group_of(servers, group).type.name).lower()


def shorten_sessions(servers: str, group: str, session_ms: int = 3000) -> None:
    """Have a group of the consumer protocol notice soon that a member is gone: members themselves cannot ask for it."""
    entry = ConfigEntry("consumer.session.timeout.ms", str(session_ms), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.GROUP, group, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers})
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(_TIMEOUT_S)


def member_by(settings: ServiceSettings, protocol: str) -> ServiceSettings:
    """A service that joins its group by this protocol, in which it is soon noticed when it is gone."""
    of_classic: Mapping[str, Any] = {}
    if protocol == "classic":
        of_classic = SHORT_SESSIONS
    else:
        shorten_sessions(settings.bootstrap_servers, settings.stream)
    return replace(settings, assignment="group", group_protocol=protocol, kafka={**settings.kafka, **of_classic})


__all__ = ["group_of", "member_by", "protocol_of", "shorten_sessions"]
