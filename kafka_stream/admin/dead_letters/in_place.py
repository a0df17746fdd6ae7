"""Processing letters where they are: the application's own prepare and sinks, a transaction for each letter."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from kafka_stream.admin.actions import new_action
from kafka_stream.admin.dead_letters.remembering import remember
from kafka_stream.admin.dead_letters.selection import read_letters
from kafka_stream.batch import Batch
from kafka_stream.engine.processing import BatchProcessor
from kafka_stream.errors import (
    CommandRefused,
    CommitOutcomeUnknown,
    ConfigurationError,
    ProcessingError,
    StatementRefused,
)
from kafka_stream.failures.letters import letter_error
from kafka_stream.guarantee import check_guarantee
from kafka_stream.progress import Listeners
from kafka_stream.protocols import (
    STILL_WAITING,
    ActionKind,
    DeadLetter,
    InPlaceStore,
    Key,
    LetterError,
    LetterFilter,
    LetterId,
    LetterStatus,
    OffsetStore,
    RangeSink,
    TellingStore,
)
from kafka_stream.stream import DirectStream
from kafka_stream.types import OffsetRange

_READ_AT_ONCE = 50
_COMMITS = 5


class InPlaceStep(enum.StrEnum):
    """The named points of one letter's processing; fault tests kill a process at each."""

    AFTER_BEGIN = "after_begin"
    AFTER_WRITE = "after_write"
    AFTER_ADVANCE = "after_advance"
    AFTER_COMMIT = "after_commit"
    AFTER_FAILED = "after_failed"


def _nobody(_: InPlaceStep) -> None:
    """Nobody listens."""


class Outcome(enum.StrEnum):
    """What became of a letter."""

    REPLAYED = "replayed"
    FAILED = "failed"
    HELD_BACK = "held back"
    """An earlier one with its key has failed, or waits and was not meant."""
    GONE = "gone"
    """It does not wait any more: somebody else has taken it."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """A letter, and what became of it; ``error`` is of one that has failed."""

    letter: DeadLetter
    outcome: Outcome
    error: LetterError | None = None


class InPlace:
    """The application's handler, for letters. Closed by ``close``. ``tell`` hears of each step, for tests.

    Raises:
        ConfigurationError: the store, or a sink, cannot do it.
    """

    def __init__(
        self,
        application: DirectStream,
        store: OffsetStore,
        stream: str,
        *,
        actor: str | None = None,
        tell: Callable[[InPlaceStep], None] = _nobody,
    ) -> None:
        self._store = processing_letters(application, store)
        self._stream = stream
        self._actor = actor
        self._tell = tell
        self._told = store.tell if isinstance(store, TellingStore) else lambda _: None
        settings = application.settings
        self._keeps_order = settings.dead_letters.keep_key_order
        self._processor = BatchProcessor(
            store=self._store,
            prepare=settings.prepare,
            sinks=application.sinks,
            listeners=Listeners(()),
            transient_errors=settings.transient_errors,
        )

    def close(self) -> None:
        """Let go of what an ``async def prepare`` needs."""
        self._processor.close()

    def replay(self, letters: Sequence[LetterId]) -> Iterator[Attempted]:
        """Process these in order, one after the other; gives what became of each, once that is durable.

        After one that fails, those with its key are left alone. The history has an entry in the end, however it ends.

        Raises:
            CommandRefused: a replay to a topic is under way.
            StatementRefused: it is no letter's fault: a table, a column or a right is missing.
            TransientError, NotAuthorized: nobody answered; the letter at hand waits as before.
        """
        self._store.open()
        if (under_way := self._store.replay_under_way(self._stream)) is not None:
            raise CommandRefused(
                f"replay {under_way.id} of stream {self._stream!r} to a topic has begun and not ended; finish it "
                "first, or abandon it"
            )
        replayed: list[LetterId] = []
        stopped: set[Key] = set()
        earlier = self._earlier(letters)
        try:
            for letter in self._read(letters):
                attempted = self._attempt(letter, stopped, earlier)
                if attempted.outcome is Outcome.REPLAYED:
                    replayed.append(letter.id)
                yield attempted
        finally:
            remember(self._store, self._stream, new_action(ActionKind.REPLAY, self._actor), replayed)

    def _read(self, letters: Sequence[LetterId]) -> Iterator[DeadLetter]:
        """A few at a time, so that nothing is being read while another letter's transaction is open."""
        for first in range(0, len(letters), _READ_AT_ONCE):
            part = letters[first : first + _READ_AT_ONCE]
            yield from list(read_letters(self._store, self._stream, part))

    def _earlier(self, letters: Sequence[LetterId]) -> Mapping[Key, LetterId]:
        """Of each key the first letter that waits and is none of these, if the order of keys is kept."""
        found: dict[Key, LetterId] = {}
        if not self._keeps_order:
            return found
        meant = set(letters)
        for letter in self._store.letters(self._stream, LetterFilter(statuses=STILL_WAITING), payloads=False):
            if letter.id not in meant and letter.payload.key is not None:
                found.setdefault((letter.id.topic_partition, letter.payload.key), letter.id)
        return found

    def _attempt(self, letter: DeadLetter, stopped: set[Key], earlier: Mapping[Key, LetterId]) -> Attempted:
        key = None if letter.payload.key is None else (letter.id.topic_partition, letter.payload.key)
        if key is not None and (key in stopped or earlier.get(key, letter.id) < letter.id):
            return Attempted(letter, Outcome.HELD_BACK)
        try:
            return Attempted(letter, self._processed(letter))
        except StatementRefused:
            raise
        except ProcessingError as error:
            failure = letter_error(error, self._told)
        self._store.letter_failed(letter, failure, datetime.now(UTC))
        self._tell(InPlaceStep.AFTER_FAILED)
        if key is not None:
            stopped.add(key)
        return Attempted(letter, Outcome.FAILED, failure)

    def _processed(self, letter: DeadLetter) -> Outcome:
        results = self._processor.prepare(batch_of_letter(letter))
        unknown: CommitOutcomeUnknown | None = None
        for _ in range(_COMMITS):
            try:
                with self._store.begin_letter(letter) as transaction:
                    self._tell(InPlaceStep.AFTER_BEGIN)
                    self._processor.write(results, transaction)
                    self._tell(InPlaceStep.AFTER_WRITE)
                    transaction.advance()
                    self._tell(InPlaceStep.AFTER_ADVANCE)
                    transaction.commit()
            except CommitOutcomeUnknown as error:
                unknown = error
            except CommandRefused:  # whoever had it in hand has ended by now: perhaps our own lost commit
                return self._settled(letter, was_ours=unknown is not None)
            else:
                self._tell(InPlaceStep.AFTER_COMMIT)
                return Outcome.REPLAYED
        assert unknown is not None
        raise unknown

    def _settled(self, letter: DeadLetter, *, was_ours: bool) -> Outcome:
        found = next((one for one in read_letters(self._store, self._stream, [letter.id])), None)
        is_done = found is not None and found.status is LetterStatus.REPLAYED
        return Outcome.REPLAYED if was_ours and is_done else Outcome.GONE


def processing_letters(application: DirectStream, store: OffsetStore) -> InPlaceStore:
    """The store, as it is needed here.

    Raises:
        ConfigurationError: it has no transaction for a single letter, or a sink keeps whole ranges.
        UnsupportedGuarantee: the application's sinks do not write through this store's transaction.
    """
    if not isinstance(store, InPlaceStore):
        raise ConfigurationError(
            f"{store.describe()} cannot process a letter where it is (protocols.InPlaceStore): replay through a topic"
        )
    for sink in application.sinks:
        if isinstance(sink, RangeSink):
            raise ConfigurationError(
                f"{sink.describe()} keeps whole ranges, and a letter is one record of a range that was written: replay "
                "through a topic"
            )
    check_guarantee(application.sinks, store.capabilities, application.settings.guarantee)
    return store


def batch_of_letter(letter: DeadLetter) -> Batch:
    """A batch of one record, as it was consumed."""
    where, payload = letter.id, letter.payload
    kind = TIMESTAMP_NOT_AVAILABLE if payload.timestamp_ms is None else TIMESTAMP_CREATE_TIME
    headers: Any = list(payload.headers) or None
    message = Message(
        topic=where.topic,
        partition=where.partition,
        offset=where.offset,
        key=payload.key,
        value=payload.value,
        headers=headers,
        timestamp=(kind, payload.timestamp_ms or 0),
        leader_epoch=-1,  # librdkafka's unknown
    )
    only = OffsetRange(where.topic_partition, where.offset, where.offset + 1)
    return Batch((only,), {where.topic_partition: [message]})


__all__ = ["Attempted", "InPlace", "InPlaceStep", "Outcome", "batch_of_letter", "processing_letters"]
