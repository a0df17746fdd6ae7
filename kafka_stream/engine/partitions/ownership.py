"""Taking partitions over: first start, owner epochs, and what the broker still has, before a record is read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kafka_stream.claims import why_not_ours
from kafka_stream.engine.bounds import FirstStart
from kafka_stream.engine.partitions.losses import Losses, find_loss, find_lost_position
from kafka_stream.engine.partitions.positions import Position, Positions
from kafka_stream.engine.partitions.topic_ids import TopicIds, begun_anew
from kafka_stream.errors import TransientError
from kafka_stream.protocols import BoundStore, OffsetStore, PositionLost, RangeSink, Source, TopicInfo
from kafka_stream.types import Claim, OffsetRange, Owner, PlanKind, StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")


class Ownership:
    """The partitions that this process has taken over, and their positions. Used by the loop's thread only."""

    def __init__(
        self,
        *,
        stream: str,
        owner: Owner,
        store: OffsetStore,
        source: Source,
        on_data_loss: str,
        range_sinks: Sequence[RangeSink] = (),
        on_moved: Callable[[TopicPartition, int, int], None] = lambda tp, from_offset, until_offset: None,
    ) -> None:
        self._stream = stream
        self._owner = owner
        self._store = store
        self._source = source
        self._range_sinks = tuple(range_sinks)
        self._topic_ids = TopicIds()
        self._positions = Positions()
        self._first_start = FirstStart(stream, store, source)
        self._losses = Losses(stream, owner, store, source, on_data_loss, self._range_sinks, on_moved=on_moved)
        self._proved: set[TopicPartition] = set()
        self._starts_of_reading = 0
        self.vanished: set[TopicPartition] = set()  # given up with a topic that has fewer now; perhaps still assigned

    @property
    def positions(self) -> Mapping[TopicPartition, Position]:
        """The partitions that are owned now."""
        return self._positions

    @property
    def starts(self) -> int:
        """How often reading was started, or started anew: records that were taken before may come again."""
        return self._starts_of_reading

    def next_offsets(self) -> dict[TopicPartition, int]:
        """The next record to read of each owned partition."""
        return self._positions.next_offsets()

    @property
    def plans_ranges(self) -> bool:
        """Whether some sink is idempotent by range: what it writes is planned durably first."""
        return bool(self._range_sinks) and self._store.capabilities.durable_plan

    def planned(self) -> dict[TopicPartition, int]:
        """The ends of the ranges that are to be repeated exactly, each from its partition's next offset."""
        return self._positions.planned()

    def initialise(self, topics: Mapping[str, TopicInfo], start: Any, new: Collection[str] = ()) -> None:
        """First start: store ``start`` for all partitions durably, before anything is fetched; see ``FirstStart``."""
        self._first_start.initialise(topics, start, new)

    def take_over(self, partitions: Sequence[TopicPartition]) -> Collection[TopicPartition]:
        """Raise the epochs, check what is stored against what the broker has, and start reading.

        Also the other partitions of a topic that was recreated; returns those whose loss was answered, or whose topic
        is not there. What is ours is looked at again only as long as it is: a position that is gone may be that of an
        owner who was replaced long ago, and must not take the partition from its successor.

        Raises:
            OutstandingPlan: a planned range was never committed, and no sink is there to repeat it.
            DataLoss: the stored offset is gone, and ``on_data_loss`` is ``"stop"``.
            StreamClosed: an admin command closed the stream.
        """
        if not partitions:
            return ()
        topics = self._source.topics()
        topic_ids = self._topic_ids.of(topics)
        recreated = self._topic_ids.changed(topic_ids)
        ordered = sorted({*partitions, *(tp for tp in self._positions if tp.topic in recreated)})
        vanished = {tp for tp in ordered if tp.topic in recreated and tp.partition >= topics[tp.topic].partitions}
        before = self._topic_ids.of_old_topics(ordered, self._positions, topic_ids)
        kept = self._store.positions(self._stream) if before or vanished else {}
        forgotten = {tp: was for tp, was in before.items() if tp not in kept}
        stored = self._reclaimed([tp for tp in ordered if tp in self._positions and tp not in forgotten])
        stored |= begun_anew(before, stored)
        self._losses.go_on_without(vanished, {**before, **kept}, topics)
        vanished |= {tp for tp in ordered if tp.topic not in topics}  # one that a pattern matches, and is deleted
        self._positions.drop(vanished)
        self.vanished |= vanished
        ordered = [tp for tp in ordered if tp not in vanished]
        stored |= self._taken_over([tp for tp in ordered if tp not in stored], forgotten, topic_ids)
        return vanished | self._take_up(ordered, stored, topics)

    def _taken_over(
        self,
        partitions: Sequence[TopicPartition],
        forgotten: Mapping[TopicPartition, StoredPosition],
        topic_ids: Mapping[str, str],
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Those that are new to us; and those that the store has forgotten, as they were, if we may go on with them.

        The latter are begun anew as of the old topic: whoever finds them so, we or a successor, has to move them first.
        """
        if not partitions:
            return {}
        lost = {tp: forgotten[tp] for tp in partitions if tp in forgotten}
        self._losses.refuse_unless_chosen(lost, topic_ids)
        self._first_start.refuse_another(sorted({tp.topic for tp in partitions}))
        new = [tp for tp in partitions if tp not in lost]
        taken = dict(self._store.take_over(self._stream, self._owner, new, topic_ids)) if new else {}
        if lost:
            found = self._store.take_over(self._stream, self._owner, sorted(lost), self._topic_ids.known)
            taken |= {tp: replace(lost[tp], owner_epoch=found[tp].owner_epoch) for tp in lost}
        return taken

    def _take_up(
        self,
        ordered: Sequence[TopicPartition],
        stored: Mapping[TopicPartition, StoredPosition],
        topics: Mapping[str, TopicInfo],
    ) -> set[TopicPartition]:
        """Look whether what is stored can be read from, and start reading; returns those whose loss was answered."""
        for tp in ordered:
            self._losses.refuse_unrepeatable_plan(tp, stored[tp])
        for sink in self._range_sinks:
            sink.take_over(self._stream, self._owner, ordered)
        # After the takeover: until then an older owner may have committed past an end that was asked for before.
        topic_ids = self._topic_ids.of(topics)
        logs = self._losses.logs(ordered, topic_ids)
        taken = {tp: Position.of(stored[tp]) for tp in ordered}
        losses = [loss for tp in ordered if (loss := find_loss(tp, stored[tp], logs[tp])) is not None]
        for loss in losses:
            taken[loss.partition] = self._losses.answer(loss, taken[loss.partition], topic_ids)
        # Only now: what failed on the way is found again by the retry.
        for tp, position in taken.items():
            self._positions.put(tp, position)
        self._topic_ids.learn(topics, ordered)
        self._start_reading(ordered)
        return {loss.partition for loss in losses}

    def _reclaimed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, StoredPosition]:
        """Raise the epochs of partitions that we own, if the store agrees that we do."""
        if not partitions:
            return {}
        found = dict(self._store.reclaim(self.claim(self._positions.unmoved(partitions), {})))
        self._positions.raise_epochs({tp: found[tp].owner_epoch for tp in partitions})
        return found

    def rewind(self, partitions: Sequence[TopicPartition]) -> None:
        """Read again from the last committed offsets: a batch was dropped."""
        self._start_reading([tp for tp in partitions if tp in self._positions])

    def drop(self, partitions: Sequence[TopicPartition]) -> None:
        """These are not ours any more."""
        self._topic_ids.leave(partitions, self._positions)
        self._positions.drop(partitions)

    def claim(
        self,
        ranges: tuple[OffsetRange, ...],
        leader_epochs: Mapping[TopicPartition, int],
        plan_kind: PlanKind = PlanKind.TRANSACTION,
    ) -> Claim:
        """What a batch's transaction claims and advances, as a member of the group if there is one.

        Raises:
            OwnershipLost: a partition is being, or was, revoked.
        """
        partitions = [r.topic_partition for r in ranges]
        topics = {tp.topic for tp in partitions}
        return Claim(
            plan_kind=plan_kind,
            group_metadata=self._source.group_metadata(partitions),
            stream=self._stream,
            owner=self._owner,
            ranges=ranges,
            epochs=self._positions.owner_epochs(partitions),
            leader_epochs=leader_epochs,
            topic_ids={name: known for name, known in self._topic_ids.known.items() if name in topics},
        )

    def standing(self) -> Claim:
        """A claim of all owned partitions that moves none; raises as ``claim`` does."""
        return self.claim(self._positions.unmoved(self._positions), self._positions.leader_epochs())

    def plan(self, claim: Claim) -> None:
        """Make the claim's ranges durable before the first write.

        They are to be repeated from now on, even if this fails: nobody may know whether it took effect.

        Raises:
            OwnershipLost, OutstandingPlan, TransientError: as ``OffsetStore.plan`` does.
        """
        self._positions.plan(claim.ranges)
        self._store.plan(claim)

    def refresh(self) -> None:
        """Have a store that is bound to this stream keep the positions from expiring; raises as its ``refresh``."""
        if isinstance(self._store, BoundStore) and self._positions:
            self._store.refresh(self.claim(self._positions.unmoved(self._positions), {}))

    def look(self) -> None:
        """Of partitions that nothing was committed of since the last look: are they still ours?

        A batch finds out by itself; one that has come to the end of its log might not for hours.

        Raises:
            OwnershipLost: an admin command, or another owner, has fenced us.
        """
        idle = sorted(self._positions.keys() - self._proved)
        self._proved.clear()
        if not idle or not self._store.capabilities.compare_and_set or self._source.is_revoking(idle):
            return
        try:
            stored = self._store.positions(self._stream)
        except TransientError as error:
            logger.warning("the stored positions could not be looked at, and will be again: %s", error)
            return
        claim = Claim(
            self._stream, self._owner, self._positions.unmoved(idle), self._positions.owner_epochs(idle), {}, {}
        )
        if (lost := why_not_ours(claim, stored, self._store.describe())) is not None:
            raise lost

    def committed(self, claim: Claim, epochs: Mapping[TopicPartition, int] | None = None) -> None:
        """The claim's ranges are durable; ``epochs`` are the new ones, where settling the commit raised them."""
        self._positions.commit(claim.ranges, claim.leader_epochs)
        self._positions.raise_epochs(epochs or {})
        self._proved.update([r.topic_partition for r in claim.ranges])

    def settle(self, claim: Claim) -> bool:
        """A commit's outcome was unknown: ask the store, which raises our epoch. True if it had happened.

        Raises:
            OwnershipLost: somebody else has taken over since.
            TransientError: the store does not answer; ask again.
        """
        found = self._store.reclaim(claim)
        epochs = {tp: position.owner_epoch for tp, position in found.items()}
        if all(found[r.topic_partition].next_offset == r.until_offset for r in claim.ranges):
            self.committed(claim, epochs)
            return True
        for tp in [r.topic_partition for r in claim.ranges]:
            self._losses.refuse_unrepeatable_plan(tp, found[tp])
            self._positions.put(tp, Position.of(found[tp]))
        return False

    def check_topics(self, topics: Mapping[str, TopicInfo]) -> None:
        """Compare the topics' ids with those that the positions belong to.

        Raises:
            TopicRecreated: unless ``on_data_loss`` chooses where to go on.
        """
        if recreated := self._topic_ids.changed(self._topic_ids.of(topics)):
            self.take_over([tp for tp in sorted(self._positions) if tp.topic in recreated])

    def position_lost(self, event: PositionLost) -> None:
        """The broker refused the position that is being read: find out why.

        Raises:
            OwnershipLost: the partition is not ours any more.
            DataLoss: of the fitting kind, unless ``on_data_loss`` chooses where to go on.
        """
        tp = event.partition
        if tp not in self._positions or self._source.is_revoking([tp]):
            return
        if event.offset < self._positions[tp].next_offset:  # reported before we moved on
            self._start_reading([tp])
            return
        if tp in self.take_over([tp]):  # raises the fitting error if the stored position is gone
            return
        ids = self._topic_ids.known
        loss = find_lost_position(tp, event.offset, self._losses.logs([tp], ids)[tp], diverged=event.truncated)
        if loss is not None:
            self._positions.put(tp, self._losses.answer(loss, self._positions[tp], ids))
            self._start_reading([tp])

    def _start_reading(self, partitions: Sequence[TopicPartition]) -> None:
        if self._range_sinks:
            self._source.read_on_until({tp: self._positions[tp].planned_until or 0 for tp in partitions})
        self._starts_of_reading += 1
        self._source.start_reading(self._positions.starts_of_reading(partitions))


__all__ = ["Ownership"]
