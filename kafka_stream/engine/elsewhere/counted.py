"""A batch whose records are elsewhere: its ranges, and how many records workers have found in each."""

from __future__ import annotations

from collections.abc import Mapping

from kafka_stream.batch import Batch
from kafka_stream.types import OffsetRange, TopicPartition


class CountedBatch(Batch):
    """What is known here of a batch that workers have read. No user code is given it."""

    def __init__(self, ranges: tuple[OffsetRange, ...], counts: Mapping[TopicPartition, int]) -> None:
        super().__init__(ranges, {})
        object.__setattr__(self, "_count", sum(counts.values()))
        object.__setattr__(self, "_counts", dict(counts))

    def count_of(self, topic_partition: TopicPartition) -> int:
        """How many records of a partition there are."""
        counts: Mapping[TopicPartition, int] = self.__dict__["_counts"]
        return counts.get(topic_partition, 0)


__all__ = ["CountedBatch"]
