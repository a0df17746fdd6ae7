"""Streams whose records are prepared elsewhere, beside the same stream in one process; all measured once warm."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from confluent_kafka import Message

from benchmarks import tables
from benchmarks.clients import Watcher, stream_of
from benchmarks.measurement import VALUE_BYTES, Outcome, Stopwatch, Task, peak_mb
from kafka_stream.protocols import BatchProgress, Slice, Work
from kafka_stream.protocols import Outcome as TaskOutcome
from kafka_stream.sinks.sql import SqlSink

_ROUNDS = 20_000
"""Of a loop in Python: about a millisecond a record, however much else the processors have to do."""


class WarmWatcher(Watcher):
    """Measures from the first commit on: workers have started, and the table is known.

    ``seconds``, ``cpu_s`` and ``records_since`` are up to the last commit, at ``last_at``; the processor's time is of
    this process alone.
    """

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__(watch)
        self._begun: tuple[float, float] | None = None
        self.seconds = self.cpu_s = self.last_at = 0.0
        self.records_since = 0

    def on_batch(self, progress: BatchProgress) -> None:
        """A batch is durable."""
        super().on_batch(progress)
        now = time.monotonic(), time.process_time()
        self.last_at = now[0]
        if self._begun is None:
            self._begun = now
            return
        self.seconds, self.cpu_s = now[0] - self._begun[0], now[1] - self._begun[1]
        self.records_since += progress.records


def heavy(task: Task) -> Outcome:
    """A ``prepare`` that needs a processor for about a millisecond a record."""
    return _into_postgres(task, prepare=made_slowly, sink=SqlSink(tables.RESULTS, as_they_are))


def trivial(task: Task) -> Outcome:
    """No ``prepare``; ``SqlSink`` makes rows and encodes them."""
    return _into_postgres(task, sink=SqlSink(tables.RESULTS, tables.rows))


def sleeping(task: Task) -> Outcome:
    """So many workers that sleep for their records' share of a processor that nobody has; offsets in SQLite."""
    executor = Sleepers(**task.options)
    counted: list[int] = []
    stream, watcher = _warm(
        replace(task, options={}),
        store=f"sqlite:///{task.directory}/offsets.db",
        prepare=count,
        sink=lambda number, transaction: counted.append(number),
        executor=executor,
        max_records_per_batch=5_000,
    )
    stream.run(until="latest")
    positions = sum(p.next_offset for p in stream.store.positions(stream.name).values())
    seconds = watcher.last_at - executor.begun_at  # they are warm from the first task on
    busy = executor.slept_s / (executor.workers * seconds)
    figures = {"cpu_s": watcher.cpu_s, "peak_mb": peak_mb(), "batches": watcher.batches, "busy": busy}
    found = {"records": sum(counted), "positions": positions}
    return Outcome(task.records, seconds, executor.begun_at - task.started_at, found, figures)


def made_slowly(batch: Any) -> Sequence[Any]:
    """A row of each record, with the work of a small model."""
    return tables.rows(map(_looked_at, batch))


def _looked_at(message: Message) -> Message:
    state = 1
    for _ in range(_ROUNDS):
        state = (state * 33 + 7) & 0xFFFF
    return message


def as_they_are(rows: Sequence[Any]) -> Sequence[Any]:
    """What ``prepare`` has made."""
    return rows


def count(batch: Any) -> int:
    """How many records there are."""
    return len(batch)


class Sleepers:
    """An ``Executor`` of threads that read nothing: a task sleeps for ``record_s`` a record, and has counted them."""

    takes_whole_batches = False
    task_timeout_s = 600.0
    max_result_bytes = 2**28

    def __init__(self, workers: int, record_s: float) -> None:
        self.workers = workers
        self.record_s = record_s
        self.slept_s = 0.0
        self.begun_at = 0.0
        self._lock = threading.Lock()

    def describe(self) -> str:
        """For people."""
        return f"{self.workers} sleepers"

    def start(self, work: Work) -> _Sleeping:
        """See ``Executor``."""
        return _Sleeping(self)

    def sleep(self, slices: Sequence[Slice]) -> TaskOutcome:
        """Do a task."""
        records = [len(each.range) for each in slices]
        took_s = sum(records) * self.record_s
        with self._lock:
            self.begun_at = self.begun_at or time.monotonic()
            self.slept_s += took_s
        time.sleep(took_s)
        return TaskOutcome(
            records=records,
            value_bytes=[VALUE_BYTES * each for each in records],
            leader_epochs=[None for _ in records],
            values=pickle.dumps([[each] for each in records]),
            worker=threading.current_thread().name,
            read_s=0.0,
            prepare_s=took_s,
        )


class _Sleeping:
    def __init__(self, executor: Sleepers) -> None:
        self._executor = executor
        self._pool = ThreadPoolExecutor(executor.workers)

    @property
    def slots(self) -> int:
        return self._executor.workers

    def submit(self, slices: Sequence[Slice]) -> Future[TaskOutcome]:
        return self._pool.submit(self._executor.sleep, slices)

    def abandon(self, task: Future[TaskOutcome], *, hangs: bool = False) -> None:
        task.cancel()

    def change(self, work: Work) -> None:
        pass

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _into_postgres(task: Task, **options: Any) -> Outcome:
    tables.create(task.database)
    stream, watcher = _warm(task, store=task.database, **options)
    stream.run(until="latest")
    positions = sum(p.next_offset for p in stream.store.positions(stream.name).values())
    return _outcome(task, watcher, {**tables.found(task.database), "positions": positions})


def _warm(task: Task, **options: Any) -> tuple[Any, WarmWatcher]:
    watcher = WarmWatcher(Stopwatch(task))
    stream, _ = stream_of(task, Stopwatch(task), listeners=[watcher], **options)
    return stream, watcher


def _outcome(task: Task, watcher: WarmWatcher, found: dict[str, int], **figures: float) -> Outcome:
    """Of what was committed after the first batch."""
    assert watcher.records_since, "one batch held all records: measure more of them"
    per_record = {"us": watcher.seconds, "cpu_us": watcher.cpu_s}
    figures |= {name: 1e6 * value / watcher.records_since for name, value in per_record.items()}
    figures |= {"cpu_s": watcher.cpu_s, "peak_mb": peak_mb(), "batches": watcher.batches}
    start_up_s = time.monotonic() - task.started_at - watcher.seconds
    return Outcome(watcher.records_since, watcher.seconds, start_up_s, found, figures)
