"""Whole streams whose batches are Spark's: what is in the database is what an independent reader reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from kafka_stream import Batch, DirectStream
from kafka_stream.errors import OffsetOutOfRange, ProcessingError
from kafka_stream.executors import SparkExecutor
from kafka_stream.sinks.sql import SqlSink

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RESULTS = Table(
    "results",
    MetaData(),
    Column("partition", Integer, primary_key=True),
    Column("record_offset", BigInteger, primary_key=True),
    Column("value", Text),
)


@pytest.fixture
def database(postgres: PostgresDatabase) -> PostgresDatabase:
    """With the results' table, which refuses what is there already."""
    postgres.execute(
        "CREATE TABLE results (partition integer, record_offset bigint, value text, "
        "PRIMARY KEY (partition, record_offset))"
    )
    return postgres


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """Plain records, committed and aborted ones, and markers at the end."""
    found = kafka.create_topic(partitions=3)
    for partition in range(3):
        kafka.produce(found, [f"v{n}" for n in range(200)], partition)
        kafka.transaction(found, [f"aborted {n}" for n in range(50)], partition, "abort")
        kafka.transaction(found, [f"c{n}" for n in range(50)], partition)
    return found


def _on_spark(frame: DataFrame) -> DataFrame:
    return frame.selectExpr("partition", "offset AS record_offset", "upper(CAST(value AS STRING)) AS value")


def _here(batch: Batch) -> list[dict[str, Any]]:
    return [
        {"partition": each.partition(), "record_offset": each.offset(), "value": (each.value() or b"").decode().upper()}
        for each in batch
    ]


def _stream(kafka: KafkaServer, topic: str, database: PostgresDatabase, **more: Any) -> DirectStream:
    settings: dict[str, Any] = {
        "kafka": {"bootstrap.servers": kafka.bootstrap_servers},
        "store": database.url,
        "assignment": "static",
        "max_records_per_batch": 250,
        **more,
    }
    return DirectStream(name=random_name("stream"), topics=[topic], **settings)


def _rows(database: PostgresDatabase) -> list[tuple[Any, ...]]:
    return database.execute("SELECT partition, record_offset, value FROM results ORDER BY 1, 2")


def test_batches_of_sparks_give_the_table_that_batches_here_give(
    spark: SparkSession, kafka: KafkaServer, topic: str, database: PostgresDatabase
) -> None:
    sink = SqlSink(RESULTS, pa.Table.to_pylist)
    stream = _stream(kafka, topic, database, prepare=_on_spark, sink=sink, executor=SparkExecutor(spark))
    summary = stream.run(until="latest")
    found = _rows(database)
    assert found == [(n, at, (value or b"").decode().upper()) for n, at, _, value in kafka.read_committed(topic)]
    assert (summary.records, summary.batches > 3) == (750, True)
    kafka.produce(topic, ["later"], 2)
    assert stream.run(until="latest").records == 1
    found = _rows(database)
    database.execute("DELETE FROM results")
    _stream(kafka, topic, database, prepare=_here, sink=SqlSink(RESULTS, list)).run(until="latest")
    assert found == _rows(database)


def test_spark_by_text_is_the_session_that_there_is(
    spark: SparkSession, kafka: KafkaServer, topic: str, database: PostgresDatabase
) -> None:
    sink = SqlSink(RESULTS, pa.Table.to_pylist)
    stream = _stream(kafka, topic, database, prepare=_on_spark, sink=sink, executor="spark")
    assert stream.run(until="latest").records == 750
    assert [row[:2] for row in _rows(database)] == [(n, at) for n, at, *_ in kafka.read_committed(topic)]


def test_user_code_that_fails_on_spark_stops_the_stream_with_its_error(
    spark: SparkSession, kafka: KafkaServer, topic: str, database: PostgresDatabase
) -> None:
    def prepare(frame: Any) -> Any:
        return frame.selectExpr("nope")

    sink = SqlSink(RESULTS, pa.Table.to_pylist)
    stream = _stream(kafka, topic, database, prepare=prepare, sink=sink, executor=SparkExecutor(spark))
    with pytest.raises(ProcessingError, match="nope"):
        stream.run(until="latest")
    assert _rows(database) == []


def test_what_retention_has_taken_stops_the_stream_as_ever(
    spark: SparkSession, kafka: KafkaServer, topic: str, database: PostgresDatabase
) -> None:
    """It is taken when the stream has planned its batches, so that Spark is who finds out."""
    taken: list[int] = []

    def prepare(frame: Any) -> Any:
        if not taken:
            kafka.delete_records(topic, 1, before_offset=290)
            taken.append(1)
        return _on_spark(frame)

    sink = SqlSink(RESULTS, pa.Table.to_pylist)
    stream = _stream(kafka, topic, database, prepare=prepare, sink=sink, executor=SparkExecutor(spark))
    with pytest.raises(OffsetOutOfRange):
        stream.run(until="latest")
