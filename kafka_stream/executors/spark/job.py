"""One batch as a job of Spark's: the DataFrame that reads its ranges, the user's function, and what comes back."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka_stream.errors import FailedElsewhere, KafkaStreamError
from kafka_stream.executors.preparation import Preparation
from kafka_stream.executors.spark.ranges import reading_options, spread, whole
from kafka_stream.protocols.executors import Outcome, Slice, Work
from kafka_stream.types import OffsetRange
from kafka_stream.user_results import description_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Observation, SparkSession

_OBSERVED_WITHIN_S = 1.0
_ASK_AGAIN_AFTER_S = 0.005


class _Given(NamedTuple):
    """What the user's function gave of some ranges, and what was read for it."""

    value: Any
    records: int
    value_bytes: int


@dataclass(frozen=True, slots=True)
class SparkJob:
    """A batch on its way through Spark, on the thread that calls ``run``.

    ``options`` are those of the connection, and the user's. Sinks are called one at a time, under ``lock``, since they
    are not made for several threads.
    """

    spark: SparkSession
    work: Work
    options: Mapping[str, str] = field(repr=False)
    lock: Lock

    def run(self, slices: Sequence[Slice]) -> Outcome:
        """Read, prepare and bring back what the slices hold.

        ``records`` and ``value_bytes`` are what Spark has counted in all while it read, spread over the slices by their
        offsets. A prepare that stops reading (``limit``) makes them smaller; where Spark has counted nothing, since its
        plan reads nothing, or what it ran first failed, every offset counts as a record. They are 0 only where a look
        has found no record.

        Raises:
            FailedElsewhere: the user's function, or a sink, failed on the driver.
            Exception: what else they raise, and whatever Spark says.
        """
        started = time.monotonic()
        ranges = whole(slices)
        by_range = self.work.by_range
        preparation = Preparation(self.work.prepare, list(map(_Telling, self.work.sinks)), by_range)
        with closing(preparation):
            # A sink that keeps a range needs what depends on it alone.
            each = {r: self._given(preparation, [r], sum(by_range)) for r in ranges} if any(by_range) else {}
            together = None if all(by_range) else self._given(preparation, ranges, len(by_range) - sum(by_range))
        read = list(each.values()) if together is None else [together]
        records, lengths = sum(given.records for given in read), [len(part.range) for part in slices]
        parts = {r: given.value for r, given in each.items() if given.records}
        with self.lock:
            pieces = [preparation.for_sinks(together.value if together else None, parts)] if records else []
        return Outcome(
            records=spread(records, lengths),
            value_bytes=spread(sum(given.value_bytes for given in read), lengths),
            leader_epochs=[None] * len(slices),
            values=_pickled(pieces),
            worker=f"spark {self.spark.sparkContext.applicationId}",
            read_s=0.0,
            prepare_s=time.monotonic() - started,
        )

    def _given(self, preparation: Preparation, ranges: Sequence[OffsetRange], takers: int) -> _Given:
        """What the user's function gives of these ranges for so many sinks, brought to the driver."""
        frame, observation = self._frame(ranges)
        value = preparation.given(frame, takers)
        if _is_frame(value):
            value = value.toArrow()
        offsets, counted = sum(map(len, ranges)), _counted(observation)
        # What is without records is not written, so nothing rests on a count of none: it may be of a job that failed.
        if counted is None or not (counted["records"] or self._frame(ranges)[0].isEmpty()):
            return _Given(value, offsets, 0)
        return _Given(value, min(counted["records"], offsets), counted["value_bytes"] or 0)

    def _frame(self, ranges: Sequence[OffsetRange]) -> tuple[DataFrame, Observation]:
        """Exactly the records of these ranges, counted while they are read."""
        from pyspark.sql import Observation, functions

        cores = self.spark.sparkContext.defaultParallelism
        options = reading_options(ranges, self.options, cores)
        observation = Observation()
        read = self.spark.read.format("kafka").options(**options).load()
        records = functions.count(functions.lit(1)).alias("records")
        value_bytes = functions.sum(functions.octet_length("value")).alias("value_bytes")
        return read.observe(observation, records, value_bytes), observation


@dataclass(frozen=True, slots=True)
class _Telling:
    """A sink, or what stands for it, whose failures say whose they are."""

    sink: Any

    def describe(self) -> str:
        return description_of(self.sink)()

    def prepare(self, prepared: Any) -> Any:
        try:
            return self.sink.prepare(prepared)
        except KafkaStreamError:
            raise
        except Exception as error:
            said = " ".join("".join(traceback.format_exception_only(error)).split())
            raise FailedElsewhere(
                f"{self.describe()} failed on what Spark gave: {said}; nothing was committed"
            ) from error


def _is_frame(value: Any) -> bool:
    from pyspark.sql import DataFrame

    return isinstance(value, DataFrame)


def _counted(observation: Observation) -> Mapping[str, Any] | None:
    """What was observed; ``None`` if Spark does not tell within a moment: it has read nothing, or does not say.

    ``get`` alone would wait for ever for a DataFrame that no plan uses.
    """
    deadline = time.monotonic() + _OBSERVED_WITHIN_S
    observed = observation._jo  # noqa: SLF001 - pyspark has no way to ask without waiting
    while not observed.future().isCompleted():
        if time.monotonic() > deadline:
            return None
        time.sleep(_ASK_AGAIN_AFTER_S)
    return observation.get


def _pickled(pieces: Sequence[Any]) -> bytes:
    try:
        return pickle.dumps(pieces, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise FailedElsewhere(
            f"what prepare or a sink gave cannot be kept until it is written ({type(error).__name__}: {error}): give "
            "plain values, such as a list of dicts"
        ) from error


__all__ = ["SparkJob"]
