"""Pure: what two stores have of a stream that goes from one to the other: what forbids it, and which is newer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kafka_stream.admin.offsets_file import ExportedPosition
from kafka_stream.types import PositionState, StoredPosition, TopicPartition

_MIGRATED = re.compile(r"migrated to .* \(store ([0-9a-f]{12})\)", re.DOTALL)

Positions = Mapping[TopicPartition, StoredPosition]


def why_given_back(stored: Positions, there: Positions, id_of_source: str) -> list[str]:
    """Pure: what the target has given back to the source, newer than what the source has: a copy would rewind it."""
    return [
        f"{tp} was closed there at {there[tp].next_offset} to come back, and has not arrived: run the command again "
        "that was to bring it back"
        for tp in sorted(stored.keys() & there.keys())
        if migrated_to(there[tp]) == id_of_source and there[tp].owner_epoch > stored[tp].owner_epoch
    ]


def why_not_arrived(stored: Positions, there: Positions) -> list[str]:
    """Pure: what was started anew in the target before the positions of a closed stream arrived: epochs go along."""
    return [
        f"{tp} was started anew there, at offset {there[tp].next_offset}, before its offset "
        f"{stored[tp].next_offset} arrived: stop the stream and delete it there, then run the command again"
        for tp in sorted(stored.keys() & there.keys())
        if there[tp].state is PositionState.OPEN and there[tp].owner_epoch < stored[tp].owner_epoch
    ]


def why_not_migrated(stored: Positions, there: Positions) -> list[str]:
    """Pure: what in the target forbids a migration there. What it has given away, or deleted, does not."""
    return [
        f"{tp} has the offset {there[tp].next_offset} of its own there, and {stored[tp].next_offset} in the source: "
        "delete the stream there first, or export and import"
        for tp in sorted(stored.keys() & there.keys())
        if there[tp].state is PositionState.OPEN and there[tp].next_offset != stored[tp].next_offset
    ]


def migrated_to(position: StoredPosition) -> str | None:
    """The ``id_of`` the store that a closed position has gone to; ``None`` if it was not closed by a migration."""
    found = _MIGRATED.fullmatch(position.state_reason or "") if position.state is PositionState.CLOSED else None
    return None if found is None else found[1]


def newest(stored: Positions, there: Positions, id_of_source: str) -> dict[TopicPartition, StoredPosition]:
    """Of each partition the one that was moved last: epochs only grow, and go along with the positions."""
    found = dict(stored)
    for tp, other in there.items():
        was_given_back = other.state is PositionState.OPEN or migrated_to(other) == id_of_source
        if was_given_back and (tp not in stored or other.owner_epoch >= stored[tp].owner_epoch):
            found[tp] = other
    return found


def outstanding(stored: Positions) -> list[str]:
    """What is planned and not committed, which is to be finished where it was planned."""
    return [
        f"{tp} has a planned range up to {position.planned_until} that is not committed: start the stream, which "
        "finishes it, or reset the offsets"
        for tp, position in sorted(stored.items())
        if position.planned_until is not None
    ]


def lacking(stored: Positions, there: Positions) -> dict[TopicPartition, ExportedPosition]:
    """What the target does not have, or has given away."""
    return exported({tp: p for tp, p in stored.items() if tp not in there or there[tp].state is PositionState.CLOSED})


def exported(positions: Positions) -> dict[TopicPartition, ExportedPosition]:
    """What of positions goes along into another store."""
    return {tp: ExportedPosition.of(position) for tp, position in positions.items()}


__all__ = [
    "Positions",
    "exported",
    "lacking",
    "migrated_to",
    "newest",
    "outstanding",
    "why_given_back",
    "why_not_arrived",
    "why_not_migrated",
]
