"""Pure: windows of several panes. From one to the next a pane enters and one leaves.

What can be subtracted exactly (numbers without a fraction, decimal numbers) is kept as a running total; the rest is
computed anew from the panes of each window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import localcontext
from typing import Any, TypeAlias

from kafka_stream.sinks.sql.windows.event_time.aggregates import Part
from kafka_stream.sinks.sql.windows.event_time.panes import Panes
from kafka_stream.sinks.sql.windows.event_time.values import EXACT

Pane: TypeAlias = tuple[int, Sequence[Any]]
"""Its start, and the parts of one key in it."""

Window: TypeAlias = tuple[int, int, Sequence[Any]]
"""Its start and end, and the parts of one key in it."""


@dataclass(frozen=True)
class WindowsOfPanes:
    """Windows of so many panes in a row, one of which ends with every pane."""

    panes: Panes
    panes_per_window: int
    parts: Sequence[Part]

    def closed(self, of_key: Sequence[Pane], after: int | None, until: int) -> Iterator[Window]:
        """The windows of one key that end behind ``after`` and not behind ``until``, and have a record.

        ``of_key`` are its panes in order of time, all that these windows reach.
        """
        if self.panes_per_window == 1:
            for start, parts in of_key:
                end = self.panes.shifted(start, 1)
                if end <= until and (after is None or end > after):
                    yield start, end, parts
            return
        with localcontext(EXACT):
            yield from self._slid(of_key, after, until)

    def _slid(self, of_key: Sequence[Pane], after: int | None, until: int) -> Iterator[Window]:
        inside: deque[Pane] = deque()
        totals = _Totals(self.parts)
        waiting = deque(of_key)
        end = 0
        while waiting or inside:
            if not inside:  # the next window that has a record
                end = self.panes.shifted(waiting[0][0], 1)
            if end > until:
                return
            start = self.panes.shifted(end, -self.panes_per_window)
            while waiting and waiting[0][0] < end:
                inside.append(waiting.popleft())
                totals.enter(inside[-1][1])
            while inside and inside[0][0] < start:
                totals.leave(inside.popleft()[1])
            if inside and (after is None or end > after):
                yield start, end, totals.of([parts for _, parts in inside])
            end = self.panes.shifted(end, 1)


class _Totals:
    """The sums of the panes inside, of what can be subtracted; with how many panes have a value at all."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._running = [place for place, part in enumerate(parts) if part.can_be_subtracted]
        self._sums: list[Any] = [0] * len(parts)
        self._values = [0] * len(parts)

    def enter(self, pane: Sequence[Any]) -> None:
        """A pane comes in."""
        for place in self._running:
            if pane[place] is not None:
                self._sums[place] += pane[place]
                self._values[place] += 1

    def leave(self, pane: Sequence[Any]) -> None:
        """A pane goes out."""
        for place in self._running:
            if pane[place] is not None:
                self._sums[place] -= pane[place]
                self._values[place] -= 1

    def of(self, inside: Sequence[Sequence[Any]]) -> list[Any]:
        """The parts of the window."""
        return [
            (self._sums[place] if self._values[place] else None)
            if part.can_be_subtracted
            else recomputed(part, [pane[place] for pane in inside])
            for place, part in enumerate(self._parts)
        ]


def recomputed(part: Part, values: Sequence[Any]) -> Any:
    """A part of a window from those of its panes."""
    found = None
    for value in values:
        found = part.fold.of(found, value)
    return found
