"""Pure: a batch's ranges as options of Spark's Kafka source, which reads exactly these, and counts spread over them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols.executors import Slice
from kafka_stream.types import OffsetRange, TopicPartition

LEAST_OFFSETS_OF_A_TASK = 1_000
"""A partition is read by several of Spark's tasks where each has so many: a task of its own costs milliseconds."""

_EXACT: Mapping[str, str] = {
    "failOnDataLoss": "true",
    "includeHeaders": "true",
    "kafka.isolation.level": "read_committed",
}
_DEFAULTS: Mapping[str, str] = {"kafka.max.poll.records": "10000"}
_OURS = {
    *(name.lower() for name in _EXACT),
    *("assign", "subscribe", "subscribepattern", "startingoffsets", "endingoffsets", "startingtimestamp"),
    *("endingtimestamp", "startingoffsetsbytimestamp", "endingoffsetsbytimestamp"),
}


def check_options(options: Mapping[str, str]) -> None:
    """Raise ``ConfigurationError`` if one of the user's options, in lower case, says what is read: the stream does."""
    for name in options:
        if name in _OURS:
            raise ConfigurationError(
                f"the option {name!r} of SparkExecutor says which records Spark reads: the stream decides that; "
                "leave it out"
            )


def whole(slices: Iterable[Slice]) -> tuple[OffsetRange, ...]:
    """One range for each partition, of slices that lie one behind the other in it."""
    found = dict[TopicPartition, OffsetRange]()
    for each in slices:
        tp, start, until = each.range.topic_partition, each.range.from_offset, each.range.until_offset
        if (before := found.get(tp)) is not None:
            if before.until_offset != start:
                raise ValueError(f"{each.range} does not go on where {before} ends")
            start = before.from_offset
        found[tp] = OffsetRange(tp, start, until)
    return tuple(found.values())


def reading_options(ranges: Sequence[OffsetRange], options: Mapping[str, str], cores: int) -> dict[str, str]:
    """What Spark's source is told so that it reads exactly these ranges, with so many processors to spread them over.

    ``options`` are those of the connection, and the user's in lower case, which Spark takes for the same.
    """
    chosen = {**_DEFAULTS, **options, **_EXACT}
    chosen["assign"] = json.dumps({topic: sorted(offsets) for topic, offsets in _by_topic(ranges, "from").items()})
    chosen["startingOffsets"] = json.dumps(_by_topic(ranges, "from"))
    chosen["endingOffsets"] = json.dumps(_by_topic(ranges, "until"))
    tasks = min(cores, sum(map(len, ranges)) // LEAST_OFFSETS_OF_A_TASK)
    if tasks > len(ranges) and "minpartitions" not in options:
        chosen["minPartitions"] = str(tasks)
    return chosen


def _by_topic(ranges: Iterable[OffsetRange], end: str) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for each in ranges:
        found.setdefault(each.topic, {})[each.partition] = each.from_offset if end == "from" else each.until_offset
    return found


def spread(total: int, over: Sequence[int]) -> list[int]:
    """A total in whole numbers, in proportion to what it is spread over; their sum is the total."""
    ends = [0, *accumulate(over)]
    whole_length = max(1, ends[-1])
    return [total * until // whole_length - total * start // whole_length for start, until in pairwise(ends)]


__all__ = ["LEAST_OFFSETS_OF_A_TASK", "check_options", "reading_options", "spread", "whole"]
