"""``SparkWorkers``: each batch of a run is a job of the Spark session's, on a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from kafka_stream.errors import ConfigurationError, FailedElsewhere, KafkaStreamError, WorkerLost
from kafka_stream.executors.spark.failures import gone, is_alive, is_from_spark, is_users, meaning
from kafka_stream.executors.spark.java_settings import java_settings
from kafka_stream.executors.spark.job import SparkJob
from kafka_stream.executors.spark.ranges import whole
from kafka_stream.protocols.executors import Outcome, Slice, Work
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import OffsetRange

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ENDED = "the Spark session has ended, or its driver does not answer: make a new one, and a new SparkExecutor with it"
_SLOTS = 2  # while one batch ends on few of Spark's cores, or is brought back, the next one has the others
_CANCEL_AGAIN_AFTER_S = 0.5
_CANCEL_FOR_S = 60.0
_CLOSE_WITHIN_S = 10.0


class SparkWorkers:
    """The jobs of a run; each has a job group, by which Spark ends it. See the port for what each method promises."""

    def __init__(self, spark: SparkSession, work: Work, given: Mapping[str, str]) -> None:
        self._spark = spark
        self._given = given
        self._work = work
        self._options = java_settings(work.kafka, given)
        self._threads: dict[Future[Outcome], threading.Thread] = {}
        self._one_sink = threading.Lock()

    @property
    def options(self) -> Mapping[str, str]:
        """How Spark's source reaches Kafka; holds secrets."""
        return self._options

    @property
    def slots(self) -> int:
        """How many batches are on their way at once; Spark spreads each one over its cores."""
        return _SLOTS

    def change(self, work: Work) -> None:
        """Tasks that are submitted from now on do this."""
        self._options = java_settings(work.kafka, self._given)
        self._work = work

    def submit(self, slices: Sequence[Slice]) -> Future[Outcome]:
        """Have all slices of a batch read and prepared; leader epochs are not checked, and not told."""
        from pyspark import InheritableThread

        task: Future[Outcome] = Future()
        job = SparkJob(self._spark, self._work, self._options, self._one_sink)
        group = f"kafka-stream {self._work.stream} {uuid.uuid4().hex}"
        thread = InheritableThread(target=self._run, args=(task, job, group, tuple(slices)), name=group, daemon=True)
        self._threads[task] = thread
        task.add_done_callback(self._forget)
        try:
            thread.start()
        except Exception as error:  # noqa: BLE001 - what pyspark raises where its context has ended: several things
            task.set_exception(_chained(ConfigurationError(ENDED), error))
        return task

    def abandon(self, task: Future[Outcome], *, hangs: bool = False) -> None:
        """End its job, whether it hangs or not: that takes nothing else with it."""
        thread = self._threads.get(task)
        if not task.cancel() and thread is not None:
            threading.Thread(target=self._cancel, args=(thread,), daemon=True).start()

    def close(self) -> None:
        """End what runs; the session stays as it is. Never raises."""
        threads = [*self._threads.values()]
        for task in [*self._threads]:
            self.abandon(task)
        deadline = time.monotonic() + _CLOSE_WITHIN_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _forget(self, task: Future[Outcome]) -> None:
        self._threads.pop(task, None)

    def _cancel(self, thread: threading.Thread) -> None:
        """Again and again, since a function that runs several jobs may begin the next one only then."""
        deadline = time.monotonic() + _CANCEL_FOR_S
        with contextlib.suppress(Exception):  # the session has ended, and its jobs with it
            while thread.is_alive() and time.monotonic() < deadline:
                self._spark.sparkContext.cancelJobGroup(thread.name)
                thread.join(_CANCEL_AGAIN_AFTER_S)

    def _run(self, task: Future[Outcome], job: SparkJob, group: str, slices: Sequence[Slice]) -> None:
        if not task.set_running_or_notify_cancel():
            return
        ranges = whole(slices)
        try:
            if not is_alive(self._spark):
                raise ConfigurationError(ENDED)
            about = f"kafka-stream {job.work.stream}: {len(ranges)} ranges, {sum(map(len, ranges)):,} offsets"
            self._spark.sparkContext.setJobGroup(group, about, interruptOnCancel=True)
            outcome = job.run(slices)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the task is told
            task.set_exception(self._meaning(error, job.work, ranges))
        else:
            task.set_result(outcome)

    def _meaning(self, error: BaseException, work: Work, ranges: Sequence[OffsetRange]) -> BaseException:
        """What is told of a failure; where Spark does not blame user code, the broker is asked what it has."""
        if not is_from_spark(error) or is_users(error):
            return meaning(error, ranges)
        if not is_alive(self._spark):
            return _chained(WorkerLost(f"the Spark session ended while it read {len(ranges)} ranges"), error)
        meant = meaning(error, ranges)
        try:
            lost = self._gone(work, ranges)
        except KafkaStreamError as unknown:  # it may be gone, or not, unless Spark tells why it could not read
            return _chained(unknown, error) if isinstance(meant, FailedElsewhere) else meant
        return meant if lost is None else _chained(lost, error)

    def _gone(self, work: Work, ranges: Sequence[OffsetRange]) -> Exception | None:
        cluster = Cluster(work.kafka, CLIENT_LOG)
        try:
            return gone(ranges, cluster.offsets)
        finally:
            cluster.close()


def _chained(meant: Exception, cause: BaseException) -> Exception:
    meant.__cause__ = cause
    return meant


__all__ = ["ENDED", "SparkWorkers"]
