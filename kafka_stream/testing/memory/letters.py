"""Dead letters in memory: what ``MemoryOffsetStore`` keeps beside its positions. They pass the stores' contract."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kafka_stream.errors import CommandRefused, CommitOutcomeUnknown, TransactionEscaped
from kafka_stream.protocols import (
    EVERY_LETTER,
    IN_FLIGHT,
    STILL_WAITING,
    DeadLetter,
    Key,
    LetterError,
    LetterFilter,
    LetterId,
    LetterStatus,
    Replay,
)
from kafka_stream.types import Claim


class MemoryLetterTransaction:
    """What a handler writes a letter's results through: append them to ``rows``. Used under the store's lock."""

    def __init__(self, letters: MemoryLetters, letter: DeadLetter, results: list[Any], cut: str | None) -> None:
        self.rows: list[Any] = []
        self._letters = letters
        self._letter = letter
        self._results = results
        self._cut = cut
        self._advanced = False

    def advance(self) -> None:
        """See ``StoreTransaction``."""
        self._advanced = True

    def commit(self) -> None:
        """See ``StoreTransaction``."""
        if not self._advanced:
            raise TransactionEscaped("the handler ended the letter's transaction; leave that to the command")
        if self._cut != "before":
            stream, one = self._letter.stream, self._letter.id
            self._letters.mark(stream, [one], LetterStatus.WAITING, LetterStatus.REPLAYED, None)
            self._results += self.rows
        if self._cut is not None:
            raise CommitOutcomeUnknown("the answer to a commit in memory was cut off; the letter's status will tell")


class MemoryLetters:
    """The letters of all streams, by stream and id, and the replays that have begun. Used under the store's lock."""

    def __init__(self) -> None:
        self._letters: dict[str, dict[LetterId, DeadLetter]] = {}
        self._replays: dict[str, Replay] = {}

    def keep(self, letters: Sequence[DeadLetter]) -> None:
        """Those of a batch that commits."""
        for letter in letters:
            known = self._letters.setdefault(letter.stream, {})
            before = known.get(letter.id)
            known[letter.id] = replace(
                letter,
                first_failed_at=letter.first_failed_at if before is None else before.first_failed_at,
                attempts=1 if before is None else before.attempts + 1,
                changed_at=letter.last_failed_at,
            )

    def waiting_keys(self, claim: Claim) -> Mapping[Key, int]:
        """Those of the claim's partitions."""
        claimed = {r.topic_partition for r in claim.ranges}
        return Counter(
            (letter.id.topic_partition, letter.payload.key)
            for letter in self._letters.get(claim.stream, {}).values()
            if letter.status in STILL_WAITING
            and letter.payload.key is not None
            and letter.id.topic_partition in claimed
        )

    def waiting_letters(self, stream: str, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """As ``RescuingTransaction.waiting_letters``."""
        found: dict[Key, dict[LetterId, LetterStatus]] = {key: {} for key in keys}
        for one, letter in self._letters.get(stream, {}).items():
            key = (one.topic_partition, letter.payload.key)
            if key in found and letter.status in STILL_WAITING:
                found[key][one] = letter.status
        return found

    def replayed(self, stream: str, letters: Collection[LetterId]) -> None:
        """As ``RescuingTransaction.replayed``, of a batch that commits."""
        for was in IN_FLIGHT:
            self.mark(stream, letters, was, LetterStatus.REPLAYED, None)

    def find(self, stream: str, wanted: LetterFilter = EVERY_LETTER, *, payloads: bool = True) -> Iterator[DeadLetter]:
        """As ``DeadLetterStore.letters``."""
        known = self._letters.get(stream, {})
        for letter in [known[one] for one in sorted(known) if wanted.includes(known[one])]:
            if payloads:
                yield letter
            else:
                yield replace(letter, payload=replace(letter.payload, value=None, headers=()))

    def mark(
        self, stream: str, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None
    ) -> Sequence[LetterId]:
        """As ``DeadLetterStore.mark_letters``."""
        known = self._letters.get(stream, {})
        changed = sorted(one for one in set(ids) if one in known and known[one].status is was)
        for one in changed:
            letter = known[one]
            known[one] = replace(letter, status=now, note=note or letter.note, changed_at=datetime.now(UTC))
        return changed

    def begin(self, stream: str, replay: Replay) -> None:
        """As ``DeadLetterStore.begin_replay``."""
        under_way = self._replays.get(stream)
        if under_way == replay:
            return
        if under_way is not None:
            raise CommandRefused(f"replay {under_way.id} of stream {stream!r} has begun and not ended; finish it first")
        known = self._letters.get(stream, {})
        for one in replay.letters:
            if one not in known or known[one].status is not LetterStatus.WAITING:
                raise CommandRefused(f"the dead letter {one} of stream {stream!r} is not waiting; look again")
        self.mark(stream, replay.letters, LetterStatus.WAITING, LetterStatus.REPLAYING, None)
        self._replays[stream] = replay

    def under_way(self, stream: str) -> Replay | None:
        """As ``DeadLetterStore.replay_under_way``."""
        return self._replays.get(stream)

    def end(self, stream: str, replay: Replay, sent: int, sent_are: LetterStatus) -> None:
        """As ``DeadLetterStore.end_replay``."""
        if self._replays.get(stream) != replay:
            return
        known = self._letters.get(stream, {})
        keyed = [one for one in replay.letters[:sent] if one in known and known[one].payload.key is not None]
        self.mark(stream, keyed, LetterStatus.REPLAYING, sent_are, None)
        self.mark(stream, replay.letters[:sent], LetterStatus.REPLAYING, LetterStatus.REPLAYED, None)
        self.mark(stream, replay.letters[sent:], LetterStatus.REPLAYING, LetterStatus.WAITING, None)
        del self._replays[stream]

    def processing(self, letter: DeadLetter, results: list[Any], cut: str | None) -> MemoryLetterTransaction:
        """As ``InPlaceStore.begin_letter``: what is committed goes to ``results``."""
        known = self._letters.get(letter.stream, {}).get(letter.id)
        if known is None or known.status is not LetterStatus.WAITING:
            raise CommandRefused(f"the dead letter {letter.id} of stream {letter.stream!r} does not wait any more")
        return MemoryLetterTransaction(self, letter, results, cut)

    def failed(self, letter: DeadLetter, error: LetterError, at: datetime) -> None:
        """As ``InPlaceStore.letter_failed``."""
        known = self._letters[letter.stream][letter.id]
        if known.status is LetterStatus.WAITING:
            self._letters[letter.stream][letter.id] = replace(
                known, error=error, last_failed_at=at, changed_at=at, attempts=known.attempts + 1
            )


class KeepsLetters:
    """A part of the store in memory: what ``DeadLetterStore`` asks for outside of a batch, under the store's lock."""

    def __init__(self) -> None:
        self.dead_letters = MemoryLetters()
        self._lock = threading.RLock()

    def blames_records(self, error: BaseException) -> bool:
        """Nothing in memory refuses a handler."""
        return True

    def letters(
        self, stream: str, wanted: LetterFilter = EVERY_LETTER, *, payloads: bool = True
    ) -> Iterator[DeadLetter]:
        """See ``DeadLetterStore``."""
        with self._lock:
            return iter(list(self.dead_letters.find(stream, wanted, payloads=payloads)))

    def mark_letters(
        self, stream: str, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None = None
    ) -> Sequence[LetterId]:
        """See ``DeadLetterStore``."""
        with self._lock:
            return self.dead_letters.mark(stream, ids, was, now, note)

    def begin_replay(self, stream: str, replay: Replay) -> None:
        """See ``DeadLetterStore``."""
        with self._lock:
            self.dead_letters.begin(stream, replay)

    def replay_under_way(self, stream: str) -> Replay | None:
        """See ``DeadLetterStore``."""
        with self._lock:
            return self.dead_letters.under_way(stream)

    def end_replay(
        self, stream: str, replay: Replay, sent: int, sent_are: LetterStatus = LetterStatus.REPLAYED
    ) -> None:
        """See ``DeadLetterStore``."""
        with self._lock:
            self.dead_letters.end(stream, replay, sent, sent_are)


__all__ = ["KeepsLetters", "MemoryLetterTransaction", "MemoryLetters"]
