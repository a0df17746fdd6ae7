"""Streams whose handlers fail on some records, on a Kafka and an offset store in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka_stream import Batch, DirectStream, ExponentialBackoff
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore


def a_hundred() -> MemoryKafka:
    """A partition of a hundred records, whose values are their numbers."""
    kafka = MemoryKafka({"orders": 1})
    for number in range(100):
        kafka.produce("orders", str(number), key=str(number % 10))
    return kafka


def number_of(message: Any) -> int:
    return int(message.value())


def failing(*bad: int, error: type[Exception] = ValueError) -> Callable[[Batch, Any], None]:
    """Writes all, and then finds that it cannot."""

    def write(batch: Batch, transaction: Any) -> None:
        transaction.rows += map(number_of, batch)
        if set(bad) & set(map(number_of, batch)):
            raise error("it cannot be")

    return write


def stream(kafka: MemoryKafka, store: MemoryOffsetStore, **options: Any) -> DirectStream:
    given: dict[str, Any] = {"name": "s", "topics": ["orders"], "kafka": kafka, "store": store, "assignment": "static"}
    usual: dict[str, Any] = {"on_error": "dead-letter", "retry": ExponentialBackoff(0.001, 0.001)}
    return DirectStream(**(given | usual | options))


def letters(store: MemoryOffsetStore) -> list[int]:
    return [int(letter.payload.value or b"") for letter in store.letters("s")]
