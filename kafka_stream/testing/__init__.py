"""What users need to test their streams: messages, batches, poison, crashes, a Kafka and an offset store in memory.

Contract classes and crash points are in modules of their own (``source_contract``, ``store_contract``,
``crash_points``), and the fixtures in ``plugin``, so that this one needs no test framework.
"""

from kafka_stream.testing.exactly_once.assertion import assert_exactly_once
from kafka_stream.testing.exactly_once.findings import (
    NotExactlyOnce,
    RecordLost,
    RecordRepeated,
    ResultsDiffer,
    StreamStopped,
    Survived,
    WrittenOutside,
)
from kafka_stream.testing.memory.kafka import MemoryKafka
from kafka_stream.testing.memory.store import MemoryOffsetStore
from kafka_stream.testing.messages import batch_of, message
from kafka_stream.testing.poison import assert_survives, poison

__all__ = [
    "MemoryKafka",
    "MemoryOffsetStore",
    "NotExactlyOnce",
    "RecordLost",
    "RecordRepeated",
    "ResultsDiffer",
    "StreamStopped",
    "Survived",
    "WrittenOutside",
    "assert_exactly_once",
    "assert_survives",
    "batch_of",
    "message",
    "poison",
]
