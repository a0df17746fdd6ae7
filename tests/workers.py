"""Workers that are threads and read a Kafka in memory; what goes to them and comes back is pickled, as elsewhere."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from kafka_stream.executors.pieces import Piece, PieceCutter
from kafka_stream.executors.worker import outcome_of
from kafka_stream.protocols import Outcome, Slice, Work
from kafka_stream.testing import MemoryKafka

PIECE_BYTES = 1_000
"""A few records."""

Fault = Callable[[Sequence[Slice]], None]
"""Called by a worker before it begins; raises what goes wrong there, or waits."""


def _nothing(_: Sequence[Slice]) -> None:
    """Goes wrong."""


class ThreadExecutor:
    """An ``Executor`` without processes; ``tasks`` remembers what was submitted, ``hangs`` that a task was ended."""

    takes_whole_batches = False

    def __init__(
        self,
        kafka: MemoryKafka,
        slots: int = 2,
        fault: Fault = _nothing,
        *,
        task_timeout_s: float = 60.0,
        max_result_bytes: int = 2**30,
    ) -> None:
        self.kafka = kafka
        self.slots = slots
        self.fault = fault
        self.task_timeout_s = task_timeout_s
        self.max_result_bytes = max_result_bytes
        self.tasks: list[Sequence[Slice]] = []
        self.abandoned = self.closed = 0
        self.hangs = threading.Event()
        self.works: list[Work] = []

    def describe(self) -> str:
        """For people."""
        return "threads"

    def start(self, work: Work) -> _Threads:
        """See ``Executor``."""
        return _Threads(self, work)


class _Threads:
    def __init__(self, executor: ThreadExecutor, work: Work) -> None:
        self._executor = executor
        self._pool = ThreadPoolExecutor(executor.slots)
        self._lock = threading.Lock()
        self.change(work)

    @property
    def slots(self) -> int:
        return self._executor.slots

    def change(self, work: Work) -> None:
        self._executor.works.append(work)
        self._packed = pickle.dumps(work)

    def submit(self, slices: Sequence[Slice]) -> Future[Outcome]:
        self._executor.tasks.append(slices)
        return self._pool.submit(self._run, self._packed, slices)

    def _run(self, packed: bytes, slices: Sequence[Slice]) -> Outcome:
        self._executor.fault(slices)
        work: Work = pickle.loads(packed)
        reader: Any = _Reader(self._executor.kafka)
        return outcome_of(replace(work, piece_bytes=PIECE_BYTES), slices, reader)

    def abandon(self, task: Future[Outcome], *, hangs: bool = False) -> None:
        self._executor.abandoned += 1
        if not task.cancel() and hangs:
            self._executor.hangs.set()

    def close(self) -> None:
        self._executor.closed += 1
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Reader:
    """What ``SliceReader`` is to a Kafka."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka

    def read(self, part: Slice, piece_bytes: int | None) -> Iterator[Piece]:
        cutter = PieceCutter(part.range, piece_bytes)
        yield from cutter.add(self._kafka.read_slice(part))
        yield from cutter.finish()
