"""Whether a stored position can still be read from, what to say where not, and what ``on_data_loss`` does then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from kafka_stream.claims import outstanding_plan
from kafka_stream.engine.partitions.positions import Position
from kafka_stream.errors import DataLoss, LogTruncated, OffsetOutOfRange, TopicRecreated
from kafka_stream.protocols import OffsetAt, OffsetStore, RangeSink, Source, TopicInfo
from kafka_stream.types import Claim, OffsetRange, Owner, PlanKind, StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")


@dataclass(frozen=True, slots=True)
class Log:
    """What the broker has of one partition."""

    first: int
    end: int
    topic_id: str | None


class Losses:
    """What the broker still has, and the user's choice about what it has not. Used by the loop's thread only."""

    def __init__(
        self,
        stream: str,
        owner: Owner,
        store: OffsetStore,
        source: Source,
        on_data_loss: str,
        range_sinks: Sequence[RangeSink],
        *,
        on_moved: Callable[[TopicPartition, int, int], None],
    ) -> None:
        self._stream = stream
        self._owner = owner
        self._store = store
        self._source = source
        self._on_data_loss = on_data_loss
        self._range_sinks = range_sinks
        self._on_moved = on_moved

    def logs(self, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]) -> Mapping[TopicPartition, Log]:
        """What the broker has of each now."""
        first = self._source.offsets(partitions, OffsetAt.EARLIEST)
        end = self._source.offsets(partitions, OffsetAt.HIGH_WATERMARK)
        return {tp: Log(first[tp], end[tp], topic_ids.get(tp.topic)) for tp in partitions}

    def refuse_unless_chosen(
        self, stored: Mapping[TopicPartition, StoredPosition], topic_ids: Mapping[str, str]
    ) -> None:
        """Before anything is done about positions of ours: may we go on, if they are gone?

        Raises:
            DataLoss: one is, and ``on_data_loss`` is ``"stop"``.
        """
        logs = self.logs(sorted(stored), topic_ids) if stored else {}
        for tp, log in logs.items():
            if (loss := find_loss(tp, stored[tp], log)) is not None:
                self._refuse_unless_chosen(loss)

    def refuse_unrepeatable_plan(self, tp: TopicPartition, stored: StoredPosition) -> None:
        """Stop where a range was planned that no sink of ours repeats: nobody knows what became of it."""
        repeatable = bool(self._range_sinks) and stored.plan_kind is PlanKind.RANGE
        if stored.planned_until is not None and not repeatable:
            raise outstanding_plan(self._stream, tp, stored, self._store.describe())

    def go_on_without(
        self,
        vanished: Collection[TopicPartition],
        stood: Mapping[TopicPartition, StoredPosition],
        topics: Mapping[str, TopicInfo],
    ) -> None:
        """Give partitions up that their topic, created again with fewer, does not have, if that is the user's choice.

        Raises:
            TopicRecreated: it is not.
        """
        for tp in sorted(vanished):
            loss = find_vanished(tp, stood[tp].next_offset if tp in stood else 0, topics[tp.topic])
            self._refuse_unless_chosen(loss)
            fields = _fields(loss)
            logger.warning("%s Going on without it, as on_data_loss=%r says.", loss, self._on_data_loss, extra=fields)

    def answer(self, loss: DataLoss, position: Position, topic_ids: Mapping[str, str]) -> Position:
        """Where to go on, once that is stored.

        Raises:
            DataLoss: the loss, where ``on_data_loss`` is ``"stop"``.
            OwnershipLost: the partition is not ours any more.
        """
        self._refuse_unless_chosen(loss)
        tp = loss.partition
        offset = self._source.offsets([tp], OffsetAt(self._on_data_loss))[tp]
        fields = {**_fields(loss), "offset": offset}
        logger.warning(
            "%s Going on at offset %d, as on_data_loss=%r says.", loss, offset, self._on_data_loss, extra=fields
        )
        known = {tp.topic: topic_ids[tp.topic]} if tp.topic in topic_ids else {}
        kind = PlanKind.TRANSACTION
        if position.planned_until is not None:
            kind = PlanKind.RANGE
            planned = OffsetRange(tp, position.next_offset, position.planned_until)
            for sink in self._range_sinks:
                sink.discard(planned)
        move = OffsetRange(tp, offset, offset)
        epoch = position.owner_epoch
        member = self._source.group_metadata([tp])
        self._store.reposition(Claim(self._stream, self._owner, (move,), {tp: epoch}, {}, known, kind, member))
        self._on_moved(tp, position.next_offset, offset)
        return Position(offset, epoch, None)

    def _refuse_unless_chosen(self, loss: DataLoss) -> None:
        if self._on_data_loss == "stop":
            raise loss


def find_loss(topic_partition: TopicPartition, stored: StoredPosition, log: Log) -> DataLoss | None:
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
    read_up_to = stored.next_offset if stored.planned_until is None else stored.planned_until
    return _truncated(topic_partition, read_up_to, log) if read_up_to > log.end else None


def find_vanished(topic_partition: TopicPartition, read_up_to: int, topic: TopicInfo) -> TopicRecreated:
    """The loss of a partition that its topic, created again with fewer, does not have any more."""
    return TopicRecreated(
        f"topic {topic_partition.topic!r} was deleted and created again with {topic.partitions} partition(s): "
        f"{topic_partition}, which was read up to offset {read_up_to} of the old topic, is not among them. Choose with "
        "on_data_loss='earliest' or 'latest' to go on with the others, or reset the offsets.",
        partition=topic_partition,
        wanted=read_up_to,
        available=None,
    )


def find_lost_position(topic_partition: TopicPartition, offset: int, log: Log, *, diverged: bool) -> DataLoss | None:
    """Whether an offset that the broker refused is gone; ``diverged`` is what it said of the leader epoch."""
    if diverged:
        return _truncated(topic_partition, offset, log)
    return None if log.first <= offset <= log.end else _out_of_range(topic_partition, offset, log)


def _out_of_range(topic_partition: TopicPartition, wanted: int, log: Log) -> OffsetOutOfRange:
    return OffsetOutOfRange(
        f"{topic_partition} was to be read from offset {wanted}, but retention (or a delete) has left "
        f"[{log.first}, {log.end}): up to {max(0, log.first - wanted)} records are gone unread. Choose with "
        "on_data_loss='earliest' or 'latest', or reset the offsets.",
        partition=topic_partition,
        wanted=wanted,
        available=(log.first, log.end),
    )


def _truncated(topic_partition: TopicPartition, wanted: int, log: Log) -> LogTruncated:
    return LogTruncated(
        f"the log of {topic_partition} was truncated below offset {wanted}, up to which it had been read; it holds "
        f"[{log.first}, {log.end}) now, and records may have been replaced. Choose with on_data_loss='earliest' or "
        "'latest', or reset the offsets.",
        partition=topic_partition,
        wanted=wanted,
        available=(log.first, log.end),
    )


def _fields(loss: DataLoss) -> dict[str, object]:
    """Of a log record."""
    return {"event": "data loss", "loss": type(loss).__name__, "partition": str(loss.partition)}


__all__ = ["Log", "Losses", "find_loss", "find_lost_position", "find_vanished"]
