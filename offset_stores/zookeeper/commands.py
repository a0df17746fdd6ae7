"""What operators' commands change: each decides on what is stored, and goes out in one ``multi``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kazoo.protocol.serialization import CheckVersion, SetData

from kafka_stream.errors import CommandRefused
from kafka_stream.offset_stores.zookeeper import history, start
from kafka_stream.offset_stores.zookeeper.errors import CHANGED_MEANWHILE
from kafka_stream.offset_stores.zookeeper.holds import UNDIVIDED, Hold, refuse_if_held
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.offset_stores.zookeeper.positions import ATTEMPTS, Positions, Stored, StoredMarker, busy, positions_of
from kafka_stream.offset_stores.zookeeper.requests import failure_in, impossible, size_of
from kafka_stream.offset_stores.zookeeper.znodes import Marker, TopicState
from kafka_stream.protocols import Action, ActionKind, Change, Decide, HistoryEntry
from kafka_stream.types import PlanKind, PositionState, StoredPosition, TopicPartition

_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a command decides on: it holds as long as the versions are the same."""

    markers: Mapping[str, StoredMarker]
    stored: Mapping[TopicPartition, Stored]

    def state(self, topic: str) -> TopicState | None:
        marker = self.markers[topic].marker
        return None if marker is None else marker.state


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What is to be written: where a marker or a position is missing, it stays as it was seen."""

    markers: Mapping[str, Marker]
    positions: Mapping[TopicPartition, StoredPosition]
    entries: Sequence[HistoryEntry]


class Command:
    """One command on one stream; what it does goes out together with what is remembered of it."""

    def __init__(self, positions: Positions, stream: str, action: Action) -> None:
        self._positions = positions
        self._stream = stream
        self._action = action
        self._hold = Hold(positions, stream, action)

    def change(self, partitions: Collection[TopicPartition], decide: Decide) -> Mapping[TopicPartition, StoredPosition]:
        """Move positions; see ``AdministeredStore``."""
        wanted = sorted(set(partitions))
        with self._hold:
            for attempt in range(ATTEMPTS):
                seen = self._look({tp.topic for tp in wanted}, wanted)
                before = {tp: seen.stored[tp] for tp in wanted if tp in seen.stored}
                if any(name.action_id == self._action.id for name in history.names(self._positions, self._stream)):
                    return positions_of(before)
                # What is discarded of a planned range must not be written again before the position has moved.
                has_plans = any(found.position.plan_kind is PlanKind.RANGE for found in before.values())
                if not self._hold.is_held and (has_plans or attempt >= UNDIVIDED):
                    self._hold.take(seen.markers, list(before))
                    continue
                changes = sorted(decide(positions_of(before)), key=lambda each: each.topic_partition)
                if not changes:
                    return positions_of(before)
                outcome = _moved(seen, changes, self._action)
                if self._write(seen, outcome):
                    after = {**positions_of(before), **outcome.positions}
                    return {tp: after[tp] for tp in wanted if tp in after}
        raise busy(self._stream, self._positions.connection.where)

    def rehearse(self, changes: Sequence[Change]) -> None:
        """Send what ``change`` would, and behind it a check that fails: whatever else fails is told instead of that."""
        wanted = sorted({each.topic_partition for each in changes})
        for _ in range(ATTEMPTS):
            seen = self._look({tp.topic for tp in wanted}, wanted)
            outcome = _moved(seen, sorted(changes, key=lambda each: each.topic_partition), self._action)
            self._refuse_too_large(seen, outcome)
            writes = self._positions.writes(self._stream, outcome.positions, seen.stored)
            operations = [*self._beside(seen, outcome), *writes, impossible(self._positions.layout)]
            failure = failure_in(self._positions.connection.multi(operations))
            assert failure is not None
            if failure[0] == len(operations) - 1:
                return
            if not isinstance(failure[1], CHANGED_MEANWHILE):
                raise failure[1]
        raise busy(self._stream, self._positions.connection.where)

    def close_topics(self, topics: Collection[str], reason: str | None) -> None:
        """Close positions and markers; see ``AdministeredStore``.

        More positions than fit into one request are closed in several. The topics are closed with the first, and
        deleted with the last, so that nobody begins them anew in between; what was cut off is mended by a repetition.
        """
        kept = None if reason is None else reason[:_LONGEST_REASON]
        failures = 0
        with self._hold:
            while failures < ATTEMPTS:
                seen = self._look(topics)
                closing = [tp for tp in sorted(seen.stored) if _is_to_be_closed(seen, tp, kept)]
                some, outcome = self._as_many_as_fit(seen, closing, kept)
                if not outcome.positions and not outcome.markers:
                    return
                if failures >= UNDIVIDED and not self._hold.is_held:
                    failures += 1
                    self._hold.take(seen.markers, closing)
                elif not self._write(some, outcome):
                    failures += 1
                elif len(some.stored) == len(closing):
                    return
        raise busy(self._stream, self._positions.connection.where)

    def _as_many_as_fit(
        self, seen: _Seen, closing: Sequence[TopicPartition], reason: str | None
    ) -> tuple[_Seen, _Outcome]:
        """What is closed in one request."""
        count, until_then = len(closing), None
        while True:
            some = replace(seen, stored={tp: seen.stored[tp] for tp in closing[:count]})
            outcome = _closed(some, reason, self._action, until_then)
            if count <= 1 or self._size(some, outcome) <= self._positions.connection.max_request_bytes:
                return some, outcome
            count, until_then = count // 2, "it is being deleted"

    def _look(self, topics: Collection[str], partitions: Sequence[TopicPartition] | None = None) -> _Seen:
        """What is stored of these partitions, and of all in topics that are not open; of all if none are named."""
        layout = self._positions.layout
        self._positions.connection.create_missing(layout.history(self._stream), layout.stream(self._stream))
        names = sorted(topics)
        markers = start.settled(self._positions, self._stream, names)
        for name in names:
            refuse_if_held(self._positions, self._stream, name, markers[name].marker, but_by=self._action)
        seen = _Seen(markers, {})
        # Whoever adds a partition changes the marker: if that stays as it is, these are all.
        whole = [name for name in names if partitions is None or seen.state(name) is not TopicState.OPEN]
        all_of_these = {*(partitions or ()), *self._positions.partitions(self._stream, whole)}
        return replace(seen, stored=self._positions.read(self._stream, sorted(all_of_these)))

    def _write(self, seen: _Seen, outcome: _Outcome) -> bool:
        """All of it, if everything that was seen is still so.

        Raises:
            CommandRefused: it is more than the ensemble takes at once.
        """
        self._refuse_too_large(seen, outcome)
        beside = self._beside(seen, outcome)
        was_written = self._positions.try_write(self._stream, outcome.positions, seen.stored, beside)
        self._hold.is_held = False  # it has ended with the change; or else it, too, may not be what it was
        if was_written:
            history.forget(self._positions, self._stream)
        return was_written

    def _refuse_too_large(self, seen: _Seen, outcome: _Outcome) -> None:
        if (size := self._size(seen, outcome)) > (limit := self._positions.connection.max_request_bytes):
            raise CommandRefused(
                f"moving {len(outcome.positions):,} offset(s) of stream {self._stream!r} takes a request of {size:,} "
                f"bytes, and {self._positions.connection.where} takes {limit:,} at once; nothing was changed: name "
                "fewer partitions at a time, or raise jute.maxbuffer on all servers, and max_request_bytes with it"
            )

    def _size(self, seen: _Seen, outcome: _Outcome) -> int:
        writes = self._positions.writes(self._stream, outcome.positions, seen.stored)
        return size_of([*self._beside(seen, outcome), *writes])

    def _beside(self, seen: _Seen, outcome: _Outcome) -> list[Operation]:
        """What goes out with the positions: markers, what is remembered, and that all else is as it was seen."""
        layout, stream = self._positions.layout, self._stream
        return [
            *(
                SetData(layout.topic(stream, name), outcome.markers[name].encoded(), found.version)
                if name in outcome.markers
                else CheckVersion(layout.topic(stream, name), found.version)
                for name, found in seen.markers.items()
            ),
            *(
                CheckVersion(layout.partition(stream, tp), found.version)
                for tp, found in seen.stored.items()
                if tp not in outcome.positions
            ),
            *history.remembering(self._positions, stream, outcome.entries),
            *self._hold.release(),
        ]


def _moved(seen: _Seen, changes: Sequence[Change], action: Action) -> _Outcome:
    """The changes, their topics open, and what is still closed there begun anew."""
    now = datetime.now(UTC)
    ids: dict[str, str | None] = {}
    for each in changes:
        ids[each.topic_partition.topic] = ids.get(each.topic_partition.topic) or each.topic_id
    markers = {}
    for topic, topic_id in ids.items():
        marker = seen.markers[topic].marker
        if marker is None or marker.state is not TopicState.OPEN:
            markers[topic] = Marker(TopicState.OPEN, topic_id, started_at=now)
        else:
            markers[topic] = replace(marker, topic_id=marker.topic_id or topic_id, held_by=None)
    after = {
        tp: StoredPosition(0, found.position.owner_epoch + 1, topic_id=ids[tp.topic], changed_at=now)
        for tp, found in seen.stored.items()
        if tp.topic in ids and found.position.state is PositionState.CLOSED
    }
    for each in changes:
        tp = each.topic_partition
        epoch = max(seen.stored[tp].position.owner_epoch + 1 if tp in seen.stored else 1, each.at_least_epoch)
        after[tp] = StoredPosition(
            each.next_offset, epoch, leader_epoch=each.leader_epoch, topic_id=each.topic_id, changed_at=now
        )
    entries = [_entry(action, now, seen, each.topic_partition, each.next_offset) for each in changes]
    return _Outcome(markers, after, entries)


def _is_to_be_closed(seen: _Seen, tp: TopicPartition, reason: str | None) -> bool:
    """What was given away may still be deleted; what was deleted has nothing to give away."""
    position = seen.stored[tp].position
    if seen.state(tp.topic) is TopicState.DELETED:
        return False
    return position.state is PositionState.OPEN or (reason is None and position.state_reason is not None)


def _closed(seen: _Seen, reason: str | None, action: Action, until_then: str | None) -> _Outcome:
    """What was seen, closed; with a reason ``until_then``, there are more partitions to come."""
    now = datetime.now(UTC)
    why = reason or until_then
    state = TopicState.DELETED if why is None else TopicState.CLOSED
    markers = {
        topic: replace(found.marker or Marker(state), state=state, state_reason=why, held_by=None)
        for topic, found in seen.markers.items()
        if seen.state(topic) not in {state, TopicState.DELETED}
    }
    after = {
        tp: replace(
            found.position,
            owner=None,
            owner_epoch=found.position.owner_epoch + 1,
            state=PositionState.CLOSED,
            state_reason=reason,
            changed_at=now,
        )
        for tp, found in seen.stored.items()
    }
    entries = [_entry(action, now, seen, tp, position.next_offset) for tp, position in after.items()]
    return _Outcome(markers, after, entries)


def _entry(action: Action, now: datetime, seen: _Seen, tp: TopicPartition, until_offset: int) -> HistoryEntry:
    """What was there before; what was closed was not there, except to be deleted."""
    before = seen.stored[tp].position if tp in seen.stored else None
    if before is not None and before.state is PositionState.CLOSED and action.kind is not ActionKind.DELETE:
        before = None
    return HistoryEntry(
        at=now,
        action=action,
        topic_partition=tp,
        from_offset=None if before is None else before.next_offset,
        until_offset=until_offset,
        leader_epoch=None if before is None else before.leader_epoch,
        topic_id=None if before is None else before.topic_id,
    )


__all__ = ["Command"]
