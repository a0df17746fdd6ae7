"""Reading only."""

from __future__ import annotations

from typing import Any

from benchmarks.clients import polls, stream_of
from benchmarks.measurement import Outcome, Stopwatch, Task


def bare_loop(task: Task) -> Outcome:
    """``consume(10_000)``, and each record's key, value and offset."""
    watch = Stopwatch(task)
    found = 0
    for messages in polls(task, watch):
        for message in messages:
            message.key()
            message.value()
            message.offset()
        found += len(messages)
    watch.last()
    return watch.outcome({"records": found})


def stream(task: Task) -> Outcome:
    """A sink that does nothing; offsets in SQLite."""
    watch = Stopwatch(task)
    reading, watcher = stream_of(task, watch, store=f"sqlite:///{task.directory}/offsets.db", sink=_nothing)
    reading.run(until="latest")
    return watch.outcome(
        {"records": watcher.records, "positions": sum(p.next_offset for p in _stored(reading))},
        batches=watcher.batches,
    )


def _nothing(batch: Any, transaction: Any) -> None:
    pass


def _stored(reading: Any) -> list[Any]:
    return list(reading.store.positions(reading.name).values())
