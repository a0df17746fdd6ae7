"""The producer: a steady flow of orders, and its own record of those that the broker acknowledged."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message, Producer

CUSTOMERS = tuple(
    f"{first} {last}"
    for first in ("Ada", "Grace", "Edsger", "Barbara", "Alan", "Radia")
    for last in ("Lovelace", "Hopper", "Dijkstra", "Liskov", "Turing", "Perlman")
)
PAUSE_S = 0.02
FLUSH_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One order that the broker has confirmed, and where it lies."""

    order_id: int
    cents: int
    partition: int
    offset: int


class OrderProducer:
    """Writes ``records`` orders at a steady rate, on a thread of its own, never beyond what is allowed so far.

    The allowance lets the demo keep step with a slow machine: orders keep coming until the last kill.
    """

    def __init__(self, producer: Producer, topic: str, records: int, duration_s: float) -> None:
        self.records = records
        self.acknowledged: list[Acknowledged] = []
        self.failure: str | None = None
        self._producer = producer
        self._topic = topic
        self._rate = records / duration_s
        self._allowed = 0
        self._produced = 0
        self._random = random.Random(7)  # noqa: S311 - amounts, not secrets
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)

    @property
    def produced(self) -> int:
        """How many orders the broker has confirmed."""
        return len(self.acknowledged)

    @property
    def has_ended(self) -> bool:
        """Whether the last order was confirmed, or the producer failed."""
        return self.failure is not None or self.produced == self.records

    @property
    def is_waiting(self) -> bool:
        """Whether all that it may produce so far was confirmed."""
        return self.failure is not None or self.produced >= self._allowed

    def start(self) -> None:
        """Begin as soon as something is allowed."""
        self._thread.start()

    def allow(self, records: int) -> None:
        """Let it go on up to that many orders in all."""
        self._allowed = min(self.records, max(self._allowed, records))

    def close(self) -> None:
        """End the thread; what is in flight may be lost, and is not in the record."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(FLUSH_TIMEOUT_S)

    def ends(self) -> dict[int, int]:
        """The end offset of each partition, by the record."""
        ends: dict[int, int] = {}
        for order in self.acknowledged:
            ends[order.partition] = max(ends.get(order.partition, 0), order.offset + 1)
        return ends

    def _run(self) -> None:
        due = 0.0
        last = time.monotonic()
        while not self._ending.wait(PAUSE_S) and not self.has_ended:
            now = time.monotonic()
            due += (now - last) * self._rate
            last = now
            count = min(int(due), self._allowed - self._produced)
            due = min(due - count, self._rate)  # waiting for an allowance does not save up a burst
            for _ in range(count):
                self._produce()
            self._producer.poll(0)

    def _produce(self) -> None:
        order_id = self._produced
        cents = self._random.randint(100, 50_000)
        customer = self._random.choice(CUSTOMERS)

        def confirmed(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                self.failure = f"order {order_id} was not accepted: {error}"
                return
            self.acknowledged.append(Acknowledged(order_id, cents, partition, offset))

        value = json.dumps({"order_id": order_id, "customer": customer, "cents": cents})
        self._producer.produce(self._topic, key=customer, value=value, on_delivery=confirmed)
        self._produced += 1


__all__ = ["Acknowledged", "OrderProducer"]
