"""Pure: what has become of a stream's dead letters, from the records of their topic, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from kafka_stream.offset_stores.kafka.letters.records import Event, Marked, ReplayBegun, ReplayEnded, Seen
from kafka_stream.protocols import STILL_WAITING, DeadLetter, Key, LetterId, LetterStatus, Replay


@dataclass(frozen=True, slots=True)
class Kept:
    """A letter without its value, headers and traceback; ``at`` is its record's offset, ``size`` what that takes."""

    letter: DeadLetter
    at: int
    size: int

    @property
    def seen(self) -> Seen:
        """What a change names."""
        return Seen(self.letter.id, self.at)


class Fold:
    """The letters of one stream, as of a place in their topic."""

    def __init__(self) -> None:
        self.letters: dict[LetterId, Kept] = {}
        self.replay: Replay | None = None
        self.events: set[str] = set()
        """The names of all changes, so that who got no answer finds its own."""
        self._waiting: Counter[Key] = Counter()
        self._under_way: list[Seen] = []

    def waiting_keys(self) -> Mapping[Key, int]:
        """The keys of letters that wait, and how many of each."""
        return self._waiting

    def waiting_letters(self, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """The letters of these keys that wait."""
        found: dict[Key, dict[LetterId, LetterStatus]] = {key: {} for key in keys}
        for one, kept in self.letters.items():
            letter = kept.letter
            key = (one.topic_partition, letter.payload.key)
            if key in found and letter.status in STILL_WAITING:
                found[key][one] = letter.status
        return found

    def take(self, found: DeadLetter | Event, at: int, size: int) -> None:
        """The next record, which lies at this offset."""
        if isinstance(found, DeadLetter):
            self._take_letter(found, at, size)
        else:
            self.events.add(found.event)
            if isinstance(found, Marked):
                self._mark(found.letters, found.was, found.now, found.at, found.note)
            elif isinstance(found, ReplayBegun):
                self._begin(found)
            elif self.replay is not None and self.replay.id == found.replay:
                self._end(found)

    def _take_letter(self, letter: DeadLetter, at: int, size: int) -> None:
        before = self.letters.get(letter.id)
        first, attempts = letter.first_failed_at, 1
        if before is not None:
            first, attempts = before.letter.first_failed_at, before.letter.attempts + 1
        payload = replace(letter.payload, value=None, headers=())
        error = replace(letter.error, traceback="")
        self._keep(
            Kept(
                replace(letter, payload=payload, error=error, first_failed_at=first, attempts=attempts),
                at,
                size,
            )
        )

    def _begin(self, begun: ReplayBegun) -> None:
        if self.replay is None or self.replay.id != begun.replay:
            self._under_way = []
        self._under_way += begun.letters
        self.replay = Replay(begun.replay, begun.destination, tuple(each.id for each in self._under_way))
        self._mark(begun.letters, LetterStatus.WAITING, LetterStatus.REPLAYING, begun.at)

    def _end(self, ended: ReplayEnded) -> None:
        sent, others = self._under_way[: ended.sent], self._under_way[ended.sent :]
        keyed = [
            each for each in sent if each.id in self.letters and self.letters[each.id].letter.payload.key is not None
        ]
        self._mark(keyed, LetterStatus.REPLAYING, ended.sent_are, ended.at)
        self._mark(sent, LetterStatus.REPLAYING, LetterStatus.REPLAYED, ended.at)
        self._mark(others, LetterStatus.REPLAYING, LetterStatus.WAITING, ended.at)
        self.replay, self._under_way = None, []

    def _mark(
        self, letters: Iterable[Seen], was: LetterStatus, now: LetterStatus, at: datetime, note: str | None = None
    ) -> None:
        for each in letters:
            kept = self.letters.get(each.id)
            if kept is None or kept.at != each.at or kept.letter.status is not was:
                continue  # it has failed again meanwhile, which nobody had seen who decided this
            letter = kept.letter
            self._keep(replace(kept, letter=replace(letter, status=now, note=note or letter.note, changed_at=at)))

    def _keep(self, kept: Kept) -> None:
        before = self.letters.get(kept.letter.id)
        self.letters[kept.letter.id] = kept
        for each, number in ((before, -1), (kept, 1)):
            if each is None or each.letter.status not in STILL_WAITING or each.letter.payload.key is None:
                continue
            key = (each.letter.id.topic_partition, each.letter.payload.key)
            self._waiting[key] += number
            if not self._waiting[key]:
                del self._waiting[key]


__all__ = ["Fold", "Kept"]
