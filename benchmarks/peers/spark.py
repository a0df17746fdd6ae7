"""Spark Structured Streaming on all processors of the machine: ``foreachBatch`` and JDBC."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
from pyspark.sql import DataFrame, SparkSession, functions
from sqlalchemy.engine import make_url

from benchmarks import results, tables
from benchmarks.measurement import Outcome, Stopwatch, Task, peak_mb
from benchmarks.records import AMOUNTS

JARS = Path(__file__).parents[2] / "build" / "peers" / "jars"
MICRO_BATCH = 500_000  # of 100,000 to 500,000 the fastest: each one costs planning and two files
ROWS_PER_STATEMENT = 10_000
_Write = Callable[[DataFrame], None]
_Found = Callable[[str], Mapping[str, int]]


def into_postgres(task: Task) -> Outcome:
    """A task per partition and micro-batch, each with a transaction of its own; offsets in the checkpoint folder.

    Measured from the first call of the ``foreachBatch`` function to the end of the last one. A crash in between repeats
    the micro-batch, which the primary key refuses.
    """
    tables.create(task.database)
    return _from_micro_batch(0, task, _append(task), tables.found)


def into_postgres_once_warm(task: Task) -> Outcome:
    """The same, but the clock begins with the second micro-batch: the first one is when most is compiled."""
    tables.create(task.database)
    return _warm(task, _from_micro_batch(1, task, _append(task), tables.found))


def totals(task: Task) -> Outcome:
    """Running totals: each micro-batch's own totals into a staging table, and from there by one upsert.

    A crash between the upsert and the checkpoint repeats the micro-batch, and adds its totals once more.
    """
    results.create(task.database)
    return _from_micro_batch(0, task, _merge(task), results.found_totals)


def totals_once_warm(task: Task) -> Outcome:
    """The same, but the clock begins with the second micro-batch."""
    results.create(task.database)
    return _warm(task, _from_micro_batch(1, task, _merge(task), results.found_totals))


def _append(task: Task) -> _Write:
    def write(frame: DataFrame) -> None:
        rows = frame.selectExpr("partition", "offset AS record_offset", "key", "value")
        rows.write.jdbc(_jdbc(task), tables.RESULTS.name, mode="append", properties=_properties(task))

    return write


def _merge(task: Task) -> _Write:
    upsert = f"INSERT INTO totals SELECT * FROM staging ON CONFLICT (customer) DO UPDATE SET {results.MERGED}"
    connection = psycopg.connect(tables.conninfo(task.database), autocommit=True)
    connection.execute("CREATE UNLOGGED TABLE staging (LIKE totals)")
    properties = {**_properties(task), "truncate": "true"}

    def write(frame: DataFrame) -> None:
        rows = frame.selectExpr(
            "CAST(key AS STRING) AS customer",
            f"unix_millis(timestamp) % {AMOUNTS} AS amount",
            "timestamp",
        )
        found = rows.groupBy("customer").agg(
            functions.count("*").alias("count"),
            functions.sum("amount").alias("amount"),
            functions.max("amount").alias("largest"),
            functions.max("timestamp").alias("last_seen"),
        )
        found.write.jdbc(_jdbc(task), "staging", mode="overwrite", properties=properties)
        connection.execute(upsert)

    return write


def _warm(task: Task, outcome: Outcome) -> Outcome:
    return dataclasses.replace(outcome, records=task.records - _micro_batch(task))


def _from_micro_batch(first: int, task: Task, write: _Write, found: _Found) -> Outcome:
    watch = Stopwatch(task)
    spark = _session(task)
    virtual_machine = _Process(spark._jvm.java.lang.ProcessHandle.current().pid())
    before = list[float]()

    def timed(frame: DataFrame, number: int) -> None:
        if number == first:
            before.append(virtual_machine.cpu_s())
            watch.first()
        write(frame)
        watch.last()

    query = (
        _records(spark, task)
        .writeStream.foreachBatch(timed)
        .option("checkpointLocation", f"{task.directory}/checkpoint")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    cpu_s, most_mb = virtual_machine.cpu_s() - before[0], peak_mb(virtual_machine.pid)
    spark.stop()
    return watch.outcome(found(task.database), cpu_s=cpu_s, peak_mb=most_mb)


def _jdbc(task: Task) -> str:
    url = make_url(task.database)
    return f"jdbc:postgresql://{url.host}:{url.port}/{url.database}?reWriteBatchedInserts=true"


def _properties(task: Task) -> dict[str, str]:
    url = make_url(task.database)
    return {
        "driver": "org.postgresql.Driver",
        "user": url.username or "",
        "password": str(url.password),
        "batchsize": str(ROWS_PER_STATEMENT),
    }


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
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(os.cpu_count()),
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
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", task.bootstrap_servers)
        .option("subscribe", task.topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", _micro_batch(task))
        .option("kafka.max.poll.records", 10_000)
        .load()
    )


class _Process:
    """What the system knows of Spark's virtual machine: its figures are not this process's."""

    def __init__(self, pid: Any) -> None:
        self.pid = int(pid)

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
