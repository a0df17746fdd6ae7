"""Undoing the last reset or import, by what the store's history remembers of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kafka_stream.admin.actions import apply_change, new_action
from kafka_stream.admin.refusals import refuse, why_not_moved
from kafka_stream.admin.reset import missing
from kafka_stream.admin.state.kept import in_words
from kafka_stream.errors import CommandRefused, StoreUnavailable
from kafka_stream.protocols import Action, ActionKind, AdministeredStore, Change, HistoryEntry, RangeSink
from kafka_stream.types import StoredPosition, TopicPartition

_ATTEMPTS = 10
_UNDOABLE = frozenset({ActionKind.RESET, ActionKind.IMPORT})
_ADMIN = _UNDOABLE | {ActionKind.MIGRATE, ActionKind.UNDO, ActionKind.DELETE, ActionKind.CLOSE}


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """What undoing an action would do: ``entries`` are its partitions, sorted.

    Each goes from ``until_offset`` back to ``from_offset``. ``refusals`` forbid it.
    """

    entries: tuple[HistoryEntry, ...]
    refusals: tuple[str, ...]

    @property
    def action(self) -> Action:
        """What would be undone."""
        return self.entries[0].action

    def changes(self) -> Sequence[Change]:
        """As a store takes it: the leader epoch and the topic's id come back too."""
        return [
            Change(e.topic_partition, e.from_offset, e.leader_epoch, e.topic_id)
            for e in self.entries
            if e.from_offset is not None
        ]


def plan_undo(
    entries: Sequence[HistoryEntry],
    stored: Mapping[TopicPartition, StoredPosition],
    *,
    discardable: bool = False,
) -> UndoPlan:
    """Pure: the plan that puts back what an action changed, while its partitions are where it has put them."""
    ordered = sorted(entries, key=lambda entry: entry.topic_partition)
    return UndoPlan(tuple(ordered), tuple(why for e in ordered if (why := _why_not(e, stored, discardable))))


def prepare_undo(store: AdministeredStore, stream: str, range_sinks: Sequence[RangeSink] = ()) -> UndoPlan:
    """What ``undo`` would do now; reads only.

    Raises:
        CommandRefused: there is nothing to undo; the message says why.
        StoreUnavailable, NotAuthorized.
    """
    entries = _last_change(store, stream)
    return plan_undo(entries, store.positions(stream), discardable=bool(range_sinks))


def undo(
    store: AdministeredStore,
    stream: str,
    *,
    action_id: str | None = None,
    actor: str | None = None,
    range_sinks: Sequence[RangeSink] = (),
) -> UndoPlan:
    """Put back what the last reset or import changed, all partitions or none; returns what was done.

    ``action_id`` is that of the plan that somebody has looked at: whatever came in between is not put back instead.

    Raises:
        CommandRefused: a batch or a command has come since, or there is nothing to undo; nothing was changed.
        StoreUnavailable, SinkUnavailable, NotAuthorized.
    """
    action = new_action(ActionKind.UNDO, actor)
    for _ in range(_ATTEMPTS):
        with suppress(_Overtaken):
            return _undo(store, stream, action_id, action, range_sinks)
    raise StoreUnavailable(
        f"nothing was changed: others keep moving the offsets of stream {stream!r} in {store.describe()}; try again"
    )


class _Overtaken(Exception):
    """Somebody has taken a partition over, or moved it, since the history was read."""


def _undo(
    store: AdministeredStore, stream: str, action_id: str | None, action: Action, range_sinks: Sequence[RangeSink]
) -> UndoPlan:
    before = store.positions(stream)
    entries = _last_change(store, stream)
    if action_id is not None and entries[0].action.id != action_id:
        raise CommandRefused(
            f"the {_told(entries[0])} came in between, so nothing was put back in {store.describe()}: look at the plan "
            "again"
        )
    plan = plan_undo(entries, {}, discardable=bool(range_sinks))

    def decide(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
        nonlocal plan
        # Epochs only grow: with the same ones, no command has come since the history was read.
        if any(before[tp].owner_epoch != position.owner_epoch for tp, position in stored.items() if tp in before):
            raise _Overtaken
        plan = plan_undo(entries, stored, discardable=bool(range_sinks))
        refuse(stream, store.describe(), plan.refusals)
        return plan.changes()

    apply_change(store, stream, [entry.topic_partition for entry in entries], action, decide, range_sinks)
    return plan


def _told(entry: HistoryEntry) -> str:
    return f"{entry.action.kind} at {entry.at.isoformat(timespec='seconds')} by {entry.action.actor}"


def _last_change(store: AdministeredStore, stream: str) -> Sequence[HistoryEntry]:
    if not store.keeps_history:
        raise CommandRefused(
            f"{store.describe()} keeps no history, so nothing can be undone there; reset the offsets instead"
        )
    entries = store.history(stream, 1, _ADMIN)
    if not entries:
        if not store.positions(stream):
            raise missing(store, stream)
        raise CommandRefused(f"no reset or import of stream {stream!r} is in the history of {store.describe()}")
    last = entries[0]
    if last.action.kind is ActionKind.CLOSE:
        raise CommandRefused(
            f"stream {stream!r} in {store.describe()} was closed by the {_told(last)}: to open it again, name the "
            "store that it was to go to, with --to"
        )
    if last.action.kind not in _UNDOABLE:
        when = last.at.isoformat(timespec="seconds")
        raise CommandRefused(
            f"the offsets of stream {stream!r} in {store.describe()} were last changed by a command "
            f"({last.action.kind}) at {when} by {last.action.actor}, which is not undone; reset the offsets instead"
        )
    return entries


def _why_not(entry: HistoryEntry, stored: Mapping[TopicPartition, StoredPosition], discardable: bool) -> str | None:
    tp, found = entry.topic_partition, stored.get(entry.topic_partition)
    since = f"the {entry.action.kind} at {entry.at.isoformat(timespec='seconds')}"
    if entry.from_offset is None:
        return f"{tp} was not stored before {since}, so there is nothing to put back; delete the stream instead"
    if entry.cleared:
        return (
            f"{since} has cleared what sinks had kept, {in_words(entry.cleared)}, which cannot be put back: reset {tp} "
            f"to {entry.from_offset} if that is meant"
        )
    if found is None:
        return f"{tp} is not stored any more"
    if found.next_offset != entry.until_offset:
        return (
            f"batches have committed {tp} up to {found.next_offset} since {since}, which had put it at "
            f"{entry.until_offset}: reset it to {entry.from_offset} if that is meant"
        )
    return why_not_moved(tp, found, entry.from_offset, discardable=discardable)


__all__ = ["UndoPlan", "plan_undo", "prepare_undo", "undo"]
