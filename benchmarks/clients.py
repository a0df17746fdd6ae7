"""Consumers and streams as the contenders use them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.measurement import Stopwatch, Task
from kafka_stream import DirectStream
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress
from kafka_stream.types import OffsetRange, Phase

POLL = 10_000


def tuned_consumer(task: Task) -> Consumer:
    """As fast as librdkafka reads: the limit."""
    return consumer_of(task, {"queued.min.messages": 200_000, "fetch.queue.backoff.ms": 2, "log_level": 2})


def consumer_of(task: Task, settings: Mapping[str, Any]) -> Consumer:
    """At the start of all partitions."""
    consumer = Consumer({
        "bootstrap.servers": task.bootstrap_servers,
        "group.id": f"{task.topic}-by-hand",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        **settings,
    })  # fmt: skip
    consumer.assign([TopicPartition(task.topic, number, 0) for number in range(task.partitions)])
    return consumer


def polls(task: Task, watch: Stopwatch) -> Iterator[Sequence[Message]]:
    """All records of the topic, a poll at a time, without a check of any."""
    consumer = tuned_consumer(task)
    seen = 0
    while seen < task.records:
        messages = consumer.consume(POLL, 0.05)
        if messages:
            watch.first()
            seen += len(messages)
            yield messages
    consumer.close()


class Watcher(StreamListener):
    """Tells the stopwatch where a stream is."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self.batches = 0
        self.records = 0

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """The first record is in hand after the first fetch."""
        if phase is Phase.AFTER_FETCH:
            self._watch.first()

    def on_batch(self, progress: BatchProgress) -> None:
        """A batch is durable."""
        self._watch.last()
        self.batches += 1
        self.records += progress.records


def stream_of(task: Task, watch: Stopwatch, **options: Any) -> tuple[DirectStream, Watcher]:
    """A stream of all partitions, at its default settings but for ``options`` and the task's."""
    watcher = Watcher(watch)
    defaults: dict[str, Any] = {"name": f"bench-{task.topic}", "topics": [task.topic], "assignment": "static"}
    defaults |= {"kafka": {"bootstrap.servers": task.bootstrap_servers, "log_level": 2}, "listeners": [watcher]}
    return DirectStream(**{**defaults, **options, **task.options}), watcher
