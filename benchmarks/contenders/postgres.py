"""Into PostgreSQL."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import psycopg
import sqlalchemy as sa
from confluent_kafka import Message

from benchmarks import tables
from benchmarks.clients import polls, stream_of
from benchmarks.measurement import Outcome, Stopwatch, Task
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.offset_stores.sql.transaction import wanted_rows
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition

BATCH = 20_000
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_FIRST = struct.Struct("!hiiiqi").pack
_LENGTH = struct.Struct("!i").pack


def copy_limit(task: Task) -> Outcome:
    """Binary COPY of rows that were encoded before the clock began, in batches of the same size, each committed."""
    tables.create(task.database)
    watch = Stopwatch(task)
    encoded = [_encoded(batch) for batch in _batches(task)]
    with psycopg.connect(tables.conninfo(task.database)) as connection, connection.cursor() as cursor:
        watch.first()
        for data in encoded:
            with cursor.copy("COPY results FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(data)
            connection.commit()
        watch.last()
    return watch.outcome(tables.found(task.database))


def insert_limit(task: Task) -> Outcome:
    """The statement of a plain handler, with rows that were made before the clock began."""
    tables.create(task.database)
    watch = Stopwatch(task)
    batches = [tables.row_mappings(batch) for batch in _batches(task)]
    engine = sa.create_engine(task.database)
    with engine.connect() as connection:
        watch.first()
        for rows in batches:
            connection.execute(sa.insert(tables.RESULTS), rows)
            connection.commit()
        watch.last()
    engine.dispose()
    return watch.outcome(tables.found(task.database))


def sink(task: Task) -> Outcome:
    """``SqlSink``."""
    return _stream(task, SqlSink(tables.RESULTS, tables.rows), max_records_per_batch=BATCH)


def sink_at_defaults(task: Task) -> Outcome:
    """``SqlSink``, and no setting at all."""
    return _stream(task, SqlSink(tables.RESULTS, tables.rows))


def handler(task: Task) -> Outcome:
    """A function that executes one statement."""

    def write(batch: Any, transaction: Any) -> None:
        transaction.connection.execute(sa.insert(tables.RESULTS), tables.row_mappings(batch))

    return _stream(task, write, max_records_per_batch=BATCH)


def single_limit(task: Task) -> Outcome:
    """One INSERT and one UPDATE in a transaction, for each of some records that were read before."""
    tables.create(task.database)
    watch = Stopwatch(task)
    (rows,) = (tables.rows(batch) for batch in _batches(task, task.records))
    with psycopg.connect(tables.conninfo(task.database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE offsets (stream text, partition integer, next_offset bigint, PRIMARY KEY (stream, partition))"
        )
        cursor.executemany("INSERT INTO offsets VALUES ('s', %s, 0)", [(n,) for n in range(task.partitions)])
        connection.commit()
        watch.first()
        for row in rows:
            cursor.execute(tables.INSERT, row)
            cursor.execute(
                "UPDATE offsets SET next_offset = %s WHERE stream = 's' AND partition = %s AND next_offset = %s",
                (row[1] + 1, row[0], row[1]),
            )
            if cursor.rowcount != 1:
                raise RuntimeError("somebody else has moved the offset")
            connection.commit()
        watch.last()
    return watch.outcome(tables.found(task.database))


def single_claimed(task: Task) -> Outcome:
    """The INSERT between the store's own claim and advance, by psycopg: what they cost without the rest of us."""
    tables.create(task.database)
    watch = Stopwatch(task)
    (messages,) = _batches(task, task.records)
    store = SqlOffsetStore(task.database)
    store.open()
    partitions = [TopicPartition(task.topic, number) for number in range(task.partitions)]
    owner = Owner("bench", "here")
    store.initialise("s", task.topic, dict.fromkeys(range(task.partitions), 0), None)
    epochs = {tp: it.owner_epoch for tp, it in store.take_over("s", owner, partitions, {}).items()}
    access = store._access
    claim, advance = (access.for_driver(it).sql for it in (access.statements.claim, access.statements.advance))
    with psycopg.connect(tables.conninfo(task.database)) as connection, connection.cursor() as cursor:
        watch.first()
        for row in tables.rows(messages):
            moved = OffsetRange(partitions[row[0]], row[1], row[1] + 1)
            rows = wanted_rows(Claim("s", owner, (moved,), epochs, {}, {}))
            values = {"stream": "s", "owner": owner.id, "now": datetime.now(UTC), **access.database.relation(rows)}
            values |= access.database.claim_parameters(owner, "token")
            for sql, parameters in ((claim, values), (tables.INSERT, row), (advance, values)):
                cursor.execute(sql, parameters)
                if cursor.rowcount != 1:
                    raise RuntimeError("somebody else has moved the offset")
            connection.commit()
        watch.last()
    store.close()
    return watch.outcome(tables.found(task.database))


def single_by_hand(task: Task) -> Outcome:
    """The same two statements through SQLAlchemy, as a loop written by hand has them."""
    tables.create(task.database)
    watch = Stopwatch(task)
    (messages,) = _batches(task, task.records)
    engine = sa.create_engine(task.database)
    with engine.begin() as connection:
        _OFFSETS.create(connection)
        connection.execute(sa.insert(_OFFSETS), [{"partition": n, "next_offset": 0} for n in range(task.partitions)])
    watch.first()
    for row in tables.row_mappings(messages):
        moved = {"number": row["partition"], "from": row["record_offset"], "until": row["record_offset"] + 1}
        with engine.begin() as connection:
            connection.execute(_INSERT, [row])
            if connection.execute(_MOVE, moved).rowcount != 1:
                raise RuntimeError("somebody else has moved the offset")
    watch.last()
    engine.dispose()
    return watch.outcome(tables.found(task.database))


def single(task: Task) -> Outcome:
    """Batches of one record each, through a plain handler."""

    def write(batch: Any, transaction: Any) -> None:
        transaction.connection.execute(_INSERT, tables.row_mappings(batch))

    return _stream(task, write, max_records_per_batch=1)


_INSERT = sa.insert(tables.RESULTS)
_OFFSETS = sa.Table(
    "offsets",
    sa.MetaData(),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_offset", sa.BigInteger),
)
_MOVE = (
    sa.update(_OFFSETS)
    .where(_OFFSETS.c.partition == sa.bindparam("number"), _OFFSETS.c.next_offset == sa.bindparam("from"))
    .values(next_offset=sa.bindparam("until"))
)


def _stream(task: Task, sink: Any, **options: Any) -> Outcome:
    tables.create(task.database)
    watch = Stopwatch(task)
    writing, watcher = stream_of(task, watch, store=task.database, sink=sink, **options)
    writing.run(until="latest")
    positions = sum(p.next_offset for p in writing.store.positions(writing.name).values())
    return watch.outcome({**tables.found(task.database), "positions": positions}, batches=watcher.batches)


def _batches(task: Task, size: int = BATCH) -> Iterator[Sequence[Message]]:
    messages = list(chain.from_iterable(polls(task, Stopwatch(task))))
    for start in range(0, len(messages), size):
        yield messages[start : start + size]


def _encoded(messages: Sequence[Message]) -> bytes:
    parts = [_HEADER]
    for m in messages:
        key, value = m.key() or b"", m.value() or b""
        parts += _FIRST(4, 4, m.partition(), 8, m.offset(), len(key)), key, _LENGTH(len(value)), value
    return b"".join([*parts, b"\xff\xff"])
