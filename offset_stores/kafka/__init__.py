"""Positions as Kafka's own group offsets, in the transaction that carries a batch's records."""

from kafka_stream.offset_stores.kafka.store import KafkaOffsetStore
from kafka_stream.offset_stores.kafka.transaction import KafkaTransaction

__all__ = ["KafkaOffsetStore", "KafkaTransaction"]
