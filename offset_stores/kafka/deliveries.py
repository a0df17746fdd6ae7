"""What becomes of the records that a producer was given."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError, Message, Producer

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore

_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
LOOK_S = 0.1
"""After so long it is looked whether a record has failed."""


class Deliveries:
    """Hears of every record that was not delivered: the first that failed, and where the first given up was to go.

    A client gives its records up where the transaction fails: a request that comes later says why.
    """

    def __init__(self) -> None:
        self.failed: tuple[KafkaError, str] | None = None
        self.given_up: str | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Called by the client while it is flushed or polled."""
        if error is None:
            return
        topic = message.topic() or "(unknown)"
        if error.code() in _PURGED:
            self.given_up = self.given_up or topic
        elif self.failed is None:
            self.failed = (error, topic)

    def flush(self, client: Producer, timeout_s: float) -> int:
        """Wait until all are delivered, or one was not; how many are left.

        After a failure in a transaction the client sends no more of it, and would keep the rest until its time is out.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left = client.flush(max(min(LOOK_S, deadline - time.monotonic()), 0.0))
            if not left or self.failed is not None or time.monotonic() > deadline:
                return left


__all__ = ["LOOK_S", "Deliveries"]
