"""A consumer group from outside: its committed offsets, and whether it has members.

Offsets are read by consumers that never join, rather than by the admin client: in librdkafka (2.16) its requests to a
group's coordinator end the process if the connection breaks at the wrong moment (librdkafka issue 4605), or if the
coordinator has moved or is still loading, and find no coordinator for minutes after all brokers were away (issue 5511).
Only an admin client could ask which offsets there are; here it is asked for those of all partitions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
)
from confluent_kafka import TopicPartition as ClientTopicPartition
from confluent_kafka.admin import AdminClient

from kafka_stream.errors import ConfigurationError, KafkaStreamError, NotAuthorized, StoreUnavailable
from kafka_stream.offset_stores.kafka.errors import is_unstable, mapped
from kafka_stream.offset_stores.kafka.metadata import Stored, decode
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.connection import connection_settings
from kafka_stream.source.renewed import Renewed
from kafka_stream.types import TopicPartition

REQUEST_TIMEOUT_S = 10.0
UNSTABLE_FOR_S = 5.0
# librdkafka's mock cluster says so in its id; its transactions neither commit offsets nor fence.
_MOCK_CLUSTER = "mockCluster"
_COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_ASK_AGAIN_AFTER_S = 0.1
_NOBODY = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)

Found = dict[TopicPartition, Stored]
Client = TypeVar("Client", AdminClient, Consumer)
T = TypeVar("T")


class Brokers:
    """What an admin client knows without a group's coordinator. Building it connects to nothing."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.where = where
        self._config = connection_settings(config)
        self._last_error: KafkaError | None = None
        self._connection = Renewed(lambda: self.client(AdminClient, {"error_cb": self._remember}))

    @property
    def _admin(self) -> AdminClient:
        return self._connection.client

    def client(self, kind: type[Client], settings: Mapping[str, Any]) -> Client:
        """A client of these brokers.

        Raises:
            ConfigurationError: librdkafka refuses a setting.
        """
        config: dict[str, Any] = {"logger": CLIENT_LOG, **self._config, **settings}
        try:
            return kind(config)
        except KafkaException as error:
            reason = error.args[0].str()
            raise ConfigurationError(f"the Kafka offset store's settings were refused: {reason}") from error

    def cluster_id(self) -> str:
        """The id that the brokers of one cluster share.

        Raises:
            StoreUnavailable, NotAuthorized: no broker answered, or it refused us.
            ConfigurationError: it is librdkafka's mock cluster.
        """
        try:
            found = str(self._admin.cluster_id(timeout=REQUEST_TIMEOUT_S))
        except KafkaException as error:
            self._admin.poll(0)
            self._connection.failed(error.args[0])
            raise mapped(self._last_error or error.args[0], "asking for the cluster's id", self.where) from error
        if found.startswith(_MOCK_CLUSTER):
            raise ConfigurationError(
                "librdkafka's mock cluster neither commits offsets in a transaction nor fences, so offsets cannot be "
                "kept in it; use a SQL store"
            )
        return found

    def has_members(self, group_id: str) -> bool:
        """Whether somebody has joined a group."""
        groups = self._groups(f"asking whether group {group_id!r} has members")
        return groups.get(group_id, ConsumerGroupState.DEAD) not in _NOBODY

    def group_ids(self) -> Sequence[str]:
        """The names of all consumer groups, sorted."""
        return sorted(self._groups("listing the consumer groups"))

    def _groups(self, doing: str) -> Mapping[str, ConsumerGroupState]:
        try:
            return _insisting(self._ask_for_groups, REQUEST_TIMEOUT_S)
        except KafkaException as error:
            self._connection.failed(error.args[0])
            raise mapped(error.args[0], doing, self.where) from error

    def _ask_for_groups(self) -> Mapping[str, ConsumerGroupState]:
        admin = self._admin
        admin.poll(0)
        answer = admin.list_consumer_groups(request_timeout=REQUEST_TIMEOUT_S).result()
        for failed in answer.errors:  # of one broker
            raise failed if isinstance(failed, KafkaException) else KafkaException(failed)
        return {each.group_id: each.state for each in answer.valid}

    def members(self, group_id: str) -> Sequence[str]:
        """Who they are, as ``client id on host``, as far as it can be learned."""
        admin = self._admin
        answer = admin.describe_consumer_groups([group_id], request_timeout=REQUEST_TIMEOUT_S)[group_id]
        try:
            members = answer.result().members
        except KafkaException:
            return ()
        return [f"{member.client_id} on {str(member.host).removeprefix('/')}" for member in members]

    def _remember(self, error: KafkaError) -> None:
        # Authentication is the cause; "all brokers down", which follows, only its consequence.
        if self._last_error is None or not isinstance(mapped(self._last_error, "", ""), NotAuthorized):
            self._last_error = error


class Group:
    """One group's committed offsets. Building it connects to nothing."""

    def __init__(self, brokers: Brokers, group_id: str) -> None:
        self._brokers = brokers
        self._group_id = group_id
        settings = {"group.id": group_id, "enable.auto.commit": False}
        # Only a reader of what is committed waits for offsets that are still in a transaction (KIP-447).
        self._waiting, self._hasty = (
            Renewed(partial(brokers.client, Consumer, {**settings, "isolation.level": isolation}))
            for isolation in ("read_committed", "read_uncommitted")
        )

    def close(self) -> None:
        """Give the connections back."""
        self._waiting.client.close()
        self._hasty.client.close()

    @property
    def nobody(self) -> Any:
        """The group metadata of a consumer that is no member: what a transaction commits with outside a group.

        Kafka accepts it in a group with members too, so that it fences nobody: the ``transactional.id`` does.
        """
        return self._hasty.client.consumer_group_metadata()

    def has_members(self) -> bool:
        """Whether somebody has joined it."""
        return self._brokers.has_members(self._group_id)

    def members(self) -> Sequence[str]:
        """Who they are, as ``client id on host``, as far as it can be learned."""
        return self._brokers.members(self._group_id)

    def partitions_of(self, topics: Iterable[str]) -> Sequence[TopicPartition]:
        """All partitions of those of these topics that exist."""
        found = []
        for topic in sorted(set(topics)):
            try:
                known = self._hasty.client.list_topics(topic, REQUEST_TIMEOUT_S).topics[topic]
            except KafkaException as error:
                self._hasty.failed(error.args[0])
                raise self._failure(error.args[0]) from error
            found += [TopicPartition(topic, number) for number in sorted(known.partitions)]
        return found

    def all_partitions(self) -> Sequence[TopicPartition]:
        """Those of every topic that there is: the group's offsets are of some of them."""
        try:
            topics = self._hasty.client.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        except KafkaException as error:
            self._hasty.failed(error.args[0])
            raise self._failure(error.args[0]) from error
        return [TopicPartition(name, number) for name, found in sorted(topics.items()) for number in found.partitions]

    def committed(self, partitions: Sequence[TopicPartition]) -> Found:
        """What is committed now, whatever an open transaction may add."""
        return self._read(self._hasty, partitions, REQUEST_TIMEOUT_S)

    def stable(self, partitions: Sequence[TopicPartition]) -> Found:
        """What is committed, once no open transaction can change it.

        Raises:
            StoreUnavailable: a transaction stayed open for longer than a few seconds; it ends by itself in time.
        """
        try:
            return self._read(self._waiting, partitions, UNSTABLE_FOR_S)
        except StoreUnavailable as error:
            self.committed(partitions)  # raises if it is the broker that does not answer
            raise StoreUnavailable(
                f"an open transaction holds committed offsets of group {self._group_id!r} at {self._brokers.where} "
                f"({', '.join(map(str, partitions[:3]))}, …); it ends with its producer, or after its "
                "transaction.timeout.ms"
            ) from error

    def _read(self, reader: Renewed[Consumer], partitions: Sequence[TopicPartition], timeout_s: float) -> Found:
        if not partitions:
            return {}
        wanted = [ClientTopicPartition(tp.topic, tp.partition) for tp in partitions]
        try:
            reader.client.poll(0)  # it never joins, so this only hears of errors
            answer = _insisting(lambda: reader.client.committed(wanted, timeout_s), timeout_s)
        except KafkaException as error:
            reader.failed(error.args[0])
            raise self._failure(error.args[0]) from error
        found = {}
        for each in answer:
            tp = TopicPartition(each.topic, each.partition)
            if each.error is not None:  # whatever offset stands beside it: -1001 with an error is not absence
                raise self._failure(each.error)
            if each.offset >= 0:
                found[tp] = decode(tp, each.offset, _epoch(each.leader_epoch), each.metadata)
        return found

    def _failure(self, error: KafkaError) -> KafkaStreamError:
        if is_unstable(error):
            return StoreUnavailable(f"an open transaction holds an offset of group {self._group_id!r}")
        return mapped(error, f"reading the committed offsets of group {self._group_id!r}", self._brokers.where)


def _insisting(ask: Callable[[], T], timeout_s: float) -> T:
    """Ask again while a coordinator moves, or has not loaded its groups yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_MOVES or time.monotonic() > deadline:
                raise
            time.sleep(_ASK_AGAIN_AFTER_S)


def _epoch(leader_epoch: int | None) -> int | None:
    return leader_epoch if leader_epoch is not None and leader_epoch >= 0 else None


__all__ = ["REQUEST_TIMEOUT_S", "UNSTABLE_FOR_S", "Brokers", "Found", "Group"]
