"""What user code receives: the records of one explicit range per partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, compress
from typing import Any

from confluent_kafka import Message

from kafka_stream.arrow import table_of
from kafka_stream.errors import RecordError
from kafka_stream.types import OffsetRange, TopicPartition, is_strictly_ascending


class _Records(Mapping[TopicPartition, Sequence[Message]]):
    """What was taken, for others to look at: a partition's records are copied when somebody asks for them."""

    def __init__(self, taken: Mapping[TopicPartition, Sequence[Message]]) -> None:
        self._taken = taken
        self._copies: dict[TopicPartition, tuple[Message, ...]] = {}

    def __getitem__(self, topic_partition: TopicPartition) -> tuple[Message, ...]:
        if (copy := self._copies.get(topic_partition)) is None:
            copy = self._copies[topic_partition] = tuple(self._taken[topic_partition])
        return copy

    def __iter__(self) -> Iterator[TopicPartition]:
        return iter(self._taken)

    def __len__(self) -> int:
        return len(self._taken)

    def __repr__(self) -> str:
        return f"<records of {', '.join(map(str, self._taken))}>"


class _Decoded(Iterable[tuple[Message, Any]]):
    """Pairs of message and decoded value, made anew for everybody who reads them."""

    def __init__(self, batch: Batch, decode: Callable[[bytes], Any]) -> None:
        self._batch = batch
        self._decode = decode

    def __iter__(self) -> Iterator[tuple[Message, Any]]:
        decode = self._decode
        for message in self._batch:
            raw = message.value()
            if raw is None:
                yield message, None
                continue
            try:
                value = decode(raw)
            except Exception as error:
                raise RecordError.of(message, "its value could not be decoded") from error
            yield message, value


def _moment(timestamp: tuple[int, int]) -> datetime:
    return datetime.fromtimestamp(timestamp[1] / 1000, UTC)


@dataclass(frozen=True)
class Batch:
    """The records of one explicit range per partition: what ``prepare`` and ``write`` receive.

    ``ranges`` are sorted by topic and partition; ``records`` holds the messages of each range in offset order. A batch
    that is repeated after a crash may be cut differently, but always starts where the last committed one ended.
    Nothing that is received of it can be changed: what one reader does to it, the others need not know.
    """

    ranges: tuple[OffsetRange, ...]
    records: Mapping[TopicPartition, Sequence[Message]]
    _taken: Mapping[TopicPartition, Sequence[Message]] = field(init=False, repr=False, compare=False)
    _count: int = field(init=False, repr=False, compare=False)
    _rejected: dict[tuple[TopicPartition, int], RecordError] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        partitions = [r.topic_partition for r in self.ranges]
        if not is_strictly_ascending(partitions):
            raise ValueError("a batch has one range per partition, sorted by topic and partition")
        taken = dict(self.records)
        if list(taken) != partitions:  # not as a source hands them out
            for topic_partition, messages in taken.items():
                if messages and topic_partition not in self._range_by_partition:
                    raise ValueError(f"the batch holds records of {topic_partition}, but no range for it")
        keep = object.__setattr__
        keep(self, "_taken", taken)
        keep(self, "_count", sum(map(len, taken.values())))
        keep(self, "records", _Records(taken))
        keep(self, "_rejected", None)

    def __reduce__(self) -> tuple[Callable[..., Batch], tuple[Any, ...]]:
        """What is sent to another process is a batch by itself: of what is rejected there, nobody here would hear."""
        return Batch, (self.ranges, self._taken)

    @cached_property
    def _range_by_partition(self) -> Mapping[TopicPartition, OffsetRange]:
        return {r.topic_partition: r for r in self.ranges}

    @cached_property
    def messages(self) -> Sequence[Message]:
        """All records (``confluent_kafka.Message``), partition by partition, in offset order within each."""
        if len(self.ranges) == 1:
            return self.records.get(self.ranges[0].topic_partition, ())
        return tuple(self)

    def __len__(self) -> int:
        """The number of records."""
        return self._count

    def __iter__(self) -> Iterator[Message]:
        return chain.from_iterable([self._taken.get(r.topic_partition, ()) for r in self.ranges])

    def times(self) -> Mapping[TopicPartition, tuple[datetime, datetime]]:
        """The timestamps of each partition's first and last record, of those that have one."""
        ends = ((tp, taken[0].timestamp(), taken[-1].timestamp()) for tp, taken in self._taken.items() if taken)
        return {tp: (_moment(first), _moment(last)) for tp, first, last in ends if first[0] and last[0]}

    def count_of(self, topic_partition: TopicPartition) -> int:
        """The number of records of one partition."""
        return len(self._taken.get(topic_partition, ()))

    def partition(self, topic_partition: TopicPartition) -> Batch:
        """The part of this batch that belongs to one partition; empty, without a range, if there is none."""
        found = self._range_by_partition.get(topic_partition)
        if found is None:
            return Batch((), {})
        return self._sharing(Batch((found,), {topic_partition: self._taken.get(topic_partition, ())}))

    def topic(self, name: str) -> Batch:
        """The part of this batch that belongs to one topic; empty, without ranges, if there is none."""
        ranges = tuple(r for r in self.ranges if r.topic == name)
        return self._sharing(Batch(ranges, {r.topic_partition: self._taken.get(r.topic_partition, ()) for r in ranges}))

    def reject(self, message: Message, reason: str) -> None:
        """Set this record aside, and go on with the others: it becomes a dead letter when the batch commits.

        The handler gives no result for it. Called while the batch is processed, by ``prepare`` or by a sink; a record
        that is rejected twice keeps the first reason. ``raise RecordError.of(message, reason)`` does the same by an
        exception: the others are then given to the handler anew, without this one.

        Raises:
            RecordError: the stream was not built with ``on_error="dead-letter"``: it stops here.
            ValueError: the record is none of this batch.
        """
        error = RecordError.of(message, reason)
        topic_partition = TopicPartition(error.topic, error.partition)
        if error.offset not in self._range_by_partition.get(topic_partition, ()):
            raise ValueError(f"{topic_partition}@{error.offset} is no record of this batch")
        if self._rejected is None:
            raise error
        self._rejected.setdefault((topic_partition, error.offset), error)

    @property
    def rejected(self) -> Sequence[RecordError]:
        """What was rejected so far, one error per record, in the order in which it was."""
        return tuple((self._rejected or {}).values())

    def for_attempt(self) -> Batch:
        """The same records, with nothing rejected, to be given to a handler that may reject some."""
        attempt = Batch(self.ranges, self._taken)
        object.__setattr__(attempt, "_rejected", {})
        return attempt

    def keeping(self, wanted: Sequence[bool]) -> Batch:
        """The same ranges with some of the records, by their place in ``messages``.

        What is rejected of it is not rejected of the whole before ``take_rejections``.
        """
        kept: dict[TopicPartition, Sequence[Message]] = {}
        begin = 0
        for r in self.ranges:
            taken = self._taken.get(r.topic_partition, ())
            kept[r.topic_partition] = list(compress(taken, wanted[begin : begin + len(taken)]))
            begin += len(taken)
        part = Batch(self.ranges, kept)
        return part if self._rejected is None else part.for_attempt()

    def take_rejections(self, part: Batch) -> None:
        """What was rejected of a part that ``keeping`` gave is rejected of the whole."""
        if self._rejected is not None:
            self._rejected.update(part._rejected or {})

    def _sharing(self, part: Batch) -> Batch:
        """A part of this batch: what is rejected of it, is of the whole."""
        object.__setattr__(part, "_rejected", self._rejected)
        return part

    def to_arrow(self) -> Any:
        """The records as a ``pyarrow.Table``, for work that is done in columns.

        Its columns are ``topic``, ``partition``, ``offset``, ``timestamp`` (in UTC, to the millisecond; null where a
        record has none), ``key`` and ``value`` (binary; null as in the record). One row per record, in the order of
        ``messages``.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        return table_of({tp: self._taken.get(tp, ()) for tp in self._range_by_partition})

    def decoded(self, decode: Callable[[bytes], Any]) -> Iterable[tuple[Message, Any]]:
        """Pairs of message and decoded value, lazily; a tombstone's value is ``None`` and is not decoded.

        They can be read more than once, and are decoded each time: what several sinks read, none has changed.

        Raises:
            RecordError: while they are read: ``decode`` failed; it names topic, partition and offset and chains the
                cause.
        """
        return _Decoded(self, decode)
