"""The consumer groups of a Kafka in memory. Everything happens under that Kafka's lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kafka_stream.protocols import TopicInfo
from kafka_stream.source.inbox import Inbox
from kafka_stream.testing.memory.log import MemoryLog
from kafka_stream.types import TopicPartition


class Logs(Protocol):
    """What a source needs of its Kafka."""

    def topics(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        """These topics as they are now; raises ``TopicNotFound``."""

    def topic_names(self) -> Sequence[str]:
        """All that there are."""

    def log(self, partition: TopicPartition) -> MemoryLog:
        """One partition's log; raises ``TopicNotFound``."""

    def partitions(self, names: Iterable[str]) -> Sequence[TopicPartition]:
        """All partitions of those of these topics that exist, sorted."""


class Member(Protocol):
    """What a group needs of its members."""

    inbox: Inbox
    followed: Sequence[str]
    mark: str | None


class MemoryGroup:
    """A consumer group with cooperative rebalances: a partition moves once its owner has released it."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._owners: dict[TopicPartition, Member] = {}
        self._revoking: set[TopicPartition] = set()
        self.members: list[Member] = []
        self.offsets: dict[TopicPartition, int] = {}

    def join(self, member: Member) -> None:
        """A new member."""
        if member not in self.members:
            self.members.append(member)
            self.rebalance()

    def leave(self, member: Member) -> None:
        """A member is gone; its partitions are free at once."""
        if member in self.members:
            self.members.remove(member)
            self.released(member, [p for p, owner in self._owners.items() if owner is member])

    def released(self, member: Member, partitions: Iterable[TopicPartition]) -> None:
        """A member does not work on these any more."""
        for partition in partitions:
            if self._owners.get(partition) is member:
                del self._owners[partition]
                self._revoking.discard(partition)
        self.rebalance()

    def rebalance(self) -> None:
        """Share the partitions evenly: revoke what is somebody else's to be, assign what is free."""
        target = self._target()
        assigned: dict[Member, list[TopicPartition]] = {}
        revoked: dict[Member, list[TopicPartition]] = {}
        for partition, member in target.items():
            owner = self._owners.get(partition)
            if owner is None:
                self._owners[partition] = member
                assigned.setdefault(member, []).append(partition)
            elif owner is not member and partition not in self._revoking:
                self._revoking.add(partition)
                revoked.setdefault(owner, []).append(partition)
        for partition, owner in self._owners.items():
            if partition.topic not in owner.followed and partition not in self._revoking:
                self._revoking.add(partition)
                revoked.setdefault(owner, []).append(partition)
        for owner, partitions in revoked.items():
            owner.inbox.revoked(partitions)
        for member, partitions in assigned.items():
            member.inbox.assigned(partitions)

    def _target(self) -> dict[TopicPartition, Member]:
        """Who is to have what: each partition one of those that follow its topic, in turns."""
        target = {}
        wanted = self._logs.partitions({topic for member in self.members for topic in member.followed})
        for i, partition in enumerate(wanted):
            members = [member for member in self.members if partition.topic in member.followed]
            target[partition] = members[i % len(members)]
        return target


__all__ = ["Logs", "Member", "MemoryGroup"]
