"""What an admin client knows of the brokers and their groups, without a group's coordinator."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.kafka.errors import mapped
from kafka_stream.offset_stores.kafka.requests import END_S, REQUEST_TIMEOUT_S, Requests, Waits, asked
from kafka_stream.source.asking import coordinators
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.connection import connection_settings, servers_of, soon_again
from kafka_stream.source.kafka_errors import asked_anew, insisting, settings_accepted, why_unreachable
from kafka_stream.source.renewed import Renewed
from kafka_stream.source.security.listener_probe import wrong_protocol
from kafka_stream.source.security.logins import LastError
from kafka_stream.source.security.tokens import with_token_callback

_LOOK_S = 0.5  # so long a client that connects is waited for before it is asked whether it was refused
_PROBE_AFTER_S = 2.0
# librdkafka's mock cluster says so in its id; its transactions neither commit offsets nor fence.
_MOCK_CLUSTER = "mockCluster"
_NOBODY = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)

_RETENTION = "offsets.retention.minutes"
_SESSION = "consumer.session.timeout.ms"

Client = TypeVar("Client", AdminClient, Consumer)
T = TypeVar("T")

logger = logging.getLogger("kafka_stream")


class Brokers:
    """What an admin client knows without a group's coordinator. Building it connects to nothing."""

    def __init__(self, config: Mapping[str, Any], where: str, waits: Waits) -> None:
        self.where = where
        self.waits = waits
        of_connection = connection_settings(config)
        self._config = {**soon_again(of_connection), **of_connection}
        self._last = last = LastError()
        make = partial(_client, self._config, AdminClient, {"error_cb": last})
        self._connection = Renewed(lambda: Requests(make(), waits))

    def close(self) -> None:
        """Give the connections back."""
        self._connection.client.end(END_S)

    def client(self, kind: type[Client], settings: Mapping[str, Any]) -> Client:
        """A new client of these brokers.

        Raises:
            ConfigurationError: librdkafka refuses a setting.
        """
        return _client(self._config, kind, settings)

    def cluster_id(self) -> str:
        """The id that the brokers of one cluster share.

        Raises:
            StoreUnavailable, NotAuthorized: no broker answered, or it refused us.
            ConfigurationError: TLS, or its absence, is not what it expects; or it is librdkafka's mock cluster.
        """
        doing = "asking for the cluster's id"
        started = time.monotonic()
        while True:
            try:
                found = str(asked(self._connection, _cluster_id, _LOOK_S, doing))
                break
            except KafkaException as error:
                waited_s, last = time.monotonic() - started, self._last.error or error.args[0]
                refused = why_unreachable(last, servers_of(self._config), waited_s)
                if refused is None and waited_s > _PROBE_AFTER_S:
                    refused = wrong_protocol(self._config)
                if refused is not None or waited_s > REQUEST_TIMEOUT_S:
                    raise (refused or mapped(last, doing, self.where)) from error
        if found.startswith(_MOCK_CLUSTER):
            raise ConfigurationError(
                "librdkafka's mock cluster neither commits offsets in a transaction nor fences, so offsets cannot be "
                "kept in it; use a SQL store"
            )
        return found

    def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """The ids of those of these topics that exist (KIP-516); of none, where the brokers do not tell."""
        if not topics:
            return {}
        try:
            return asked(
                self._connection, partial(_topic_ids, sorted(topics)), REQUEST_TIMEOUT_S, "asking for topic ids"
            )
        except KafkaException as error:
            logger.debug("the ids of topics are not known: %s", error)
            return {}

    def offsets_retention(self) -> timedelta | None:
        """After how long brokers forget what a group without members has committed; ``None`` if they do not tell."""
        try:
            return asked(self._connection, _retention, REQUEST_TIMEOUT_S, "asking how long offsets are kept")
        except KafkaException as error:
            logger.debug("how long offsets are kept is not known: %s", error)
            return None

    def session_timeout_ms(self, group_id: str) -> int | None:
        """How long a member of the consumer protocol is missed before it is gone; ``None`` if brokers do not tell."""
        doing = f"asking how long sessions of group {group_id!r} last"
        try:
            return asked(self._connection, partial(_session_timeout_ms, group_id), REQUEST_TIMEOUT_S, doing)
        except KafkaException as error:
            logger.debug("how long sessions of group %r last is not known: %s", group_id, error)
            return None

    def ask(self, request: Callable[[AdminClient], T], doing: str) -> T:
        """What an admin client answers.

        Raises:
            KafkaException: of any kind.
        """
        return asked(self._connection, request, REQUEST_TIMEOUT_S, doing)

    def has_members(self, group_id: str) -> bool:
        """Whether somebody has joined a group: its coordinator says so, and others need not answer."""
        doing = f"asking whether group {group_id!r} has members"

        def ask(timeout_s: float) -> ConsumerGroupState:
            look = partial(_state, group_id, timeout_s)
            return insisting(lambda: asked(self._connection, look, timeout_s, doing), timeout_s)

        try:
            return asked_anew(ask, lambda _: None) not in _NOBODY  # ``asked`` has a new client by then
        except KafkaException as error:
            raise mapped(error.args[0], doing, self.where) from error

    def group_ids(self) -> Sequence[str]:
        """The names of all consumer groups, sorted."""
        return sorted(self._groups("listing the consumer groups"))

    def _groups(self, doing: str) -> Mapping[str, ConsumerGroupState]:
        try:
            return insisting(lambda: asked(self._connection, _groups, REQUEST_TIMEOUT_S, doing), REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise mapped(error.args[0], doing, self.where) from error

    def members(self, group_id: str) -> Sequence[str]:
        """Who they are, as ``client id on host``, as far as it can be learned."""
        doing = f"asking who is in group {group_id!r}"
        try:
            members = asked(self._connection, partial(_members, group_id), REQUEST_TIMEOUT_S, doing)
        except KafkaException:
            return ()
        return [f"{member.client_id} on {str(member.host).removeprefix('/')}" for member in members]


def _client(of_connection: Mapping[str, Any], kind: type[Client], settings: Mapping[str, Any]) -> Client:
    config = with_token_callback({"logger": CLIENT_LOG, **of_connection, **settings})
    with settings_accepted(config, "the Kafka offset store's settings"):
        return kind(config)


# What the client is asked, on its thread; ``poll`` hears of its errors.


def _cluster_id(client: AdminClient) -> str | None:
    try:
        return client.cluster_id(timeout=_LOOK_S)
    finally:
        client.poll(0)


def _groups(client: AdminClient) -> Mapping[str, ConsumerGroupState]:
    client.poll(0)
    answer = client.list_consumer_groups(request_timeout=REQUEST_TIMEOUT_S).result()
    for failed in answer.errors:  # of one broker
        raise failed if isinstance(failed, KafkaException) else KafkaException(failed)
    return {each.group_id: each.state for each in answer.valid}


def _state(group_id: str, timeout_s: float, client: AdminClient) -> ConsumerGroupState:
    """Dead, if all brokers have answered and none has such a group; raises if one has not that might.

    A broker that has just ceased to be its coordinator may tell of it, too: then the one with members counts.
    """
    client.poll(0)
    answer = client.list_consumer_groups(request_timeout=timeout_s).result()
    found: list[ConsumerGroupState] = [each.state for each in answer.valid if each.group_id == group_id]
    if found:
        return next((state for state in found if state not in _NOBODY), found[0])
    for failed in answer.errors:  # of one broker
        raise failed if isinstance(failed, KafkaException) else KafkaException(failed)
    return ConsumerGroupState.DEAD


def _topic_ids(topics: list[str], client: AdminClient) -> Mapping[str, str]:
    found = {}
    described = client.describe_topics(TopicCollection(topics), request_timeout=REQUEST_TIMEOUT_S)
    for topic, answer in described.items():
        with suppress(KafkaException):  # it does not exist, or we may not see it
            found[topic] = str(answer.result().topic_id)
    return found


def _retention(client: AdminClient) -> timedelta:
    """The shortest of all brokers'; raises if one of them does not say."""
    brokers = client.list_topics(timeout=REQUEST_TIMEOUT_S).brokers
    resources = [ConfigResource(ConfigResource.Type.BROKER, str(number)) for number in brokers]
    answers = client.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S).values()
    found = [int(answer.result()[_RETENTION].value) for answer in answers]
    return timedelta(minutes=min(found))


def _session_timeout_ms(group_id: str, client: AdminClient) -> int | None:
    resource = ConfigResource(ConfigResource.Type.GROUP, group_id)
    answer = client.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)[resource].result()
    return int(answer[_SESSION].value) if _SESSION in answer else None


def _members(group_id: str, client: AdminClient) -> Sequence[Any]:
    described = client.describe_consumer_groups([group_id], request_timeout=coordinators.REQUEST_S)[group_id]
    found: Sequence[Any] = coordinators.answered(described, REQUEST_TIMEOUT_S).members
    return found


__all__ = ["Brokers"]
