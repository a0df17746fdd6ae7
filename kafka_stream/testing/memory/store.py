"""``MemoryOffsetStore``: an offset store without a database, for tests of streams. It passes the stores' contract."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka_stream.claims import closed, why_not_claimed, why_not_ours, why_not_planned
from kafka_stream.errors import (
    CommitOutcomeUnknown,
    KafkaStreamError,
    OwnershipLost,
    StoreUnavailable,
    TransactionEscaped,
)
from kafka_stream.protocols import (
    Action,
    ActionKind,
    Change,
    DeadLetter,
    Decide,
    HistoryEntry,
    Key,
    LetterError,
    LetterId,
    LetterStatus,
    StoreCapabilities,
    TopicState,
    TopicStatus,
)
from kafka_stream.testing.memory.letters import KeepsLetters, MemoryLetterTransaction
from kafka_stream.types import Claim, OffsetRange, Owner, PlanKind, PositionState, StoredPosition, TopicPartition

_Key = tuple[str, TopicPartition]


class MemoryTransaction:
    """What a handler writes through: append results to ``rows``; they are in the store's ``rows`` once committed."""

    def __init__(self, store: MemoryOffsetStore, claim: Claim, lock: threading.RLock) -> None:
        self.rows: list[Any] = []
        self._lock = lock
        self.claim = claim
        self._store = store
        self._state = "claimed"
        self.letters: list[DeadLetter] = []
        self.replayed_letters: Collection[LetterId] = ()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """See ``RescuingTransaction``."""
        before = len(self.rows)
        try:
            yield
        except BaseException:
            del self.rows[before:]
            raise

    def waiting_keys(self) -> Mapping[Key, int]:
        """See ``RescuingTransaction``."""
        with self._lock:
            return self._store.dead_letters.waiting_keys(self.claim)

    def waiting_letters(self, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """See ``RescuingTransaction``."""
        with self._lock:
            return self._store.dead_letters.waiting_letters(self.claim.stream, keys)

    def replayed(self, letters: Collection[LetterId]) -> None:
        """See ``RescuingTransaction``."""
        self.replayed_letters = letters

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """See ``RescuingTransaction``."""
        self.letters += letters

    def advance(self) -> None:
        """See ``StoreTransaction``."""
        if self._state == "advanced":
            self._state = "escaped"
        self._refuse_ended()
        self._state = "advanced"

    def commit(self) -> None:
        """See ``StoreTransaction``."""
        with self._lock:  # a takeover comes before or after
            if self._state == "claimed":
                self._state = "escaped"
            self._refuse_ended()
            self._state = "committed"
            self._store._commit(self)  # noqa: SLF001 - the two are one

    def escape(self) -> None:
        """Do what a handler does that commits on its own: its rows are stored, the offsets are not."""
        with self._lock:
            self._refuse_ended()
            self._state = "escaped"
            self._store._escape(self)  # noqa: SLF001

    def end(self) -> None:
        """Do what a database does to the session of an owner that was replaced."""
        if self._state in {"claimed", "advanced"}:
            self._state = "ended"

    def _refuse_ended(self) -> None:
        if self._state == "ended":
            raise StoreUnavailable("the transaction in memory was ended by a takeover; nothing was stored")
        if self._state in {"escaped", "committed"}:
            raise TransactionEscaped(
                "the handler ended the batch's transaction before its offsets advanced; leave that to the stream"
            )


class MemoryOffsetStore(KeepsLetters):
    """Keeps positions in this process; each instance is a store of its own, for all streams that are given it.

    ``rows`` are the results of all committed transactions, in the order of their commits. Threads may share it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Any] = []
        self._identity = uuid.uuid4().hex
        self._positions: dict[_Key, StoredPosition] = {}
        self._markers: dict[tuple[str, str], TopicStatus] = {}
        self._history: dict[str, list[HistoryEntry]] = {}
        self._held: dict[_Key, MemoryTransaction] = {}
        self._cut: str | None = None

    @property
    def capabilities(self) -> StoreCapabilities:
        """A transaction of its own kind, and claims that are refused here."""
        return StoreCapabilities(transaction="memory", compare_and_set=True, durable_plan=True)

    def describe(self) -> str:
        """In words."""
        return "memory"

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to give back: what is stored stays."""

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        """Nothing in memory gives a transaction up."""
        return None

    # For tests ------------------------------------------------------------------------------------------------------

    def put(self, stream: str, topic_partition: TopicPartition, position: StoredPosition) -> None:
        """Store a position as it is, whatever was there."""
        with self._lock:
            self._positions[stream, topic_partition] = position

    def cut_before_commit(self) -> None:
        """The next commit does not take effect, and nobody is told."""
        self._cut = "before"

    def cut_after_commit(self) -> None:
        """The next commit takes effect, and nobody is told."""
        self._cut = "after"

    # OffsetStore ----------------------------------------------------------------------------------------------------

    def is_started(self, stream: str, topic: str) -> bool:
        """See ``OffsetStore``."""
        marker = self._markers.get((stream, topic))
        return marker is not None and marker.state is not TopicState.DELETED

    def initialise(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        """See ``OffsetStore``."""
        with self._lock:
            if self.is_started(stream, topic):
                return
            self._open(stream, topic, starts, topic_id)

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        """See ``OffsetStore``. The transactions of older owners end."""
        with self._lock:
            for topic in sorted({tp.topic for tp in partitions}):
                marker = self._markers.get((stream, topic))
                if marker is not None and marker.state is not TopicState.OPEN:
                    raise closed(stream, f"topic {topic!r}", marker.reason or marker.state)
            found = {tp: self._positions.get((stream, tp)) for tp in sorted(set(partitions))}
            for tp, before in found.items():
                if before is not None and before.state is PositionState.CLOSED:
                    raise closed(stream, str(tp), before.state_reason)
            for tp, before in found.items():
                self._end_holder(stream, tp)
                position = before or StoredPosition(0, 0, topic_id=topic_ids.get(tp.topic))
                self._change(stream, tp, position, owner=owner, owner_epoch=position.owner_epoch + 1)
            return self._stored(stream, list(found))

    def reclaim(self, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
        """See ``OffsetStore``."""
        partitions = [r.topic_partition for r in claim.ranges]
        with self._lock:
            stored = self._stored(claim.stream, partitions)
            if (error := why_not_ours(claim, stored, self.describe())) is not None:
                raise error
            for tp in partitions:
                self._end_holder(claim.stream, tp)
                self._change(claim.stream, tp, stored[tp], owner_epoch=stored[tp].owner_epoch + 1)
            return self._stored(claim.stream, partitions)

    def reposition(self, claim: Claim) -> None:
        """See ``OffsetStore``."""
        with self._lock:
            stored = self._stored(claim.stream, [r.topic_partition for r in claim.ranges])
            if (error := why_not_ours(claim, stored, self.describe())) is not None:
                raise error
            for r in claim.ranges:
                if (refusal := _plan_in_the_way(claim, r.topic_partition, stored[r.topic_partition])) is not None:
                    raise refusal
            for r in claim.ranges:
                tp = r.topic_partition
                leader_epoch, topic_id = claim.leader_epochs.get(tp), claim.topic_ids.get(tp.topic)
                self._change(
                    claim.stream,
                    tp,
                    stored[tp],
                    next_offset=r.until_offset,
                    leader_epoch=leader_epoch,
                    topic_id=topic_id,
                    planned_until=None,
                    plan_kind=None,
                )

    def plan(self, claim: Claim) -> None:
        """See ``OffsetStore``."""
        with self._lock:
            stored = self._stored(claim.stream, [r.topic_partition for r in claim.ranges])
            if (error := why_not_planned(claim, stored, self.describe())) is not None:
                raise error
            for r in claim.ranges:
                tp = r.topic_partition
                self._change(claim.stream, tp, stored[tp], planned_until=r.until_offset, plan_kind=PlanKind.RANGE)

    @contextmanager
    def begin(self, claim: Claim) -> Iterator[MemoryTransaction]:
        """See ``OffsetStore``."""
        keys = [(claim.stream, r.topic_partition) for r in claim.ranges]
        transaction = MemoryTransaction(self, claim, self._lock)
        with self._lock:
            stored = self._stored(claim.stream, [r.topic_partition for r in claim.ranges])
            if (error := why_not_claimed(claim, stored, self.describe())) is not None:
                raise error
            if any(key in self._held for key in keys):
                raise StoreUnavailable("another transaction in memory holds some of the claim's partitions")
            self._held.update(dict.fromkeys(keys, transaction))
        try:
            yield transaction
        finally:
            self._release(transaction)

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        """See ``OffsetStore``."""
        with self._lock:
            return self._stored(stream, sorted(tp for name, tp in self._positions if name == stream))

    # AdministeredStore ----------------------------------------------------------------------------------------------

    @property
    def keeps_history(self) -> bool:
        """In this process."""
        return True

    def identity(self) -> str:
        """Of this instance."""
        return self._identity

    def streams(self) -> Sequence[str]:
        """See ``AdministeredStore``."""
        with self._lock:
            return sorted({stream for stream, _ in self._positions})

    def topics(self, stream: str) -> Mapping[str, TopicStatus]:
        """See ``AdministeredStore``."""
        with self._lock:
            return {topic: self._markers[name, topic] for name, topic in sorted(self._markers) if name == stream}

    def change(
        self, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide
    ) -> Mapping[TopicPartition, StoredPosition]:
        """See ``AdministeredStore``. The transactions of batches in flight end."""
        ordered = sorted(set(partitions))
        with self._lock:
            if all(entry.action != action for entry in self._history.get(stream, ())):
                stored = self._stored(stream, ordered)
                changes = decide(stored)
                for each in changes:
                    self._end_holder(stream, each.topic_partition)
                    epoch = stored[each.topic_partition].owner_epoch if each.topic_partition in stored else 0
                    at = max(epoch + 1, each.at_least_epoch)
                    position = StoredPosition(each.next_offset, at, None, None, None, each.leader_epoch, each.topic_id)
                    self._change(stream, each.topic_partition, position)
                self._remember(stream, action, stored, changes)
                for topic, topic_id in {each.topic_partition.topic: each.topic_id for each in changes}.items():
                    marker = self._markers.get((stream, topic))
                    if marker is None or marker.state is not TopicState.OPEN:
                        self._open(stream, topic, {}, topic_id)
            return self._stored(stream, ordered)

    def rehearse(self, stream: str, changes: Sequence[Change]) -> None:
        """Nothing is refused in memory."""

    def close_topics(self, stream: str, topics: Collection[str], action: Action, reason: str | None) -> None:
        """See ``AdministeredStore``. The transactions of batches in flight end."""
        state = TopicState.DELETED if reason is None else TopicState.CLOSED
        with self._lock:
            for topic in sorted(topics):
                marker = self._markers.get((stream, topic), TopicStatus(TopicState.OPEN))
                if marker.state in {state, TopicState.DELETED}:
                    continue
                self._markers[stream, topic] = replace(marker, state=state, reason=reason)
                stored = self._stored(
                    stream, [tp for name, tp in self._positions if (name, tp.topic) == (stream, topic)]
                )
                closing = {"state": PositionState.CLOSED, "state_reason": reason, "owner": None}
                for tp, position in stored.items():
                    self._end_holder(stream, tp)
                    self._change(stream, tp, position, owner_epoch=position.owner_epoch + 1, **closing)
                stays = [Change(tp, position.next_offset) for tp, position in stored.items()]
                self._remember(stream, action, stored, stays)

    def live_owners(self, stream: str) -> Sequence[str]:
        """See ``AdministeredStore``."""
        with self._lock:
            stopped = {e.action.id for e in self._history.get(stream, ()) if e.action.kind is ActionKind.STOP}
            owners = {position.owner for (name, _), position in self._positions.items() if name == stream}
        return sorted(str(owner) for owner in owners if owner is not None and owner.id not in stopped)

    def record(self, stream: str, entries: Sequence[HistoryEntry], keep_for: timedelta) -> None:
        """See ``AdministeredStore``."""
        with self._lock:
            kept = [e for e in self._history.get(stream, ()) if e.at >= datetime.now(UTC) - keep_for]
            self._history[stream] = sorted([*kept, *entries], key=lambda e: e.at)

    def history(
        self, stream: str, limit: int, kinds: Collection[ActionKind] = tuple(ActionKind)
    ) -> Sequence[HistoryEntry]:
        """See ``AdministeredStore``."""
        with self._lock:
            newest_first = [e for e in reversed(self._history.get(stream, ())) if e.action.kind in kinds]
        actions = list(dict.fromkeys((e.at, e.action) for e in newest_first))[:limit]
        ordered = sorted(newest_first, key=lambda e: e.topic_partition)
        return [e for each in actions for e in ordered if (e.at, e.action) == each]

    # InPlaceStore ---------------------------------------------------------------------------------------------------

    @contextmanager
    def begin_letter(self, letter: DeadLetter) -> Iterator[MemoryLetterTransaction]:
        """See ``InPlaceStore``."""
        with self._lock:
            cut, self._cut = self._cut, None
            yield self.dead_letters.processing(letter, self.rows, cut)

    def letter_failed(self, letter: DeadLetter, error: LetterError, at: datetime) -> None:
        """See ``InPlaceStore``."""
        with self._lock:
            self.dead_letters.failed(letter, error, at)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _stored(self, stream: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, StoredPosition]:
        return {tp: self._positions[stream, tp] for tp in partitions if (stream, tp) in self._positions}

    def _change(self, stream: str, tp: TopicPartition, position: StoredPosition, **changes: Any) -> None:
        self._positions[stream, tp] = replace(position, **changes, changed_at=datetime.now(UTC))

    def _open(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        now = datetime.now(UTC)
        self._markers[stream, topic] = TopicStatus(TopicState.OPEN, None, topic_id, now)
        # A closed partition that is not among the topic's this time would be a new one, should it come back.
        closed_ones = {
            tp.partition: 0
            for (name, tp), position in self._positions.items()
            if (name, tp.topic) == (stream, topic) and position.state is PositionState.CLOSED
        }
        for number, offset in {**closed_ones, **starts}.items():
            tp = TopicPartition(topic, number)
            before = self._positions.get((stream, tp))
            if before is None or before.state is PositionState.CLOSED:
                epoch = 0 if before is None else before.owner_epoch + 1
                self.put(stream, tp, StoredPosition(offset, epoch, topic_id=topic_id, changed_at=now))

    def _remember(
        self,
        stream: str,
        action: Action,
        stored: Mapping[TopicPartition, StoredPosition],
        changes: Sequence[Change],
    ) -> None:
        now = datetime.now(UTC)
        for each in changes:
            tp, before = each.topic_partition, stored.get(each.topic_partition)
            if before is not None and before.state is PositionState.CLOSED:
                before = None
            self._history.setdefault(stream, []).append(
                HistoryEntry(
                    at=now,
                    action=action,
                    topic_partition=tp,
                    from_offset=None if before is None else before.next_offset,
                    until_offset=each.next_offset,
                    leader_epoch=None if before is None else before.leader_epoch,
                    topic_id=None if before is None else before.topic_id,
                )
            )

    def _end_holder(self, stream: str, tp: TopicPartition) -> None:
        holder = self._held.get((stream, tp))
        if holder is not None:
            holder.end()
            self._release(holder)

    def _release(self, transaction: MemoryTransaction) -> None:
        with self._lock:
            self._held = {key: holder for key, holder in self._held.items() if holder is not transaction}

    def _commit(self, transaction: MemoryTransaction) -> None:
        cut, self._cut = self._cut, None
        if cut != "before":
            claim = transaction.claim
            for r in claim.ranges:
                before = self._positions[claim.stream, r.topic_partition]
                leader_epoch = claim.leader_epochs.get(r.topic_partition)
                topic_id = claim.topic_ids.get(r.topic, before.topic_id)
                self._change(
                    claim.stream,
                    r.topic_partition,
                    before,
                    next_offset=r.until_offset,
                    leader_epoch=leader_epoch,
                    topic_id=topic_id,
                    planned_until=None,
                    plan_kind=None,
                )
            self.rows += transaction.rows
            self.dead_letters.replayed(transaction.claim.stream, transaction.replayed_letters)
            self.dead_letters.keep(transaction.letters)
        if cut is not None:
            raise CommitOutcomeUnknown("the answer to a commit in memory was cut off; the stored offsets will tell")

    def _escape(self, transaction: MemoryTransaction) -> None:
        stream = transaction.claim.stream
        for r in transaction.claim.ranges:
            before = self._positions[stream, r.topic_partition]
            left = {"planned_until": r.until_offset, "plan_kind": PlanKind.TRANSACTION}
            self._change(stream, r.topic_partition, before, **left)
        self.rows += transaction.rows


def _plan_in_the_way(claim: Claim, tp: TopicPartition, stored: StoredPosition) -> OwnershipLost | None:
    """A plan may be moved under only by a claim that discards what was written of it."""
    if stored.planned_until is None or stored.plan_kind is claim.plan_kind is PlanKind.RANGE:
        return None
    planned = OffsetRange(tp, stored.next_offset, stored.planned_until)
    return OwnershipLost(f"a plan for {planned} is outstanding", range=planned, other=claim.owner)


__all__ = ["MemoryOffsetStore", "MemoryTransaction"]
