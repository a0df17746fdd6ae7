"""What Spark's failures are to the stream: by type, code and class, and by what the broker has.

Only what went wrong in the Java virtual machine has a chain of Java exceptions behind it; of an executor's failure the
driver knows the exception that ended the last attempt, and nothing where the executor itself was lost.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kafka_stream.errors import (
    BrokerUnavailable,
    ConfigurationError,
    FailedElsewhere,
    KafkaStreamError,
    NotAuthorized,
    ProcessingError,
    TopicNotFound,
    WorkerLost,
)
from kafka_stream.protocols import OffsetAt, PositionLost
from kafka_stream.protocols.executors import PositionGone
from kafka_stream.types import OffsetRange, TopicPartition

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SPARK = "org.apache.spark.SparkException"
_CANCELLED = "SPARK_JOB_CANCELLED"
_LOST = "ExecutorLostFailure"  # Spark's class for it, of which the driver has the name in a text, and no code
_REFUSED = {
    "org.apache.kafka.common.errors.AuthenticationException",
    "org.apache.kafka.common.errors.AuthorizationException",
}
_REFUSED_SETTINGS = {"org.apache.kafka.common.config.ConfigException"}
_NO_ANSWER = {
    "java.util.concurrent.TimeoutException",  # Spark's source, where the broker gives no records
    "org.apache.kafka.common.errors.RetriableException",
    "org.apache.kafka.common.errors.InterruptException",
    "org.apache.spark.sql.kafka010.KafkaIllegalStateException",  # what is gone was looked for before
}

Offsets = Callable[[Sequence[TopicPartition], OffsetAt], Any]
"""``Cluster.offsets``."""


def is_from_spark(error: BaseException) -> bool:
    """Whether Spark says it, rather than Python code that runs on the driver."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return isinstance(error, Py4JError | PySparkException)


def is_users(error: BaseException) -> bool:
    """Whether it is what Spark says of the user's code, which has nothing to do with where records come from."""
    from pyspark.errors import AnalysisException, PythonException

    return isinstance(error, AnalysisException | PythonException)


def is_alive(spark: SparkSession) -> bool:
    """Whether a session can run jobs: it was not stopped, and its Java virtual machine answers."""
    try:
        return bool(spark.sparkContext.defaultParallelism > 0)
    except Exception:  # noqa: BLE001 - what it raises then is Py4J's, Spark's, or of None
        return False


def gone(ranges: Sequence[OffsetRange], offsets: Offsets) -> PositionGone | None:
    """What the broker does not have any more of these ranges, if there is such.

    Raises:
        NotAuthorized, BrokerUnavailable: it does not say.
    """
    partitions = [each.topic_partition for each in ranges]
    try:
        first, end = offsets(partitions, OffsetAt.EARLIEST), offsets(partitions, OffsetAt.HIGH_WATERMARK)
    except TopicNotFound as error:  # of topics that come and go the stream's own look tells
        raise BrokerUnavailable(f"Spark could not read what does not exist now: {error}") from error
    for each in ranges:
        has = f"the broker has [{first[each.topic_partition]}, {end[each.topic_partition]})"
        if each.from_offset < first[each.topic_partition]:
            return _gone(each, each.from_offset, has, truncated=False)
        if each.until_offset > end[each.topic_partition]:
            return _gone(each, each.until_offset, has, truncated=True)
    return None


def _gone(wanted: OffsetRange, offset: int, has: str, *, truncated: bool) -> PositionGone:
    reason = f"Spark could not read {wanted}: {has}"
    return PositionGone(reason, lost=PositionLost(wanted.topic_partition, offset, truncated, reason))


def meaning(error: BaseException, ranges: Sequence[OffsetRange]) -> KafkaStreamError:
    """What a failure means to the stream, where nothing that was to be read is gone; ``error`` is its cause."""
    if isinstance(error, KafkaStreamError) and (
        not isinstance(error, ProcessingError) or isinstance(error, FailedElsewhere)
    ):
        return error
    on = ", ".join(map(str, ranges[:3])) + (", …" if len(ranges) > 3 else "")
    meant = _of_spark(error, on) if is_from_spark(error) and not is_users(error) else None
    if meant is None:
        meant = FailedElsewhere(f"prepare failed on Spark, on {on}: {_last_line(error)}; nothing was committed")
    meant.__cause__ = error
    return meant


def _of_spark(error: BaseException, on: str) -> KafkaStreamError | None:
    """What an error of Spark's is, unless it is user code's."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    if not isinstance(error, Py4JJavaError | PySparkException):
        return WorkerLost(f"Spark's driver did not answer, which was to read {on} ({type(error).__name__})")
    chain = [*_java_chain(error)]
    kinds = [{*_classes(each)} for each in chain]
    every = set[str]().union(*kinds)
    said = _said(chain[-1]) if chain else ""
    if every & _REFUSED:
        return NotAuthorized(f"Kafka refused Spark, which was to read {on}: {said}; see the options of SparkExecutor")
    if every & _REFUSED_SETTINGS:
        return ConfigurationError(f"Spark's Kafka client refused its settings: {said}")
    if every & _NO_ANSWER:
        return BrokerUnavailable(f"Spark could not read {on}: {said}")
    if any(_SPARK in kind and each.getCondition() == _CANCELLED for each, kind in zip(chain, kinds, strict=True)):
        return WorkerLost(f"Spark's job for {on} was cancelled; it is run again")
    if any(_LOST in _said(each) for each in chain):
        return WorkerLost(f"Spark lost the executors that read {on}, as often as it tries; it is run again")
    return None


def _java_chain(error: BaseException) -> Iterator[Any]:
    """The Java exceptions behind one, from what was told to what began it."""
    found = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    while found is not None:
        yield found
        found = found.getCause()


def _classes(java_exception: Any) -> Iterator[str]:
    found = java_exception.getClass()
    while found is not None:
        yield str(found.getName())
        found = found.getSuperclass()


def _said(java_exception: Any) -> str:
    """The first line of what it says, which may be a page."""
    return str(java_exception.getMessage() or java_exception.getClass().getName()).strip().partition("\n")[0]


def _last_line(error: BaseException) -> str:
    """What was raised, in one line: in Python, or by the Python that an executor ran."""
    from pyspark.errors import PythonException

    if isinstance(error, PythonException):  # a traceback, whose last line it is
        lines = str(error).partition("JVM stacktrace:")[0].strip().splitlines()
        return lines[-1].strip()
    return traceback.format_exception_only(error)[0].strip().partition("\n")[0]


__all__ = ["Offsets", "gone", "is_alive", "is_from_spark", "is_users", "meaning"]
