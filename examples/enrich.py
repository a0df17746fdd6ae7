"""Orders with their customers' tiers, from Kafka to Kafka: new records and offsets commit in one Kafka transaction.

Readers with ``isolation.level=read_committed`` see each enriched order once. There is no other place to run: positions
are the offsets of the consumer group that has the stream's name.
"""

import json
import os
from collections.abc import Iterator

from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.sinks.kafka import KafkaSink

TIERS = {"ada": "gold", "grace": "silver"}


def to_messages(batch: Batch) -> Iterator[tuple[bytes | str | None, str]]:
    for message, order in batch.decoded(json.loads):
        yield message.key(), json.dumps({**order, "tier": TIERS.get(order["customer"], "bronze")})


stream = DirectStream(
    name="enrich",
    topics=["orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=KafkaOffsetStore(),
    sink=KafkaSink("enriched_orders", to_messages),
)
