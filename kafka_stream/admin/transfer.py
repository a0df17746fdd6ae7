"""Offsets out of a store, and into one: export, import, and migration from any store to any other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kafka_stream.admin.actions import apply_change, new_action, patiently
from kafka_stream.admin.offsets_file import ExportedPosition
from kafka_stream.admin.refusals import plan_in_the_way, refuse, why_closed
from kafka_stream.admin.reset import missing
from kafka_stream.errors import CommandRefused, KafkaStreamError
from kafka_stream.protocols import ActionKind, AdministeredStore, Change, RangeSink, TopicState
from kafka_stream.types import PositionState, StoredPosition, TopicPartition


@dataclass(frozen=True, slots=True)
class Moved:
    """What an import or a migration did: from what was stored, where anything was, to what is stored now."""

    before: Mapping[TopicPartition, StoredPosition]
    after: Mapping[TopicPartition, StoredPosition]

    @property
    def changed(self) -> tuple[TopicPartition, ...]:
        """The partitions that it touched, sorted."""
        return tuple(tp for tp in sorted(self.after) if self.before.get(tp) != self.after[tp])


def export_offsets(store: AdministeredStore, stream: str) -> dict[TopicPartition, ExportedPosition]:
    """What is stored for a stream, for ``offsets_file.to_json`` or ``to_csv``; reads only.

    Raises:
        CommandRefused: nothing is.
    """
    stored = store.positions(stream)
    if not stored:
        raise missing(store, stream)
    return {tp: ExportedPosition.of(position) for tp, position in stored.items()}


def import_offsets(
    store: AdministeredStore,
    stream: str,
    positions: Mapping[TopicPartition, ExportedPosition],
    *,
    actor: str | None = None,
    range_sinks: Sequence[RangeSink] = (),
) -> Moved:
    """Store these positions exactly, unclamped, also for a stream or partitions that the store has never seen.

    Partitions that are not named stay as they are; what was deleted or closed is opened again, topic by topic.

    Raises:
        CommandRefused: a plan is outstanding, or a closed topic's partition is left out; nothing was changed.
        StoreUnavailable, SinkUnavailable, NotAuthorized.
    """
    seen: list[Mapping[TopicPartition, StoredPosition]] = []

    def decide(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
        refuse(stream, store.describe(), why_not_imported(positions, stored, discardable=bool(range_sinks)))
        seen.append({tp: position for tp, position in stored.items() if tp in positions})
        return _changes(positions)

    # All of the stream's: what an import leaves closed matters too.
    partitions = {*positions, *store.positions(stream)}
    action = new_action(ActionKind.IMPORT, actor)
    after = apply_change(store, stream, partitions, action, decide, range_sinks)
    return Moved(seen[-1], {tp: after[tp] for tp in positions})


def why_not_imported(
    positions: Mapping[TopicPartition, ExportedPosition],
    stored: Mapping[TopicPartition, StoredPosition],
    *,
    discardable: bool,
) -> list[str]:
    """Pure: what forbids an import over what is stored of the stream."""
    topics = {tp.topic for tp in positions}
    reasons = []
    for tp, position in sorted(stored.items()):
        if tp in positions:
            reason = plan_in_the_way(tp, position, positions[tp].next_offset, discardable=discardable)
        elif tp.topic in topics and position.state is PositionState.CLOSED:
            reason = f"{why_closed(tp, position)}, and its topic would be opened again without it: name all partitions"
        else:
            reason = None
        if reason is not None:
            reasons.append(reason)
    return reasons


def migrate(source: AdministeredStore, target: AdministeredStore, stream: str, *, actor: str | None = None) -> Moved:
    """Copy a stopped stream's positions into another store, and look there whether they arrived.

    The source stays as it is. Done twice it changes nothing.

    Raises:
        CommandRefused: the source has an owner that has not stopped, or outstanding plans, or the target has positions
            of its own; nothing was changed.
        StoreUnavailable, NotAuthorized.
    """
    stored = _stored_elsewhere(source, target, stream)
    if owners := source.live_owners(stream):
        raise CommandRefused(
            f"stream {stream!r} in {source.describe()} is owned by {', '.join(owners[:3])}: stop it first; if it was "
            "killed, or cannot be stopped, fence it, which closes the stream there"
        )
    closed = [why for tp in sorted(stored) if (why := why_closed(tp, stored[tp]))]
    refuse(stream, source.describe(), closed + _outstanding(stored))
    refuse(stream, target.describe(), why_not_migrated(stored, target.positions(stream)))
    moved = _copy(target, stream, stored, actor)
    if source.positions(stream) != stored:
        raise KafkaStreamError(
            f"stream {stream!r} was started in {source.describe()} while it was copied: stop it, delete the stream in "
            f"{target.describe()}, and migrate again"
        )
    return moved


def fence_and_migrate(
    source: AdministeredStore, target: AdministeredStore, stream: str, *, actor: str | None = None
) -> Moved:
    """Close the stream in its store for good, naming the target, and then copy its positions there.

    A running owner stops with ``StreamClosed`` and commits nothing after. May be repeated after a failure in between;
    done twice it changes nothing, also if the stream has gone on in the target meanwhile.

    Raises:
        CommandRefused: outstanding plans (finish or discard them first), the source is closed for another reason, or
            the target has positions of its own.
        StoreUnavailable, NotAuthorized.
    """
    reason = f"migrated to {target.describe()}"
    stored = _stored_elsewhere(source, target, stream)
    there = target.positions(stream)
    still_open = {tp for tp, position in stored.items() if position.state is PositionState.OPEN}
    others = [
        str(why_closed(tp, position))
        for tp, position in sorted(stored.items())
        if tp not in still_open and not _gives_reason(position, reason)
    ]
    refuse(stream, source.describe(), others + _outstanding(stored))
    if still_open:
        refuse(stream, target.describe(), why_not_migrated(stored, there))
        action = new_action(ActionKind.CLOSE, actor)
        source.open()
        patiently(source, lambda: source.close_topics(stream, {tp.topic for tp in stored}, action, reason))
        stored = source.positions(stream)
        refuse(stream, source.describe(), _outstanding(stored))
        refuse(stream, target.describe(), why_not_migrated(stored, there))
    return _copy(target, stream, stored, actor)


def delete(
    store: AdministeredStore, stream: str, topics: Collection[str] | None = None, *, actor: str | None = None
) -> tuple[str, ...]:
    """Close a stream's topics (all if none are named) as deleted; returns those that were not yet, sorted.

    A running owner stops with ``StreamClosed`` and commits nothing after; a new start resolves ``start`` again. The
    epochs live on.

    Raises:
        CommandRefused: nothing is stored for the stream, or for a topic that was named.
        StoreUnavailable, NotAuthorized.
    """
    stored = {tp.topic for tp in store.positions(stream)}
    markers = store.topics(stream)
    known = stored | markers.keys()
    if not known:
        raise missing(store, stream)
    wanted = known if topics is None else set(topics)
    refuse(stream, store.describe(), [f"it has no topic {topic!r}" for topic in sorted(wanted - known)])
    still_there = sorted(
        topic for topic in wanted if topic not in markers or markers[topic].state is not TopicState.DELETED
    )
    if still_there:
        action = new_action(ActionKind.DELETE, actor)
        store.open()
        patiently(store, lambda: store.close_topics(stream, still_there, action, None))
    return tuple(still_there)


def _stored_elsewhere(
    source: AdministeredStore, target: AdministeredStore, stream: str
) -> Mapping[TopicPartition, StoredPosition]:
    if source.describe() == target.describe():
        raise CommandRefused(f"stream {stream!r} is in {source.describe()} already; name another store to migrate to")
    stored = source.positions(stream)
    if not stored:
        raise missing(source, stream)
    return stored


def _outstanding(stored: Mapping[TopicPartition, StoredPosition]) -> list[str]:
    return [
        f"{tp} has a planned range up to {position.planned_until} that is not committed: start the stream, which "
        "finishes it, or reset the offsets"
        for tp, position in sorted(stored.items())
        if position.planned_until is not None
    ]


def why_not_migrated(
    stored: Mapping[TopicPartition, StoredPosition], there: Mapping[TopicPartition, StoredPosition]
) -> list[str]:
    """Pure: what in the target forbids a migration there. What it has given away, or deleted, does not."""
    return [
        f"{tp} has the offset {there[tp].next_offset} of its own there, and {stored[tp].next_offset} in the source: "
        "delete the stream there first, or export and import"
        for tp in sorted(stored.keys() & there.keys())
        if there[tp].state is PositionState.OPEN and there[tp].next_offset != stored[tp].next_offset
    ]


def _copy(
    target: AdministeredStore, stream: str, stored: Mapping[TopicPartition, StoredPosition], actor: str | None
) -> Moved:
    """Write what the target lacks, or has given away; what is open there is there already, and may have gone on."""
    there = target.positions(stream)
    lacking = {
        tp: ExportedPosition.of(position)
        for tp, position in stored.items()
        if tp not in there or there[tp].state is PositionState.CLOSED
    }
    if not lacking:
        return Moved(there, there)

    def decide(found: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
        refuse(stream, target.describe(), why_not_imported(lacking, found, discardable=False))
        return _changes(lacking)

    action = new_action(ActionKind.MIGRATE, actor)
    apply_change(target, stream, {*lacking, *there}, action, decide)
    after = target.positions(stream)
    for tp, wanted in sorted(lacking.items()):
        if tp not in after or after[tp].next_offset != wanted.next_offset:
            raise KafkaStreamError(
                f"{tp} of stream {stream!r} was written to {target.describe()} at offset {wanted.next_offset}, and is "
                f"not there now (found {after.get(tp)}): somebody else has moved it, or the store loses writes"
            )
    return Moved(there, {tp: after[tp] for tp in stored})


def _gives_reason(position: StoredPosition, reason: str) -> bool:
    """Stores may keep only the beginning of a reason."""
    return bool(position.state_reason) and reason.startswith(str(position.state_reason))


def _changes(positions: Mapping[TopicPartition, ExportedPosition]) -> Sequence[Change]:
    return [Change(tp, p.next_offset, p.leader_epoch, p.topic_id, p.owner_epoch) for tp, p in sorted(positions.items())]


__all__ = [
    "Moved",
    "delete",
    "export_offsets",
    "fence_and_migrate",
    "import_offsets",
    "migrate",
    "why_not_imported",
    "why_not_migrated",
]
