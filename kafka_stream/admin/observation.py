"""Asking the brokers what they have of a stream's topics: a fixed number of requests, and, for times, some records."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kafka_stream.admin.describe import Log, Observation, RecordTimes
from kafka_stream.errors import NotAuthorized
from kafka_stream.protocols import OffsetAt, TopicInfo
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.consumer.open_transactions import times_at
from kafka_stream.types import StoredPosition, TopicPartition


def observe(cluster: Cluster, partitions: Collection[TopicPartition]) -> Observation:
    """What the brokers have of these partitions and their topics; four requests, however many partitions there are.

    A topic that we may not look at is hidden, if it is not the only one.

    Raises:
        NotAuthorized, BrokerUnavailable.
    """
    topics, hidden = visible(cluster, sorted({tp.topic for tp in partitions}))
    existing = [tp for tp in sorted(partitions) if tp.topic in topics and tp.partition < topics[tp.topic].partitions]
    first = cluster.offsets(existing, OffsetAt.EARLIEST)
    # Before the ends: what is appended in between must not look as if a transaction held it back.
    high = cluster.offsets(existing, OffsetAt.HIGH_WATERMARK)
    ends = cluster.offsets(existing, OffsetAt.LATEST)
    return Observation(topics, {tp: Log(first[tp], ends[tp], max(ends[tp], high[tp])) for tp in existing}, None, hidden)


def visible(cluster: Cluster, names: Sequence[str]) -> tuple[Mapping[str, TopicInfo], Mapping[str, str]]:
    """Those of these topics that exist, and those that we may not look at, with the reason.

    Raises:
        NotAuthorized: that is the only one.
    """
    try:
        return cluster.existing_topics(names), {}
    except NotAuthorized:
        if len(names) == 1:
            raise
    found: dict[str, TopicInfo] = {}
    hidden = {}
    for name in names:
        try:
            found.update(cluster.existing_topics([name]))
        except NotAuthorized as error:
            hidden[name] = str(error)
    return found, hidden


def with_times(
    observation: Observation,
    positions: Mapping[TopicPartition, StoredPosition],
    config: Mapping[str, Any],
    timeout_s: float,
) -> Observation:
    """The same with the timestamps of the records that the stream reads next, and of those that pin an end.

    A short-lived consumer reads one record per partition that lags or is pinned; what has not come within
    ``timeout_s`` is left out.

    Raises:
        ConfigurationError: librdkafka refused a setting.
    """
    lagging = {
        tp: max(positions[tp].next_offset, log.first_offset)
        for tp, log in observation.logs.items()
        if positions[tp].next_offset < log.end_offset
    }
    pinned = {tp: log.end_offset for tp, log in observation.logs.items() if log.end_offset < log.high_watermark}
    deadline = time.monotonic() + timeout_s
    times = RecordTimes(
        next_records=times_at(config, lagging, "read_committed", deadline),
        pinning=times_at(config, pinned, "read_uncommitted", deadline),
    )
    return replace(observation, times=times)


__all__ = ["observe", "visible", "with_times"]
