"""Questions about consumer groups, to the brokers that coordinate them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, ConsumerGroupType, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientTopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported at run time only
    AdminClient,
    ConsumerGroupDescription,
)

from kafka_stream.errors import CommandRefused
from kafka_stream.librdkafka import CLASSIC, CONSUMER
from kafka_stream.source.asking.coordinators import REQUEST_S
from kafka_stream.source.asking.questions import REQUEST_TIMEOUT_S, Questions
from kafka_stream.source.kafka_errors import is_coordinator_moving, is_missing_topic
from kafka_stream.types import TopicPartition


class Groups(Questions):
    """Who is in a group, what it has committed, and committing for one that nobody is in."""

    def group_members(self, group_id: str) -> Sequence[str]:
        """Who is in a consumer group now, as ``client id on host``; nobody, if there is no such group.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        group = self.group(group_id)
        if group is None:
            return ()
        return [f"{member.client_id} on {str(member.host).removeprefix('/')}" for member in group.members]

    def group_protocol(self, group_id: str) -> str | None:
        """The protocol that a group's members use; ``None`` if it has none. The mock cluster has but the classic one.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        if self._is_mock:
            return CLASSIC
        group = self.group(group_id)
        if group is None or not group.members:
            return None
        return CONSUMER if group.type is ConsumerGroupType.CONSUMER else CLASSIC

    def group(self, group_id: str) -> ConsumerGroupDescription | None:
        """A group with its members, ``None`` if there is none. Raises as ``group_members`` does."""
        if self._is_mock:
            return None
        self._admin.poll(0)

        def ask(admin: AdminClient) -> Future[Any]:
            return admin.describe_consumer_groups([group_id], request_timeout=REQUEST_S)[group_id]

        def described(timeout_s: float) -> ConsumerGroupDescription:
            found: ConsumerGroupDescription = self._insisting(lambda: self._of_coordinator(ask, timeout_s))
            return found

        try:
            return self._anew(described)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return None
            raise self._translated(error, f"group {group_id}") from error

    def group_offsets(self, group_id: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """What a group has committed of these partitions, those left out of which it has nothing.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        wanted = [ClientTopicPartition(tp.topic, tp.partition) for tp in partitions]
        request = ConsumerGroupTopicPartitions(group_id, wanted)

        def ask(admin: AdminClient) -> Future[Any]:
            return admin.list_consumer_group_offsets([request], request_timeout=REQUEST_S)[group_id]

        try:
            found = self._insisting(lambda: self._of_coordinator(ask, REQUEST_TIMEOUT_S)).topic_partitions
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return {}
            raise self._translated(error, f"group {group_id}") from error
        for each in found:
            if each.error is not None:
                raise self._translated(KafkaException(each.error), f"group {group_id}")
        return {TopicPartition(each.topic, each.partition): each.offset for each in found if each.offset >= 0}

    def commit_group_offsets(self, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Make these the committed offsets of a group that has no members.

        The call as a whole succeeds where single partitions are refused, so each one's error is looked at.

        Raises:
            NotAuthorized, BrokerUnavailable, TopicNotFound.
            CommandRefused: the group has members; the message names them.
        """
        wanted = [ClientTopicPartition(tp.topic, tp.partition, offset) for tp, offset in sorted(offsets.items())]
        try:
            failed = self._insisting(lambda: self._altered(group_id, wanted))
        except KafkaException as error:
            failed = [(wanted[0].topic, error.args[0])]
        if not failed:
            return
        topic, reason = failed[0]
        if is_missing_topic(reason):
            raise self.not_found(topic, [topic])
        if reason.code() in {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP}:
            members = ", ".join(self.group_members(group_id)) or "which have just left: try again"
            raise CommandRefused(f"group {group_id!r} has members, {members}; stop them, or wait until they have left")
        raise self._translated(KafkaException(reason), f"group {group_id}")

    def _altered(self, group_id: str, wanted: list[ClientTopicPartition]) -> list[tuple[str, KafkaError]]:
        """Alter a group's offsets; the topics of those that are refused, and why, unless its coordinator moves."""
        request = ConsumerGroupTopicPartitions(group_id, wanted)

        def ask(admin: AdminClient) -> Future[Any]:
            return admin.alter_consumer_group_offsets([request], request_timeout=REQUEST_S)[group_id]

        answer = self._of_coordinator(ask, REQUEST_TIMEOUT_S)
        failed = [(tp.topic, tp.error) for tp in answer.topic_partitions if tp.error is not None]
        for _, reason in failed:
            if is_coordinator_moving(reason):
                raise KafkaException(reason)
        return failed


__all__ = ["Groups"]
