"""Planning without reading: ``RangeSource`` knows how far each partition goes, and leaves its records to workers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import Message

from kafka_stream.errors import KafkaStreamError, OwnershipLost
from kafka_stream.protocols import (
    Assigned,
    Buffered,
    Look,
    OffsetAt,
    OpenTransaction,
    PositionLost,
    Source,
    SourceEvent,
    TopicInfo,
)
from kafka_stream.source.topic_watch import TopicWatch
from kafka_stream.types import OffsetRange, TopicPartition

logger = logging.getLogger("kafka_stream.source")

_FIRST_RECORD_BYTES = 1_000.0
_ASK_AGAIN_S = 0.1
"""How soon the ends are asked for again where everything is read."""
_LONGEST_S = 2.0
"""How old ends may be where something is unread."""
_LATEST_SHARE = 0.3
"""How much the last batch counts in what records are believed to be like."""


class Unread:
    """What the planner sees of one partition: offsets, as if each were a record of ordinary size."""

    __slots__ = ("_record_bytes", "_start", "position", "records", "value_bytes")

    def __init__(self, start: int, position: int, record_bytes: float) -> None:
        self._start = start
        self._record_bytes = record_bytes
        self.position = position
        self.records = position - start
        self.value_bytes = self.value_bytes_of(self.records)

    def until_after(self, records: int) -> int:
        """That many offsets on; ``position`` at most."""
        return min(self._start + records, self.position)

    def records_before(self, offset: int) -> int:
        """How many offsets lie before that one."""
        return min(max(offset - self._start, 0), self.records)

    def records_within(self, value_bytes: int) -> int:
        """How many fit in that many bytes, at least one if there is any."""
        return min(self.records, max(1, int(value_bytes / self._record_bytes)))

    def value_bytes_of(self, records: int) -> int:
        """The size of so many values, in bytes."""
        return int(records * self._record_bytes)


@dataclass(slots=True)
class _Partition:
    """Reading was started at ``start``, behind a record of ``epoch`` if that is known; planned up to ``read``."""

    start: int
    epoch: int | None
    read: int


class RangeSource:
    """A ``Source`` for streams whose workers read: everything but the records is another source's.

    What is unread of a partition is what lies before its last stable offset. A position beyond the end is lost, as a
    consumer would find out; of one that retention has passed, or a log that was truncated, workers tell (``lost``).
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._watch = TopicWatch(self._ask, self._answered, "kafka-stream-ends")
        self._lock = threading.Lock()
        self._reading: dict[TopicPartition, _Partition] = {}
        self._ends: Mapping[TopicPartition, int] = {}
        self._lost: list[PositionLost] = []
        self._record_bytes = _FIRST_RECORD_BYTES
        self._asked_at = clock() - _LONGEST_S

    # What workers tell ----------------------------------------------------------------------------------------------

    def leader_epoch(self, tp: TopicPartition, offset: int) -> int | None:
        """The epoch under which the record before an offset was read, if reading was started there with it."""
        with self._lock:
            found = self._reading.get(tp)
            return found.epoch if found is not None and found.start == offset else None

    def lost(self, event: PositionLost) -> None:
        """The broker does not have what a worker was to read."""
        with self._lock:
            self._lost.append(event)
        self._source.wake()

    def learn(self, offsets: int, value_bytes: int) -> None:
        """So many offsets had values of so many bytes."""
        if offsets > 0:
            found = max(1.0, value_bytes / offsets)
            self._record_bytes += _LATEST_SHARE * (found - self._record_bytes)

    # Reading --------------------------------------------------------------------------------------------------------

    def start_reading(self, positions: Mapping[TopicPartition, tuple[int, int | None]]) -> None:
        """Begin there; partitions that are not assigned are ignored."""
        with self._lock:
            for tp, (offset, epoch) in positions.items():
                if not self._source.is_revoking([tp]):
                    self._reading[tp] = _Partition(offset, epoch, offset)
            self._asked_at = self._clock() - _LONGEST_S

    def events(self) -> Sequence[SourceEvent]:
        """Those of the other source, and lost positions."""
        events = self._source.events()
        with self._lock:
            for event in events:
                if isinstance(event, Assigned):
                    self._forget(event.partitions)
            lost, self._lost = self._lost, []
        return [*events, *(event for event in lost if event.partition in self._reading)]

    def buffered(self) -> Mapping[TopicPartition, Buffered]:
        """What is unread, as far as the ends are known."""
        self._ask_if_due()
        with self._lock:
            return {
                tp: Unread(found.read, end, self._record_bytes)
                for tp, found in self._reading.items()
                if (end := self._ends.get(tp, 0)) > found.read and not self._source.is_revoking([tp])
            }

    def take(self, ranges: Sequence[OffsetRange]) -> Mapping[TopicPartition, Sequence[Message]]:
        """These are read by workers; nothing is returned of them.

        Raises:
            OwnershipLost: a partition is not assigned any more, or anew since the range was planned.
            ValueError: a range does not begin where the one before it ended.
        """
        with self._lock:
            for r in ranges:
                found = self._reading.get(r.topic_partition)
                if found is None:
                    raise OwnershipLost(f"{r.topic_partition} was given up before {r} could be read", range=r)
                if found.read != r.from_offset:
                    raise ValueError(f"cannot take {r}: what is unread begins at {found.read}")
                found.read = r.until_offset
        return {r.topic_partition: () for r in ranges}

    def read_on_until(self, untils: Mapping[TopicPartition, int]) -> None:
        """Nothing is held back."""

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See ``Source``."""
        with self._lock:
            self._forget(partitions)
        self._source.release(partitions)

    def rejoin(self) -> None:
        """See ``Source``."""
        with self._lock:
            self._reading.clear()
        self._source.rejoin()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """See ``Source``."""
        with self._lock:
            self._forget(self._reading.keys() - set(partitions))
        self._source.assign(partitions)

    def wait(self, timeout_s: float) -> None:
        """Until something happens, or the ends are to be asked for again."""
        self._source.wait(min(timeout_s, _ASK_AGAIN_S))

    def trouble(self) -> KafkaStreamError | None:
        """Why nothing can be planned just now."""
        return self._source.trouble() or self._watch.trouble

    def _ask_if_due(self) -> None:
        now = self._clock()
        with self._lock:
            is_short = any(found.read >= self._ends.get(tp, 0) for tp, found in self._reading.items())
            if not self._reading or now - self._asked_at < (_ASK_AGAIN_S if is_short else _LONGEST_S):
                return
            self._asked_at = now
            read = {tp: found.read for tp, found in self._reading.items()}
        self._watch.begin(read)

    def _ask(self, read: Mapping[TopicPartition, int]) -> Look:
        """On a thread of its own: where what can be read ends; what is ``pinned`` is beyond the end."""
        ends = self._source.offsets(sorted(read), OffsetAt.LATEST)
        beyond = [tp for tp in sorted(read) if ends[tp] < read[tp]]
        logs = self._source.offsets(beyond, OffsetAt.HIGH_WATERMARK) if beyond else {}
        return Look({}, ends, {tp: read[tp] for tp in beyond if logs[tp] < read[tp]})

    def _answered(self) -> None:
        try:
            seen = self._watch.answer()
        except KafkaStreamError as error:  # what stays so is seen by the looks at the topics as well
            logger.debug("the ends could not be looked at, and will be again: %s", error)
            return
        if seen is None:
            return
        with self._lock:
            has_more = any(end > self._ends.get(tp, -1) for tp, end in seen.ends.items())
            self._ends = seen.ends
            self._lost += [PositionLost(tp, at, False, "it is beyond the end") for tp, at in seen.pinned.items()]
        if has_more or seen.pinned:
            self._source.wake()

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for tp in partitions:
            self._reading.pop(tp, None)

    # The other source's ---------------------------------------------------------------------------------------------

    def open(self, timeout_s: float, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """See ``Source``."""
        self._source.open(timeout_s, is_stopping)

    def close(self) -> None:
        """See ``Source``."""
        self._source.close()

    def topics(self) -> Mapping[str, TopicInfo]:
        """See ``Source``."""
        return self._source.topics()

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime) -> Mapping[TopicPartition, int]:
        """See ``Source``."""
        return self._source.offsets(partitions, at)

    def ends_before(self, partitions: Sequence[TopicPartition], at: datetime) -> Mapping[TopicPartition, int]:
        """See ``Source``."""
        return self._source.ends_before(partitions, at)

    def open_transactions(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, OpenTransaction]:
        """See ``Source``."""
        return self._source.open_transactions(partitions)

    def begin_look(self, positions: Mapping[TopicPartition, int]) -> None:
        """See ``Source``."""
        self._source.begin_look(positions)

    def look(self) -> Look | None:
        """See ``Source``."""
        return self._source.look()

    def cluster_id(self) -> str | None:
        """See ``Source``."""
        return self._source.cluster_id()

    def group_metadata(self, partitions: Sequence[TopicPartition]) -> object | None:
        """See ``Source``."""
        return self._source.group_metadata(partitions)

    def group_members(self) -> Sequence[str]:
        """See ``Source``."""
        return self._source.group_members()

    def introduce(self, mark: str) -> None:
        """See ``Source``."""
        self._source.introduce(mark)

    def follow(self, topics: Sequence[str]) -> None:
        """See ``Source``."""
        self._source.follow(topics)

    def subscribe(self) -> None:
        """See ``Source``."""
        self._source.subscribe()

    def publish_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See ``Source``."""
        self._source.publish_offsets(offsets)

    def is_revoking(self, partitions: Sequence[TopicPartition]) -> bool:
        """See ``Source``."""
        return self._source.is_revoking(partitions)

    def wake(self) -> None:
        """See ``Source``."""
        self._source.wake()


__all__ = ["RangeSource", "Unread"]
