"""A member with an id of its own (``group.instance.id``, KIP-345): what it means that another one has it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import KafkaError
from confluent_kafka.admin._group import ConsumerGroupDescription

from kafka_stream.errors import InstanceIdInUse, KafkaStreamError
from kafka_stream.librdkafka import CONSUMER
from kafka_stream.source.kafka_errors import ID_HELD, ID_TAKEN
from kafka_stream.source.sessions.group_wait import SESSION_TIMEOUT_S, BrokerSettings, session_timeout_s

logger = logging.getLogger("kafka_stream.source")

INSTANCE_ID = "group.instance.id"

_AGAIN_AFTER_S = 1.0
_MARGIN_S = 5.0
_ANOTHER_TIME_S = 30.0
_REMEDY = "give each copy a group_instance_id of its own, such as a StatefulSet's pod name"


class Groups(Protocol):
    """Who asks groups' coordinators: a ``Cluster``."""

    def group(self, group_id: str) -> ConsumerGroupDescription | None:
        """A group with its members."""


def is_id_taken(error: KafkaError) -> bool:
    """Whether another member has joined with this one's id, and taken its place."""
    return error.code() == ID_TAKEN


def is_id_held(error: KafkaError) -> bool:
    """Whether a member that has not left has this one's id: one that lives, or was killed."""
    return error.code() == ID_HELD


def taken(servers: str, reason: str) -> InstanceIdInUse:
    """What ends a member whose place another one has taken."""
    return InstanceIdInUse(
        f"{servers} have put this copy out of its group, since another one has joined with its group_instance_id "
        f"({reason}): {_REMEDY}"
    )


def refuse_if_taken(cluster: Groups, group_id: str, instance_id: str | None, member_id: str | None) -> None:
    """Before a member joins once more: whoever has taken its place would lose it again, and take it back, for ever.

    Raises:
        InstanceIdInUse: another one has its id.
    """
    try:
        group = None if instance_id is None else cluster.group(group_id)
    except KafkaStreamError as error:
        logger.warning("whether another copy has this one's group_instance_id was not found out: %s", error)
        return
    for member in () if group is None else group.members:
        if member.group_instance_id == instance_id and member.member_id != member_id:
            raise InstanceIdInUse(
                f"another copy, on {str(member.host).removeprefix('/')}, has joined group {group_id!r} with this one's "
                f"group_instance_id {instance_id!r}: {_REMEDY}"
            )


class HeldId:
    """Waits while brokers keep a member's id for one that has not left, as they do by the consumer protocol.

    That one was killed, and its session will be over; or it lives. Used by the consumer's thread only.
    """

    def __init__(self, group_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._group_id = group_id
        self._clock = clock
        self._since = self._last = float("-inf")
        self._at_most_s = 0.0

    def wait(self, brokers: BrokerSettings, reason: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """A moment, before it is tried again.

        Raises:
            InstanceIdInUse: a session has been over, and it is held still.
        """
        now = self._clock()
        if now - self._last > _ANOTHER_TIME_S:
            self._since, self._at_most_s = now, session_timeout_s(brokers, self._group_id, CONSUMER, SESSION_TIMEOUT_S)
            logger.warning(
                "group %r keeps this copy's group_instance_id for a member that has not left: one that was killed is "
                "waited for until its session is over, %g s at most",
                self._group_id,
                self._at_most_s,
                extra={"event": "waiting", "group": self._group_id, "at_most_s": self._at_most_s},
            )
        self._last = now
        if now - self._since > self._at_most_s + _MARGIN_S:
            raise InstanceIdInUse(
                f"another copy is in group {self._group_id!r} with this one's group_instance_id, and did not leave "
                f"within {self._at_most_s:g} s ({reason}): {_REMEDY}"
            )
        sleep(_AGAIN_AFTER_S)


__all__ = ["INSTANCE_ID", "HeldId", "is_id_held", "is_id_taken", "refuse_if_taken", "taken"]
