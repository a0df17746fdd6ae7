"""Sinks that only say what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kafka_stream.protocols import Sink
from kafka_stream.types import OffsetRange, Owner, TopicPartition, Writes


@dataclass(frozen=True)
class DeclaredSink:
    writes: Writes
    needs: str | None = None
    name: str = "my sink"

    def describe(self) -> str:
        return self.name

    def prepare(self, prepared: Any) -> Any:
        return prepared

    def write(self, prepared: Any, transaction: Any) -> None:
        raise NotImplementedError


class DeclaredRangeSink(DeclaredSink):
    def take_over(self, stream: str, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
        raise NotImplementedError

    def discard(self, planned: OffsetRange) -> None:
        raise NotImplementedError


def declared_sink(writes: Writes = Writes.THROUGH_TRANSACTION, needs: str | None = None, name: str = "my sink") -> Sink:
    """A sink that can do what it says."""
    return (DeclaredRangeSink if writes is Writes.IDEMPOTENT_BY_RANGE else DeclaredSink)(writes, needs, name)
