"""Spark Structured Streaming on all processors of the machine: ``foreachBatch`` and JDBC's append."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from sqlalchemy.engine import make_url

from benchmarks import tables
from benchmarks.measurement import Outcome, Stopwatch, Task

JARS = Path(__file__).parents[2] / "build" / "peers" / "jars"
MICRO_BATCH = 500_000  # of 100,000 to 500,000 the fastest: each one costs planning and two files
ROWS_PER_STATEMENT = 10_000


def into_postgres(task: Task) -> Outcome:
    """A task per partition and micro-batch, each with a transaction of its own; offsets in the checkpoint folder.

    Measured from the first call of the ``foreachBatch`` function to the end of the last one. A crash in between repeats
    the micro-batch, which the primary key refuses.
    """
    return _from_micro_batch(0, task)


def into_postgres_once_warm(task: Task) -> Outcome:
    """The same, but the clock begins with the second micro-batch: the first one is when most is compiled."""
    outcome = _from_micro_batch(1, task)
    return dataclasses.replace(outcome, records=task.records - _micro_batch(task))


def _from_micro_batch(first: int, task: Task) -> Outcome:
    tables.create(task.database)
    watch = Stopwatch(task)
    spark = _session(task)
    virtual_machine = _Process(spark._jvm.java.lang.ProcessHandle.current().pid())
    url = make_url(task.database)
    jdbc = f"jdbc:postgresql://{url.host}:{url.port}/{url.database}?reWriteBatchedInserts=true"
    properties = {
        "driver": "org.postgresql.Driver",
        "user": url.username or "",
        "password": str(url.password),
        "batchsize": str(ROWS_PER_STATEMENT),
    }
    before = list[float]()

    def write(frame: DataFrame, number: int) -> None:
        if number == first:
            before.append(virtual_machine.cpu_s())
            watch.first()
        frame.write.jdbc(jdbc, tables.RESULTS.name, mode="append", properties=properties)
        watch.last()

    query = (
        _records(spark, task)
        .writeStream.foreachBatch(write)
        .option("checkpointLocation", f"{task.directory}/checkpoint")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    cpu_s, peak_mb = virtual_machine.cpu_s() - before[0], virtual_machine.peak_mb()
    spark.stop()
    return watch.outcome(tables.found(task.database), cpu_s=cpu_s, peak_mb=peak_mb)


def _micro_batch(task: Task) -> int:
    return min(MICRO_BATCH, task.records // 2)


def _session(task: Task) -> SparkSession:
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "2g",
        "spark.driver.extraClassPath": f"{JARS}/*",
        "spark.local.dir": task.directory,
        "spark.sql.warehouse.dir": f"{task.directory}/warehouse",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder.master("local[*]").appName("benchmarks")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _records(spark: SparkSession, task: Task) -> DataFrame:
    frame = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", task.bootstrap_servers)
        .option("subscribe", task.topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", _micro_batch(task))
        .option("kafka.max.poll.records", 10_000)
        .load()
    )
    return frame.selectExpr("partition", "offset AS record_offset", "key", "value")


class _Process:
    """What the system knows of Spark's virtual machine: its figures are not this process's."""

    def __init__(self, pid: Any) -> None:
        self._proc = Path("/proc") / str(pid)

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """The most memory it ever had."""
        status = dict(line.split(":", 1) for line in (self._proc / "status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) / 1024
