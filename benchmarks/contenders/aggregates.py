"""Into PostgreSQL: entries, totals, windows, and entries without duplicates, at a stream's default settings.

Each of them reads the records in the same way (``results.entry``), and each partition's positions are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import Message

from benchmarks import results
from benchmarks.clients import stream_of
from benchmarks.measurement import Outcome, Stopwatch, Task
from benchmarks.records import LATENESS_MS, WINDOW_MS
from kafka_stream import Batch
from kafka_stream.sinks.sql import (
    Add,
    Count,
    Deduplicate,
    Greatest,
    Merge,
    SqlSink,
    StateSink,
    Sum,
    Tumbling,
    WindowSink,
)


def entries(task: Task) -> Outcome:
    """Plain inserts of an entry for each record."""
    to_rows = partial(results.entries, read=results.reading(task))
    return _measured(task, SqlSink(results.ENTRIES, to_rows), results.found_entries)


def merged(task: Task) -> Outcome:
    """Running totals by ``Merge``."""
    merge = Merge(count=Add, amount=Add, largest=Greatest, last_seen=Greatest)
    to_rows = partial(results.changes, read=results.reading(task))
    return _measured(task, SqlSink(results.TOTALS, to_rows, on_conflict=merge), results.found_totals)


def updated(task: Task) -> Outcome:
    """The same totals by a ``StateSink``."""
    sink = StateSink(results.TOTALS, lambda entry: entry[0], _updated)
    return _measured(task, sink, results.found_totals, prepare=_with_entries)


def windows(task: Task) -> Outcome:
    """Tumbling windows by the records' timestamps."""
    sink = WindowSink(
        results.WINDOWS,
        Tumbling(f"{WINDOW_MS // 1000} seconds"),
        key=results.customer,
        aggregates={"count": Count(), "amount": Sum(results.amount)},
        allowed_lateness=f"{LATENESS_MS // 1000} seconds",
    )
    return _measured(task, sink, results.found_windows)


def deduplicated(task: Task) -> Outcome:
    """Entries, of each key the first: all of them are within the time."""
    sinks = [Deduplicate(results.customer, "1 day"), SqlSink(results.ENTRIES, results.entries)]
    return _measured(task, sinks, results.found_keys)


def _with_entries(batch: Batch) -> Sequence[tuple[Message, results.Entry]]:
    return [(message, results.entry(message)) for message in batch]


def _updated(key: str, entries: Iterable[results.Entry], row: Mapping[str, Any] | None) -> Mapping[str, Any]:
    amounts = [amount for _, amount, _ in entries]
    last_seen = max(at for _, _, at in entries)
    if row is None:
        return {"count": len(amounts), "amount": sum(amounts), "largest": max(amounts), "last_seen": last_seen}
    return {
        "count": row["count"] + len(amounts),
        "amount": row["amount"] + sum(amounts),
        "largest": max(row["largest"], *amounts),
        "last_seen": max(row["last_seen"], last_seen),
    }


def _measured(task: Task, sink: Any, found: Callable[[str], Mapping[str, int]], **options: Any) -> Outcome:
    results.create(task.database)
    watch = Stopwatch(task)
    stream, watcher = stream_of(replace(task, options={}), watch, store=task.database, sink=sink, **options)
    stream.run(until="latest")
    positions = sum(p.next_offset for p in stream.store.positions(stream.name).values())
    return watch.outcome({**found(task.database), "positions": positions}, batches=watcher.batches)
