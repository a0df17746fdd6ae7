"""One owner's tenure: the partitions it has taken over, what it knows to be stored of them, and its producer.

Kafka has no compare-and-set on offsets. What stands in for it:

- A static owner has a ``transactional.id`` of stream and shard. Whoever takes over initialises that id, and the static
  ones that the stored metadata names, **before** it reads: from then on no older owner can commit. Its name gets into
  the metadata under the id of a first start, by which it takes turns with commands and with other shards' owners.
- A member of the consumer group commits under the membership that was captured when its batch was planned (KIP-447):
  a rebalance since then refuses it. Its own ``transactional.id`` fences nobody.
- Which of the two a stream uses may change. A static owner is refused while the group has members, and looks once more
  when its own offsets are pending: either it sees the member, or the member waits for it and then fences it.
- Whatever this process believes to be stored is compared with what is, each time it needs a new producer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from kafka_stream.claims import why_not_claimed, why_not_ours, why_not_planned
from kafka_stream.errors import KafkaStreamError, OwnershipLost, StoreUnavailable
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.fencing import (
    fence_and_read,
    ids_to_fence,
    producer_for,
    refuse_closed,
    refuse_expired,
    refuse_members,
)
from kafka_stream.offset_stores.kafka.metadata import Stored, client_offsets
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown, TransactionalProducer
from kafka_stream.offset_stores.kafka.requests import END_S
from kafka_stream.offset_stores.kafka.transactional_ids import of_member, of_shard, of_start
from kafka_stream.types import Claim, OffsetRange, Owner, PlanKind, StoredPosition, TopicPartition

REFRESH_AFTER = timedelta(days=1)  # Kafka forgets what no member of a group holds after 7 (offsets.retention.minutes)
REFRESH_AFTER_UNASKED = timedelta(minutes=10)
"""Where the brokers do not say after how long they forget."""
_REFRESHES_UNTIL_FORGOTTEN = 4
_REMOVED = "its committed offset was removed, or has expired"

Positions = Mapping[TopicPartition, StoredPosition]


@dataclass(frozen=True, slots=True)
class _Held:
    """A partition of ours: what we would commit for it now, and what we know to be committed.

    They differ where we are a member of the group, which takes over by reading. ``pending`` is what a commit without an
    answer may have stored.
    """

    ours: Stored
    committed: Stored | None
    pending: Stored | None = None

    def allows(self, stored: Stored | None) -> bool:
        """Whether nobody but us has committed since."""
        return stored == self.committed or (self.pending is not None and stored == self.pending)


class Tenure:
    """The partitions of one stream that one process owns. Used by one thread.

    ``shard`` is ``None`` for a member of the consumer group.
    """

    def __init__(self, access: Access, stream: str, shard: str | None) -> None:
        self._access = access
        self._group = access.group(stream)
        self._stream = stream
        self._shard = shard
        self._held: dict[TopicPartition, _Held] = {}
        self._producer: TransactionalProducer | None = None
        self._refreshes_after: timedelta | None = None

    def close(self) -> None:
        """Give the producer up."""
        if self._producer is not None:
            self._producer.end(END_S)

    # Taking over ----------------------------------------------------------------------------------------------------

    def take_over(self, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]) -> Positions:
        """Fence older owners, then read what is stored; see ``OffsetStore``."""
        wanted = sorted(set(partitions))
        if not wanted:
            return {}
        own_id = self._transactional_id(owner)
        if self._shard is not None:
            refuse_members(self._access, self._stream)
            self._discard_producer()
        elif self._producer is not None and not self._producer.usable:
            self._producer = producer_for(self._access, own_id)  # ends what it left open: we would wait for ourselves
        stored, producer = fence_and_read(self._access, self._stream, own_id, wanted)
        refuse_closed(self._stream, stored)
        refuse_expired(self._access, self._stream, wanted, stored)
        before = {tp: stored.get(tp) for tp in wanted}
        started_with = self._started_with(stored)
        new = {
            tp: self._next_epoch(
                replace(
                    found or Stored(StoredPosition(0, 0, topic_id=topic_ids.get(tp.topic))),
                    started_with=started_with.get(tp.topic, 0),
                ),
                owner,
            )
            for tp, found in before.items()
        }
        if producer is None:
            self._held.update((tp, _Held(new[tp], before[tp])) for tp in wanted)
        else:
            for tp in wanted:
                self._held.pop(tp, None)
            self._producer = producer
            self._sign(new, before)
        return self._positions(wanted)

    def _started_with(self, stored: Mapping[TopicPartition, Stored]) -> Mapping[str, int]:
        """By topic; it is kept with every partition, since any of them may be moved by other tools, or forgotten."""
        found = dict(self._access.adopting)
        for tp, each in stored.items():
            found[tp.topic] = max(found.get(tp.topic, 0), each.started_with)
        return found

    def _next_epoch(self, stored: Stored, owner: Owner) -> Stored:
        epoch = stored.position.owner_epoch + 1
        position = replace(stored.position, owner=owner, owner_epoch=epoch, changed_at=self._access.now())
        return replace(stored, position=position, transactional_id=self._transactional_id(owner))

    def _sign(self, new: Mapping[TopicPartition, Stored], before: Mapping[TopicPartition, Stored | None]) -> None:
        """Commit positions anew as ours, unless a member of the group or another owner has come in between.

        Whom the metadata does not name, nobody can fence. Until then we take turns under the id of a first start, and
        whom it does name is fenced once more, while he who comes back would wait for us.
        """
        partitions = list(new)
        (own_id,) = {each.transactional_id for each in new.values()}
        assert own_id is not None
        named = {found and found.transactional_id for found in before.values()}
        others = ids_to_fence(self._stream, own_id, partitions, {tp: each for tp, each in before.items() if each})
        producer = self._producer if named == {own_id} else producer_for(self._access, of_start(self._stream))
        assert producer is not None

        def look_again() -> None:
            refuse_members(self._access, self._stream)
            for each in sorted(others):
                producer_for(self._access, each)
            found = self._group.committed(partitions)
            if any(found.get(tp) != before[tp] for tp in partitions):
                raise StoreUnavailable(
                    f"another process has moved offsets of stream {self._stream!r} in {self._access.where} while they "
                    "were taken over"
                )

        self._commit_offsets(producer, new, None, look_again)
        self._group.stable(partitions)  # from here on everybody sees them

    # Settling, moving, planning -------------------------------------------------------------------------------------

    def reclaim(self, claim: Claim) -> Positions:
        """Settle a commit whose outcome is unknown; see ``OffsetStore``."""
        partitions = [r.topic_partition for r in claim.ranges]
        self._refuse_stale(claim)
        self._resume(claim)
        new = {tp: self._next_epoch(self._held[tp].ours, claim.owner) for tp in partitions}
        if self._shard is not None:
            self._sign(new, {tp: self._held[tp].committed for tp in partitions})
        else:
            self._held.update((tp, replace(self._held[tp], ours=new[tp])) for tp in partitions)
        return self._positions(partitions)

    def reposition(self, claim: Claim) -> None:
        """Move positions without records; see ``OffsetStore``."""
        self._ready(claim)
        for r in claim.ranges:
            position = self._held[r.topic_partition].ours.position
            if position.planned_until is not None and not position.plan_kind is claim.plan_kind is PlanKind.RANGE:
                planned = OffsetRange(r.topic_partition, position.next_offset, position.planned_until)
                raise OwnershipLost(
                    f"a plan for {planned} of stream {self._stream!r} is outstanding in {self._access.where}",
                    range=planned,
                    other=claim.owner,
                )
        self._rewrite(
            claim,
            lambda r, position: replace(
                _advanced(position, r),
                leader_epoch=claim.leader_epochs.get(r.topic_partition),
                topic_id=claim.topic_ids.get(r.topic),
            ),
        )

    def plan(self, claim: Claim) -> None:
        """Store a plan: the current offsets again, with its end beside them; see ``OffsetStore``."""
        self._ready(claim)
        if (error := why_not_planned(claim, self._positions_of(claim), self._access.where, _REMOVED)) is not None:
            raise error
        self._rewrite(
            claim, lambda r, position: replace(position, planned_until=r.until_offset, plan_kind=PlanKind.RANGE)
        )

    def refresh(self, claim: Claim) -> None:
        """Notice that somebody has moved the offsets, also when idle; commit anew what would be forgotten otherwise.

        A group that has members keeps its offsets without, and nobody may move them.
        """
        if self._shard is None:
            return
        stored = self._group.stable([r.topic_partition for r in claim.ranges])
        gone = self._gone_with_their_topic(claim, stored)
        if not (ranges := tuple(r for r in claim.ranges if r.topic_partition not in gone)):
            return
        claim = replace(claim, ranges=ranges)
        positions = {tp: each.position for tp, each in stored.items()}
        if (lost := why_not_ours(claim, positions, self._access.where, _REMOVED)) is not None:
            raise lost
        now = self._access.now()
        due = tuple(r for r in claim.ranges if self._is_due(r.topic_partition, now - self._refresh_after()))
        if due:
            part = replace(claim, ranges=due)
            self._ready(part)
            self._rewrite(part, lambda _, position: position)

    def _refresh_after(self) -> timedelta:
        """Often enough for the brokers; they are asked once, since they read that setting when they start."""
        if self._refreshes_after is None:
            retention = self._access.brokers.offsets_retention()
            if retention is None:
                self._refreshes_after = REFRESH_AFTER_UNASKED
            else:
                self._refreshes_after = min(REFRESH_AFTER, retention / _REFRESHES_UNTIL_FORGOTTEN)
        return self._refreshes_after

    def _is_due(self, tp: TopicPartition, before: Any) -> bool:
        held = self._held.get(tp)
        return held is not None and (held.ours.position.changed_at or before) <= before

    def _rewrite(self, claim: Claim, change: Callable[[OffsetRange, StoredPosition], StoredPosition]) -> None:
        assert self._producer is not None
        self._commit_offsets(self._producer, self._changed(claim, change), claim, lambda: None)

    def _changed(
        self, claim: Claim, change: Callable[[OffsetRange, StoredPosition], StoredPosition]
    ) -> dict[TopicPartition, Stored]:
        now = self._access.now()
        found = {}
        for r in claim.ranges:
            ours = self._held[r.topic_partition].ours
            found[r.topic_partition] = replace(ours, position=replace(change(r, ours.position), changed_at=now))
        return found

    def _commit_offsets(
        self,
        producer: TransactionalProducer,
        new: Mapping[TopicPartition, Stored],
        claim: Claim | None,
        before_commit: Callable[[], None],
    ) -> None:
        """A transaction of its own, for offsets alone."""
        try:
            producer.commit_offsets(client_offsets(new), self.membership(claim), before_commit)
        except Fenced as error:
            raise self.why_fenced(claim, error) from error
        except OutcomeUnknown as error:
            self.perhaps_committed(new)
            raise StoreUnavailable(
                f"whether offsets were committed in {self._access.where} is unknown: {error}"
            ) from error
        self.committed(new)

    # Batches --------------------------------------------------------------------------------------------------------

    def begin(self, claim: Claim) -> tuple[TransactionalProducer, Mapping[TopicPartition, Stored]]:
        """Begin a batch's transaction; what comes back is its producer, and the positions that it will commit."""
        self._ready(claim)
        if (error := why_not_claimed(claim, self._positions_of(claim), self._access.where, _REMOVED)) is not None:
            raise error
        new = self._changed(
            claim,
            lambda r, position: replace(
                _advanced(position, r),
                leader_epoch=claim.leader_epochs.get(r.topic_partition),
                topic_id=claim.topic_ids.get(r.topic, position.topic_id),
            ),
        )
        assert self._producer is not None
        try:
            self._producer.begin()
        except Fenced as fenced:
            raise self.why_fenced(claim, fenced) from fenced
        return self._producer, new

    def membership(self, claim: Claim | None) -> Any:
        """Under which membership of the group a claim's offsets are committed."""
        if self._shard is not None:
            return self._group.nobody
        assert claim is not None
        assert claim.group_metadata is not None, "a member of the group commits under its membership"
        return claim.group_metadata

    def committed(self, new: Mapping[TopicPartition, Stored]) -> None:
        """These positions are stored."""
        self._held.update((tp, _Held(stored, stored)) for tp, stored in new.items())

    def perhaps_committed(self, new: Mapping[TopicPartition, Stored]) -> None:
        """These positions may be stored, or those before."""
        self._held.update((tp, replace(self._held[tp], pending=new[tp])) for tp in new.keys() & self._held.keys())

    def why_fenced(self, claim: Claim | None, error: Fenced) -> KafkaStreamError:
        """Whether another owner has come, or only our own time has run out; the latter is no reason to stop."""
        if claim is not None:
            partitions = [r.topic_partition for r in claim.ranges]
            stored = self._group.committed(partitions)
            if (lost := self._why_changed(claim, stored)) is not None:
                return lost
        return StoreUnavailable(f"nothing was committed in {self._access.where}: {error}")

    # Whether we still are what we were ------------------------------------------------------------------------------

    def _ready(self, claim: Claim) -> None:
        """Raise if the claim is not of this tenure; have a producer."""
        self._refuse_stale(claim)
        if self._producer is None or not self._producer.usable:
            self._resume(claim)

    def _refuse_stale(self, claim: Claim) -> None:
        if (error := why_not_ours(claim, self._positions_of(claim), self._access.where, _REMOVED)) is not None:
            raise error

    def _resume(self, claim: Claim) -> None:
        """A new producer, in place of one that was thrown away or whose last transaction is not settled.

        It is looked twice who is stored: before, so that a live successor is not fenced by us, and after, when nobody
        that we fence can have come in between.
        """
        partitions = [r.topic_partition for r in claim.ranges]
        self._discard_producer()
        self._refuse_changed(claim, self._group.committed(partitions))
        producer = producer_for(self._access, self._transactional_id(claim.owner))
        every = sorted(self._held)  # who has fenced us may have moved any of them
        stored = self._group.stable(every)
        self._refuse_changed(claim, stored)
        if self._shard is not None:
            refuse_members(self._access, self._stream)
        for tp in every:
            self._settle(tp, stored.get(tp))
        self._producer = producer

    def _discard_producer(self) -> None:
        """Whatever it has begun is ended by the next one with its id, which is made before anything is believed."""
        if self._producer is not None:
            self._producer.discard()

    def _settle(self, tp: TopicPartition, stored: Stored | None) -> None:
        """What is stored of a partition is known again; one that somebody has moved is ours no more, if it was."""
        held = self._held[tp]
        if not held.allows(stored):
            del self._held[tp]  # so that its next claim is compared with what is stored
        elif stored is not None and stored == held.pending:
            self._held[tp] = _Held(stored, stored)
        else:
            self._held[tp] = replace(held, pending=None)

    def _refuse_changed(self, claim: Claim, stored: Mapping[TopicPartition, Stored]) -> None:
        if (lost := self._why_changed(claim, stored)) is not None:
            raise lost

    def _gone_with_their_topic(self, claim: Claim, stored: Mapping[TopicPartition, Stored]) -> set[TopicPartition]:
        """Those whose offsets Kafka has deleted with their topic, which is another one by now: they are still ours.

        What is lost of the old topic, and where to go on in the new one, is for the stream to decide.
        """
        missing = {r.topic_partition for r in claim.ranges} & self._held.keys() - stored.keys()
        known = {tp: topic_id for tp in missing if (topic_id := self._held[tp].ours.position.topic_id) is not None}
        now = self._access.brokers.topic_ids({tp.topic for tp in known})
        return {tp for tp, topic_id in known.items() if now.get(tp.topic, topic_id) != topic_id}

    def _why_changed(self, claim: Claim, stored: Mapping[TopicPartition, Stored]) -> OwnershipLost | None:
        for tp in self._gone_with_their_topic(claim, stored):
            self._held[tp] = replace(self._held[tp], committed=None, pending=None)
        changed = [r for r in claim.ranges if not self._held[r.topic_partition].allows(stored.get(r.topic_partition))]
        if not changed:
            return None
        positions = {tp: each.position for tp, each in stored.items()}
        part = replace(claim, ranges=tuple(changed))
        if (lost := why_not_ours(part, positions, self._access.where, _REMOVED)) is not None:
            return lost
        found = positions[changed[0].topic_partition]
        return OwnershipLost(
            f"the offset of {changed[0].topic_partition} in {self._access.where} is {found.next_offset}, which is not "
            f"what stream {self._stream!r} has committed: somebody has moved it",
            range=changed[0],
            stored_offset=found.next_offset,
            other=found.owner,
        )

    # -----------------------------------------------------------------------------------------------------------------

    def _transactional_id(self, owner: Owner) -> str:
        return of_member(self._stream, owner) if self._shard is None else of_shard(self._stream, self._shard)

    def _positions(self, partitions: Sequence[TopicPartition]) -> Positions:
        return {tp: self._held[tp].ours.position for tp in partitions}

    def _positions_of(self, claim: Claim) -> Positions:
        """As this tenure has them; of partitions that it never took over, as they are stored."""
        partitions = [r.topic_partition for r in claim.ranges]
        foreign = [tp for tp in partitions if tp not in self._held]
        stored = self._group.committed(foreign) if foreign else {}
        return {
            **self._positions([tp for tp in partitions if tp in self._held]),
            **{tp: each.position for tp, each in stored.items()},
        }


def _advanced(position: StoredPosition, r: OffsetRange) -> StoredPosition:
    return replace(position, next_offset=r.until_offset, planned_until=None, plan_kind=None)


__all__ = ["REFRESH_AFTER", "Tenure"]
