"""Exactly-once batches from Kafka: results and offsets commit in one transaction, in a store you already run."""

from kafka_stream.batch import Batch
from kafka_stream.errors import RecordError
from kafka_stream.failures.breaker import DeadLetters
from kafka_stream.failures.strategies import ExponentialBackoff, FailureRate, FixedDelay, NoRetry
from kafka_stream.progress import StreamListener, StreamState, StreamStatus
from kafka_stream.settings import StreamSettings
from kafka_stream.stream import DirectStream
from kafka_stream.types import Guarantee, OffsetRange, Phase, TopicPartition

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "DeadLetters",
    "DirectStream",
    "ExponentialBackoff",
    "FailureRate",
    "FixedDelay",
    "Guarantee",
    "NoRetry",
    "OffsetRange",
    "Phase",
    "RecordError",
    "StreamListener",
    "StreamSettings",
    "StreamState",
    "StreamStatus",
    "TopicPartition",
]
