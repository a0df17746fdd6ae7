"""The records: JSON of 182 bytes, with keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from confluent_kafka import Producer

from benchmarks.measurement import VALUE_BYTES

KEYS = 10_000

PRODUCER = {
    "linger.ms": 20,
    "batch.size": 1_000_000,
    "batch.num.messages": 100_000,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 256 * 1024,
}


def records(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value; the same ones each time."""
    for number in range(count):
        customer = number * 7919 % KEYS
        noise = hashlib.blake2b(number.to_bytes(8), digest_size=16).hexdigest()
        value = (
            f'{{"id": {number}, "customer": "c-{customer:05}", "amount": {number % 9973 / 100}, '
            f'"currency": "EUR", "at": "2025-01-31T12:{number // 60 % 60:02}:{number % 60:02}Z", "token": "{noise}", '
            f'"note": "'
        )
        yield b"c-%05d" % customer, (value + "n" * (VALUE_BYTES - len(value) - 2) + '"}').encode()


def produce(bootstrap_servers: str, topic: str, count: int) -> None:
    """Fill a topic; returns when the broker has all of it."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "log_level": 2, **PRODUCER})
    for number, (key, value) in enumerate(records(count)):
        while True:
            try:
                producer.produce(topic, value, key)
            except BufferError:
                producer.poll(0.05)
            else:
                break
        if number % 1_000 == 0:
            producer.poll(0)
    if left := producer.flush(120):
        raise RuntimeError(f"{left} records were not delivered to {topic}")
