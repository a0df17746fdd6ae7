"""Who owns a position: takeover, and what only its owner may change. Each change raises, or asks for, the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from kazoo.protocol.serialization import CheckVersion, SetData

from kafka_stream.claims import closed, outstanding_plan, why_not_ours, why_not_planned
from kafka_stream.errors import KafkaStreamError, OwnershipLost
from kafka_stream.offset_stores.zookeeper import start
from kafka_stream.offset_stores.zookeeper.holds import AT_ONCE, UNDIVIDED, refuse_if_held
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.offset_stores.zookeeper.positions import ATTEMPTS, REMOVED, Positions, Stored, StoredMarker, busy
from kafka_stream.offset_stores.zookeeper.znodes import Marker, TopicState
from kafka_stream.types import Claim, Owner, PlanKind, PositionState, StoredPosition, TopicPartition


class Takeover:
    """One takeover: every partition's epoch is raised, whoever owns it, and nobody else commits after that.

    It is not one transaction: each request takes some partitions over. An owner that has lost one of them commits no
    batch with it any more, and a takeover that was cut off is repeated as a whole.
    """

    def __init__(self, positions: Positions, stream: str, owner: Owner, topic_ids: Mapping[str, str]) -> None:
        self._positions = positions
        self._stream = stream
        self._owner = owner
        self._topic_ids = topic_ids

    def of(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, StoredPosition]:
        """Take them over, unless one of them is closed; what is stored after that."""
        taken: dict[TopicPartition, StoredPosition] = {}
        markers, stored = self._read(partitions) if partitions else ({}, {})
        for some in _parts(partitions, AT_ONCE):
            taken |= self._try(some, markers, stored) or self._insist(some)
        return taken

    def _insist(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, StoredPosition]:
        """Read them again and try again, since somebody else has changed them; in halves, if that does not help."""
        for attempt in range(ATTEMPTS):
            if attempt == UNDIVIDED and len(partitions) > 1:
                middle = len(partitions) // 2
                return self._insist(partitions[:middle]) | self._insist(partitions[middle:])
            if (taken := self._try(partitions, *self._read(partitions))) is not None:
                return taken
        raise busy(self._stream, self._positions.connection.where)

    def _read(
        self, partitions: Sequence[TopicPartition]
    ) -> tuple[dict[str, StoredMarker], dict[TopicPartition, Stored]]:
        """What is stored now, once every topic has a znode and no first start is under way."""
        topics = sorted({tp.topic for tp in partitions})
        markers = start.settled(self._positions, self._stream, topics)
        for topic in topics:
            self._refuse_unless_open(topic, markers[topic].marker)
        stored = self._positions.read(self._stream, partitions)
        for tp, found in stored.items():
            if found.position.state is PositionState.CLOSED:
                raise closed(self._stream, str(tp), found.position.state_reason)
        return markers, stored

    def _refuse_unless_open(self, topic: str, marker: Marker | None) -> None:
        if marker is not None and marker.state is not TopicState.OPEN:
            raise closed(self._stream, f"topic {topic!r}", marker.state_reason or marker.state)
        refuse_if_held(self._positions, self._stream, topic, marker)

    def _try(
        self,
        partitions: Sequence[TopicPartition],
        markers: Mapping[str, StoredMarker],
        stored: Mapping[TopicPartition, Stored],
    ) -> dict[TopicPartition, StoredPosition] | None:
        now = datetime.now(UTC)
        # A partition that is added changes the marker's version: an admin command that sees the same has seen all.
        growing = {tp.topic for tp in partitions if tp not in stored}
        topics = [
            self._marker(topic, markers[topic], as_new=topic in growing)
            for topic in sorted({tp.topic for tp in partitions})
        ]
        taken: dict[TopicPartition, StoredPosition] = {}
        for tp in partitions:
            found = stored.get(tp)
            before = found.position if found else StoredPosition(0, 0, topic_id=self._topic_ids.get(tp.topic))
            taken[tp] = replace(before, owner=self._owner, owner_epoch=before.owner_epoch + 1, changed_at=now)
        return taken if self._positions.try_write(self._stream, taken, stored, topics) else None

    def _marker(self, topic: str, found: StoredMarker, *, as_new: bool) -> Operation:
        path = self._positions.layout.topic(self._stream, topic)
        if not as_new:
            return CheckVersion(path, found.version)
        return SetData(path, b"" if found.marker is None else found.marker.encoded(), found.version)


def _parts(partitions: Sequence[TopicPartition], size: int) -> Iterator[Sequence[TopicPartition]]:
    return (partitions[begin : begin + size] for begin in range(0, len(partitions), size))


def reclaim(positions: Positions, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
    """Raise the epochs of a claim if they are still ours: no ``multi`` of ours that is still under way comes after."""
    return positions.change(
        claim,
        lambda stored: why_not_ours(claim, stored, positions.connection.where, REMOVED),
        lambda _, before: {"owner_epoch": before.owner_epoch + 1},
    )


def reposition(positions: Positions, claim: Claim) -> None:
    """Move positions without records."""

    def refusal(stored: Mapping[TopicPartition, StoredPosition]) -> KafkaStreamError | None:
        if (error := why_not_ours(claim, stored, positions.connection.where, REMOVED)) is not None:
            return error
        for tp, found in stored.items():
            if found.planned_until is not None and not found.plan_kind is claim.plan_kind is PlanKind.RANGE:
                plan = outstanding_plan(claim.stream, tp, found, positions.connection.where)
                return OwnershipLost(str(plan), range=plan.range, stored_offset=found.next_offset, other=claim.owner)
        return None

    positions.change(
        claim,
        refusal,
        lambda r, _: {
            "next_offset": r.until_offset,
            "leader_epoch": claim.leader_epochs.get(r.topic_partition),
            "topic_id": claim.topic_ids.get(r.topic),
            "planned_until": None,
            "plan_kind": None,
        },
    )


def plan(positions: Positions, claim: Claim) -> None:
    """Make a claim's ranges durable as plans; those that are already stay as they are."""
    positions.change(
        claim,
        lambda stored: why_not_planned(claim, stored, positions.connection.where, REMOVED),
        lambda r, before: (
            {} if before.planned_until is not None else {"planned_until": r.until_offset, "plan_kind": PlanKind.RANGE}
        ),
    )


__all__ = ["Takeover", "plan", "reclaim", "reposition"]
