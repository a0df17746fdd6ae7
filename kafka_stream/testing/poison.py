"""Records that break a handler: poison for tests, and an assertion that a stream survives it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from kafka_stream.batch import Batch
from kafka_stream.errors import KafkaStreamError
from kafka_stream.failures.breaker import DeadLetters
from kafka_stream.protocols import DeadLetterStore, OffsetStore, WantedTopics
from kafka_stream.stream import DirectStream
from kafka_stream.testing.memory.kafka import MemoryKafka
from kafka_stream.testing.memory.store import MemoryOffsetStore


class Poison:
    """What ``poison`` gives: a ``prepare`` that fails, or something that makes another function fail."""

    def __init__(self, at: Collection[int], error: Exception) -> None:
        self._at = frozenset(at)
        self._error = error

    def __call__(self, given: Any) -> Any:
        """The batch, if nothing in it is poison; of a function, one that fails where its batch has such a record."""
        if isinstance(given, Batch):
            self._check(given)
            return given

        @functools.wraps(given)
        def poisoned(batch: Any, *rest: Any) -> Any:
            self._check(batch)
            return given(batch, *rest)

        return poisoned

    def _check(self, messages: Any) -> None:
        if any(message.offset() in self._at for message in messages):
            raise self._error


def poison(*, at: Collection[int], error: Exception | None = None) -> Poison:
    """Makes the records at these offsets poison: whoever is given a batch with one of them fails, and does not say why.

    ``error`` is what is raised, a ``ValueError`` unless it is given.

    Example:
        ``stream.replace(prepare=poison(at={3, 17}))``, or around a function: ``poison(at={3})(write)``
    """
    return Poison(at, error or ValueError("a poison record"))


def assert_survives(
    stream: DirectStream,
    *,
    good: Sequence[bytes | str],
    bad: Sequence[bytes | str],
    store: OffsetStore | str | None = None,
) -> DeadLetterStore:
    """Run a copy of the stream on a Kafka in memory: the bad records become dead letters, and no good one does.

    The records come in one partition of the first topic that the stream names, the bad ones spread among the good
    ones. ``store`` is where the copy keeps its offsets, and its handlers write: a ``MemoryOffsetStore`` unless it is
    given, such as ``"sqlite:///test.db"`` with the tables that they need. Returns the store, to look at results and
    letters.

    Raises:
        AssertionError: the stream stopped, a bad record was taken for a good one, or a good one was set aside.
    """
    named = WantedTopics.of(stream.settings.topics).named or ("poisoned",)
    kafka = MemoryKafka(dict.fromkeys(named, 1))
    for value in _mixed(good, bad):
        kafka.produce(named[0], value)
    copy = stream.replace(
        kafka=kafka,
        topics=named,
        store=MemoryOffsetStore() if store is None else store,
        assignment="static",
        on_error="dead-letter",
        dead_letters=DeadLetters(max_ratio=1.0, max_in_a_row=len(bad) + 1, window=len(good) + len(bad) + 1),
        listeners=(),
    )
    try:
        copy.run(until="latest")
    except KafkaStreamError as error:
        raise AssertionError(f"the stream stopped instead of setting a record aside: {error}") from error
    found = copy.store
    assert isinstance(found, DeadLetterStore)
    _compare(Counter(letter.payload.value or b"" for letter in found.letters(stream.name)), Counter(map(_encoded, bad)))
    return found


def _compare(letters: Counter[bytes], wanted: Counter[bytes]) -> None:
    if missing := wanted - letters:
        raise AssertionError(f"{missing.total()} bad record(s) were taken for good ones: {_shown(missing)}")
    if more := letters - wanted:
        raise AssertionError(f"{more.total()} good record(s) were set aside: {_shown(more)}")


def _mixed(good: Sequence[bytes | str], bad: Sequence[bytes | str]) -> list[bytes | str]:
    """The bad ones at even distances; the first record is a good one, if there is any."""
    mixed, count = list(good), len(good) + len(bad)
    for number, value in enumerate(bad, start=1):
        mixed.insert(number * count // (len(bad) + 1), value)
    return mixed


def _encoded(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _shown(values: Counter[Any]) -> str:
    return ", ".join(repr(value)[:60] for value in list(values)[:3])


__all__ = ["Poison", "assert_survives", "poison"]
