"""Which protocol a member joins its group by, and how all members of a classic group change to the consumer one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from confluent_kafka import KafkaError

from kafka_stream.errors import ConfigurationError, KafkaStreamError
from kafka_stream.librdkafka import CLASSIC, CONSUMER
from kafka_stream.source.kafka_errors import is_not_offered
from kafka_stream.source.sessions.static_member import HeldId, is_id_held

logger = logging.getLogger("kafka_stream.source")

AUTO = "auto"
WILLING = "-to-consumer"
"""Behind the client id of a member that is to join by the consumer protocol, and waits for the others."""

_PUT_OUT_AGAIN_S = 60.0
_LEAVE_WITHIN_S = 15.0
_TRY_AGAIN_AFTER_S = 60.0
_ASK_EVERY_S = 0.2


class Groups(Protocol):
    """Who asks groups' coordinators: a ``Cluster``."""

    servers: str

    def group_protocol(self, group_id: str) -> str | None:
        """The protocol that a group's members use; ``None`` if it has none."""

    def group_members(self, group_id: str) -> Sequence[str]:
        """Who is in a group now, as ``client id on host``."""

    def broker_setting(self, name: str, group: str | None = None) -> str | None:
        """What brokers have set, for all or a group."""


class GroupProtocol:
    """``wanted`` is ``"classic"``, ``"consumer"`` or ``"auto"``; ``current`` is what the next consumer is made with.

    Left to the group, a member does as those do that are there: who joins by the other protocol migrates a group, which
    is the operator's to decide. The first of all joins by the consumer protocol (KIP-848), if the brokers have it. That
    they have not they say when it is used: to ask before would take a right on the cluster.

    Brokers let a classic member join a consumer group, but (KAFKA-18134) not the other way round where librdkafka's
    cooperative-sticky is at work, which leaves data of its own with each assignment. So who is told to join by the
    consumer protocol joins a classic group as it is, shows that it waits, and once all members do, all leave and join.

    A static member does not leave by closing, so it does not wait: it goes on in the classic group.

    ``is_due`` is set when all do. Any thread may look.
    """

    def __init__(
        self, wanted: str, group_id: str, clock: Callable[[], float] = time.monotonic, *, instance_id: str | None = None
    ) -> None:
        self.current = CLASSIC
        self.is_waiting = False
        self.is_due = False
        self._wanted = wanted
        self._group_id = group_id
        self._clock = clock
        self._held = HeldId(group_id, clock)
        self._is_static = instance_id is not None
        self._is_offered = True
        self._put_out_at = self._gave_up_at = float("-inf")

    def choose(self, groups: Groups) -> None:
        """Before joining. Raises what asking the coordinator raises."""
        if self._wanted == CLASSIC or not self._is_offered:
            self.current = CLASSIC
            return
        self.current = groups.group_protocol(self._group_id) or CONSUMER
        self.is_waiting = self._wanted == CONSUMER and self.current == CLASSIC and not self._is_static

    def ended(self, error: KafkaError, groups: Groups) -> None:
        """What ended a member's consumer; ``current`` is what to go on with.

        Raises:
            ConfigurationError: the brokers do not have the protocol that was asked for.
            InstanceIdInUse: another member has this one's id.
            KafkaStreamError: a member is put out time and again.
        """
        if is_id_held(error):
            self._held.wait(groups, error.str())
            return
        if is_not_offered(error):
            self._refused(groups.servers, error.str())
        elif self.current == CONSUMER and self._is_classic(groups):
            self.current, self.is_waiting = CLASSIC, self._wanted == CONSUMER and not self._is_static
        elif self._clock() - self._put_out_at < _PUT_OUT_AGAIN_S:
            raise KafkaStreamError(f"the Kafka consumer failed for good: {error.str()}")
        else:
            self._put_out_at = self._clock()
        logger.warning("the consumer was put out of its group (%s): a new one takes its place", error.str())

    def _refused(self, servers: str, reason: str) -> None:
        if self._wanted != AUTO:
            raise ConfigurationError(
                f"{servers} do not have the consumer group protocol ({reason}), which group_protocol asks for: it "
                "takes Kafka 4.0, and 'consumer' in the brokers' group.coordinator.rebalance.protocols; or leave "
                "group_protocol to 'auto'"
            )
        self._is_offered, self.current = False, CLASSIC
        logger.info("%s do not have the consumer group protocol (%s): joining by the classic one", servers, reason)

    # From classic to consumer -----------------------------------------------------------------------------------------

    def look(self, groups: Groups) -> None:
        """Now and then: do all members of the group wait as this one does? Raises what asking raises."""
        if self.is_waiting and self._clock() - self._gave_up_at >= _TRY_AGAIN_AFTER_S:
            clients = [member.partition(" on ")[0] for member in groups.group_members(self._group_id)]
            self.is_due = bool(clients) and all(client.endswith(WILLING) for client in clients)

    def migrate(self, groups: Groups, is_given_up: Callable[[], bool]) -> None:
        """After leaving: wait until all have left; who stays, dead perhaps, has the others stay classic for now."""
        self.is_due = False
        deadline = self._clock() + _LEAVE_WITHIN_S
        while self._is_classic(groups):
            if is_given_up() or self._clock() > deadline:
                self._gave_up_at = self._clock()
                logger.warning("some members have not left the classic group, which stays so until they have")
                return
            time.sleep(_ASK_EVERY_S)
        self.current, self.is_waiting = CONSUMER, False
        logger.info("all members of the group join it by the consumer protocol now")

    def _is_classic(self, groups: Groups) -> bool:
        try:
            return groups.group_protocol(self._group_id) == CLASSIC
        except KafkaStreamError as error:
            logger.warning("%s", error)
            return True


__all__ = ["AUTO", "WILLING", "GroupProtocol", "Groups"]
