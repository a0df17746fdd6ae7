"""Streams from Kafka to Kafka: as a group and as static owners, through rebalances, kills and slow handlers."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from integration_tests.engine import wait_until
from integration_tests.running_service import RunningService, Services
from integration_tests.servers import KafkaServer, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import WAIT_S, wait_for_stable_end
from kafka_stream import Batch, DirectStream
from kafka_stream.errors import OwnershipLost
from kafka_stream.offset_stores.kafka import KafkaOffsetStore, KafkaTransaction
from kafka_stream.progress import StreamListener
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.types import Phase

RECORDS = 3_000
SESSIONS = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}  # as short as brokers take by default


def produce(kafka: KafkaServer, topic: str, start: int, count: int) -> None:
    """Records that are told apart by their value."""
    kafka.produce(topic, [(f"key-{n % 97}", str(n)) for n in range(start, start + count)])


@pytest.fixture
def settings(kafka: KafkaServer) -> ServiceSettings:
    """A service that copies a topic into another one, as a member of its group."""
    topic = kafka.create_topic(partitions=4)
    produce(kafka, topic, 0, RECORDS)
    return ServiceSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        store=f"kafka://{kafka.bootstrap_servers}?transaction.timeout.ms=3000",
        topic=topic,
        stream=random_name("stream"),
        assignment="group",
        handler="kafka sink",
        target=kafka.create_topic(partitions=3),
        max_records_per_batch=50,
        kafka=SESSIONS,
    )


def copied(kafka: KafkaServer, settings: ServiceSettings) -> Counter[int]:
    """The values that read-committed readers find in the copy, with how often."""
    return Counter(int(json.loads(value or b"")["value"]) for *_, value in kafka.read_committed(settings.target))


def assert_copied_once(kafka: KafkaServer, settings: ServiceSettings, records: int) -> None:
    wait_for_stable_end(kafka, settings.target)
    found, wanted = copied(kafka, settings), Counter(range(records))
    assert found == wanted, f"lost {wanted - found}, more {found - wanted}"


def test_members_that_come_go_and_are_killed_lose_and_repeat_nothing(
    kafka: KafkaServer, settings: ServiceSettings, services: Services
) -> None:
    first = services.start(settings)
    first.wait_until_said("batch", times=3)
    second = services.start(settings)
    second.wait_until_said("positions")
    produce(kafka, settings.topic, RECORDS, RECORDS)
    second.wait_until_said("batch", times=2)
    first.signal(signal.SIGKILL)
    victim = services.start(settings, KAFKA_STREAM_TEST_KILL_AT=f"{Phase.AFTER_ADVANCE}:2")
    produce(kafka, settings.topic, 2 * RECORDS, RECORDS)
    assert victim.wait() == -signal.SIGKILL, victim.report()
    third = services.start(settings)
    third.wait_until_said("positions")
    produce(kafka, settings.topic, 3 * RECORDS, RECORDS)
    for member in (second, third):
        finish(member)
    last = services.start(replace(settings, until="latest", assignment="static"))
    assert last.wait() == 0, last.report()
    assert_copied_once(kafka, settings, 4 * RECORDS)


def finish(service: RunningService) -> None:
    """Have it finish its batch and leave."""
    service.signal(signal.SIGTERM)
    assert service.wait() == 0, service.report()


@pytest.mark.parametrize("phase", [Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE])
def test_a_member_that_is_frozen_in_its_transaction_wakes_up_fenced_and_goes_on(
    kafka: KafkaServer, settings: ServiceSettings, services: Services, phase: Phase
) -> None:
    zombie = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{phase}:2")
    zombie.wait_until_stopped()
    successor = services.start(settings)
    successor.wait_until_said("batch", times=3)
    zombie.signal(signal.SIGCONT)
    zombie.wait_until_said("positions", times=2)  # after a retry, or after its revocation, whichever it hears of first
    produce(kafka, settings.topic, RECORDS, 300)
    assert wait_until(lambda: sum(copied(kafka, settings).values()) >= RECORDS + 300, WAIT_S), successor.report()
    assert zombie.is_running(), zombie.report()
    assert successor.is_running(), successor.report()
    finish(zombie)
    finish(successor)
    assert_copied_once(kafka, settings, RECORDS + 300)


def test_a_stream_changes_between_group_and_static_and_only_one_of_them_runs(
    kafka: KafkaServer, settings: ServiceSettings, services: Services
) -> None:
    member = services.start(settings)
    member.wait_until_said("batch", times=2)
    refused = services.start(replace(settings, assignment="static"))
    assert refused.wait() == 1, refused.report()
    assert [failure["type"] for failure in refused.said("failed")] == ["OwnershipLost"], refused.report()
    finish(member)
    produce(kafka, settings.topic, RECORDS, RECORDS)
    halves = [services.start(replace(settings, assignment=f"static:{i}/2")) for i in range(2)]
    for half in halves:
        half.wait_until_said("batch", times=2)
    member = services.start(settings)
    member.wait_until_said("positions")
    produce(kafka, settings.topic, 2 * RECORDS, RECORDS)
    for half in halves:
        assert half.wait() == 1, half.report()
        assert [failure["type"] for failure in half.said("failed")] == ["OwnershipLost"], half.report()
    member.wait_until_said("batch", times=2)
    finish(member)
    last = services.start(replace(settings, until="latest", assignment="static"))
    assert last.wait() == 0, last.report()
    assert_copied_once(kafka, settings, 3 * RECORDS)


class Retries(StreamListener):
    """What was retried, and why."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def on_retry(self, error: Exception, delay_s: float) -> None:
        self.errors.append(error)


def stream_of(kafka: KafkaServer, settings: ServiceSettings, sink: Any, **options: Any) -> DirectStream:
    """A stream in this process, static unless told otherwise."""
    values = {
        "assignment": "static",
        "kafka": {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0},
        **options,
    }
    values = {"store": KafkaOffsetStore({"transaction.timeout.ms": 2000}), **values}
    return DirectStream(name=settings.stream, topics=[settings.topic], sink=sink, **values)


def test_a_handler_that_outlives_its_transaction_is_reported_and_its_batch_repeated(
    kafka: KafkaServer, settings: ServiceSettings
) -> None:
    slow = [True]

    def is_aborted() -> bool:
        ends = [kafka.end_offsets(settings.target, committed=each) for each in (True, False)]
        return sum(ends[1].values()) > 0 and ends[0] == ends[1]

    def write(batch: Batch, transaction: KafkaTransaction) -> None:
        for message in batch:
            transaction.produce(settings.target, value=json.dumps({"value": (message.value() or b"").decode()}))
        if slow.pop() if slow else False:
            assert wait_until(is_aborted, WAIT_S)

    retries = Retries()
    summary = stream_of(kafka, settings, write, listeners=[retries]).run(until="latest")
    assert summary.records == RECORDS
    assert any("outlived transaction.timeout.ms" in str(error) for error in retries.errors), retries.errors
    assert_copied_once(kafka, settings, RECORDS)


def test_a_static_owner_stops_for_its_successor_and_names_it(kafka: KafkaServer, settings: ServiceSettings) -> None:
    def copy(batch: Batch) -> Any:
        return ({"value": json.dumps({"value": (m.value() or b"").decode()})} for m in batch)

    older = stream_of(kafka, settings, KafkaSink(settings.target, copy), max_records_per_batch=20)
    older.start()
    assert wait_until(lambda: older.status().batches > 2, WAIT_S)
    newer = stream_of(kafka, settings, KafkaSink(settings.target, copy), max_records_per_batch=20)
    newer.start()
    produce(kafka, settings.topic, RECORDS, 300)
    with pytest.raises(OwnershipLost) as raised:
        older.wait(WAIT_S)
    assert raised.value.other == newer.owner
    newer.stop()
    newer.wait(WAIT_S)
    stream_of(kafka, settings, KafkaSink(settings.target, copy)).run(until="latest")
    assert_copied_once(kafka, settings, RECORDS + 300)
