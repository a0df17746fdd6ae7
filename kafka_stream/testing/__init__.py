"""What users need to test their streams: messages, batches, and a Kafka in memory.

Contract classes and crash points are in modules of their own (``source_contract``, ``store_contract``,
``crash_points``), so that this one needs no test framework.
"""

from kafka_stream.testing.memory_kafka import MemoryKafka
from kafka_stream.testing.messages import batch_of, message

__all__ = ["MemoryKafka", "batch_of", "message"]
