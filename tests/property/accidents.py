"""What goes wrong in the plans of property tests, at which call, and when; and in which order results have to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from kafka_stream.types import OF_EVERY_BATCH, Phase
from tests.property.worlds import Row
from tests.simulation import Simulation

Change = tuple[str, int, int]
"""The name of a change, and two numbers that it makes of what it likes."""
Death = tuple[Phase, int] | None
DEATHS = st.none() | st.tuples(st.sampled_from(OF_EVERY_BATCH), st.integers(0, 3))
"""At which point a process is killed, and which time it comes to it."""


class Killed(BaseException):
    """SIGKILL, as far as one thread can tell."""


def countdown(at: int | None, action: Callable[[], object]) -> Callable[[], None]:
    """Does something at one call, counted from 0."""
    left = [-1 if at is None else at]

    def call() -> None:
        left[0] -= 1
        if left[0] == -1 and at is not None:
            action()

    return call


def throw(error: type[BaseException] | BaseException) -> None:
    """Raise it."""
    raise error


def die_at(run: Simulation, death: Death) -> None:
    """Have the run killed there."""
    if death is not None:
        phase, times = death
        run.story.on[phase] = countdown(times, lambda: throw(Killed))


def change_meanwhile(run: Simulation, changes: Sequence[Change], what: Any, every_s: float) -> None:
    """Have the methods of these names called while it runs."""
    for number, (change, one, two) in enumerate(changes):
        run.at(every_s * number, lambda change=change, one=one, two=two: getattr(what, change)(one, two))  # type: ignore[misc]


def check_order(rows: list[Row]) -> None:
    """Of one topic, in the order in which they were written: each partition's by offset, and none twice."""
    for partition in {partition for _, partition, _ in rows}:
        offsets = [offset for _, number, offset in rows if number == partition]
        assert offsets == sorted(set(offsets)), f"partition {partition}: out of order, or repeated"
