"""What user code gives on Spark, and what sinks get of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from integration_tests.servers import KafkaServer
from integration_tests.spark.tasks import Collecting, Tasks, only, pieces_of, slices_of, topic_of
from integration_tests.tls_listener import Authority
from kafka_stream.errors import ConfigurationError
from kafka_stream.executors.spark import SparkExecutor
from kafka_stream.executors.spark.java_settings import java_settings
from kafka_stream.protocols.executors import Work
from kafka_stream.types import OffsetRange, TopicPartition

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """10 records in each of two partitions."""
    return topic_of(kafka, 10)


def test_a_frame_comes_back_as_an_arrow_table_of_which_a_sink_makes_rows(tasks: Tasks, topic: str) -> None:
    class Rows:
        def prepare(self, prepared: Any) -> Any:
            return pa.Table.to_pylist(prepared)

    outcome = tasks.outcome(
        slices_of(topic, {0: (0, 2)}),
        lambda frame: frame.selectExpr("offset", "CAST(value AS STRING) AS name"),
        sinks=[Collecting(), Rows()],
        by_range=[False, False],
    )
    [[table, rows]] = pieces_of(outcome)
    assert isinstance(table, pa.Table)
    assert rows == [{"offset": 0, "name": "v0"}, {"offset": 1, "name": "v1"}]


def test_rows_reach_the_sink_as_they_are(tasks: Tasks, topic: str) -> None:
    slices = slices_of(topic, {0: (0, 3)})
    assert only(tasks.outcome(slices, lambda frame: [row.offset for row in frame.collect()])) == [0, 1, 2]

    async def prepare(frame: Any) -> Any:
        return frame.select("offset")

    assert only(tasks.outcome(slices, prepare)).column("offset").to_pylist() == [0, 1, 2]


def test_a_sink_that_keeps_ranges_gets_each_by_itself_of_those_that_have_records(
    tasks: Tasks, kafka: KafkaServer, topic: str
) -> None:
    kafka.transaction(topic, ["x"], 1, "abort")
    slices = slices_of(topic, {0: (4, 7), 1: (10, 12)})
    outcome = tasks.outcome(slices, sinks=[Collecting(), Collecting()], by_range=[True, False])
    [[by_range, together]] = pieces_of(outcome)
    assert {each: table.num_rows for each, table in by_range.items()} == {
        OffsetRange(TopicPartition(topic, 0), 4, 7): 3
    }
    assert together.num_rows == sum(outcome.records) == 3


def test_records_are_those_that_were_read_not_those_that_were_kept(tasks: Tasks, topic: str) -> None:
    slices = slices_of(topic, {0: (0, 10), 1: (0, 10)})
    kept = tasks.outcome(slices, lambda frame: frame.where("offset = 3"))
    assert (only(kept).num_rows, sum(kept.records), sum(kept.value_bytes)) == (2, 20, 40)


def test_where_spark_counts_nothing_offsets_count(tasks: Tasks, topic: str) -> None:
    outcome = tasks.outcome(slices_of(topic, {0: (0, 10)}), lambda frame: [{"constant": 1}])
    assert (only(outcome), list(outcome.records)) == ([{"constant": 1}], [10])


def _refuses(value: bytes) -> str:
    raise ValueError("no price")


def test_results_are_written_though_what_spark_ran_first_has_failed(tasks: Tasks, topic: str) -> None:
    """Spark counts for the first job alone, here of none; a batch that has no records would be let go of."""

    def prepare(frame: Any) -> Any:
        from pyspark.sql import functions

        with pytest.raises(Exception, match="no price"):
            frame.select(functions.udf(_refuses, "string")("value")).collect()
        return frame

    outcome = tasks.outcome(slices_of(topic, {0: (0, 10)}), prepare)
    assert (only(outcome).num_rows, list(outcome.records)) == (10, [10])


def test_what_changes_is_of_tasks_that_are_submitted_then(tasks: Tasks, kafka: KafkaServer, topic: str) -> None:
    workers = tasks.workers(lambda frame: ["before"])
    slices = slices_of(topic, {0: (0, 1)})
    assert only(workers.submit(slices).result(180)) == ["before"]
    servers = {"bootstrap.servers": kafka.bootstrap_servers}
    workers.change(Work("orders", servers, lambda frame: ["after"], [Collecting()], [False], 1))
    assert only(workers.submit(slices).result(180)) == ["after"]


def test_options_that_the_source_refuses_are_refused_before_anything_runs(spark: SparkSession) -> None:
    work = Work("orders", {"bootstrap.servers": "127.0.0.1:1"}, None, [], [], 1)
    with pytest.raises(ConfigurationError, match="refused its options"):
        SparkExecutor(spark, options={"kafka.auto.offset.reset": "latest"}).start(work)


def test_the_java_client_reads_certificates_that_were_sent_as_text(spark: SparkSession, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    ours = authority.issue("ours")
    settings = {
        "bootstrap.servers": "127.0.0.1:1",
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority.certificate),
        "ssl.certificate.location": str(ours.path),
        "ssl.key.location": str(ours.key),
    }
    java = spark._jvm
    found = java.java.util.HashMap()
    for name, value in java_settings(settings, {}).items():
        found.put(name.removeprefix("kafka."), value)
    for kind in ("key", "value"):
        found.put(f"{kind}.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer")
    factory = java.org.apache.kafka.common.security.ssl.DefaultSslEngineFactory()
    factory.configure(java.org.apache.kafka.clients.consumer.ConsumerConfig(found).values())
    assert factory.truststore().size() == factory.keystore().size() == 1
