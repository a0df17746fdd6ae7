"""How a task of Spark's fails, and what that is to the stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from integration_tests.engine import wait_until
from integration_tests.secured_kafka import NOBODY, STREAM, SecuredKafka
from integration_tests.servers import KafkaServer, free_port
from integration_tests.spark.tasks import Tasks, failure_of, only, slices_of, topic_of
from kafka_stream.errors import (
    BrokerUnavailable,
    ConfigurationError,
    FailedElsewhere,
    HandlerUnavailable,
    NotAuthorized,
    WorkerLost,
)
from kafka_stream.protocols.executors import PositionGone

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """100 records in each of two partitions."""
    return topic_of(kafka, 100)


def test_records_that_retention_has_removed_are_told_with_their_offset(
    tasks: Tasks, kafka: KafkaServer, topic: str
) -> None:
    kafka.delete_records(topic, 1, before_offset=60)
    failure = failure_of(tasks.workers().submit(slices_of(topic, {0: (0, 100), 1: (50, 100)})))
    assert isinstance(failure, PositionGone)
    assert (failure.lost.partition, failure.lost.offset, failure.lost.truncated) == ((topic, 1), 50, False)
    assert "[60, 100)" in failure.lost.reason
    assert failure.__cause__ is not None


def test_a_log_that_ends_before_the_range_does_is_told_as_truncated(tasks: Tasks, topic: str) -> None:
    failure = failure_of(tasks.workers().submit(slices_of(topic, {0: (90, 120)})))
    assert isinstance(failure, PositionGone)
    assert (failure.lost.partition, failure.lost.offset, failure.lost.truncated) == ((topic, 0), 120, True)


def test_of_a_topic_that_was_deleted_the_streams_own_look_tells(tasks: Tasks, kafka: KafkaServer, topic: str) -> None:
    kafka.delete_topic(topic)
    assert isinstance(tasks.failure(slices_of(topic, {0: (0, 100)})), BrokerUnavailable)


def _raises(value: bytes) -> str:
    raise ValueError("no price")


def _on_executors(frame: Any) -> Any:
    from pyspark.sql import functions

    return frame.select(functions.udf(_raises, "string")("value"))


def _on_the_driver(frame: Any) -> Any:
    raise ValueError("no price")


@pytest.mark.parametrize("prepare", [_on_executors, _on_the_driver])
def test_user_code_that_raises_fails_with_what_it_raised(
    tasks: Tasks, topic: str, prepare: Callable[[Any], Any]
) -> None:
    failure = tasks.failure(slices_of(topic, {0: (0, 100)}), prepare)
    assert isinstance(failure, FailedElsewhere)
    assert f"{topic}[0] [0, 100): ValueError: no price" in str(failure)
    assert "_raises" in str(failure.__cause__) or isinstance(failure.__cause__, ValueError)


def test_a_column_that_is_not_there_is_a_failure_of_user_code(tasks: Tasks, topic: str) -> None:
    failure = tasks.failure(slices_of(topic, {0: (0, 100)}), lambda frame: frame.selectExpr("nope"))
    assert isinstance(failure, FailedElsewhere)
    assert "nope" in str(failure)
    assert "\n" not in str(failure)


def test_sql_that_fails_on_a_value_is_a_failure_of_user_code(tasks: Tasks, topic: str) -> None:
    failure = tasks.failure(
        slices_of(topic, {0: (0, 100)}), lambda frame: frame.selectExpr("CAST(CAST(value AS STRING) AS INT)")
    )
    assert isinstance(failure, FailedElsewhere)


def test_a_python_worker_that_dies_is_a_failure_of_user_code(tasks: Tasks, topic: str) -> None:
    def dies(value: bytes) -> str:
        import os

        os._exit(3)

    def prepare(frame: Any) -> Any:
        from pyspark.sql import functions

        return frame.select(functions.udf(dies, "string")("value"))

    assert isinstance(tasks.failure(slices_of(topic, {0: (0, 100)}), prepare), FailedElsewhere)


def test_what_says_that_it_may_work_the_next_time_is_kept(tasks: Tasks, topic: str) -> None:
    def prepare(frame: Any) -> Any:
        raise HandlerUnavailable("prices do not answer")

    assert isinstance(tasks.failure(slices_of(topic, {0: (0, 100)}), prepare), HandlerUnavailable)


def test_a_sink_that_fails_is_named(tasks: Tasks, topic: str) -> None:
    class Refusing:
        def describe(self) -> str:
            return "table orders"

        def prepare(self, prepared: Any) -> Any:
            raise KeyError("price")

    failure = failure_of(tasks.workers(sinks=[Refusing()]).submit(slices_of(topic, {0: (0, 100)})))
    assert isinstance(failure, FailedElsewhere)
    assert "table orders failed" in str(failure)
    assert isinstance(failure.__cause__, KeyError)


def test_what_cannot_be_kept_says_what_to_give(tasks: Tasks, topic: str) -> None:
    failure = tasks.failure(slices_of(topic, {0: (0, 100)}), lambda frame: (row for row in frame.collect()))
    assert isinstance(failure, FailedElsewhere)
    assert "plain values" in str(failure)


def _slow(value: bytes) -> str:
    time.sleep(600)
    return "late"


def _hangs(frame: Any) -> Any:
    from pyspark.sql import functions

    return frame.select(functions.udf(_slow, "string")("value"))


def _jobs(spark: SparkSession) -> int:
    return len(spark.sparkContext.statusTracker().getActiveJobsIds())


def test_a_task_that_is_abandoned_frees_its_cores(tasks: Tasks, spark: SparkSession, topic: str) -> None:
    workers = tasks.workers(_hangs)
    task, other = workers.submit(slices_of(topic, {0: (0, 100)})), tasks.workers(lambda frame: frame)
    assert wait_until(lambda: _jobs(spark) == 1, 60)
    workers.abandon(task, hangs=True)
    assert isinstance(failure_of(task), WorkerLost)
    assert wait_until(lambda: _jobs(spark) == 0, 60)
    assert only(other.submit(slices_of(topic, {1: (0, 100)})).result(180)).num_rows == 100


def test_a_function_of_several_jobs_is_ended_whichever_one_it_is_at(
    tasks: Tasks, spark: SparkSession, topic: str
) -> None:
    begun = list[int]()

    def prepare(frame: Any) -> Any:
        while True:
            begun.append(1)
            try:
                return _hangs(frame).collect()
            except Exception:
                if len(begun) > 3:
                    raise

    workers = tasks.workers(prepare)
    task = workers.submit(slices_of(topic, {0: (0, 100)}))
    assert wait_until(lambda: _jobs(spark) == 1, 60)
    workers.abandon(task, hangs=True)
    assert isinstance(failure_of(task), WorkerLost)
    assert len(begun) == 4


def test_what_runs_ends_with_the_run_and_the_session_stays(tasks: Tasks, spark: SparkSession, topic: str) -> None:
    workers = tasks.workers(_hangs)
    running = [workers.submit(slices_of(topic, {number: (0, 100)})) for number in range(2)]
    assert wait_until(lambda: _jobs(spark) == 2, 60)
    workers.close()
    assert all(isinstance(failure_of(task), WorkerLost) for task in running)
    assert spark.range(3).toArrow().num_rows == 3


def test_a_session_that_ends_is_said_so(tasks: Tasks, spark: SparkSession, topic: str) -> None:
    workers = tasks.workers(_hangs)
    running = workers.submit(slices_of(topic, {0: (0, 100)}))
    assert wait_until(lambda: _jobs(spark) == 1, 60)
    spark.stop()
    assert isinstance(failure_of(running), WorkerLost)
    later = failure_of(workers.submit(slices_of(topic, {0: (0, 100)})))
    assert isinstance(later, ConfigurationError)
    assert "session has ended" in str(later)
    with pytest.raises(ConfigurationError, match="session has ended"):
        tasks.workers()


def test_a_broker_that_is_not_there_may_be_there_the_next_time(spark: SparkSession, topic: str) -> None:
    options = {"kafka.default.api.timeout.ms": "3000", "kafka.request.timeout.ms": "2000"}
    nobody = {"bootstrap.servers": f"127.0.0.1:{free_port()}", "log_level": 0}
    with Tasks(spark, nobody) as tasks:
        failure = failure_of(tasks.workers(options=options).submit(slices_of(topic, {0: (0, 100)})))
    assert isinstance(failure, BrokerUnavailable)


def test_a_login_is_translated_and_a_refusal_is_told(spark: SparkSession, secured_kafka: SecuredKafka) -> None:
    topic = secured_kafka.create_topic(partitions=1)
    secured_kafka.produce(topic, ["a", "b"], 0)
    secured_kafka.grant(STREAM, "topic", topic, "describe", "read")
    secured_kafka.grant(STREAM, "group", "spark-kafka", "read", by_prefix=True)
    slices = slices_of(topic, {0: (0, 2)})
    with Tasks(spark, secured_kafka.credentials(STREAM)) as tasks:
        assert only(tasks.outcome(slices)).num_rows == 2
    for refused in (secured_kafka.credentials(NOBODY), secured_kafka.credentials(STREAM, password="wrong")):
        with Tasks(spark, refused) as tasks:
            assert isinstance(tasks.failure(slices), NotAuthorized)
