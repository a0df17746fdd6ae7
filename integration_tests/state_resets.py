"""A reset with state as a process of its own, which kills itself at a named point: for tests of it.

python -m integration_tests.state_resets STORE POINT
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from kafka_stream.admin.reset import Reset
from kafka_stream.admin.reset_plan import Log, ToEarliest
from kafka_stream.admin.state.resetting import execute_state_reset
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.types import StoredPosition, TopicPartition
from tests.keeping_state import COUNTS, Counting

STREAM: Final = "s"
RECORDS: Final = 10
PARTITIONS: Final = 2
POINTS: Final = ("locked", "moved", "half_cleared", "cleared", "committed")
"""The points of such a transaction: its rows are locked; offsets have moved; state is cleared, in part or whole."""


def reset() -> Reset:
    """All of it, to the beginning."""
    logs = {TopicPartition("orders", number): Log(0, RECORDS, RECORDS) for number in range(PARTITIONS)}
    return Reset(STREAM, ToEarliest(), logs)


class Dying(Counting):
    """Tells of the points before and behind its clearing."""

    def __init__(self, tell: Callable[[str], None], before: str, behind: str, **options: Any) -> None:
        super().__init__(**options)
        self._tell, self._before, self._behind = tell, before, behind

    def clear(self, transaction: StatefulTransaction, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
        self._tell(self._before)
        cleared = super().clear(transaction, partitions)
        self._tell(self._behind)
        return cleared


class DyingReset(Reset):
    """Tells when what is stored is locked, and read."""

    tell: Callable[[str], None] = print

    def plan(self, stored: Mapping[TopicPartition, StoredPosition], range_sinks: Sequence[Any] = ()) -> Any:
        self.tell("locked")
        return super().plan(stored, range_sinks)


def main(url: str, point: str) -> None:
    """Do it, up to the point."""

    def tell(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    DyingReset.tell = staticmethod(tell)
    whole = reset()
    sinks = [Dying(tell, "moved", "half_cleared"), Dying(tell, "half_cleared", "cleared", table=COUNTS)]
    with closing(SqlOffsetStore(url)) as store:
        execute_state_reset(store, DyingReset(whole.stream, whole.target, whole.logs), sinks=sinks)
        tell("committed")


if __name__ == "__main__":
    main(*sys.argv[1:])
