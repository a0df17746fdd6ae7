"""What `make try` runs: totals of orders in PostgreSQL. ``python -m shop setup | produce`` is what is around it."""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_stream import Batch, DirectStream
from kafka_stream.sinks.sql import Add, Greatest, Merge, SqlSink

KAFKA, STORE = os.environ["TRY_KAFKA"], os.environ["TRY_STORE"]
TOPIC, PARTITIONS = "orders", 4
SECONDS, PER_SECOND = 1_800, 200

totals = sa.Table(
    "totals",
    sa.MetaData(),
    sa.Column("customer", sa.Text, primary_key=True),
    sa.Column("orders", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("last_order", sa.BigInteger, nullable=False),
)


def rows(batch: Batch) -> Iterator[dict[str, Any]]:
    """One for each order; those of a customer are added up."""
    for _, order in batch.decoded(json.loads):
        yield {"customer": order["customer"], "orders": 1, "amount": order["amount"], "last_order": order["id"]}


stream = DirectStream(
    name="totals",
    topics=[TOPIC],
    kafka={"bootstrap.servers": KAFKA},
    store=STORE,
    sink=SqlSink(totals, rows, on_conflict=Merge(orders=Add, amount=Add, last_order=Greatest)),
)


def setup() -> None:
    """The table and the topic, if they are not there."""
    engine = sa.create_engine(STORE.replace("postgresql://", "postgresql+psycopg://"))
    totals.create(engine, checkfirst=True)
    engine.dispose()
    admin = AdminClient({"bootstrap.servers": KAFKA})
    for created in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
        try:
            created.result()
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise


def produce() -> None:
    """Numbered orders, each once, for half an hour."""
    producer = Producer({"bootstrap.servers": KAFKA, "enable.idempotence": True})
    for number in range(SECONDS * PER_SECOND):
        customer = f"customer-{random.randrange(1_000)}"
        producer.produce(TOPIC, json.dumps({"id": number, "customer": customer, "amount": 1}), customer)
        if number % 20 == 0:
            producer.poll(0)
            time.sleep(20 / PER_SECOND)
    producer.flush()


if __name__ == "__main__":
    {"setup": setup, "produce": produce}[sys.argv[1]]()
