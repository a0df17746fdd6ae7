"""Pure: which changes of a batch are written together, and once these were refused, until the refused one is alone.

What goes well stays written, and nothing is tried that comes after a change which is not known to be taken: so the
change that is refused alone is the first one that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

_FEW = 8
"""So few changes go one by one: a statement each costs less than to look for the half that is refused."""


class RowRefused(Exception):
    """The database refused the change of this number, in the order given; the cause says why."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class RowSuspected(Exception):
    """A statement of many rows was refused, because of this one as it seems; the cause says why."""

    def __init__(self, row: tuple[Any, ...]) -> None:
        super().__init__(row)
        self.row = row


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive changes, by their numbers, half-open."""

    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin


def parts_of(changes: int, size: int) -> Sequence[Part]:
    """All of so many changes, so many in a part."""
    return [Part(begin, min(begin + size, changes)) for begin in range(0, changes, size)]


class Narrowing:
    """Parts that are written in this order. Ask ``next``, write it, and tell if it was refused.

    A part of one change is not to be refused: that is the end.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._ahead: list[tuple[Part, int | None]] = [(part, None) for part in reversed(parts)]
        self._suspected: Part | None = None
        self._believes = True
        self.refusals = 0
        """How many parts were refused."""
        self.most_expected = 2 * ceil(log2(max(2, *map(len, parts))))
        """More are not, for one change that is refused; then it is something else about statements of many rows."""

    def next(self) -> Part | None:
        """The part to be written now; ``None`` when all are."""
        while self._ahead:
            part, refused_with_others = self._ahead.pop()
            if len(part) > 1 and refused_with_others == self.refusals:
                self._halve(part)  # these others were taken since
                continue
            if part == self._suspected:
                self._believes = False  # if anything is asked for after it, it was taken
            return part
        return None

    def refused(self, part: Part, suspect: int | None = None) -> None:
        """The part that was asked for is: it comes again in smaller ones.

        ``suspect`` is a change that is said to be why. It is tried by itself, after those before it; if it is taken,
        such words are not listened to any more.
        """
        self.refusals += 1
        if suspect is not None and self._believes and part.begin <= suspect < part.end:
            self._suspected = Part(suspect, suspect + 1)
            before, behind = Part(part.begin, suspect), Part(suspect + 1, part.end)
            self._ahead += [(piece, None) for piece in (behind, self._suspected, before) if len(piece)]
        else:
            self._halve(part)

    def _halve(self, part: Part) -> None:
        if len(part) <= _FEW or self.refusals > 2 * self.most_expected:
            self._ahead += [(Part(number, number + 1), None) for number in reversed(range(part.begin, part.end))]
        else:
            middle = (part.begin + part.end) // 2
            self._ahead += [(Part(middle, part.end), self.refusals), (Part(part.begin, middle), None)]
