"""Where a stream starts and where a bounded run ends, as offsets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kafka_stream.errors import BoundNotReached, ConfigurationError, HangingTransaction, StreamClosed
from kafka_stream.protocols import AdministeredStore, OffsetAt, OffsetStore, OpenTransaction, Source, TopicInfo
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream")

NO_PROGRESS_S = 60.0
_NOT_BEHIND = "everything before the latest ends is committed, but what is behind them cannot be read"


def resolve_start(source: Source, partitions: Sequence[TopicPartition], start: Any) -> Mapping[TopicPartition, int]:
    """A ``start`` as offsets; partitions that a mapping does not name begin at the earliest offset.

    Raises:
        ConfigurationError: an offset lies beyond the partition's end, or the topic has no such partition.
    """
    if isinstance(start, datetime):
        return source.offsets(partitions, start)
    if isinstance(start, Mapping):
        topics = {tp.topic for tp in partitions}
        _check_ends(source, partitions, {tp: at for tp, at in start.items() if tp.topic in topics}, "start")
        earliest = source.offsets(partitions, OffsetAt.EARLIEST)
        return {tp: start.get(tp, earliest[tp]) for tp in partitions}
    return source.offsets(partitions, OffsetAt(start))


def resolve_until(source: Source, partitions: Sequence[TopicPartition], until: Any) -> Mapping[TopicPartition, int]:
    """An ``until`` as offsets; partitions that a mapping does not name are not read.

    ``"latest"`` is the last stable offset now, so that nobody's open transaction is waited for. A time is the end of
    the records from before it, those of open transactions included: until these end, what the run is to read is open.

    Raises:
        ConfigurationError: an offset lies beyond the partition's end, or the partition is not ours.
    """
    if isinstance(until, datetime):
        return source.ends_before(partitions, until)
    if not isinstance(until, Mapping):
        return resolve_start(source, partitions, until)
    _check_ends(source, partitions, until, "until")
    return {tp: until.get(tp, 0) for tp in partitions}


def _check_ends(
    source: Source, partitions: Sequence[TopicPartition], given: Mapping[TopicPartition, int], what: str
) -> None:
    ends = source.offsets(partitions, OffsetAt.HIGH_WATERMARK)
    for tp, offset in sorted(given.items()):
        if tp not in ends:
            raise ConfigurationError(f"{what} names {tp}, which is not a partition that this stream owns")
        if offset > ends[tp]:
            raise ConfigurationError(f"{what}={offset} of {tp} lies beyond its end, which is {ends[tp]}")


class FirstStart:
    """When each topic of a stream was started, as of this process's start. Used by the loop's thread only."""

    def __init__(self, stream: str, store: OffsetStore, source: Source) -> None:
        self._stream = stream
        self._store = store
        self._source = source
        self._started_at: Mapping[str, datetime | None] = {}
        self._first: set[str] | None = None

    def initialise(self, topics: Mapping[str, TopicInfo], start: Any, new: Collection[str] = ()) -> None:
        """Resolve ``start`` for all partitions of a topic and store it durably, before anything is fetched.

        Those of ``new`` were matched by a pattern. If the stream has begun already, and not with them, they may be
        younger than that: they begin with their first record, wherever others start.
        """
        unknown = [name for name in topics if not self._store.is_started(self._stream, name)]
        younger = self._younger({name for name in unknown if name in new}, len(unknown) < len(topics))
        for name in unknown:
            partitions = [TopicPartition(name, number) for number in range(topics[name].partitions)]
            offsets = resolve_start(self._source, partitions, "earliest" if name in younger else start)
            starts = {tp.partition: offsets[tp] for tp in partitions}
            self._store.initialise(self._stream, name, starts, topics[name].topic_id)
        self._started_at = self._starts()

    def _younger(self, matched: set[str], with_others: bool) -> set[str]:
        """Those that were matched and that the stream has not begun with, so far as its positions tell."""
        if matched and self._first is None:
            has_begun = with_others or bool(self._store.positions(self._stream))
            self._first = set() if has_begun else matched  # also where storing them is cut off, and tried again
        return matched - (self._first or set())

    def refuse_another(self, topics: Sequence[str]) -> None:
        """A topic that was deleted, and started again by somebody else meanwhile, is not ours to go on with.

        Raises:
            StreamClosed: one of them was.
        """
        found = self._starts()
        for name in topics:
            known, now = self._started_at.get(name), found.get(name)
            if known is not None and name in found and now != known:
                raise StreamClosed(
                    f"topic {name!r} of stream {self._stream!r} was deleted, and started again at {now}, "
                    "after this process had started: whoever started it goes on with it"
                )

    def _starts(self) -> Mapping[str, datetime | None]:
        """When each topic was started. A store without compare-and-set keeps no markers, so it is not asked."""
        if not isinstance(self._store, AdministeredStore) or not self._store.capabilities.compare_and_set:
            return {}
        return {name: marker.started_at for name, marker in self._store.topics(self._stream).items()}


@dataclass(slots=True)
class BoundedRun:
    """The end of a bounded run, and when it last came closer (seconds of a monotonic clock).

    ``lost`` are the partitions whose positions were moved after a loss: what is there now may end earlier.
    """

    until: Any
    bounds: dict[TopicPartition, int]
    moved_at: float
    patience_s: float = NO_PROGRESS_S
    lost: set[TopicPartition] = field(default_factory=set)

    def short_of(self, positions: Mapping[TopicPartition, int]) -> tuple[TopicPartition, ...]:
        """The partitions that have not come to their end."""
        return tuple(tp for tp, bound in sorted(self.bounds.items()) if positions.get(tp, -1) < bound)

    def follow_losses(self, source: Source, vanished: set[TopicPartition]) -> None:
        """Once what was lost has been answered: the run does not wait for what there is not any more.

        A partition that has ``vanished`` with a topic that was created again is not read; of one whose log is another,
        or shorter, the end comes no later than that log's.

        Raises:
            TransientError: it is called again after the backoff.
        """
        for tp in vanished & self.bounds.keys():
            del self.bounds[tp]
        if vanished:
            source.assign(sorted(self.bounds))
            vanished.clear()
        if lost := sorted(self.lost & self.bounds.keys()):
            given = isinstance(self.until, Mapping)
            ends = source.offsets(lost, OffsetAt.HIGH_WATERMARK) if given else resolve_until(source, lost, self.until)
            self.bounds.update({tp: min(self.bounds[tp], ends[tp]) for tp in lost})
        self.lost.clear()

    def check_progress(self, source: Source, positions: Mapping[TopicPartition, int], now: float) -> None:
        """Report what holds the run up, rather than wait for ever.

        Raises:
            BoundNotReached: nothing has moved for a minute (longer, where the settings ask for pauses); it names the
                partitions.
            HangingTransaction: it is an open transaction that pins one.
        """
        if now - self.moved_at < self.patience_s:
            return
        short = self.short_of(positions)
        what = f"no progress for {self.patience_s:g} s towards the end of {', '.join(map(str, short[:5]))}"
        found = source.open_transactions(short)
        if pinned := {tp: each for tp, each in found.items() if each.offset < self.bounds[tp]}:
            raise _held(what, pinned)
        raise BoundNotReached(f"{what}: the broker delivers nothing; look at its log", partitions=short)

    def check_end(self, source: Source, go_on: Callable[[float], bool]) -> None:
        """Once the end is reached: ``"latest"`` lies before open transactions, which is told of those that hang.

        How old a record is its producer has said, who may have written what happened long ago: so it is waited whether
        the transaction ends. ``go_on`` waits that long; false if nobody is interested any more.

        Raises:
            HangingTransaction: nothing ends it, so neither this run nor the next one reads what is behind it.
            TransientError: nobody answered.
        """
        if self.until != "latest" or not (hanging := self._hanging(source, sorted(self.bounds))):
            return
        logger.warning("%s; looking again in %g s", _held(_NOT_BEHIND, hanging), NO_PROGRESS_S)
        if go_on(NO_PROGRESS_S) and (still := self._hanging(source, sorted(hanging))):
            raise _held(_NOT_BEHIND, still)

    def _hanging(
        self, source: Source, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, OpenTransaction]:
        """Those that pin an end of this run and are older than brokers let one run."""
        found = source.open_transactions(partitions)
        return {tp: each for tp, each in found.items() if each.hangs and each.offset == self.bounds[tp]}


def _held(what: str, transactions: Mapping[TopicPartition, OpenTransaction]) -> HangingTransaction:
    partition = min(transactions)
    first = transactions[partition]
    age_s = None if first.since is None else (datetime.now(UTC) - first.since).total_seconds()
    begun = "" if age_s is None else f", whose first record is {age_s:.0f} s old"
    return HangingTransaction(
        f"{what}: the end of {partition} is pinned at {first.offset} by an open transaction{begun}; end it "
        "(kafka-transactions.sh find-hanging, then abort), or choose an earlier end",
        partitions=tuple(sorted(transactions)),
        partition=partition,
        offset=first.offset,
        age_s=age_s,
    )
