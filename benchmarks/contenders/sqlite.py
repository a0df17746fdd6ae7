"""Into SQLite, which also keeps the offsets."""

from __future__ import annotations

import sqlite3
from itertools import chain

from benchmarks import tables
from benchmarks.clients import polls, stream_of
from benchmarks.measurement import Outcome, Stopwatch, Task
from kafka_stream.sinks.sql import SqlSink

BATCH = 20_000


def _url(task: Task) -> str:
    return f"sqlite:///{task.directory}/results.db"


def insert_limit(task: Task) -> Outcome:
    """``executemany`` of prepared rows with the driver alone, in batches of the same size, each committed."""
    tables.create(_url(task))
    watch = Stopwatch(task)
    rows = tables.rows(chain.from_iterable(polls(task, Stopwatch(task))))
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    connection = sqlite3.connect(f"{task.directory}/results.db")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    watch.first()
    for batch in batches:
        connection.executemany("INSERT INTO results VALUES (?, ?, ?, ?)", batch)
        connection.commit()
    watch.last()
    connection.close()
    return watch.outcome(tables.found(_url(task)))


def sink(task: Task) -> Outcome:
    """``SqlSink``."""
    tables.create(_url(task))
    watch = Stopwatch(task)
    to_table = SqlSink(tables.RESULTS, tables.rows)
    writing, watcher = stream_of(task, watch, store=_url(task), sink=to_table, max_records_per_batch=BATCH)
    writing.run(until="latest")
    positions = sum(p.next_offset for p in writing.store.positions(writing.name).values())
    return watch.outcome({**tables.found(_url(task)), "positions": positions}, batches=watcher.batches)
