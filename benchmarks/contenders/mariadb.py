"""Into MariaDB, which also keeps the offsets."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pymysql
from sqlalchemy.engine import make_url

from benchmarks import tables
from benchmarks.clients import polls, stream_of
from benchmarks.measurement import Outcome, Stopwatch, Task
from kafka_stream.sinks.sql import SqlSink

BATCH = 20_000


def insert_limit(task: Task) -> Outcome:
    """``executemany`` of prepared rows with the driver alone, which sends many in a statement; each batch committed."""
    tables.create(task.database)
    watch = Stopwatch(task)
    rows = tables.rows(chain.from_iterable(polls(task, Stopwatch(task))))
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    connection = _connect(task)
    with connection.cursor() as cursor:
        watch.first()
        for batch in batches:
            cursor.executemany(
                "INSERT INTO results (`partition`, record_offset, `key`, value) VALUES (%s, %s, %s, %s)", batch
            )
            connection.commit()
        watch.last()
    connection.close()
    return watch.outcome(tables.found(task.database))


def sink(task: Task) -> Outcome:
    """``SqlSink``."""
    tables.create(task.database)
    watch = Stopwatch(task)
    to_table = SqlSink(tables.RESULTS, tables.rows)
    writing, watcher = stream_of(task, watch, store=task.database, sink=to_table, max_records_per_batch=BATCH)
    writing.run(until="latest")
    positions = sum(p.next_offset for p in writing.store.positions(writing.name).values())
    return watch.outcome({**tables.found(task.database), "positions": positions}, batches=watcher.batches)


def _connect(task: Task) -> pymysql.Connection[Any]:
    url = make_url(task.database)
    return pymysql.connect(
        host=str(url.host),
        port=int(url.port or 3306),
        user=str(url.username),
        password=str(url.password),
        database=str(url.database),
        charset="utf8mb4",
        ssl_disabled=True,
    )
