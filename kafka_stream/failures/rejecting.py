"""Which records are set aside beside those that raise: what a handler rejects, and what waits for another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.failures.breaker import DeadLetters
from kafka_stream.failures.letters import Rejection, after_another, letter_error
from kafka_stream.failures.parts import RecordId, key_of, place_of, record_id
from kafka_stream.protocols import Key
from kafka_stream.types import TopicPartition


@dataclass(frozen=True, slots=True)
class Rejecting:
    """The rules of one stream: ``sinks`` is how many it has, ``tell`` knows the errors of its database."""

    limits: DeadLetters
    sinks: int
    tell: Callable[[BaseException], str | None]

    def because(self, message: Message, error: BaseException) -> Rejection:
        """A record that is set aside for an error."""
        return Rejection(message, letter_error(error, self.tell))

    def by_handler(self, batch: Batch) -> dict[RecordId, Rejection]:
        """What user code has rejected of a batch, without an exception."""
        errors = {(TopicPartition(e.topic, e.partition), e.offset): e for e in batch.rejected}
        if not errors:
            return {}
        return {
            record: self.because(message, errors[record])
            for record, message in ((record_id(message), message) for message in batch)
            if record in errors
        }

    def must_repeat(self, batch: Batch, rejected: Mapping[RecordId, Rejection]) -> bool:
        """Whether results of what was rejected, or of what has to wait for it, may be among those made already."""
        return bool(rejected) and (self.sinks > 1 or len(self.with_followers(batch, rejected)) > len(rejected))

    def with_followers(self, batch: Batch, rejected: Mapping[RecordId, Rejection]) -> dict[RecordId, Rejection]:
        """These, and the later ones of their keys, if the order of keys is kept."""
        found = dict(rejected)
        waits_for: dict[Key, RecordId] = {}
        for message in batch if self.limits.keep_key_order else ():
            record, key = record_id(message), key_of(message)
            if key in waits_for:
                found.setdefault(record, Rejection(message, after_another(waits_for[key])))
            if key is not None and record in found:
                waits_for.setdefault(key, record)
        return found

    def followers(self, messages: Sequence[Message], place: int) -> Iterable[int]:
        """The later places of the same key, if its order is kept."""
        key = key_of(messages[place]) if self.limits.keep_key_order else None
        if key is None:
            return ()
        return [at for at in range(place + 1, len(messages)) if key_of(messages[at]) == key]


def numbered(batch: Batch, rejections: Mapping[RecordId, Rejection]) -> tuple[int, Sequence[int]]:
    """How many records there are in all, and which of them, by number, failed themselves."""
    if not rejections:
        return len(batch), ()
    failed: list[int] = []
    left_out = 0  # of those before: they are in the batch no more
    for record in sorted(rejections):
        before, is_there = place_of(batch, record)
        if rejections[record].is_failure:
            failed.append(before + left_out)
        left_out += not is_there
    return len(batch) + left_out, failed


__all__ = ["Rejecting", "numbered"]
