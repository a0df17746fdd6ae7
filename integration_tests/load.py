"""Records that come all the time, a bare consumer that reads them, and how long anything stood still meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

_FLUSH_S = 120.0
_TRANSACTION_S = 20.0
_LOOK_S = 0.05


class Running:
    """A thread that turns until it is stopped."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def turn(self) -> None:
        """One of many."""
        raise NotImplementedError

    def finish(self) -> None:
        """The end of the last one."""

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.turn()
        self.finish()


class Load(Running):
    """A bare producer: numbered records without an end; ``delivered`` of them are acknowledged."""

    def __init__(self, bootstrap_servers: str, topic: str, interval_s: float = 0.005) -> None:
        super().__init__()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # never: what is sent is delivered, however long brokers are away
                "log_level": 0,
            }
        )
        self._topic = topic
        self._interval_s = interval_s
        self.sent = 0
        self.delivered = 0
        self.failed: list[KafkaError] = []

    def turn(self) -> None:
        self._producer.produce(self._topic, str(self.sent), str(self.sent % 97), on_delivery=self._on_delivery)
        self.sent += 1
        self._producer.poll(self._interval_s)

    def finish(self) -> None:
        self._producer.flush(_FLUSH_S)

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.failed.append(error)


class BareConsumer(Running):
    """A member of a group of its own that reads, and commits as plain consumers do."""

    def __init__(self, bootstrap_servers: str, group_id: str, topic: str) -> None:
        super().__init__()
        config = {"bootstrap.servers": bootstrap_servers, "group.id": group_id, "log_level": 0}
        self._consumer = Consumer({**config, "auto.offset.reset": "earliest", "session.timeout.ms": 10_000})
        self._consumer.subscribe([topic])
        self.read = 0

    def turn(self) -> None:
        self.read += sum(message.error() is None for message in self._consumer.consume(500, _LOOK_S))

    def finish(self) -> None:
        self._consumer.close()


class BareTransactions(Running):
    """A bare transactional producer: a record a transaction; one that fails for good is replaced by a new one."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        super().__init__()
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "transactional.id": f"bare-{topic}",
            "transaction.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 1_000,
            "log_level": 0,
        }
        self._topic = topic
        self._producer: Producer | None = None
        self.committed = 0

    def turn(self) -> None:
        try:
            if self._producer is None:
                self._producer = Producer(self._config)
                self._producer.init_transactions(_TRANSACTION_S)
            self._transact(self._producer)
        except KafkaException:
            self._producer = None
        else:
            self.committed += 1
        self._stopped.wait(_LOOK_S)

    def _transact(self, producer: Producer) -> None:
        producer.begin_transaction()
        try:
            producer.produce(self._topic, str(self.committed))
            producer.commit_transaction(_TRANSACTION_S)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            producer.abort_transaction(_TRANSACTION_S)


class Pauses(Running):
    """The longest time that each of some numbers, which grow, did not."""

    def __init__(self, **counts: Callable[[], int]) -> None:
        super().__init__()
        self._counts = counts
        now = time.monotonic()
        self._seen = {name: (count(), now) for name, count in counts.items()}
        self.longest_s = dict.fromkeys(counts, 0.0)

    def turn(self) -> None:
        now = time.monotonic()
        for name, count in self._counts.items():
            before, since = self._seen[name]
            self.longest_s[name] = max(self.longest_s[name], now - since)
            if (found := count()) != before:
                self._seen[name] = found, now
        self._stopped.wait(_LOOK_S)

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.longest_s.items())
