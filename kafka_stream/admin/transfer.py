"""Offsets out of a store, and into one: export and import, and the end of a stream that is not to go on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kafka_stream.admin.actions import apply_change, new_action, patiently
from kafka_stream.admin.offsets_file import ExportedPosition
from kafka_stream.admin.refusals import plan_in_the_way, refuse, why_closed
from kafka_stream.admin.reset import missing
from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import ActionKind, AdministeredStore, Change, RangeSink, TopicState
from kafka_stream.types import PositionState, StoredPosition, TopicPartition, why_no_topic


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
        ConfigurationError: a topic has a name that Kafka cannot have: who reads the store could ask no broker about it.
        StoreUnavailable, SinkUnavailable, NotAuthorized.
    """
    for tp in sorted(positions):
        if (why := why_no_topic(tp.topic)) is not None:
            raise ConfigurationError(why)
    seen: list[Mapping[TopicPartition, StoredPosition]] = []

    def decide(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
        refuse(stream, store.describe(), why_not_imported(positions, stored, discardable=bool(range_sinks)))
        seen.append({tp: position for tp, position in stored.items() if tp in positions})
        return changes_to(positions)

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


def changes_to(positions: Mapping[TopicPartition, ExportedPosition]) -> Sequence[Change]:
    """What puts positions exactly there, with epochs that are at least as high."""
    return [Change(tp, p.next_offset, p.leader_epoch, p.topic_id, p.owner_epoch) for tp, p in sorted(positions.items())]


__all__ = ["Moved", "changes_to", "delete", "export_offsets", "import_offsets", "why_not_imported"]
