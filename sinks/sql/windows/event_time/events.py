"""Pure: a batch's records as columns, partition by partition: times, keys, and what the aggregates are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, TypeAlias

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from kafka_stream.errors import KafkaStreamError, RecordError
from kafka_stream.sinks.sql.stateful.moments import EPOCH
from kafka_stream.sinks.sql.windows.event_time.panes import FIRST_US, LAST_US
from kafka_stream.sinks.sql.windows.event_time.values import Values
from kafka_stream.types import TopicPartition

Record: TypeAlias = tuple[Message, Any]


@dataclass(frozen=True, slots=True)
class Events:
    """Records of one partition in their order, column by column; times in microseconds.

    A key is a tuple if there are several key columns, the bare value if there is one, and ``()`` without any.
    """

    partition: TopicPartition
    messages: Sequence[Message]
    times: Sequence[int]
    keys: Sequence[Any]
    columns: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class EventReader:
    """Reads events: ``where`` begins what it refuses; ``width`` is the number of key columns."""

    where: str
    width: int
    key: Callable[[Any], Any] | None
    time: Callable[[Any], Any] | None
    arguments: Sequence[tuple[str, Callable[[Any], Any], Values]]

    def read(self, records: Sequence[Record]) -> list[Events]:
        """The events of each partition.

        Raises:
            RecordError: a function failed on a record, or gave what it may not; or it has no timestamp.
        """
        return [self._events(partition, taken) for partition, taken in _by_partition(records)]

    def _events(self, partition: TopicPartition, records: Sequence[Record]) -> Events:
        messages = [message for message, _ in records]
        values = [value for _, value in records]
        return Events(
            partition,
            messages,
            self._times(messages, values),
            self._keys(messages, values),
            [self._column(messages, values, *argument) for argument in self.arguments],
        )

    def _times(self, messages: Sequence[Message], values: Sequence[Any]) -> Sequence[int]:
        if self.time is None:
            stamps = [message.timestamp() for message in messages]
            if TIMESTAMP_NOT_AVAILABLE in {kind for kind, _ in stamps}:
                place = _first(kind == TIMESTAMP_NOT_AVAILABLE for kind, _ in stamps)
                raise self._refused(messages[place or 0], "the record has no timestamp, and the sink no time=…")
            times = [stamp_ms * 1_000 for _, stamp_ms in stamps]
        else:
            times = self._given_times(messages, self._called(self.time, "time", messages, values))
        if times and not (min(times) >= FIRST_US and max(times) < LAST_US):
            place = _first(not FIRST_US <= time < LAST_US for time in times)
            raise self._refused(messages[place or 0], "its time lies beyond what a datetime can tell")
        return times

    def _given_times(self, messages: Sequence[Message], given: Sequence[Any]) -> list[int]:
        if (place := _first(not isinstance(at, datetime) for at in given)) is not None:
            raise self._refused(messages[place], f"time gave a {type(given[place]).__name__}, not a datetime")
        if (place := _first(at.tzinfo is None or at.utcoffset() is None for at in given)) is not None:
            raise self._refused(messages[place], "time gave a datetime without a zone; give it one, such as UTC")
        return [
            (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds for gone in [at - EPOCH for at in given]
        ]

    def _keys(self, messages: Sequence[Message], values: Sequence[Any]) -> Sequence[Any]:
        if self.key is None:
            return [()] * len(values)
        keys = self._called(self.key, "key", messages, values)
        classes = set(map(type, keys))
        if self.width == 1 and tuple in classes:
            keys = [key[0] if type(key) is tuple and len(key) == 1 else key for key in keys]
            classes = set(map(type, keys))
        if self.width > 1 or not classes.isdisjoint(_NO_KEYS):
            self._check_keys(messages, keys)
        return keys

    def _check_keys(self, messages: Sequence[Message], keys: Sequence[Any]) -> None:
        """Raise ``RecordError`` if one of them is no key."""
        is_single = self.width == 1
        wrong = (
            type(key) in _NO_KEYS if is_single else type(key) is not tuple or len(key) != self.width for key in keys
        )
        if (place := _first(wrong)) is not None:
            wanted = "one value" if is_single else f"a tuple of {self.width} values"
            given = "None, which no key column holds" if keys[place] is None else f"a {type(keys[place]).__name__}"
            raise self._refused(messages[place], f"key gave {given}, not {wanted}")
        if not is_single and (place := _first(None in key for key in keys)) is not None:
            raise self._refused(messages[place], "key gave None, which no key column holds")

    def _column(
        self, messages: Sequence[Message], given: Sequence[Any], what: str, of: Callable[[Any], Any], values: Values
    ) -> Sequence[Any]:
        found = self._called(of, what, messages, given)
        taken = values.taken(found)
        if taken is None:
            place = _first(values.taken([value]) is None for value in found) or 0
            raise self._refused(
                messages[place], f"{what} gave a {type(found[place]).__name__} that the column does not take"
            )
        return taken

    def _called(
        self, function: Callable[[Any], Any], what: str, messages: Sequence[Message], values: Sequence[Any]
    ) -> list[Any]:
        results: list[Any] = []
        add = results.append
        try:
            for value in values:
                add(function(value))
        except KafkaStreamError:
            raise
        except Exception as error:
            message = messages[len(results)]
            raise self._refused(message, f"{what} failed ({type(error).__name__})") from error
        return results

    def _refused(self, message: Message, reason: str) -> RecordError:
        return RecordError.of(message, f"{self.where}: {reason}")


_NO_KEYS = {tuple, list, dict, set, type(None)}


def _first(found: Any) -> int | None:
    """The place of the first that is true."""
    return next((place for place, it in enumerate(found) if it), None)


def _by_partition(records: Sequence[Record]) -> list[tuple[TopicPartition, Sequence[Record]]]:
    """The records of each partition, in the order given."""
    places = [(message.topic(), message.partition()) for message, _ in records]
    runs = [(place, len(list(run))) for place, run in groupby(places)]
    found: dict[Any, list[Record]] = {}
    begin = 0
    for place, length in runs:
        part = records[begin : begin + length]
        begin += length
        found[place] = [*found[place], *part] if place in found else list(part)
    return [(TopicPartition(*place), taken) for place, taken in sorted(found.items())]
