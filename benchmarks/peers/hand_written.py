"""The loop that people write: records in, rows and offsets out in one transaction; no owner, no retry, no thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from confluent_kafka import Message

from benchmarks import results, tables
from benchmarks.clients import tuned_consumer
from benchmarks.measurement import Outcome, Stopwatch, Task

BATCH = 20_000
_COLUMNS = ("int4", "int8", "bytea", "bytea")
_UPSERT = f"INSERT INTO totals VALUES (%s, %s, %s, %s, %s) ON CONFLICT (customer) DO UPDATE SET {results.MERGED}"
_Write = Callable[[psycopg.Cursor[Any], Sequence[Message]], None]
_Found = Callable[[str], Mapping[str, int]]


def copying(task: Task) -> Outcome:
    """The tuned form: binary COPY, a ``write_row`` for each record."""
    tables.create(task.database)
    return _loop(task, _copy, tables.found)


def inserting(task: Task) -> Outcome:
    """The plain form: ``executemany`` of an INSERT."""
    tables.create(task.database)
    return _loop(task, _insert, tables.found)


def upserting(task: Task) -> Outcome:
    """Running totals: ``executemany`` of an upsert for each record."""
    results.create(task.database)
    read = results.reading(task)

    def upsert(cursor: psycopg.Cursor[Any], messages: Sequence[Message]) -> None:
        cursor.executemany(_UPSERT, results.changes(messages, read))

    return _loop(task, upsert, results.found_totals)


def _copy(cursor: psycopg.Cursor[Any], messages: Sequence[Message]) -> None:
    with cursor.copy("COPY results FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(_COLUMNS)
        for row in tables.rows(messages):
            copy.write_row(row)


def _insert(cursor: psycopg.Cursor[Any], messages: Sequence[Message]) -> None:
    cursor.executemany(tables.INSERT, tables.rows(messages))


def _loop(task: Task, write: _Write, found: _Found) -> Outcome:
    watch = Stopwatch(task)
    consumer = tuned_consumer(task)
    seen = 0
    with psycopg.connect(tables.conninfo(task.database)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE offsets (partition integer PRIMARY KEY, next_offset bigint NOT NULL)")
        cursor.executemany("INSERT INTO offsets VALUES (%s, 0)", [(number,) for number in range(task.partitions)])
        connection.commit()
        while seen < task.records:
            messages = consumer.consume(BATCH, 1.0)
            if not messages:
                continue
            watch.first()
            write(cursor, messages)
            ends = {m.partition(): (m.offset() or 0) + 1 for m in messages}
            cursor.executemany(
                "UPDATE offsets SET next_offset = %s WHERE partition = %s",
                [(offset, number) for number, offset in ends.items()],
            )
            connection.commit()
            watch.last()
            seen += len(messages)
        cursor.execute("SELECT sum(next_offset) FROM offsets")
        ((positions,),) = cursor.fetchall()
    consumer.close()
    return watch.outcome({**found(task.database), "positions": int(positions)})
