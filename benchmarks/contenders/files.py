"""Into Parquet files, one per partition and range."""

from __future__ import annotations

import os
from pathlib import Path

from pyarrow import parquet

from benchmarks.clients import polls, stream_of
from benchmarks.measurement import Outcome, Stopwatch, Task
from kafka_stream import Batch
from kafka_stream.sinks.files import FileSink
from kafka_stream.testing import batch_of
from kafka_stream.types import TopicPartition

BATCH = 50_000


def write_limit(task: Task) -> Outcome:
    """pyarrow writes the same tables, which were made before the clock began; each file is synced."""
    watch = Stopwatch(task)
    directory = _directory(task)
    whole = batch_of(message for poll in polls(task, Stopwatch(task)) for message in poll)
    parts = (whole.partition(TopicPartition(task.topic, number)).to_arrow() for number in range(task.partitions))
    at_once = BATCH // task.partitions
    tables = [part.slice(start, at_once).combine_chunks() for part in parts for start in range(0, len(part), at_once)]
    del whole
    watch.first()
    for number, table in enumerate(tables):
        with (directory / f"{number}.parquet").open("wb") as file:
            parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
    watch.last()
    return watch.outcome(_found(directory))


def sink(task: Task) -> Outcome:
    """``FileSink`` with ``Batch.to_arrow``, offsets in SQLite."""
    watch = Stopwatch(task)
    directory = _directory(task)
    writing, watcher = stream_of(
        task,
        watch,
        store=f"sqlite:///{task.directory}/offsets.db",
        sink=FileSink(directory, Batch.to_arrow, format="parquet"),
        guarantee="effectively-once",
        max_records_per_batch=BATCH,
    )
    writing.run(until="latest")
    positions = sum(p.next_offset for p in writing.store.positions(writing.name).values())
    return watch.outcome({**_found(directory), "positions": positions}, batches=watcher.batches)


def _directory(task: Task) -> Path:
    directory = Path(task.directory) / "files"
    directory.mkdir()
    return directory


def _found(directory: Path) -> dict[str, int]:
    records = offsets = value_bytes = 0
    for file in directory.glob("*.parquet"):
        table = parquet.read_table(file, columns=["offset", "value"])
        records += table.num_rows
        offsets += sum(table.column("offset").to_pylist())
        value_bytes += sum(map(len, table.column("value").to_pylist()))
    return {"records": records, "offsets": offsets, "value_bytes": value_bytes}
