"""The driver alone: ``python -m benchmarks.driver_scale``: how much of a processor it takes for so many workers.

There is no Kafka and there are no workers: partitions grow faster than they are read, tasks come back at once, with
results of so many bytes a record, which are dropped. Planner, slices, ``RangeSource``, ``Dispatch`` and the loop are
the real ones; positions are kept in memory. What a client takes to receive results, and a database to store them, is
not in it. ``--postgres URL`` measures what claiming and advancing takes there, instead.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kafka_stream import DirectStream
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress, OffsetAt, Outcome, Slice, Source, Work
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.testing.memory.group import MemoryGroup
from kafka_stream.testing.memory.source import MemorySource
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition

_TOPIC = "events"
_RECORD_BYTES = 1_000
_GROWTH = 100_000_000
"""Records a second, of each partition."""
_RECORDS_PER_SLICE = 10_000


@dataclass
class Seen(StreamListener):
    """What batches came to, from the time at which they have their full size."""

    executor: AtOnce
    full: int
    begun: tuple[float, float, int, int] | None = None
    ended: tuple[float, float, int, int] = (0.0, 0.0, 0, 0)
    batches: int = 0
    ranges: int = 0

    def on_batch(self, progress: BatchProgress) -> None:
        """A batch was committed."""
        now = time.monotonic(), time.process_time(), self.executor.slices, self.executor.result_bytes
        if self.begun is not None:
            self.ended = now
            self.batches += 1
            self.ranges += len(progress.ranges)
        elif progress.records >= self.full:
            self.begun = now


class GrowingKafka(MemoryKafka):
    """Partitions whose ends grow, and which nobody reads."""

    def source(self, group_id: str, topics: Sequence[str], limits: SourceLimits) -> Source:
        """See ``MemoryKafka``."""
        return _Growing(self, self._lock, MemoryGroup(self), topics, limits)


class _Growing(MemorySource):
    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime) -> Mapping[TopicPartition, int]:
        end = 0 if at is OffsetAt.EARLIEST else int(time.monotonic() * _GROWTH)
        return dict.fromkeys(partitions, end)


class AtOnce:
    """An ``Executor`` and its workers: results of so many bytes a record are there as soon as they are asked for."""

    takes_whole_batches = False
    task_timeout_s = 600.0
    max_result_bytes = 2**40

    def __init__(self, slots: int, record_bytes: int) -> None:
        self.slots = slots
        self._record_bytes = record_bytes
        self._values: dict[int, bytes] = {}
        self.slices = self.result_bytes = 0

    def describe(self) -> str:
        """For people."""
        return "nobody"

    def start(self, work: Work) -> AtOnce:
        """See ``Executor``."""
        return self

    def submit(self, slices: Sequence[Slice]) -> Future[Outcome]:
        """Done."""
        records = [len(each.range) for each in slices]
        values = self._results(sum(records) * self._record_bytes)
        self.slices += len(slices)
        self.result_bytes += len(values)
        done: Future[Outcome] = Future()
        sizes, epochs = [_RECORD_BYTES * each for each in records], [None for _ in records]
        done.set_result(Outcome(records, sizes, epochs, values, "nobody", 0.0, 0.0))
        return done

    def abandon(self, task: Future[Outcome], *, hangs: bool = False) -> None:
        """It is done."""

    def change(self, work: Work) -> None:
        """It stays the same."""

    def close(self) -> None:
        """Nobody ends."""

    def _results(self, size: int) -> bytes:
        if size not in self._values:
            self._values.clear()
            self._values[size] = pickle.dumps([[bytes(size)]])
        return self._values[size]


def measure(partitions: int, workers: int, record_bytes: int, seconds: float) -> str:
    """A line of figures."""
    executor = AtOnce(workers, record_bytes)
    size = max(200 * partitions, _RECORDS_PER_SLICE * workers)
    seen = Seen(executor, size)
    stream = DirectStream(
        name="scale",
        topics=[_TOPIC],
        kafka=GrowingKafka({_TOPIC: partitions}),
        store=MemoryOffsetStore(),
        prepare=given,
        sink=drop,
        executor=executor,
        start="earliest",
        assignment="static",
        max_records_per_batch=size,
        max_bytes_per_batch=2**50,
        target_batch_duration_s=60.0,
        listeners=[seen],
    )
    stream.start()
    while seen.begun is None:
        time.sleep(0.05)
        stream.wait(0)
    time.sleep(seconds)
    stream.stop()
    took_s, cpu_s, slices, result_bytes = (b - a for a, b in zip(seen.begun, seen.ended, strict=True))
    megabytes = result_bytes / 1e6
    return (
        f"{partitions:>10,} {workers:>7,} {record_bytes:>7,} {seen.batches / took_s:>10,.1f} {slices / took_s:>10,.0f}"
        f" {seen.ranges / took_s:>12,.0f} {megabytes / took_s:>9,.0f} {1e6 * cpu_s / slices:>12.1f}"
        f" {1e6 * cpu_s / seen.ranges:>15.1f} {1e3 * cpu_s / megabytes if megabytes >= 1 else 0:>10.3f}"
    )


HEAD = (
    "partitions workers B/record  batches/s   slices/s partitions/s      MB/s CPU us/slice CPU us/partition  CPU ms/MB"
)


def claims(url: str, partitions: int, times: int = 15) -> str:
    """How long it takes to claim so many partitions, to advance them, and to commit that."""
    store = SqlOffsetStore(url)
    store.open()
    name, owner = f"scale-{os.getpid()}-{partitions}", Owner("bench", "here")
    owned = [TopicPartition(_TOPIC, number) for number in range(partitions)]
    store.initialise(name, _TOPIC, dict.fromkeys(range(partitions), 0), None)
    epochs = {tp: it.owner_epoch for tp, it in store.take_over(name, owner, owned, {}).items()}
    took: list[tuple[float, float]] = []
    for number in range(times):
        ranges = tuple(OffsetRange(tp, number, number + 1) for tp in owned)
        begun, cpu = time.monotonic(), time.process_time()
        with store.begin(Claim(name, owner, ranges, epochs, {}, {})) as transaction:
            transaction.advance()
            transaction.commit()
        took.append((time.monotonic() - begun, time.process_time() - cpu))
    store.close()
    wall, cpu = (1e3 * statistics.median(each) for each in zip(*took, strict=True))
    return f"{partitions:>10,} partitions: {wall:>8.1f} ms to claim, advance and commit, {cpu:.1f} ms CPU of the driver"


def given(batch: Any) -> Any:
    """Never called: there are no workers."""
    return batch


def drop(value: Any, transaction: Any) -> None:
    """A sink that keeps nothing."""


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.driver_scale", description=__doc__)
    parser.add_argument("--partitions", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64, 500])
    parser.add_argument("--bytes", type=int, nargs="+", default=[0, 10], help="of results, a record")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each of them")
    parser.add_argument("--postgres", metavar="URL", help="measure claims there, instead")
    arguments = parser.parse_args()
    if arguments.postgres:
        for partitions in arguments.partitions:
            print(claims(arguments.postgres, partitions), flush=True)
        return 0
    print(HEAD)
    for partitions in arguments.partitions:
        for workers in arguments.workers:
            for record_bytes in arguments.bytes:
                print(measure(partitions, workers, record_bytes, arguments.seconds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
