"""Pure: which records of a batch fail, found by trying parts of it.

A batch of n records of which k fail by themselves takes at most ``2 k ⌈log2 n⌉`` attempts after the one that failed; if
those that fail are named, ``2 k``. (Bisecting, as of changes by git, with more than one culprit.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log2


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive places of a batch's records, half-open."""

    begin: int
    end: int


def most_attempts(records: int, failing: int) -> int:
    """How many attempts a search makes at most, if each of the failing records fails by itself and none is named."""
    return 2 * failing * ceil(log2(records)) if records > 1 else 0


class Search:
    """The parts of a batch that is known to fail as a whole, in the order of the records: ask ``next``, tell what came.

    What went well is kept (``done``), so that in the end each record was in one part that went well, or is in
    ``failed``, or in ``left_out``: ``also`` says which places follow one that failed (those of the same key).
    """

    def __init__(self, records: int, also: Callable[[int], Iterable[int]] = lambda place: ()) -> None:
        self._also = also
        self._ahead: list[Part] = []
        self._records = records
        self.done: list[Part] = []
        self.failed: list[int] = []
        self.left_out: dict[int, int] = {}
        self.attempts = 0

    def begin(self, named: Iterable[int] = ()) -> None:
        """The whole has failed; those that are named are known to be why."""
        self._split(Part(0, self._records), sorted(set(named)))

    def next(self) -> Part | None:
        """The part to be tried now; ``None`` when all is known."""
        while self._ahead:
            if self.places(self._ahead[-1]):
                self.attempts += 1
                return self._ahead[-1]
            self._ahead.pop()
        return None

    def places(self, part: Part) -> Sequence[int]:
        """What is left of a part, without those that have failed, or wait for one that has."""
        gone = self.left_out
        return [place for place in range(part.begin, part.end) if place not in gone]

    def went_well(self, rejected: Iterable[int] = ()) -> None:
        """The part that was asked for has, but for places that were given back without a failure."""
        self.done.append(self._ahead.pop())
        for place in sorted(rejected):
            self._fail(place)

    def has_failed(self, named: Iterable[int] = ()) -> None:
        """The part that was asked for has; those of its places that are named are known to be why."""
        self._split(self._ahead.pop(), sorted(set(named)))

    def is_spoiled(self, attempt: int, named: Iterable[int] = ()) -> None:
        """A part has failed so that what went well is undone as well: it is all to be tried again, in the same parts.

        ``attempt`` is how many parts had gone well before that one.

        Raises:
            LookupError: there was no such part.
        """
        again = list(self.done)
        if attempt > len(again) or (attempt == len(again) and not self._ahead):
            raise LookupError(f"part {attempt} of {len(again)}")
        if attempt < len(again):
            spoiled = again[attempt]
            before, behind = again[:attempt], again[attempt + 1 :]
        else:
            spoiled, before, behind = self._ahead.pop(), again, []
        self.done = []
        self._ahead += reversed(behind)
        self._split(spoiled, sorted(set(named)))
        self._ahead += reversed(before)

    def _split(self, part: Part, named: Sequence[int]) -> None:
        places = self.places(part)
        known = [place for place in named if place in places]
        if not known and len(places) == 1:
            known = [places[0]]
        if known:
            bounds = [part.begin - 1, *known, part.end]
            pieces = [Part(before + 1, at) for before, at in itertools.pairwise(bounds)]
            for place in known:
                self._fail(place)
        else:
            middle = places[len(places) // 2]
            pieces = [Part(part.begin, middle), Part(middle, part.end)]
        self._ahead += reversed(pieces)

    def _fail(self, place: int) -> None:
        self.failed.append(place)
        self.left_out[place] = place
        for follower in self._also(place):
            self.left_out.setdefault(follower, place)


__all__ = ["Part", "Search", "most_attempts"]
