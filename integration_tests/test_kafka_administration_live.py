"""Operators' commands on Kafka's own group offsets, under services that run as processes of their own."""

from __future__ import annotations

import json
import logging
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from integration_tests.engine import wait_until
from integration_tests.kafka_store import WAIT_S
from integration_tests.running_service import RunningService, Services, wait_while_running
from integration_tests.servers import KafkaServer, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import wait_for_stable_end
from integration_tests.test_administration import Topic, implied, some_target
from kafka_stream.admin.reset import execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ResetPlan, ToEarliest, ToOffset
from kafka_stream.admin.transfer import delete
from kafka_stream.errors import CommandRefused
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import TopicPartition

RECORDS = 8_000
RESETS = 10


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> Topic:
    """Four partitions of committed and aborted records."""
    name = kafka.create_topic(partitions=4)
    for part in range(4):
        kafka.transaction(name, [(f"key-{n % 97}", f"committed {part} {n}") for n in range(RECORDS // 4)], part)
        kafka.transaction(name, [(f"key-{n % 97}", f"aborted {part} {n}") for n in range(200)], part, outcome="abort")
    wait_for_stable_end(kafka, name)
    return Topic(kafka, name)


@pytest.fixture(scope="module")
def cluster(kafka: KafkaServer) -> Cluster:
    found = Cluster({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}, logging.getLogger("test"))
    found.connect(WAIT_S)
    return found


class Live:
    """A service that copies the topic into another one, its store as a command opens it, and what it has copied."""

    def __init__(self, kafka: KafkaServer, topic: Topic, services: Services) -> None:
        self.kafka = kafka
        self.topic = topic
        self.services = services
        self.store = KafkaOffsetStore(f"kafka://{kafka.bootstrap_servers}")
        self.settings = ServiceSettings(
            bootstrap_servers=kafka.bootstrap_servers,
            store=f"kafka://{kafka.bootstrap_servers}?transaction.timeout.ms=6000",
            topic=topic.name,
            stream=random_name("stream"),
            handler="kafka sink",
            target=kafka.create_topic(partitions=2),
            max_records_per_batch=60,
            kafka={"session.timeout.ms": 6000},
        )
        self.stream = self.settings.stream

    def start(self, assignment: str = "static", **environment: str) -> RunningService:
        return self.services.start(replace(self.settings, assignment=assignment), **environment)

    def offsets(self) -> dict[TopicPartition, int]:
        return {tp: position.next_offset for tp, position in self.store.positions(self.stream).items()}

    def written(self) -> int:
        """How much the copy's log holds, markers and what was aborted included."""
        return sum(self.kafka.end_offsets(self.settings.target, committed=False).values())

    def wait_for_more(self, records: int, *running: RunningService) -> None:
        """Wait until so much more is written, or all that is left is."""
        wanted, ends = self.written() + records, self.topic.ends()
        wait_while_running(lambda: self.written() >= wanted or self.offsets() == ends, WAIT_S, *running)

    def wait_for_ends(self, *running: RunningService) -> None:
        """As long as they come nearer."""
        ends = self.topic.ends()
        while (reached := self.offsets()) != ends:
            moves = partial(lambda before: self.offsets() != before, reached)
            wait_while_running(moves, WAIT_S, *running)

    def copied(self) -> Counter[tuple[int, int]]:
        """How often read-committed readers find each record in the copy."""
        wait_for_stable_end(self.kafka, self.settings.target)
        rows = (json.loads(value or b"") for *_, value in self.kafka.read_committed(self.settings.target))
        return Counter((row["partition"], row["record_offset"]) for row in rows)


@pytest.fixture
def live(kafka: KafkaServer, topic: Topic, services: Services) -> Iterator[Live]:
    found = Live(kafka, topic, services)
    yield found
    found.store.close()


def stop(*services: RunningService) -> None:
    for service in services:
        service.signal(signal.SIGTERM)
        assert service.wait() == 0, service.report()


@pytest.mark.parametrize("assignments", [["static"], ["static:0/2", "static:1/2"]], ids=["one owner", "two shards"])
def test_ten_resets_at_random_moments_leave_what_they_imply(
    cluster: Cluster, live: Live, assignments: list[str]
) -> None:
    rng = random.Random()
    running = [live.start(assignment) for assignment in assignments]
    done: list[ResetPlan] = []
    for _ in range(RESETS):
        live.wait_for_more(rng.randrange(1, 400), *running)
        assert wait_until(lambda: len(live.offsets()) == 4, WAIT_S)
        target = some_target(rng, live.topic, live.offsets())
        done.append(execute_reset(live.store, prepare_reset(live.store, live.stream, cluster, target)))
    live.wait_for_ends(*running)
    assert not any(service.said("failed") for service in running), "\n".join(each.report() for each in running)
    stop(*running)
    assert live.copied() == implied(live.topic, done)


def test_an_idle_service_begins_again_when_it_is_reset(cluster: Cluster, live: Live) -> None:
    service = live.start()
    live.wait_for_ends(service)
    plan = execute_reset(live.store, prepare_reset(live.store, live.stream, cluster, ToEarliest()))
    live.wait_for_more(RECORDS, service)
    live.wait_for_ends(service)
    stop(service)
    assert live.copied() == implied(live.topic, [plan])


@pytest.mark.parametrize("phase", ["after_claim", "after_write", "after_advance", "after_commit"])
def test_a_reset_passes_a_service_that_is_frozen_within_its_transaction(
    cluster: Cluster, live: Live, phase: str
) -> None:
    service = live.start(KAFKA_STREAM_TEST_PAUSE_AT=f"{phase}:3")
    service.wait_until_stopped()
    plan = execute_reset(live.store, prepare_reset(live.store, live.stream, cluster, ToOffset(20)))
    assert live.offsets() == plan.offsets()
    service.signal(signal.SIGCONT)
    live.wait_for_ends(service)
    assert not service.said("failed"), service.report()
    stop(service)
    assert live.copied() == implied(live.topic, [plan])


def test_a_service_whose_stream_is_deleted_stops_and_commits_nothing_after(live: Live) -> None:
    service = live.start()
    live.wait_for_more(300, service)
    assert delete(live.store, live.stream) == (live.topic.name,)
    stored, copied = live.store.positions(live.stream), live.copied()
    assert service.wait() == 1, service.report()
    assert service.said("failed")[0]["type"] == "StreamClosed"
    assert (live.store.positions(live.stream), live.copied()) == (stored, copied)
    assert set(copied.values()) == {1}
    again = live.services.start(replace(live.settings, until="latest"))
    assert again.wait() == 0, again.report()
    assert live.copied() - copied == implied(live.topic, [])


def test_a_live_group_is_left_as_it_is_and_its_member_is_named(cluster: Cluster, live: Live) -> None:
    service = live.start("group")
    live.wait_for_ends(service)
    before = live.store.positions(live.stream)
    prepared = prepare_reset(live.store, live.stream, cluster, ToEarliest())
    with pytest.raises(CommandRefused, match="1 live member") as raised:
        execute_reset(live.store, prepared)
    assert "(kafka-stream-offsets-kafka on " in str(raised.value)
    with pytest.raises(CommandRefused, match="1 live member"):
        delete(live.store, live.stream)
    assert live.store.positions(live.stream) == before
    assert len(live.store.live_owners(live.stream)) == 1
    assert service.is_running()
    stop(service)
    assert live.store.live_owners(live.stream) == []
    assert set(execute_reset(live.store, prepared).offsets().values()) == {0}
