"""Memory is bounded by the batch limits and the fetch buffers, whatever the lag."""

from __future__ import annotations

from confluent_kafka import Producer

from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, PostgresDatabase
from integration_tests.streams import settings_of

SMALLER_BACKLOG = 500_000
BACKLOG = 2_000_000
VALUE_BYTES = 100
MAX_RECORDS = 20_000


def produce(kafka: KafkaServer, topic: str, count: int) -> None:
    """The same small record many times, as fast as a client can."""
    producer = Producer({
        "bootstrap.servers": kafka.bootstrap_servers,
        "linger.ms": 50,
        "batch.size": 1_000_000,
        "batch.num.messages": 20_000,
        "compression.type": "none",
        "queue.buffering.max.messages": 200_000,
    })  # fmt: skip
    value = b"x" * VALUE_BYTES
    for number in range(count):
        while True:
            try:
                producer.produce(topic, value, partition=number % 4)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert producer.flush(60) == 0
    assert sum(kafka.end_offsets(topic).values()) == count


def peak_of(kafka: KafkaServer, postgres: PostgresDatabase, services: Services, records: int) -> int:
    """The peak memory, in bytes, of a service that works a backlog off."""
    topic = kafka.create_topic(partitions=4)
    produce(kafka, topic, records)
    settings = settings_of(kafka, postgres, topic, handler="totals", until="latest", max_records_per_batch=MAX_RECORDS)
    before = stored(postgres)
    service = services.start(settings)
    assert service.wait(120) == 0, service.report()
    assert stored(postgres) - before == records
    kafka.delete_topic(topic)
    return int(service.said("done")[0]["peak_memory_bytes"])


def stored(postgres: PostgresDatabase) -> int:
    ((records,),) = postgres.execute("SELECT coalesce(sum(records), 0)::bigint FROM totals")
    return int(records)


def test_the_backlog_does_not_decide_how_much_memory_is_used(
    kafka: KafkaServer, postgres: PostgresDatabase, services: Services
) -> None:
    postgres.execute("CREATE TABLE totals (records bigint NOT NULL, value_bytes bigint NOT NULL)")
    smaller = peak_of(kafka, postgres, services, SMALLER_BACKLOG)
    whole = peak_of(kafka, postgres, services, BACKLOG)
    print(f"peak memory: {smaller / 2**20:.0f} MiB with {SMALLER_BACKLOG} records, {whole / 2**20:.0f} with {BACKLOG}")
    assert whole < 1.25 * smaller
    assert whole < 400 * 2**20
