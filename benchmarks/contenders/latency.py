"""How long a record takes from the producer to a row that others see, at a steady rate."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from confluent_kafka import Consumer, Message, Producer

from benchmarks import tables
from benchmarks.clients import consumer_of
from benchmarks.measurement import VALUE_BYTES, Outcome, Stopwatch, Task
from kafka_stream import Batch, DirectStream
from kafka_stream.progress import StreamListener
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.types import OffsetRange, Phase

WARM_UP_S = 2.0
PATIENCE_S = 60.0
FALLEN_BEHIND_S = 5.0


class Latencies:
    """Batches, each with when it became visible; what it all comes to is worked out at the end."""

    def __init__(self) -> None:
        self._visible: list[tuple[int, Sequence[bytes]]] = []
        self.records = 0

    def visible(self, values: Sequence[bytes]) -> None:
        """These are committed."""
        self._visible.append((time.time_ns(), values))
        self.records += len(values)

    def figures(self) -> dict[str, float]:
        """Percentiles in milliseconds, of what was produced after the warm-up, if the reader has come so far."""
        sent = [(json.loads(value)["sent_ns"], at) for at, values in self._visible for value in values]
        begin = min(time_ns for time_ns, _ in sent) + WARM_UP_S * 1e9
        warm = [(time_ns, at) for time_ns, at in sent if time_ns >= begin]
        waited = sorted((at - time_ns) / 1e6 for time_ns, at in warm or sent)
        shares = {"p50_ms": 0.50, "p99_ms": 0.99, "max_ms": 1.0}
        return {name: waited[min(int(share * len(waited)), len(waited) - 1)] for name, share in shares.items()}


def poll_loop(task: Task) -> Outcome:
    """The hand-written loop: a poll, its row and the offset in one transaction, and so on.

    Where it falls behind it is not waited for; the records that it has not come to count as nothing.
    """
    tables.create(task.database)
    watch, latencies = Stopwatch(task), Latencies()
    consumer = consumer_of(task, {})
    with psycopg.connect(tables.conninfo(task.database)) as connection, connection.cursor() as cursor, _producing(task):
        cursor.execute("CREATE TABLE offsets (partition integer PRIMARY KEY, next_offset bigint)")
        cursor.executemany("INSERT INTO offsets VALUES (%s, 0)", [(n,) for n in range(task.partitions)])
        connection.commit()
        for message in _polled(task, consumer, latencies):
            watch.first()
            (row,) = tables.rows([message])
            cursor.execute(tables.INSERT, row)
            cursor.execute("UPDATE offsets SET next_offset = %s WHERE partition = %s", (row[1] + 1, row[0]))
            connection.commit()
            latencies.visible([row[3]])
        watch.last()
    consumer.close()
    found = tables.found(task.database) if latencies.records == task.records else {}
    return watch.outcome(found, **latencies.figures())


def poll_alone(task: Task) -> Outcome:
    """The same consumer and no database: what the producer, Kafka and the processors take, whoever reads."""
    watch, latencies = Stopwatch(task), Latencies()
    consumer = consumer_of(task, {})
    with _producing(task):
        for message in _polled(task, consumer, latencies):
            watch.first()
            latencies.visible([message.value() or b""])
        watch.last()
    consumer.close()
    return watch.outcome({}, **latencies.figures())


def _polled(task: Task, consumer: Consumer, latencies: Latencies) -> Iterator[Message]:
    """A poll at a time, until all has become visible, or whoever makes it so has fallen behind."""
    deadline = time.monotonic() + task.records / task.options["rate"] + FALLEN_BEHIND_S
    while latencies.records < task.records and time.monotonic() < deadline:
        if (message := consumer.poll(0.1)) is not None:
            yield message


class _Commits(StreamListener):
    def __init__(self, watch: Stopwatch, latencies: Latencies) -> None:
        self._watch, self._latencies = watch, latencies
        self.values: dict[tuple[OffsetRange, ...], Sequence[bytes]] = {}  # of batches that are prepared, maybe ahead

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        if phase is Phase.AFTER_FETCH:
            self._watch.first()
        elif phase is Phase.AFTER_COMMIT:
            self._latencies.visible(self.values.pop(ranges, ()))


def stream(task: Task) -> Outcome:
    """``SqlSink`` at default settings."""
    tables.create(task.database)
    watch, latencies = Stopwatch(task), Latencies()
    commits = _Commits(watch, latencies)

    def to_rows(batch: Batch) -> Sequence[Any]:
        rows = tables.rows(batch)
        commits.values[batch.ranges] = [row[3] for row in rows]
        return rows

    streaming = DirectStream(
        name=f"bench-{task.topic}",
        topics=[task.topic],
        kafka={"bootstrap.servers": task.bootstrap_servers},
        store=task.database,
        sink=SqlSink(tables.RESULTS, to_rows),
        assignment="static",
        listeners=[commits],
    )
    with _producing(task), streaming:
        deadline = time.monotonic() + PATIENCE_S
        while latencies.records < task.records and time.monotonic() < deadline:
            time.sleep(0.05)
        watch.last()
    return watch.outcome(tables.found(task.database), **latencies.figures())


def _producing(task: Task) -> subprocess.Popen[bytes]:
    """A process that produces at the task's rate, and waits a little first."""
    arguments = [task.bootstrap_servers, task.topic, str(task.records), str(task.options["rate"])]
    return subprocess.Popen([sys.executable, "-m", "benchmarks.contenders.latency", *arguments])


def produce_steadily(bootstrap_servers: str, topic: str, records: int, rate: int) -> None:
    """Each record when its time has come, within half a millisecond; it leaves most of the processor to the others."""
    # Idempotent, as Kafka's own producers are by default: five requests are under way at most, and what has to wait
    # goes together. Without that limit each record is a request of its own, even if the broker has paused, which then
    # never catches up. At high rates what librdkafka's own 5 ms bring goes together from the start: else it is
    # thousands of requests a second, and the broker is all that is measured.
    settings = {"enable.idempotence": True, "linger.ms": 0 if rate <= 1_000 else 5}
    producer = Producer({"bootstrap.servers": bootstrap_servers, **settings})
    producer.list_topics(topic, timeout=30)
    time.sleep(1.5)  # until the reader has started; if it has not, the warm-up covers it
    begin = time.perf_counter()
    for number in range(records):
        while (early := begin + number / rate - time.perf_counter()) > 0:
            producer.poll(0)
            time.sleep(max(early, 0.0005))
        value = f'{{"id": {number}, "sent_ns": {time.time_ns()}, "note": "'
        value += "n" * (VALUE_BYTES - len(value) - 2) + '"}'
        producer.produce(topic, value, f"c-{number % 1000}")
    producer.flush(60)


if __name__ == "__main__":
    produce_steadily(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
