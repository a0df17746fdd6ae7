"""Tasks as a stream would submit them, and what came back."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from integration_tests.servers import KafkaServer
from kafka_stream.executors.spark import SparkExecutor
from kafka_stream.executors.spark.workers import SparkWorkers
from kafka_stream.protocols.executors import Outcome, Slice, Work
from kafka_stream.types import OffsetRange, TopicPartition

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LONGEST_S = 180.0
Ends = Mapping[int, tuple[int, int]]
"""From where, and up to where, of each partition."""


class Collecting:
    """A sink of which only ``prepare`` is called, and which takes what it is given."""

    def prepare(self, prepared: Any) -> Any:
        return prepared


class Tasks:
    """Starts workers for what a test wants done, and ends them."""

    def __init__(self, spark: SparkSession, kafka: Mapping[str, Any]) -> None:
        self._spark = spark
        self._kafka = kafka
        self._started: list[SparkWorkers] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for workers in self._started:
            workers.close()

    def workers(
        self,
        prepare: Callable[[Any], Any] | None = None,
        sinks: Sequence[Any] = (Collecting(),),
        by_range: Sequence[bool] = (False,),
        options: Mapping[str, Any] | None = None,
    ) -> SparkWorkers:
        """Workers that do this."""
        work = Work("orders", self._kafka, prepare, sinks, by_range, 2**20)
        started = SparkExecutor(self._spark, options=options).start(work)
        self._started.append(started)
        return started

    def outcome(self, slices: Sequence[Slice], prepare: Callable[[Any], Any] | None = None, **more: Any) -> Outcome:
        """What one task came to."""
        return self.workers(prepare, **more).submit(slices).result(LONGEST_S)

    def failure(self, slices: Sequence[Slice], prepare: Callable[[Any], Any] | None = None) -> BaseException:
        """How one task failed."""
        return failure_of(self.workers(prepare).submit(slices))


def topic_of(kafka: KafkaServer, records: int) -> str:
    """A topic with so many records in each of two partitions."""
    found = kafka.create_topic(partitions=2)
    for partition in range(2):
        kafka.produce(found, [f"v{n}" for n in range(records)], partition)
    return found


def failure_of(task: Future[Outcome]) -> BaseException:
    """How it failed."""
    error = task.exception(LONGEST_S)
    assert error is not None
    return error


def slices_of(topic: str, ends: Ends) -> list[Slice]:
    """A slice of each partition."""
    return [Slice(OffsetRange(TopicPartition(topic, number), *both)) for number, both in sorted(ends.items())]


def pieces_of(outcome: Outcome) -> list[list[Any]]:
    """For each piece, what each sink takes."""
    found: list[list[Any]] = pickle.loads(outcome.values)
    return found


def only(outcome: Outcome) -> Any:
    """What the one sink takes of the one piece."""
    [[value]] = pieces_of(outcome)
    return value
