"""One world gone through: process start after process start, and a look at the results after each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from kafka_stream.testing.exactly_once.expectations import Expectation
from kafka_stream.testing.exactly_once.findings import NotExactlyOnce, StreamStopped, WrittenOutside
from kafka_stream.testing.exactly_once.here import Look
from kafka_stream.testing.exactly_once.starts import Start
from kafka_stream.testing.exactly_once.verdict import Case, Verdict, verdict
from kafka_stream.testing.exactly_once.worlds import World

_ADVICE = {
    WrittenOutside: "whatever a handler writes has to go through the transaction that it is given, and prepare must "
    "write nothing",
    StreamStopped: "a stream that a crash or a rollback stops would stop in operation, too",
}


class Processes(Protocol):
    """How process starts are made: in this process, or as processes of their own."""

    @property
    def anywhen(self) -> bool:
        """Whether one can be killed between the named points, too."""

    @property
    def random_kills(self) -> int:
        """How many there are beside one at each point, unless the user says."""

    def run(self, world: World, start: Start, look: Look) -> bool:
        """Whether the crash came, before the records had come to their end."""


class Trial:
    """Counts what was survived; ``crashes`` by the point at which they came."""

    def __init__(self, processes: Processes, expectation: Expectation, seed: int) -> None:
        self._processes = processes
        self._expectation = expectation
        self._seed = seed
        self.starts = 0
        self.crashes: Counter[str] = Counter()

    def go(self, world: World, starts: Iterable[Start]) -> None:
        """Go through ``starts`` for as long as there are records, and then to the end.

        Raises:
            NotExactlyOnce: the results are wrong.
        """
        for start in starts:
            if world.committed() == len(world.feed.places):
                return
            self._one(world, start)
        self._one(world, Start(max(1, len(world.feed.places))))

    def _one(self, world: World, start: Start) -> None:
        def look() -> NotExactlyOnce | None:
            at_rest = world.is_exact or world.committed() == len(world.feed.places)
            return self._looked(world, start) if at_rest else None

        self.starts += 1
        try:
            crashed = self._processes.run(world, start, look)
        except StreamStopped as stopped:
            raise self._told(stopped, world, start) from stopped.__cause__
        if crashed:
            self.crashes[str(start.kill_at or "any instant")] += 1
        if (found := look()) is not None:
            raise found

    def _looked(self, world: World, start: Start) -> NotExactlyOnce | None:
        committed = world.committed()
        wanted = None if committed is None else self._expectation.after(committed)
        if committed is None or wanted is None:
            return None
        case = Case(world.results(), wanted, committed, len(world.feed.places), start.batch_records)
        wrong = verdict(case, self._expectation)
        return None if wrong is None else self._error(wrong, world, start, committed)

    def _error(self, wrong: Verdict, world: World, start: Start, committed: int) -> NotExactlyOnce:
        place = None if wrong.record is None else world.feed.places[wrong.record]
        name = "the records" if place is None else f"{place} (record {wrong.record})"
        happened = {
            "RecordLost": f"{name} was lost",
            "RecordRepeated": f"{name} was repeated",
            "WrittenOutside": f"{name} was written outside of its batch's transaction",
        }.get(wrong.kind.__name__, f"the results differ, at {name} or before")
        lines = [
            f"{happened}: {wrong.said}",
            f"  what was done: {start}",
            f"  committed by then: {committed} of {len(world.feed.places)} records, in {self.starts} process start(s)",
            *([f"  what to do: {_ADVICE[wrong.kind]}"] if wrong.kind in _ADVICE else []),
            f"  to see it again: seed={self._seed}",
        ]
        return wrong.kind("\n".join(lines), place, str(start), self._seed)

    def _told(self, stopped: StreamStopped, world: World, start: Start) -> StreamStopped:
        lines = [
            str(stopped),
            f"  what was done: {start}",
            f"  committed by then: {world.committed()} of {len(world.feed.places)} records",
            f"  what to do: {_ADVICE[StreamStopped]}",
            f"  to see it again: seed={self._seed}",
        ]
        return StreamStopped("\n".join(lines), None, str(start), self._seed)


__all__ = ["Processes", "Trial"]
