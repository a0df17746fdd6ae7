"""Records that come all the time: in transactions, some of which are aborted, and without any."""

from __future__ import annotations

import itertools
import random
import time

from confluent_kafka import KafkaException, Producer

from integration_tests.load import Running
from integration_tests.servers import random_name

KEYS = 499
_ABORTED = 0.3
_TIMEOUT_S = 30.0
_CLIENT = {
    "log_level": 0,
    "reconnect.backoff.max.ms": 500,
    "linger.ms": 5,
    "topic.metadata.refresh.interval.ms": 5_000,  # partitions are added
}


class Transactions(Running):
    """A producer whose transactions are committed or aborted, as chance has it; it survives whatever brokers do.

    ``committed_at`` is when (seconds of the monotonic clock) a transaction was last committed. What became of one whose
    outcome it does not know an independent reader tells.
    """

    def __init__(self, bootstrap_servers: str, topic: str, chance: random.Random, pause_s: float) -> None:
        super().__init__()
        self.id = random_name("feed")
        self._config = {**_CLIENT, "bootstrap.servers": bootstrap_servers, "transactional.id": self.id}
        self._config["transaction.timeout.ms"] = 20_000
        self._topic = topic
        self._chance = chance
        self._pause_s = pause_s
        self._producer: Producer | None = None
        self._numbers = itertools.count()
        self.committed_at = time.monotonic()
        self.committed = self.aborted = self.unknown = 0

    def turn(self) -> None:
        try:
            self._one_transaction()
        except (KafkaException, BufferError):
            self.unknown += 1
            self._producer = None  # a new one ends what this one has left open
        self._stopped.wait(self._chance.uniform(0, 2 * self._pause_s))

    def _one_transaction(self) -> None:
        if self._producer is None:
            self._producer = Producer(self._config)
            self._producer.init_transactions(_TIMEOUT_S)
        producer = self._producer
        kind = "aborted" if self._chance.random() < _ABORTED else "committed"
        producer.begin_transaction()
        for number in itertools.islice(self._numbers, self._chance.randint(1, 40)):
            producer.produce(self._topic, f"{kind} {number}", f"key-{self._chance.randrange(KEYS)}")
            producer.poll(0)
        if kind == "aborted":
            producer.flush(_TIMEOUT_S)
            producer.abort_transaction(_TIMEOUT_S)
            self.aborted += 1
        else:
            producer.commit_transaction(_TIMEOUT_S)
            self.committed += 1
            self.committed_at = time.monotonic()


class Plain(Running):
    """A producer without transactions."""

    def __init__(self, bootstrap_servers: str, topic: str, chance: random.Random, pause_s: float) -> None:
        super().__init__()
        config = {**_CLIENT, "bootstrap.servers": bootstrap_servers, "enable.idempotence": True}
        self._producer = Producer({**config, "message.timeout.ms": 0})
        self._topic = topic
        self._chance = chance
        self._pause_s = pause_s
        self._numbers = itertools.count()

    def turn(self) -> None:
        for number in itertools.islice(self._numbers, 8):
            self._producer.produce(self._topic, f"plain {number}", f"key-{self._chance.randrange(KEYS)}")
        self._producer.poll(0)
        self._stopped.wait(self._pause_s)

    def finish(self) -> None:
        self._producer.flush(_TIMEOUT_S)


class Feed:
    """All producers of a soak; a context manager."""

    def __init__(self, bootstrap_servers: str, topic: str, seed: int, pause_s: float) -> None:
        chances = (random.Random(f"{seed} feed {number}") for number in itertools.count())
        self.transactions = [Transactions(bootstrap_servers, topic, next(chances), pause_s) for _ in range(2)]
        self._all: list[Running] = [*self.transactions, Plain(bootstrap_servers, topic, next(chances), pause_s)]

    def start(self) -> None:
        """Produce from now on."""
        for each in self._all:
            each.__enter__()

    def stop(self) -> None:
        """Return when the last transaction is ended."""
        for each in self._all:
            each.stop()

    def stands_still_for_s(self) -> float:
        """How long ago a transaction was last committed."""
        return time.monotonic() - max(each.committed_at for each in self.transactions)


__all__ = ["KEYS", "Feed"]
