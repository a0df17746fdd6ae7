"""Pure: what forbids that a position is moved by hand. Resets, imports, undo and migrations ask here."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_stream.errors import CommandRefused
from kafka_stream.types import OffsetRange, PlanKind, PositionState, StoredPosition, TopicPartition


def why_not_moved(tp: TopicPartition, stored: StoredPosition, to_offset: int, *, discardable: bool) -> str | None:
    """Why this position must not be moved there; ``None`` if it may be."""
    return why_closed(tp, stored) or plan_in_the_way(tp, stored, to_offset, discardable=discardable)


def why_closed(tp: TopicPartition, stored: StoredPosition) -> str | None:
    """Why this position is not used any more; ``None`` if it is open."""
    if stored.state is PositionState.OPEN:
        return None
    return f"{tp} is closed ({stored.state_reason or 'it was deleted: start the stream, or import offsets'})"


def plan_in_the_way(tp: TopicPartition, stored: StoredPosition, to_offset: int, *, discardable: bool) -> str | None:
    """Why what is planned forbids a move; ``None`` if it does not.

    The results of a planned range stay whole: a sink by range discards them first, if one is there; what a transaction
    left is settled by an operator, who says with the target whether its results are there or not.
    """
    if (planned := planned_range(tp, stored)) is None:
        return None
    if stored.plan_kind is PlanKind.RANGE:
        if discardable:
            return None
        return (
            f"{planned} is planned and may be written: start the stream, which finishes it, or name the application, "
            "whose sink can discard it"
        )
    if planned.from_offset < to_offset < planned.until_offset:
        return (
            f"offset {to_offset} lies inside {planned}, whose results may be stored though its offsets are not: look "
            f"at the results, then choose {planned.from_offset} or less if they are not there, {planned.until_offset} "
            "or more if they are"
        )
    return None


def planned_range(tp: TopicPartition, stored: StoredPosition) -> OffsetRange | None:
    """The range that is planned and not committed."""
    if stored.planned_until is None or stored.planned_until < stored.next_offset:
        return None
    return OffsetRange(tp, stored.next_offset, stored.planned_until)


def refuse(stream: str, where: str, reasons: Sequence[str]) -> None:
    """Raise ``CommandRefused`` if there is a reason."""
    if reasons:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise CommandRefused(f"stream {stream!r} in {where} was left as it is: {reasons[0]}{more}")


__all__ = ["plan_in_the_way", "planned_range", "refuse", "why_closed", "why_not_moved"]
