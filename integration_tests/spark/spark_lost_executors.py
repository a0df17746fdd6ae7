"""Executors that are killed amid a batch: processes of their own here, as on a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer
from integration_tests.spark.conftest import PEERS, new_session
from integration_tests.spark.tasks import Tasks, failure_of, only, slices_of
from kafka_stream.errors import WorkerLost

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RECORDS = 300


@pytest.fixture
def cluster(spark_folder: Path, _spark_ends: None) -> Iterator[Callable[[int], SparkSession]]:
    """Makes a session whose one executor is a process, and whose tasks are tried so often."""
    new_session("local[2]", spark_folder).stop()
    made: list[SparkSession] = []

    def session(tries: int) -> SparkSession:
        settings = {
            "spark.executor.extraClassPath": f"{PEERS}/jars/*",
            "spark.executor.memory": "512m",
            "spark.task.maxFailures": str(tries),
        }
        made.append(new_session("local-cluster[1,1,512]", spark_folder, settings))
        return made[-1]

    yield session
    for each in made:
        each.stop()


def _executors(spark: SparkSession) -> list[int]:
    """The processes of this application's executors."""
    wanted = f"CoarseGrainedExecutorBackend.*{spark.sparkContext.applicationId}"
    found = subprocess.run(["pgrep", "-f", wanted], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split()]


def _held(folder: Path) -> Callable[[Any], Any]:
    """A prepare that goes on, on whichever executor it is, when the folder has a file ``go``."""
    begun, go = folder / "begun", folder / "go"

    def value(record: bytes) -> str:
        begun.touch()
        while not go.exists():
            time.sleep(0.05)
        return record.decode()

    def prepare(frame: Any) -> Any:
        from pyspark.sql import functions

        return frame.select("offset", functions.udf(value, "string")("value").alias("text"))

    return prepare


def _kill_amid(spark: SparkSession, folder: Path) -> None:
    assert wait_until(lambda: (folder / "begun").exists(), 120)
    for pid in _executors(spark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_batch_survives_an_executor_that_is_killed(
    cluster: Callable[[int], SparkSession], kafka: KafkaServer, tmp_path: Path
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, [f"v{n}" for n in range(RECORDS)], 0)
    spark = cluster(4)
    with Tasks(spark, {"bootstrap.servers": kafka.bootstrap_servers}) as tasks:
        task = tasks.workers(_held(tmp_path)).submit(slices_of(topic, {0: (0, RECORDS)}))
        _kill_amid(spark, tmp_path)
        (tmp_path / "go").touch()
        outcome = task.result(180)
    assert [row["text"] for row in only(outcome).to_pylist()] == [f"v{n}" for n in range(RECORDS)]
    assert list(outcome.records) == [RECORDS]


def test_where_spark_gives_up_for_want_of_executors_the_batch_is_to_be_run_again(
    cluster: Callable[[int], SparkSession], kafka: KafkaServer, tmp_path: Path
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, [f"v{n}" for n in range(RECORDS)], 0)
    spark = cluster(1)
    with Tasks(spark, {"bootstrap.servers": kafka.bootstrap_servers}) as tasks:
        workers = tasks.workers(_held(tmp_path))
        slices = slices_of(topic, {0: (0, RECORDS)})
        lost = workers.submit(slices)
        _kill_amid(spark, tmp_path)
        assert isinstance(failure_of(lost), WorkerLost)
        (tmp_path / "go").touch()
        assert only(workers.submit(slices).result(180)).num_rows == RECORDS
