"""Where the demo kills the service, and how that is said."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kafka_stream.running.stream_log import thousands
from kafka_stream.types import Phase

_SCRIPT: tuple[Phase | None, ...] = (
    Phase.AFTER_WRITE,
    Phase.AFTER_COMMIT,
    None,
    Phase.AFTER_ADVANCE,
    Phase.AFTER_CLAIM,
    None,
)
"""Where the kills hit, in turn; ``None`` is a random instant."""

_WHERE = {
    Phase.AFTER_FETCH: "after {n} orders were fetched, before anything was done with them",
    Phase.AFTER_PREPARE: "after {n} orders were prepared, before the transaction",
    Phase.AFTER_PLAN: "after {n} orders were planned, before the transaction",
    Phase.AFTER_CLAIM: "inside the transaction, before the first of {n} rows",
    Phase.AFTER_ATTEMPT: "after a part of {n} rows was tried, inside the transaction",
    Phase.AFTER_SET_ASIDE: "after {n} rows were written, and others set aside, before offsets and commit",
    Phase.AFTER_WRITE: "after {n} rows were written, before offsets and commit",
    Phase.AFTER_ADVANCE: "after {n} rows and the offsets were written, before the commit",
    Phase.AFTER_COMMIT: "right after the commit of {n} rows",
}
_LAST = {
    Phase.AFTER_FETCH: "after {n} orders were fetched",
    Phase.AFTER_PREPARE: "after {n} orders were prepared",
    Phase.AFTER_PLAN: "after {n} orders were planned",
    Phase.AFTER_CLAIM: "while {n} rows were being written",
    Phase.AFTER_ATTEMPT: "after a part of {n} rows was tried",
    Phase.AFTER_SET_ASIDE: "after {n} rows were written, and others set aside",
    Phase.AFTER_WRITE: "after {n} rows were written",
    Phase.AFTER_ADVANCE: "during the commit of {n} rows",
    Phase.AFTER_COMMIT: "some time after the commit of {n} rows",
}


@dataclass(frozen=True, slots=True)
class Kill:
    """One ``kill -9``: whom it hit, where in a batch, and with how many records in hand."""

    version: int
    phase: Phase | None
    at_random: bool
    records: int

    def where(self) -> str:
        """The point in words."""
        if self.phase is None:
            return "before its first batch"
        words = (_LAST if self.at_random else _WHERE)[self.phase].format(n=thousands(self.records))
        return f"at a random instant, {words}" if self.at_random else words


@dataclass(frozen=True, slots=True)
class Script:
    """How long a show it is to be."""

    kills: int
    random: random.Random

    def points(self) -> tuple[tuple[Phase | None, ...], tuple[Phase | None, ...]]:
        """Where to kill version 1, and where version 2."""
        points = tuple(_SCRIPT[number % len(_SCRIPT)] for number in range(self.kills))
        first = (2 * self.kills + 2) // 3
        return points[:first], points[first:]


__all__ = ["Kill", "Script"]
