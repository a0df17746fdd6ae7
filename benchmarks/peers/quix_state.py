"""Quix Streams where it keeps state: in RocksDB with changelog topics, and into PostgreSQL by its sink's upsert.

At-least-once: a crash between PostgreSQL's commit and that of the offsets repeats records, which its state, whose
changelog may have them already, then has twice. Measured as the others of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from quixstreams import State
from quixstreams.dataframe.windows import Count, Max, Sum

from benchmarks import results
from benchmarks.measurement import Outcome, Stopwatch, Task
from benchmarks.peers.quix import BATCH, application, input_of, sink_into
from benchmarks.records import AMOUNTS, LATENESS_MS, WINDOW_MS

_FOR_EVER_MS = 1_000_000 * WINDOW_MS


def totals(task: Task) -> Outcome:
    """Running totals as state of its own; of each checkpoint's the last ones of each key are upserted."""
    return _upserted(task, results.TOTALS, results.found_totals, lambda frame: frame.apply(_added, stateful=True))


def totals_in_a_window(task: Task) -> Outcome:
    """The same by a tumbling window that is longer than all the records' time, each change of which is a result."""

    def of(frame: Any) -> Any:
        sums = {"count": Count(), "amount": Sum("amount"), "largest": Max("amount"), "last_seen": Max("at")}
        return frame.tumbling_window(_FOR_EVER_MS).agg(**sums).current().apply(_totals_of_window, metadata=True)

    return _upserted(task, results.TOTALS, results.found_totals, of)


def windows(task: Task) -> Outcome:
    """Tumbling windows, written when they close: by the time of any record of their partition."""

    def of(frame: Any) -> Any:
        found = frame.tumbling_window(WINDOW_MS, grace_ms=LATENESS_MS).agg(count=Count(), amount=Sum("amount"))
        return found.final(closing_strategy="partition").apply(_window, metadata=True)

    return _upserted(task, results.WINDOWS, results.found_windows, of)


def _upserted(
    task: Task, table: sa.Table, found: Callable[[str], Mapping[str, int]], of: Callable[[Any], Any]
) -> Outcome:
    results.create(task.database)
    watch = Stopwatch(task)
    key = [column.name for column in table.primary_key]
    sink = sink_into(task, table.name, primary_key_columns=key, upsert_on_primary_key=True)
    app = application(task, "at-least-once", BATCH * task.partitions, auto_create_topics=True)  # for changelogs
    left = iter(range(task.records - 1, -1, -1))

    def entry(value: bytes, key: bytes, timestamp: int, headers: Any) -> dict[str, Any]:
        if next(left) == 0:
            app.stop()  # after this one: run(count=…) counts what comes out
        return {"customer": key.decode(), "amount": timestamp % AMOUNTS, "at": timestamp}

    of(app.dataframe(input_of(app, task, watch)).apply(entry, metadata=True)).sink(sink)
    app.run()
    watch.last()
    return watch.outcome(found(task.database))


def _added(value: dict[str, Any], state: State) -> dict[str, Any]:
    amount, at = value["amount"], value["at"]
    count, total, largest, last_seen = state.get("totals") or (0, 0, 0, 0)
    known = (count + 1, total + amount, max(largest, amount), max(last_seen, at))
    state.set("totals", known)
    return _totals(value["customer"], *known)


def _totals_of_window(value: dict[str, Any], key: bytes, timestamp: int, headers: Any) -> dict[str, Any]:
    return _totals(key.decode(), value["count"], value["amount"], value["largest"], value["last_seen"])


def _totals(customer: str, count: int, amount: int, largest: int, last_seen_ms: int) -> dict[str, Any]:
    return {
        "customer": customer,
        "count": count,
        "amount": amount,
        "largest": largest,
        "last_seen": _time(last_seen_ms),
    }


def _window(value: dict[str, Any], key: bytes, timestamp: int, headers: Any) -> dict[str, Any]:
    return {
        "customer": key.decode(),
        "window_start": _time(value["start"]),
        "window_end": _time(value["end"]),
        "count": value["count"],
        "amount": value["amount"],
    }


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
