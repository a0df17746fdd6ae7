"""From what a sink is given to the key and the time of each record; and to the same without some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from kafka_stream.batch import Batch
from kafka_stream.errors import KafkaStreamError, RecordError
from kafka_stream.sinks.sql.deduplication.hashing import NoKey, key_hash
from kafka_stream.sinks.sql.deduplication.passing import Hash
from kafka_stream.sinks.sql.stateful.moments import us_of
from kafka_stream.sinks.sql.stateful.records import records_of

LATEST_US = 2**62
"""Times, in microseconds, lie between this and its negative: so their distances fit where they do."""


@dataclass(frozen=True, slots=True)
class Records:
    """What a sink was given. ``values`` are what users' functions get: of a batch, the messages themselves."""

    given: Any
    messages: Sequence[Message]
    values: Sequence[Any]

    @classmethod
    def of(cls, given: Any, taker: str) -> Records:
        """Each record of a batch, of pairs, or of a sequence of messages. Raises ``ProcessingError`` for all else."""
        if isinstance(given, Batch):
            messages = given.messages
            return cls(given, messages, messages)
        pairs = records_of(given, taker)
        found = cls(given, [message for message, _ in pairs], [value for _, value in pairs])
        return cls(found._items(), found.messages, found.values)

    def without(self, places: AbstractSet[int]) -> Any:
        """What those behind get: the same kind, with these left out."""
        wanted = [place not in places for place in range(len(self.messages))] if places else [True] * len(self.messages)
        if isinstance(self.given, Batch):
            return self.given.keeping(wanted)
        return list(compress(self.given, wanted))

    def take_rejections(self, part: Any) -> None:
        """What was rejected of what ``without`` gave is rejected: they do get those records."""
        if isinstance(self.given, Batch) and isinstance(part, Batch):
            self.given.take_rejections(part)

    def _items(self) -> list[Any]:
        """What was given, as a list: it may have been something that can be read only once."""
        return [
            message if value is message else (message, value)
            for message, value in zip(self.messages, self.values, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads keys and times by the user's functions; ``name`` is the sink's, for errors."""

    key: Callable[[Any], Any]
    time: Callable[[Any], Any] | None
    name: str

    def keys(self, records: Records) -> tuple[list[Any], list[Hash]]:
        """Each record's key, and what it is known by.

        Raises:
            RecordError: of the first one whose key cannot be made, or is none.
        """
        key, made, hashes = self.key, [], []
        for number, value in enumerate(records.values):
            try:
                made.append(found := key(value))
                hashes.append(key_hash(found))
            except KafkaStreamError:
                raise
            except NoKey as error:
                raise self._refused(
                    records.messages[number],
                    f"its key is {error}; a key is bytes, str, int, bool, a UUID, or a tuple of these",
                ) from None
            except Exception as error:
                raise self._refused(records.messages[number], "its key could not be made") from error
        return made, hashes

    def times(self, records: Records) -> list[int]:
        """Each record's time, in microseconds since 1970.

        Raises:
            RecordError: of the first one that has none, or one without a zone.
        """
        times = [self._timestamp(it) for it in records.messages] if self.time is None else self._made_times(records)
        for number, time in enumerate(times):
            if not -LATEST_US < time < LATEST_US:
                raise self._refused(records.messages[number], "its timestamp lies beyond all calendars")
        return times

    def _timestamp(self, message: Message) -> int:
        kind, milliseconds = message.timestamp()
        if kind == TIMESTAMP_NOT_AVAILABLE:
            raise self._refused(message, "it has no timestamp; give time=, a function from a record to a datetime")
        return milliseconds * 1000

    def _made_times(self, records: Records) -> list[int]:
        made, time = [], self.time
        assert time is not None
        for number, value in enumerate(records.values):
            try:
                found = time(value)
            except KafkaStreamError:
                raise
            except Exception as error:
                raise self._refused(records.messages[number], "its time could not be made") from error
            made.append(self._microseconds(found, records.messages[number]))
        return made

    def _microseconds(self, time: Any, message: Message) -> int:
        if not isinstance(time, datetime):
            raise self._refused(message, f"its time is a {type(time).__name__}; a time is a datetime with a zone")
        if time.utcoffset() is None:
            raise self._refused(message, "its time has no zone; a time is a datetime with a zone")
        return us_of(time)

    def _refused(self, message: Message, reason: str) -> RecordError:
        return RecordError.of(message, f"{reason} (Deduplicate {self.name!r})")


__all__ = ["Reader", "Records"]
