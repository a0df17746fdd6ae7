"""A stream's dead letters in Kafka: kept in its batches' transactions, folded from their topic, changed by commands.

Kafka has no compare-and-set; a command's stands on three things. Whoever changes letters of a stream uses one
``transactional.id``, so that of two commands one fences the other. It reads its topic **to the end** after that: no
earlier command's change is missed. And a change names a letter by its record's offset, so that it does not touch one
that fails again before the change is committed.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from secrets import SystemRandom

from kafka_stream.errors import CommandRefused, ProcessingError, StatementRefused, StoreUnavailable
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.letters.fold import Fold, Kept
from kafka_stream.offset_stores.kafka.letters.records import (
    Event,
    Record,
    ReplayEnded,
    beginning,
    decoded,
    event_record,
    marking,
    record_of,
    without_traceback,
)
from kafka_stream.offset_stores.kafka.letters.topic import PARTITION, LetterTopic
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown, TransactionalProducer
from kafka_stream.offset_stores.kafka.record_size import size_of
from kafka_stream.offset_stores.kafka.transactional_ids import of_letters
from kafka_stream.protocols import IN_FLIGHT, DeadLetter, Key, LetterFilter, LetterId, LetterStatus, Replay
from kafka_stream.types import Claim

logger = logging.getLogger("kafka_stream")

_IDLE_S = 5.0
_ATTEMPTS = 20
_LONGEST_DELAY_S = 0.2
_PAGE_LETTERS = 1_000
_PAGE_BYTES = 32_000_000


class StreamLetters:
    """The dead letters of one stream, in one topic. Building it connects to nothing."""

    def __init__(self, access: Access, stream: str, topic: str) -> None:
        self._access = access
        self._stream = stream
        self._topic = LetterTopic(access.brokers, topic, stream)
        self._fold = Fold()
        self._folded_until = 0

    def close(self) -> None:
        """Give the connections back."""
        self._topic.close()

    def create_topic(self) -> None:
        """Have a topic to keep them in; see ``LetterTopic.create``."""
        self._topic.create()

    # In a batch's transaction ---------------------------------------------------------------------------------------

    def keep(self, producer: TransactionalProducer, letters: Sequence[DeadLetter]) -> None:
        """Produce these, and wait for their delivery.

        Raises:
            StatementRefused: the topic does not take one, however short; no search for a record would help.
        """
        records = [self._fitting(producer, letter) for letter in letters]
        try:
            self._send(producer, records)
            producer.flush()
        except ProcessingError as error:
            raise StatementRefused(
                f"a dead letter of stream {self._stream!r} could not be kept, and nothing of its batch was committed: "
                f"{error}; raise the topic's max.message.bytes"
            ) from error

    def _send(self, producer: TransactionalProducer, records: Sequence[Record]) -> None:
        for record in records:
            producer.produce(self._topic.topic, record.value, record.key, list(record.headers), PARTITION)

    def _fitting(self, producer: TransactionalProducer, letter: DeadLetter) -> Record:
        for each in (letter, without_traceback(letter)):
            record = record_of(each)
            if (size := size_of(record.value, record.key, record.headers)) <= producer.max_record_bytes:
                return record
        raise StatementRefused(
            f"the dead letter of {letter.id} takes {size:,} bytes, with what is kept beside the record, and this "
            f"store's producer sends {producer.max_record_bytes:,} at most; nothing of the batch was committed: raise "
            "message.max.bytes of KafkaOffsetStore, and max.message.bytes of topic "
            f"{self._topic.topic!r}"
        )

    def waiting_keys(self, claim: Claim) -> Mapping[Key, int]:
        """See ``RescuingTransaction``. What was read is kept, and only what is new is read."""
        self._read()
        claimed = {r.topic_partition for r in claim.ranges}
        return {key: number for key, number in self._fold.waiting_keys().items() if key[0] in claimed}

    def waiting_letters(self, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """See ``RescuingTransaction``: as ``waiting_keys`` has read it."""
        return self._fold.waiting_letters(keys)

    def replayed(self, producer: TransactionalProducer, letters: Collection[LetterId]) -> None:
        """Produce the change, and wait for its delivery: from whichever of the two they are in when it counts.

        A replay that ends meanwhile changes them from the one to the other.
        """
        seen = [self._fold.letters[one].seen for one in sorted(letters)]
        event, now = secrets.token_hex(8), self._access.now()
        changes = [
            each for was in sorted(IN_FLIGHT) for each in marking(event, seen, was, LetterStatus.REPLAYED, None, now)
        ]
        self._send(producer, [event_record(each, self._stream) for each in changes])
        producer.flush()

    # Reading --------------------------------------------------------------------------------------------------------

    def _read(self) -> Fold:
        """What has become of them up to the end of the topic: nobody's change is missed that was committed before.

        Raises:
            StoreUnavailable: somebody's transaction stays open.
        """
        for message in self._topic.messages(self._folded_until, self._topic.end(), _IDLE_S):
            found = decoded(message, self._stream)
            at = message.offset() or 0
            if found is not None:
                self._fold.take(found, at, len(message.value() or b""))
            self._folded_until = at + 1
        self._folded_until = max(self._folded_until, self._topic.position)
        return self._fold

    def _seen(self) -> Fold:
        """The same for who only looks: what is behind somebody's open transaction does not count yet."""
        if self._folded_until or self._topic.exists():
            with suppress(StoreUnavailable):
                return self._read()
        return self._fold

    def find(self, wanted: LetterFilter, *, payloads: bool) -> Iterator[DeadLetter]:
        """See ``DeadLetterStore.letters``: which there are is read first, then the letters themselves, by the page."""
        letters = self._seen().letters
        for page in _pages([letters[one] for one in sorted(letters) if wanted.includes(letters[one].letter)]):
            by_offset = {kept.at: kept for kept in page}
            found: dict[LetterId, DeadLetter] = {}
            for message in self._topic.messages(min(by_offset), max(by_offset) + 1, _IDLE_S):
                kept = by_offset.get(message.offset() or 0)
                letter = decoded(message, self._stream) if kept is not None else None
                if kept is not None and isinstance(letter, DeadLetter):
                    payload = letter.payload if payloads else kept.letter.payload
                    found[letter.id] = replace(kept.letter, payload=payload, error=letter.error)
            yield from (found[one] for one in sorted(found))

    def under_way(self) -> Replay | None:
        """See ``DeadLetterStore.replay_under_way``."""
        return self._seen().replay

    # Commands -------------------------------------------------------------------------------------------------------

    def mark(
        self, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None
    ) -> Sequence[LetterId]:
        """See ``DeadLetterStore.mark_letters``."""
        marked: list[LetterId] = []

        def decide(fold: Fold, event: str) -> Sequence[Event]:
            wanted = [fold.letters[one] for one in sorted(set(ids)) if one in fold.letters]
            kept = [each for each in wanted if each.letter.status is was]
            marked[:] = [each.letter.id for each in kept]
            return marking(event, [each.seen for each in kept], was, now, note, self._access.now())

        self._change(decide)
        return marked

    def begin(self, replay: Replay) -> None:
        """See ``DeadLetterStore.begin_replay``."""

        def decide(fold: Fold, event: str) -> Sequence[Event]:
            if fold.replay == replay:
                return ()
            if fold.replay is not None:
                raise CommandRefused(
                    f"replay {fold.replay.id} of stream {self._stream!r} has begun and not ended; finish it first"
                )
            for one in replay.letters:
                if one not in fold.letters or fold.letters[one].letter.status is not LetterStatus.WAITING:
                    raise CommandRefused(f"the dead letter {one} of stream {self._stream!r} is not waiting; look again")
            seen = [fold.letters[one].seen for one in replay.letters]
            return beginning(event, replay, seen, self._access.now())

        self._change(decide)

    def end(self, replay: Replay, sent: int, sent_are: LetterStatus) -> None:
        """See ``DeadLetterStore.end_replay``."""

        def decide(fold: Fold, event: str) -> Sequence[Event]:
            ended = ReplayEnded(event, replay.id, sent, self._access.now(), sent_are)
            return [ended] if fold.replay == replay else ()

        self._change(decide)

    def _change(self, decide: Callable[[Fold, str], Sequence[Event]]) -> None:
        """Commit what is decided on all that is there, or nothing; tried again where another command comes in between.

        Raises:
            StoreUnavailable: others keep coming.
        """
        if not self._folded_until and not self._topic.exists():
            decide(Fold(), "")
            return
        event = secrets.token_hex(8)
        for _ in range(_ATTEMPTS):
            try:
                self._attempt(event, decide)
            except (Fenced, OutcomeUnknown) as error:
                logger.debug("dead letters of %r were not changed, and it is tried again: %s", self._stream, error)
                failure = error
                time.sleep(SystemRandom().uniform(0, _LONGEST_DELAY_S))
            else:
                return
        raise StoreUnavailable(
            f"the dead letters of stream {self._stream!r} in {self._access.where} are changed by others all the time "
            f"({failure}); look at them, and try again"
        ) from failure

    def _attempt(self, event: str, decide: Callable[[Fold, str], Sequence[Event]]) -> None:
        producer = self._access.producer(of_letters(self._stream))  # ends what others, or we, have left open
        try:
            fold = self._read()
            if event not in fold.events and (events := decide(fold, event)):  # else it is the commit without an answer
                producer.begin()
                self._send(producer, [event_record(each, self._stream) for each in events])
                producer.flush()
                producer.commit()
        except BaseException:
            producer.abort()
            raise
        finally:
            producer.discard()


def _pages(letters: Sequence[Kept]) -> Iterator[Sequence[Kept]]:
    page: list[Kept] = []
    size = 0
    for each in letters:
        if page and (len(page) == _PAGE_LETTERS or size + each.size > _PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(each)
        size += each.size
    if page:
        yield page


__all__ = ["StreamLetters"]
