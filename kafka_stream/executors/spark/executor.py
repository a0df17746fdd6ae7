"""``SparkExecutor``: what a user hands over, and whether a stream can be run with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from kafka_stream.errors import ConfigurationError, MissingExtra
from kafka_stream.executors.limits import check_limits
from kafka_stream.executors.spark.failures import is_alive
from kafka_stream.executors.spark.java_settings import option_text
from kafka_stream.executors.spark.ranges import check_options, reading_options
from kafka_stream.executors.spark.workers import ENDED, SparkWorkers
from kafka_stream.protocols.executors import DEFAULT_RESULT_BYTES, DEFAULT_TASK_TIMEOUT_S, Work
from kafka_stream.types import OffsetRange, TopicPartition

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LEAST_VERSION = 4
_PACKAGE = "org.apache.spark:spark-sql-kafka-0-10_2.13"


class SparkExecutor:
    """Batches are read and prepared by Spark; what comes back to the driver is written with the offsets, as ever.

    ``prepare`` gets a DataFrame that reads exactly the batch's ranges, read-committed, with the columns of Spark's
    Kafka source, ``headers`` among them; it may be any function, also a lambda, since it runs on the driver. It returns
    a DataFrame, which comes back by Arrow and reaches the sinks as a ``pyarrow.Table`` (``SqlSink(table,
    pyarrow.Table.to_pylist)`` writes its rows), or anything else, such as a list of rows, which reaches them as it is.
    Without ``prepare`` they get the table of the source's columns. For sinks that keep whole ranges it runs once for
    each range. Two batches are on their way at once, so it may be called from two threads.

    ``spark`` is a classic ``SparkSession`` of Spark 4, started with its Kafka package; it is the caller's, and is not
    stopped. ``options`` are options of Spark's Kafka source that come before the stream's own connection settings
    (``{"kafka.sasl.jaas.config": …}``), or tune it (``minPartitions``). A task takes at most ``task_timeout_s``, in
    seconds; ``max_result_bytes`` bound the results that wait to be written.

    Records that fail cannot be told from others here, so a stream with dead letters cannot use it.

    Raises:
        ConfigurationError: an option says which records are read, or a limit is not positive.
    """

    takes_whole_batches = True

    def __init__(
        self,
        spark: SparkSession,
        *,
        task_timeout_s: float = DEFAULT_TASK_TIMEOUT_S,
        max_result_bytes: int = DEFAULT_RESULT_BYTES,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check_limits("SparkExecutor", task_timeout_s, max_result_bytes)
        self._spark = spark
        self._options = {name.lower(): option_text(value) for name, value in (options or {}).items()}
        check_options(self._options)
        self._task_timeout_s = task_timeout_s
        self._max_result_bytes = max_result_bytes

    @classmethod
    def of_this_process(cls) -> Self:
        """With the session that there is, or else one as ``spark-submit`` or Spark's settings have it.

        Raises:
            MissingExtra: pyspark is not installed.
        """
        try:
            from pyspark.sql import SparkSession
        except ModuleNotFoundError as error:
            raise _missing() from error
        return cls(SparkSession.builder.getOrCreate())

    @property
    def task_timeout_s(self) -> float:
        """How long a task may take, in seconds."""
        return self._task_timeout_s

    @property
    def max_result_bytes(self) -> int:
        """How many bytes of outcomes may wait to be written."""
        return self._max_result_bytes

    def describe(self) -> str:
        """Where Spark is."""
        return f"Spark at {self._spark.sparkContext.master}"

    def start(self, work: Work) -> SparkWorkers:
        """Begin a run.

        Raises:
            MissingExtra: pyspark is not installed.
            ConfigurationError: the session is none of Spark 4's, has ended, or has no Kafka source; a setting of the
                stream's connection has no equivalent for Spark's client.
        """
        _check_session(self._spark)
        workers = SparkWorkers(self._spark, work, self._options)
        _check_source(self._spark, workers.options)
        return workers


def _check_session(spark: Any) -> None:
    try:
        import pyspark  # noqa: F401 - that it is there is asked
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise _missing() from error
    if not isinstance(spark, SparkSession):
        raise ConfigurationError(
            f"SparkExecutor works with a classic SparkSession, and was given a {type(spark).__module__}."
            f"{type(spark).__qualname__}: make one with SparkSession.builder, without remote()"
        )
    if not is_alive(spark):
        raise ConfigurationError(ENDED)
    if int(spark.version.partition(".")[0]) < _LEAST_VERSION:
        raise ConfigurationError(f"SparkExecutor needs Spark {_LEAST_VERSION}, and this is {spark.version}")


def _missing() -> MissingExtra:
    return MissingExtra("SparkExecutor needs pyspark: pip install 'kafka-stream[spark]'")


def _check_source(spark: SparkSession, options: Mapping[str, str]) -> None:
    """Whether there is a source that takes these options; nothing is connected to."""
    from pyspark.errors import AnalysisException

    anywhere = OffsetRange(TopicPartition("any", 0), 0, 1)
    try:
        spark.read.format("kafka").options(**reading_options([anywhere], options, 1)).load()
    except AnalysisException as error:
        raise ConfigurationError(
            f"Spark has no Kafka source: start it with --packages {_PACKAGE}:{spark.version}"
        ) from error
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise ConfigurationError(f"Spark's Kafka source refused its options: {said}") from error


__all__ = ["SparkExecutor"]
