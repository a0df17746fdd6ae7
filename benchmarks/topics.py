"""Topics that contenders write to."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.measurement import Task

_TIMEOUT_S = 60.0


def create_output(task: Task) -> str:
    """A topic of the run's own, with as many partitions as its input."""
    topic = f"{task.topic}-copy-{int(task.started_at * 1000)}"
    admin = _admin(task)
    admin.create_topics([NewTopic(topic, task.partitions, 1)])[topic].result(_TIMEOUT_S)
    return topic


def found(task: Task, topic: str) -> dict[str, int]:
    """Count what a read-committed consumer sees, and remove the topic."""
    consumer = Consumer({
        "bootstrap.servers": task.bootstrap_servers,
        "group.id": "count",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "log_level": 2,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, number, 0) for number in range(task.partitions)])
    reading, records, value_bytes = task.partitions, 0, 0
    while reading:
        for message in consumer.consume(10_000, 1.0):
            if (error := message.error()) is None:
                records += 1
                value_bytes += len(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                reading -= 1
    consumer.close()
    admin = _admin(task)
    admin.delete_topics([topic])[topic].result(_TIMEOUT_S)
    return {"records": records, "value_bytes": value_bytes}


def _admin(task: Task) -> AdminClient:
    return AdminClient({"bootstrap.servers": task.bootstrap_servers, "log_level": 2})
