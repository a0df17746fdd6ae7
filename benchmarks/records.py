"""The records: JSON of 182 bytes, with keys, amounts, and times that pass from record to record."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import Producer

from benchmarks.measurement import VALUE_BYTES

KEYS = 10_000

AMOUNTS = 9_973
"""An amount is the rest of the record's time by this, so that nothing has to be parsed for it."""
WINDOW_MS = 300_000
FULL_WINDOWS = 10
LATENESS_MS = 10_000
"""A record's time is at most so far behind one before it."""
_BEGIN_MS = 1_738_324_800_000 + LATENESS_MS  # 2025-01-31 12:00 UTC, and no record before it
_SPAN_MS = FULL_WINDOWS * WINDOW_MS + WINDOW_MS // 2

PRODUCER = {
    "linger.ms": 20,
    "batch.size": 1_000_000,
    "batch.num.messages": 100_000,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 256 * 1024,
}


class Record(NamedTuple):
    """``time_ms`` is the record's timestamp, and gives ``amount``, which is in the value, too."""

    key: bytes
    value: bytes
    amount: int
    time_ms: int


def records(count: int, keys: int = KEYS) -> Iterator[Record]:
    """The same ones each time, of so many keys, each as likely as the others.

    Their times go through ten windows and a half, whatever their count, and jump back by up to ``LATENESS_MS``.
    """
    for number in range(count):
        noise = hashlib.blake2b(number.to_bytes(8), digest_size=16)
        random = int.from_bytes(noise.digest())
        customer = random % keys
        time_ms = _BEGIN_MS + number * _SPAN_MS // count - (random >> 64) % (LATENESS_MS + 1)
        amount = time_ms % AMOUNTS
        value = (
            f'{{"id": {number}, "customer": "c-{customer:05}", "amount": {amount}, '
            f'"currency": "EUR", "at": "2025-01-31T12:{number // 60 % 60:02}:{number % 60:02}Z", '
            f'"token": "{noise.hexdigest()}", "note": "'
        )
        whole = value + "n" * (VALUE_BYTES - len(value) - 2) + '"}'
        yield Record(b"c-%05d" % customer, whole.encode(), amount, time_ms)


def produce(bootstrap_servers: str, topic: str, count: int, keys: int = KEYS) -> None:
    """Fill a topic, in order; returns when the broker has all of it.

    A producer that is not idempotent sends a request again behind later ones: windows would take its records for late.
    """
    in_order = {"enable.idempotence": True}
    producer = Producer({"bootstrap.servers": bootstrap_servers, "log_level": 2, **PRODUCER, **in_order})
    for number, record in enumerate(records(count, keys)):
        while True:
            try:
                producer.produce(topic, record.value, record.key, timestamp=record.time_ms)
            except BufferError:
                producer.poll(0.05)
            else:
                break
        if number % 1_000 == 0:
            producer.poll(0)
    if left := producer.flush(120):
        raise RuntimeError(f"{left} records were not delivered to {topic}")


@functools.cache
def made_of(count: int, keys: int) -> Mapping[str, int]:
    """What the records come to: totals of each key, and the windows that are full, as numbers of rows and sums."""
    largest, last_seen = defaultdict[bytes, int](int), defaultdict[bytes, int](int)
    windows = defaultdict[tuple[bytes, int], list[int]](list)
    for key, _, amount, time_ms in records(count, keys):
        largest[key] = max(largest[key], amount)
        last_seen[key] = max(last_seen[key], time_ms)
        windows[key, time_ms // WINDOW_MS].append(amount)
    last = max(number for _, number in windows)
    full = {window: amounts for window, amounts in windows.items() if window[1] != last}
    return {
        "keys": len(largest),
        "counted": count,
        "amounts": sum(map(sum, windows.values())),
        "largest": sum(largest.values()),
        "last_seen_ms": sum(last_seen.values()),
        "windows": len(full),
        "window_starts_ms": sum(number * WINDOW_MS for _, number in full),
        "counted_in_windows": sum(map(len, full.values())),
        "amounts_in_windows": sum(map(sum, full.values())),
    }
