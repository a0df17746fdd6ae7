"""Pure: why a claim does not succeed on what a store holds. Every store says it in the same words."""

from __future__ import annotations

from collections.abc import Mapping

from kafka_stream.errors import KafkaStreamError, OutstandingPlan, OwnershipLost, StreamClosed
from kafka_stream.types import Claim, OffsetRange, PlanKind, PositionState, StoredPosition, TopicPartition

REMOVED = "its position was removed"
"""What is said of a position that is not there any more, by those who know no better; each store has its own word."""


def why_not_claimed(
    claim: Claim, stored: Mapping[TopicPartition, StoredPosition], where: str, removed: str = REMOVED
) -> KafkaStreamError | None:
    """Why a batch's ranges cannot be claimed; ``None`` if all of them can."""
    for r in claim.ranges:
        found = stored.get(r.topic_partition)
        if (lost := _fenced(claim, r, found, where, removed)) is not None:
            return lost
        assert found is not None
        if (error := _not_from_here(claim, r, found, where)) is not None:
            return error
        if claim.plan_kind is PlanKind.RANGE and found.planned_until is None:
            return OwnershipLost(
                f"the plan for {r} of stream {claim.stream!r} is not in {where} any more: somebody has moved the "
                "offsets since it was made",
                range=r,
                stored_offset=found.next_offset,
                other=found.owner,
            )
    return None


def why_not_planned(
    claim: Claim, stored: Mapping[TopicPartition, StoredPosition], where: str, removed: str = REMOVED
) -> KafkaStreamError | None:
    """Why a batch's ranges cannot be made durable as plans; ``None`` if all of them can, or are already."""
    for r in claim.ranges:
        found = stored.get(r.topic_partition)
        if (lost := _fenced(claim, r, found, where, removed)) is not None:
            return lost
        assert found is not None
        if (error := _not_from_here(claim, r, found, where)) is not None:
            return error
    return None


def outstanding_plan(
    stream: str, topic_partition: TopicPartition, stored: StoredPosition, where: str
) -> OutstandingPlan:
    """The error for a planned range that nobody may go past."""
    assert stored.planned_until is not None
    planned = OffsetRange(topic_partition, stored.next_offset, stored.planned_until)
    if stored.plan_kind is PlanKind.RANGE:
        return OutstandingPlan(
            f"stream {stream!r} has an outstanding plan for {planned} in {where}, made for a sink that is idempotent "
            "by range, and its results may be stored: start it with that sink again, or remove what it wrote of that "
            "range and reset the offsets",
            range=planned,
        )
    return OutstandingPlan(
        f"stream {stream!r} has an outstanding plan for {planned} in {where}: its results may be stored although "
        "its offsets are not, as when a handler commits on its own; look at the results, then reset the offsets to "
        "before or after that range",
        range=planned,
    )


def why_not_ours(
    claim: Claim, stored: Mapping[TopicPartition, StoredPosition], where: str, removed: str = REMOVED
) -> OwnershipLost | None:
    """Why a claim's partitions are not its owner's any more; ``None`` if all of them are."""
    for r in claim.ranges:
        if (error := _fenced(claim, r, stored.get(r.topic_partition), where, removed)) is not None:
            return error
    return None


def closed(stream: str, what: str, reason: str | None) -> StreamClosed:
    """The error for a takeover of what an admin command has closed."""
    return StreamClosed(
        f"{what} of stream {stream!r} is closed ({reason or 'by an admin command'}): its offsets are not used any more"
    )


def _fenced(
    claim: Claim, r: OffsetRange, found: StoredPosition | None, where: str, removed: str
) -> OwnershipLost | None:
    stream, epoch = claim.stream, claim.epochs[r.topic_partition]
    if found is None:
        # Not merely fenced: taking over again would begin a "new" partition at 0, and repeat everything.
        return StreamClosed(
            f"{r.topic_partition} of stream {stream!r} is not in {where} any more: {removed}; put it back, "
            "or start again to begin it at offset 0",
            range=r,
        )
    if found.state is PositionState.CLOSED:
        return StreamClosed(
            str(closed(stream, str(r.topic_partition), found.state_reason)),
            range=r,
            stored_offset=found.next_offset,
            other=found.owner,
        )
    if found.owner is not None and found.owner.id == claim.owner.id and found.owner_epoch == epoch:
        return None
    if found.owner is not None and found.owner_epoch < epoch:  # what Kafka's own tools write has neither
        return _gone_back(claim, r, found, where)
    by_admin = found.owner is None or found.owner.id == claim.owner.id
    return OwnershipLost(
        f"{r} of stream {stream!r} is not ours to commit any more: fenced by "
        f"{'an admin command' if by_admin else found.owner} at epoch {found.owner_epoch} (ours is {epoch}), with "
        f"offset {found.next_offset} stored in {where}",
        range=r,
        stored_offset=found.next_offset,
        other=found.owner,
    )


def _gone_back(claim: Claim, r: OffsetRange, found: StoredPosition, where: str) -> OwnershipLost:
    """Epochs never decrease, so nobody has fenced us: the takeover that raised ours is gone, and what came after it.

    Results and offsets were in the same transactions, and went together. So it is answered as a fence by an admin
    command is, whoever is stored now: the partitions are taken over again, from what is there.
    """
    return OwnershipLost(
        f"{where} has gone back: epoch {found.owner_epoch} of {r.topic_partition} of stream {claim.stream!r} is stored "
        f"there, with offset {found.next_offset}, and was {claim.epochs[r.topic_partition]} before: it has lost "
        "transactions that it had acknowledged (a replica that lagged was promoted, or a backup restored), results and "
        "offsets alike",
        range=r,
        stored_offset=found.next_offset,
        other=claim.owner,
    )


def _not_from_here(claim: Claim, r: OffsetRange, found: StoredPosition, where: str) -> KafkaStreamError | None:
    is_this_plan = (found.next_offset, found.planned_until) == (r.from_offset, r.until_offset)
    if found.planned_until is not None and not (
        is_this_plan and claim.plan_kind is PlanKind.RANGE and found.plan_kind is PlanKind.RANGE
    ):
        return outstanding_plan(claim.stream, r.topic_partition, found, where)
    if found.next_offset != r.from_offset:
        return OwnershipLost(
            f"{r} of stream {claim.stream!r} does not start at the stored offset, which is {found.next_offset} in "
            f"{where}",
            range=r,
            stored_offset=found.next_offset,
            other=found.owner,
        )
    return None


__all__ = ["REMOVED", "closed", "outstanding_plan", "why_not_claimed", "why_not_ours", "why_not_planned"]
