"""Taking partitions over: first start, owner epochs, and what the broker still has, before a record is read."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka_stream.bounds import resolve_start
from kafka_stream.errors import DataLoss, LogTruncated, OffsetOutOfRange, OutstandingPlan, TopicRecreated
from kafka_stream.protocols import OffsetAt, OffsetStore, PositionLost, Source, TopicInfo
from kafka_stream.types import Claim, OffsetRange, Owner, PlanKind, StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")


@dataclass(frozen=True, slots=True)
class Position:
    """Where an owned partition stands: the last committed ``until_offset``, and the epoch that we commit under."""

    next_offset: int
    owner_epoch: int
    leader_epoch: int | None


@dataclass(frozen=True, slots=True)
class _Log:
    """What the broker has of one partition."""

    first: int
    end: int
    topic_id: str | None


class Ownership:
    """The partitions that this process has taken over, and their positions. Used by the loop's thread only."""

    def __init__(self, *, stream: str, owner: Owner, store: OffsetStore, source: Source, on_data_loss: str) -> None:
        self._stream = stream
        self._owner = owner
        self._store = store
        self._source = source
        self._on_data_loss = on_data_loss
        self._topic_ids: dict[str, str] = {}
        self._told_of_missing_ids = False
        self._positions: dict[TopicPartition, Position] = {}

    @property
    def positions(self) -> Mapping[TopicPartition, Position]:
        """The partitions that are owned now."""
        return self._positions

    def next_offsets(self) -> dict[TopicPartition, int]:
        """The next record to read of each owned partition."""
        return {tp: position.next_offset for tp, position in self._positions.items()}

    def initialise(self, topics: Mapping[str, TopicInfo], start: Any) -> None:
        """First start: resolve ``start`` for all partitions and store it durably, before anything is fetched."""
        for name, info in topics.items():
            if self._store.is_started(self._stream, name):
                continue
            partitions = [TopicPartition(name, number) for number in range(info.partitions)]
            offsets = resolve_start(self._source, partitions, start)
            self._store.initialise(self._stream, name, {tp.partition: offsets[tp] for tp in partitions}, info.topic_id)

    def take_over(self, partitions: Sequence[TopicPartition]) -> None:
        """Raise the epochs, check what is stored against what the broker has, and start reading.

        Raises:
            OutstandingPlan: a planned range was never committed.
            DataLoss: the stored offset is gone, and ``on_data_loss`` is ``"stop"``.
            StreamClosed: an admin command closed the stream.
        """
        self._take_over(partitions)

    def _take_over(self, partitions: Sequence[TopicPartition]) -> Collection[TopicPartition]:
        """Also the other partitions of a topic that was recreated; returns those whose loss was answered."""
        if not partitions:
            return ()
        topics = self._source.topics()
        topic_ids = _topic_ids(topics)
        if topic_ids.keys() != topics.keys() and not self._told_of_missing_ids:
            self._told_of_missing_ids = True
            logger.info("the broker gives no topic ids: a topic that is deleted and created again is not noticed")
        recreated = {name for name, known in self._topic_ids.items() if topic_ids.get(name, known) != known}
        ordered = sorted({*partitions, *(tp for tp in self._positions if tp.topic in recreated)})
        stored = self._store.take_over(self._stream, self._owner, ordered, topic_ids)
        for tp in ordered:
            refuse_outstanding_plan(self._stream, tp, stored[tp])
        # After the takeover: until then an older owner may have committed past an end that was asked for before.
        logs = self._logs(ordered, topic_ids)
        taken = {
            tp: Position(stored[tp].next_offset, stored[tp].owner_epoch, stored[tp].leader_epoch) for tp in ordered
        }
        losses = [loss for tp in ordered if (loss := find_loss(tp, stored[tp], logs[tp])) is not None]
        for loss in losses:
            tp = loss.partition
            taken[tp] = self._answer_loss(loss, taken[tp].owner_epoch, topic_ids)
        # Only now: what failed on the way is found again by the retry.
        self._positions.update(taken)
        self._topic_ids.update(topic_ids)
        self._start_reading(ordered)
        return {loss.partition for loss in losses}

    def rewind(self, partitions: Sequence[TopicPartition]) -> None:
        """Read again from the last committed offsets: a batch was dropped."""
        self._start_reading([tp for tp in partitions if tp in self._positions])

    def drop(self, partitions: Sequence[TopicPartition]) -> None:
        """These are not ours any more."""
        for tp in partitions:
            self._positions.pop(tp, None)

    def claim(self, ranges: tuple[OffsetRange, ...], leader_epochs: Mapping[TopicPartition, int]) -> Claim:
        """What a batch's transaction claims and advances."""
        return Claim(
            stream=self._stream,
            owner=self._owner,
            ranges=ranges,
            epochs={r.topic_partition: self._positions[r.topic_partition].owner_epoch for r in ranges},
            leader_epochs=leader_epochs,
            topic_ids={r.topic: self._topic_ids[r.topic] for r in ranges if r.topic in self._topic_ids},
        )

    def committed(self, claim: Claim, epochs: Mapping[TopicPartition, int] | None = None) -> None:
        """The claim's ranges are durable; ``epochs`` are the new ones, where settling the commit raised them."""
        for r in claim.ranges:
            tp = r.topic_partition
            epoch = claim.epochs[tp] if epochs is None else epochs[tp]
            leader_epoch = claim.leader_epochs.get(tp, self._positions[tp].leader_epoch)
            self._positions[tp] = Position(r.until_offset, epoch, leader_epoch)

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
        for r in claim.ranges:
            tp = r.topic_partition
            refuse_outstanding_plan(self._stream, tp, found[tp])
            self._positions[tp] = Position(found[tp].next_offset, epochs[tp], found[tp].leader_epoch)
        return False

    def check_topics(self, topics: Mapping[str, TopicInfo]) -> None:
        """Compare the topics' ids with those that the positions belong to.

        Raises:
            TopicRecreated: unless ``on_data_loss`` chooses where to go on.
        """
        for name, info in topics.items():
            known = self._topic_ids.get(name)
            if info.topic_id is not None and known is not None and info.topic_id != known:
                partitions = [tp for tp in sorted(self._positions) if tp.topic == name]
                self.take_over(partitions)

    def position_lost(self, event: PositionLost) -> None:
        """The broker refused the position that is being read: find out why.

        Raises:
            DataLoss: of the fitting kind, unless ``on_data_loss`` chooses where to go on.
        """
        tp = event.partition
        if tp not in self._positions:
            return
        if event.offset < self._positions[tp].next_offset:  # reported before we moved on
            self._start_reading([tp])
            return
        if tp in self._take_over([tp]):  # raises the fitting error if the stored position is gone
            return
        log = self._logs([tp], self._topic_ids)[tp]
        if event.truncated:
            loss: DataLoss = _truncated(tp, event.offset, log)
        elif not log.first <= event.offset <= log.end:
            loss = _out_of_range(tp, event.offset, log)
        else:
            return
        self._positions[tp] = self._answer_loss(loss, self._positions[tp].owner_epoch, self._topic_ids)
        self._start_reading([tp])

    def _logs(
        self, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, _Log]:
        first = self._source.offsets(partitions, OffsetAt.EARLIEST)
        end = self._source.offsets(partitions, OffsetAt.HIGH_WATERMARK)
        return {tp: _Log(first[tp], end[tp], topic_ids.get(tp.topic)) for tp in partitions}

    def _answer_loss(self, loss: DataLoss, epoch: int, topic_ids: Mapping[str, str]) -> Position:
        if self._on_data_loss == "stop":
            raise loss
        tp = loss.partition
        offset = self._source.offsets([tp], OffsetAt(self._on_data_loss))[tp]
        logger.warning("%s Going on at offset %d, as on_data_loss=%r says.", loss, offset, self._on_data_loss)
        known = {tp.topic: topic_ids[tp.topic]} if tp.topic in topic_ids else {}
        move = OffsetRange(tp, offset, offset)
        self._store.reposition(Claim(self._stream, self._owner, (move,), {tp: epoch}, {}, known))
        return Position(offset, epoch, None)

    def _start_reading(self, partitions: Sequence[TopicPartition]) -> None:
        self._source.start_reading(
            {tp: (self._positions[tp].next_offset, self._positions[tp].leader_epoch) for tp in partitions}
        )


def _topic_ids(topics: Mapping[str, TopicInfo]) -> Mapping[str, str]:
    return {name: info.topic_id for name, info in topics.items() if info.topic_id is not None}


def refuse_outstanding_plan(stream: str, topic_partition: TopicPartition, stored: StoredPosition) -> None:
    """Stop where a range was planned and nobody knows what became of it.

    Raises:
        OutstandingPlan: naming the range.
    """
    if stored.planned_until is None:
        return
    planned = OffsetRange(topic_partition, stored.next_offset, stored.planned_until)
    kind = (
        "a transaction that the handler committed on its own" if stored.plan_kind is PlanKind.TRANSACTION else "a sink"
    )
    raise OutstandingPlan(
        f"stream {stream!r} has an outstanding plan for {planned}, left by {kind}: its results may be stored although "
        "its offsets are not; look at the results, then reset the offsets to before or after that range",
        range=planned,
    )


def find_loss(topic_partition: TopicPartition, stored: StoredPosition, log: _Log) -> DataLoss | None:
    """Whether a stored position can still be read from, as far as the broker's offsets and topic id tell."""
    if stored.topic_id is not None and log.topic_id is not None and stored.topic_id != log.topic_id:
        return TopicRecreated(
            f"topic {topic_partition.topic!r} was deleted and created again: {topic_partition} was read up to offset "
            f"{stored.next_offset} of the old topic (id {stored.topic_id}), and the new one (id {log.topic_id}) holds "
            f"[{log.first}, {log.end}). Choose with on_data_loss='earliest' or 'latest', or reset the offsets.",
            partition=topic_partition,
            wanted=stored.next_offset,
            available=(log.first, log.end),
        )
    if stored.next_offset < log.first:
        return _out_of_range(topic_partition, stored.next_offset, log)
    if stored.next_offset > log.end:
        return _truncated(topic_partition, stored.next_offset, log)
    return None


def _out_of_range(topic_partition: TopicPartition, wanted: int, log: _Log) -> OffsetOutOfRange:
    return OffsetOutOfRange(
        f"{topic_partition} was to be read from offset {wanted}, but retention (or a delete) has left "
        f"[{log.first}, {log.end}): up to {max(0, log.first - wanted)} records are gone unread. Choose with "
        "on_data_loss='earliest' or 'latest', or reset the offsets.",
        partition=topic_partition,
        wanted=wanted,
        available=(log.first, log.end),
    )


def _truncated(topic_partition: TopicPartition, wanted: int, log: _Log) -> LogTruncated:
    return LogTruncated(
        f"the log of {topic_partition} was truncated below offset {wanted}, up to which it had been read; it holds "
        f"[{log.first}, {log.end}) now, and records may have been replaced. Choose with on_data_loss='earliest' or "
        "'latest', or reset the offsets.",
        partition=topic_partition,
        wanted=wanted,
        available=(log.first, log.end),
    )
