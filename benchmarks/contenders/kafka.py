"""Kafka to Kafka, exactly once, 20,000 records a transaction."""

from __future__ import annotations

from confluent_kafka import Producer, TopicPartition

from benchmarks import topics
from benchmarks.clients import stream_of, tuned_consumer
from benchmarks.measurement import Outcome, Stopwatch, Task
from benchmarks.records import PRODUCER
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.sinks.kafka import KafkaSink

BATCH = 20_000
_TIMEOUT_S = 60.0


def bare_loop(task: Task) -> Outcome:
    """Consume, produce, send the offsets, commit; nothing is checked."""
    topic = topics.create_output(task)
    watch = Stopwatch(task)
    producer = Producer({
        "bootstrap.servers": task.bootstrap_servers,
        "transactional.id": f"limit-{topic}",
        "log_level": 2,
        **PRODUCER,
    })  # fmt: skip
    producer.init_transactions(_TIMEOUT_S)
    consumer = tuned_consumer(task)
    metadata = consumer.consumer_group_metadata()
    seen = 0
    while seen < task.records:
        messages = consumer.consume(BATCH, 1.0)
        if not messages:
            continue
        watch.first()
        seen += len(messages)
        producer.begin_transaction()
        ends: dict[int, int] = {}
        for message in messages:
            while True:
                try:
                    producer.produce(topic, message.value(), message.key())
                except BufferError:
                    producer.poll(0.01)
                else:
                    break
            ends[message.partition() or 0] = (message.offset() or 0) + 1
        offsets = [TopicPartition(task.topic, number, offset) for number, offset in ends.items()]
        producer.send_offsets_to_transaction(offsets, metadata, _TIMEOUT_S)
        producer.commit_transaction(_TIMEOUT_S)
        watch.last()
    consumer.close()
    return watch.outcome(topics.found(task, topic))


def sink(task: Task) -> Outcome:
    """``KafkaSink``, with the offsets in Kafka."""
    topic = topics.create_output(task)
    watch = Stopwatch(task)
    copying, watcher = stream_of(
        task,
        watch,
        name=f"copy-{topic}",
        store=KafkaOffsetStore(),
        sink=KafkaSink(topic, lambda batch: batch),
        max_records_per_batch=BATCH,
    )
    copying.run(until="latest")
    return watch.outcome(topics.found(task, topic), batches=watcher.batches)
