"""Which letters a command works on: chosen once, then read again in parts that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

from kafka_stream.errors import CommandRefused, ConfigurationError
from kafka_stream.protocols import (
    EVERY_LETTER,
    DeadLetter,
    DeadLetterStore,
    LetterFilter,
    LetterId,
    LetterStatus,
    OffsetStore,
)
from kafka_stream.types import TopicPartition

_WAITING = frozenset({LetterStatus.WAITING})
_SENT = frozenset({LetterStatus.SENT})
_READ_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class LettersOf:
    """How many letters of one partition, from which offset to which."""

    topic_partition: TopicPartition
    letters: int
    first_offset: int
    last_offset: int


def keeping_letters(store: OffsetStore) -> DeadLetterStore:
    """The store, as these commands need it.

    Raises:
        ConfigurationError: it keeps no dead letters.
    """
    if not isinstance(store, DeadLetterStore):
        raise ConfigurationError(
            f"{store.describe()} is a store that keeps no dead letters: its class lacks what "
            "kafka_stream.protocols.DeadLetterStore asks for"
        )
    return store


def waiting(store: DeadLetterStore, stream: str, wanted: LetterFilter = EVERY_LETTER) -> Sequence[LetterId]:
    """The letters that wait, in order: what can be replayed or discarded.

    Raises:
        ConfigurationError: the filter asks for letters that do not wait.
    """
    if wanted.statuses is not None and wanted.statuses != _WAITING:
        raise ConfigurationError("only letters that wait can be replayed or discarded; leave --status out")
    found = store.letters(stream, replace(wanted, statuses=_WAITING), payloads=False)
    return [letter.id for letter in found]


def discardable(store: DeadLetterStore, stream: str, wanted: LetterFilter = EVERY_LETTER) -> Sequence[LetterId]:
    """The letters that wait, in order; or, if the filter asks for these, those whose records are in their topics again.

    Raises:
        ConfigurationError: the filter asks for others.
    """
    if wanted.statuses != _SENT:
        return waiting(store, stream, wanted)
    return [letter.id for letter in store.letters(stream, wanted, payloads=False)]


def by_partition(letters: Sequence[LetterId]) -> Sequence[LettersOf]:
    """What there is of each partition, sorted."""
    ordered = sorted(letters, key=lambda one: (one.topic_partition, one.offset))
    groups = ((tp, list(group)) for tp, group in groupby(ordered, key=lambda one: one.topic_partition))
    return [LettersOf(tp, len(group), group[0].offset, group[-1].offset) for tp, group in groups]


def read_letters(
    store: DeadLetterStore, stream: str, letters: Sequence[LetterId], at_once: int = _READ_AT_ONCE
) -> Iterator[DeadLetter]:
    """These letters with their payloads, in this order, which is that of partitions and offsets within them.

    Raises:
        CommandRefused: one of them is not there any more.
    """
    for _, group in groupby(letters, key=lambda one: (one.topic, one.topic_id, one.partition)):
        while part := list(islice(group, at_once)):
            yield from _found(store, stream, part)


def _found(store: DeadLetterStore, stream: str, part: Sequence[LetterId]) -> Iterator[DeadLetter]:
    """Those of one partition."""
    offsets = frozenset(one.offset for one in part)
    wanted = LetterFilter(topic=part[0].topic, partition=part[0].partition, offsets=offsets)
    missing = iter(part)
    expected = next(missing, None)
    for letter in store.letters(stream, wanted):
        if letter.id == expected:
            yield letter
            expected = next(missing, None)
    if expected is not None:
        raise CommandRefused(f"the dead letter {expected} of stream {stream!r} is not in {store.describe()} any more")


__all__ = ["LettersOf", "by_partition", "discardable", "keeping_letters", "read_letters", "waiting"]
