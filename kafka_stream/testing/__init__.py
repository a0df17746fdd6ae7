"""What users need to test their streams: messages, batches, poison, a Kafka and an offset store in memory.

Contract classes and crash points are in modules of their own (``source_contract``, ``store_contract``,
``crash_points``), so that this one needs no test framework.
"""

from kafka_stream.testing.memory.kafka import MemoryKafka
from kafka_stream.testing.memory.store import MemoryOffsetStore
from kafka_stream.testing.messages import batch_of, message
from kafka_stream.testing.poison import assert_survives, poison

__all__ = ["MemoryKafka", "MemoryOffsetStore", "assert_survives", "batch_of", "message", "poison"]
