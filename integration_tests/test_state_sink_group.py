"""``StateSink`` in a group of two, with real Kafka."""

from __future__ import annotations

import json
import random
from collections import Counter

import sqlalchemy as sa

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.streams import SHORT_SESSIONS, WAIT_S
from integration_tests.test_state_sink import METADATA, TOTALS, counted, totals_at
from kafka_stream import DirectStream
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql import StateSink


def test_a_group_of_two_counts_every_record_once(kafka: KafkaServer, postgres: PostgresDatabase) -> None:
    """With real Kafka: both members write the same keys, and one of them comes and goes."""
    topic = kafka.create_topic(partitions=4)
    engine = sa.create_engine(postgres.url)
    METADATA.create_all(engine)
    name, chance = random_name("stream"), random.Random(3)
    expected: Counter[tuple[str, int]] = Counter()

    def produce(records: int) -> None:
        keys = [(f"n{chance.randrange(300)}", chance.randrange(2)) for _ in range(records)]
        kafka.produce(topic, [json.dumps(key).encode() for key in keys])
        expected.update(keys)

    def member() -> DirectStream:
        return DirectStream(
            name=name,
            topics=[topic],
            kafka={"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0, **SHORT_SESSIONS},
            store=SqlOffsetStore(postgres.url),
            prepare=lambda batch: list(batch.decoded(json.loads)),
            sink=StateSink(TOTALS, tuple, counted),
            max_records_per_batch=100,
        )

    def has_all() -> bool:
        with engine.connect() as connection:
            return connection.execute(sa.select(sa.func.sum(TOTALS.c.number))).scalar() == expected.total()

    produce(2_000)
    first, second = member(), member()
    first.start()
    second.start()
    produce(2_000)
    assert wait_until(has_all, WAIT_S)
    second.stop()
    produce(1_000)
    assert wait_until(has_all, WAIT_S)
    first.stop()
    engine.dispose()
    assert totals_at(postgres.url) == dict(expected)
