"""Makes an example's tables, if it has any, and produces its records: ``python -m examples.sample_data raw_insert``.

It uses the Kafka and the database that the example would.
"""

import importlib
import json
import os
import random
import sys
from collections.abc import Iterator
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from sqlalchemy import MetaData, create_engine, make_url

CUSTOMERS = ("ada", "grace", "katherine", "mary")
WORDS = ("be", "is", "not", "or", "question", "that", "the", "to")

Record = tuple[str, dict[str, Any] | None]
"""A key and a value; ``None`` is a tombstone."""


def orders(count: int, chance: random.Random) -> Iterator[Record]:
    for number in range(1, count + 1):
        customer = chance.choice(CUSTOMERS)
        yield customer, {"id": number, "customer": customer, "amount": chance.randint(1, 500)}


def customers(count: int, chance: random.Random) -> Iterator[Record]:
    for _ in range(count):
        number = chance.randint(1, 20)
        row = {"name": chance.choice(CUSTOMERS), "city": chance.choice(("Berlin", "London", "Paris"))}
        yield str(number), row if chance.random() < 0.8 else None


def baskets(count: int, chance: random.Random) -> Iterator[Record]:
    for key, order in orders(count, chance):
        assert order is not None
        lines = [{"sku": f"sku-{chance.randint(1, 50)}", "quantity": chance.randint(1, 3)} for _ in range(3)]
        yield key, {"id": order["id"], "customer": order["customer"], "lines": lines}


def payments(count: int, chance: random.Random) -> Iterator[Record]:
    for key, order in orders(count, chance):
        assert order is not None
        yield key, {"id": order["id"], "cents": order["amount"], "currency": chance.choice(("EUR", "SEK", "USD"))}


def fragile_orders(count: int, chance: random.Random) -> Iterator[Record]:
    for number, (key, order) in enumerate(orders(count, chance)):
        assert order is not None
        broken: dict[int, dict[str, Any]] = {
            0: {"amount": -5},
            1: {"customer": "test"},
            2: {"amount": 13},
            3: {"id": None},
        }
        yield key, {**order, **broken.get(number % 100 - 50, {})}


def lines(count: int, chance: random.Random) -> Iterator[Record]:
    for _ in range(count):
        yield chance.choice(CUSTOMERS), {"line": " ".join(chance.choices(WORDS, k=chance.randint(0, 8)))}


def clicks(count: int, chance: random.Random) -> Iterator[Record]:
    """One a second or so; some come up to half a minute late."""
    for number in range(count):
        page = chance.choice(("/", "/cart", "/help", "/search"))
        yield page, {"page": page, "at_ms": 1_767_225_600_000 + 1_000 * number - chance.randint(0, 20_000)}


SAMPLES = {
    "orders": orders,
    "customers": customers,
    "baskets": baskets,
    "payments": payments,
    "fragile_orders": fragile_orders,
    "lines": lines,
    "clicks": clicks,
}


def sample(topic: str, count: int = 1000, seed: int = 0) -> Iterator[Record]:
    """Records of a topic, the same for the same seed."""
    return SAMPLES[topic](count, random.Random(seed))


def produce(topic: str, records: Iterator[Record], bootstrap_servers: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 20})
    refused: list[str] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            refused.append(error.str())

    for key, value in records:
        producer.produce(topic, key=key, value=None if value is None else json.dumps(value), on_delivery=on_delivery)
    if left := producer.flush(30):
        sys.exit(f"{left} records did not reach {bootstrap_servers} within 30 s")
    if refused:
        sys.exit(f"{len(refused)} records for topic {topic} were refused by {bootstrap_servers}: {refused[0]}")


def create_topic(topic: str, bootstrap_servers: str) -> None:
    """With four partitions, unless it is there: not every broker makes topics by itself."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for future in admin.create_topics([NewTopic(topic, num_partitions=4)]).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                sys.exit(f"topic {topic} could not be created on {bootstrap_servers}: {error.args[0].str()}")


def create_tables(metadata: MetaData) -> None:
    url = make_url(os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"))
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    metadata.create_all(engine)
    engine.dispose()


def main(name: str) -> None:
    example = importlib.import_module(f"examples.{name}")
    if hasattr(example, "metadata"):
        create_tables(example.metadata)
    topic = example.stream.settings.topics[0]
    servers = os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")
    create_topic(topic, servers)
    produce(topic, sample(topic), servers)
    print(f"examples.{name} is ready: 1000 records produced to {topic}")


if __name__ == "__main__":
    main(sys.argv[1])
