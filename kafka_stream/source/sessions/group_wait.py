"""What a member waits for that its group has given nothing, and for how long at most: sessions of members that died."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kafka_stream.librdkafka import CLASSIC

logger = logging.getLogger("kafka_stream.source")

SESSION_TIMEOUT_S = 45.0
"""That of librdkafka, and of brokers, unless they are told otherwise."""

_PATIENCE_S = 3.0
_SETTING = "session.timeout.ms"


class BrokerSettings(Protocol):
    """Who knows what is set."""

    def broker_setting(self, name: str, group: str | None = None) -> str | None:
        """What brokers have set, for all or a group."""


class Members(BrokerSettings, Protocol):
    """Who knows a group's members, too: a ``Cluster``."""

    def group_members(self, group_id: str) -> Sequence[str]:
        """Who is in a group now, as ``client id on host``."""


def session_timeout_s(brokers: BrokerSettings, group_id: str, protocol: str, classic_s: float) -> float:
    """How long a group takes a member for alive that is not heard of: its own setting, or that of group and brokers."""
    if protocol == CLASSIC:
        return classic_s
    of_group = brokers.broker_setting(f"consumer.{_SETTING}", group_id)
    milliseconds = of_group or brokers.broker_setting(f"group.consumer.{_SETTING}")
    return SESSION_TIMEOUT_S if milliseconds is None else float(milliseconds) / 1000


def classic_session_s(config: Mapping[str, Any]) -> float:
    """What a member's settings say."""
    return float(config.get(_SETTING, SESSION_TIMEOUT_S * 1000)) / 1000


class GroupWait:
    """Says so in the log, once for each time that the group is joined."""

    def __init__(self, group_id: str, classic_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._group_id = group_id
        self._classic_s = classic_s
        self._clock = clock
        self._told: float | None = None

    def look(self, since: float | None, protocol: str, cluster: Members) -> None:
        """Now and then, from any thread: nothing has been given since then. Raises what asking a coordinator raises."""
        if since is None or since == self._told or (waited_s := self._clock() - since) < _PATIENCE_S:
            return
        members = cluster.group_members(self._group_id)
        if len(members) < 2:  # nobody else: the coordinator is slow
            return
        self._told = since
        at_most_s = session_timeout_s(cluster, self._group_id, protocol, self._classic_s)
        logger.info(
            "group %r has given this member no partition for %.0f s; its members are %s: one that was killed is waited "
            "for until its session is over, %g s at most",
            self._group_id,
            waited_s,
            ", ".join(members[:5]),
            at_most_s,
            extra={"event": "waiting", "group": self._group_id, "at_most_s": at_most_s},
        )


__all__ = ["SESSION_TIMEOUT_S", "BrokerSettings", "GroupWait", "Members", "classic_session_s", "session_timeout_s"]
