"""Pure: which records go on.

The law, for the records of one key in the order in which they are processed, whatever their times: one that is less
than ``within`` away from the last one that went on is kept back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

Hash: TypeAlias = bytes
"""What a key is known by."""


@dataclass(frozen=True, slots=True)
class Passing:
    """What goes on: ``kept_back`` are the places that do not, ``last`` is by key the last place that does, if any."""

    kept_back: AbstractSet[int]
    last: Mapping[Hash, int]


class Places:
    """Where the keys of a batch are in it, and at which times."""

    def __init__(self, hashes: Sequence[Hash], times: Sequence[int], within: int) -> None:
        self._times = times
        self._within = within
        self._first = dict(zip(reversed(hashes), range(len(hashes) - 1, -1, -1), strict=True))
        self._all: dict[Hash, list[int]] = {}
        if len(self._first) < len(hashes):
            for place, key in enumerate(hashes):
                if self._first[key] != place:
                    self._all.setdefault(key, [self._first[key]]).append(place)

    def passing(self, remembered: Mapping[Hash, int]) -> Passing:
        """What goes on, where of these keys one went on before, at these times."""
        last = dict(self._first)
        kept_back: set[int] = set()
        for key in self._all.keys() | remembered.keys():
            places = self._all.get(key) or [self._first[key]]
            at = self._pass(places, remembered.get(key), kept_back)
            if at is None:
                del last[key]
            else:
                last[key] = at
        return Passing(kept_back, last)

    def _pass(self, places: Sequence[int], before: int | None, kept_back: set[int]) -> int | None:
        """The last place of one key that goes on; those that do not are added to ``kept_back``."""
        last = None
        for place in places:
            time = self._times[place]
            if before is None or abs(time - before) >= self._within:
                before, last = time, place
            else:
                kept_back.add(place)
        return last


__all__ = ["Hash", "Passing", "Places"]
