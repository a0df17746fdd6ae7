"""Groups by both of Kafka's protocols: members that are killed and frozen on every store, migrations, older brokers."""

from __future__ import annotations

import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from integration_tests.engine import COMPOSE_FILE, DockerEngine, wait_until
from integration_tests.group_protocols import group_of, member_by, protocol_of
from integration_tests.load import Load
from integration_tests.pairings import THROUGH_TRANSACTION, Pairing, Record, committed_records
from integration_tests.private_kafka import private_kafka_of
from integration_tests.results import ResultTable
from integration_tests.running_service import RunningService, Services
from integration_tests.servers import (
    KafkaServer,
    PostgresDatabase,
    ServerPorts,
    cluster_id,
    random_name,
)
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import WAIT_S, assert_exactly_once, settings_of, topic_of, wait_for_rows
from kafka_stream.errors import ConfigurationError
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.source.kafka_source import KafkaSource
from kafka_stream.testing.source_reader import Reader
from kafka_stream.types import Phase

COMMITTED = 4_000
PROTOCOLS = ("classic", "consumer")
SESSION_S = {"classic": 1.5, "consumer": 3.0}


def finish(service: RunningService) -> None:
    service.signal(signal.SIGTERM)
    assert service.wait() == 0, service.report()


# Every store ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    return topic_of(kafka, aborted=300, committed=COMMITTED)


@pytest.fixture(scope="module")
def committed(kafka: KafkaServer, topic: str) -> Counter[Record]:
    return committed_records(kafka, topic)


@pytest.fixture(params=THROUGH_TRANSACTION)
def pairing(tmp_path: Path, request: pytest.FixtureRequest) -> Pairing:
    store: str = request.param
    return Pairing.made((store, THROUGH_TRANSACTION[store]), tmp_path, request)


def member_of(pairing: Pairing, topic: str, protocol: str) -> ServiceSettings:
    """A member whose open transaction, if its store has one in Kafka, does not outlive it for long."""
    settings = replace(pairing.settings(topic), max_records_per_batch=100)
    if settings.store.startswith("kafka:"):
        settings = replace(settings, store=f"{settings.store}?transaction.timeout.ms=3000")
    return member_by(settings, protocol)


@pytest.mark.parametrize("phase", [Phase.AFTER_PREPARE, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_member_that_wakes_up_late_changes_nothing_and_works_on(
    pairing: Pairing, topic: str, committed: Counter[Record], services: Services, protocol: str, phase: Phase
) -> None:
    settings = member_of(pairing, topic, protocol)
    # On SQLite a transaction keeps everybody out: nobody could take over from one who is frozen inside it.
    frozen_at = Phase.AFTER_PREPARE if settings.store.startswith("sqlite") else phase
    zombie = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{frozen_at}:3")
    zombie.wait_until_stopped()
    successor = services.start(settings)
    assert wait_until(lambda: sum(pairing.results().values()) >= COMMITTED, 2 * WAIT_S), successor.report()
    turns = len(zombie.said("positions"))
    zombie.signal(signal.SIGCONT)
    zombie.wait_until_said("positions", turns + 1)  # it has joined again and taken its share over
    finish(successor)
    finish(zombie)
    assert pairing.results() == committed


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_killed_member_had_is_read_on_when_its_session_is_over(
    kafka: KafkaServer, pairing: Pairing, services: Services, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    topic = kafka.create_topic(partitions=4)
    settings = member_of(pairing, topic, protocol)
    with Load(kafka.bootstrap_servers, topic, interval_s=0.01):
        survivor = services.start(settings)
        survivor.wait_until_said("batch")
        victim = services.start(settings)
        victim.wait_until_said("batch", times=3)
        turns = len(survivor.said("positions"))
        victim.signal(signal.SIGKILL)
        began = time.monotonic()
        survivor.wait_until_said("positions", turns + 1)
        batches = len(survivor.said("batch"))
        survivor.wait_until_said("batch", batches + 1)
        pause_s = time.monotonic() - began
    with capsys.disabled():
        where = settings.store.partition(":")[0]
        print(
            f"\n{where}, {protocol}: read on {pause_s:.1f} s after the kill, with sessions of {SESSION_S[protocol]} s"
        )
    committed = committed_records(kafka, topic)
    assert wait_until(lambda: pairing.results() == committed, 2 * WAIT_S), survivor.report()
    finish(survivor)
    assert pairing.results() == committed


# Migrations, groups that are gone -------------------------------------------------------------------------------------


@pytest.fixture
def settings(kafka: KafkaServer, postgres: PostgresDatabase) -> ServiceSettings:
    topic = kafka.create_topic(partitions=4)
    return settings_of(kafka, postgres, topic, assignment="group", max_records_per_batch=50)


def test_a_running_group_migrates_by_a_rolling_restart_and_back(
    kafka: KafkaServer, settings: ServiceSettings, services: Services, table: ResultTable
) -> None:
    def begin(protocol: str) -> RunningService:
        service = services.start(replace(settings, group_protocol=protocol))
        service.wait_until_said("positions")
        service.wait_until_said("batch")
        return service

    def roll(running: Sequence[RunningService], protocol: str) -> list[RunningService]:
        """One after the other is stopped, and started anew."""
        begun = []
        for old in running:
            finish(old)
            begun.append(begin(protocol))
        assert wait_until(lambda: protocol_of(kafka.bootstrap_servers, settings.stream) == protocol, WAIT_S)
        for service in begun:
            service.wait_until_said("batch", len(service.said("batch")) + 3)
        return begun

    with Load(kafka.bootstrap_servers, settings.topic) as load:
        running = [begin("classic"), begin("classic")]
        running = roll(running, "consumer")
        running = roll(running, "classic")
    wait_for_rows(table, load.sent, *running)
    for service in running:
        finish(service)
    assert_exactly_once(kafka, settings.topic, table)


def test_a_member_whose_group_was_deleted_while_it_slept_joins_it_anew(
    kafka: KafkaServer, settings: ServiceSettings, services: Services, table: ResultTable
) -> None:
    member = member_by(settings, "consumer")
    kafka.produce(member.topic, [("key", str(n)) for n in range(10)])
    sleeper = services.start(member)
    wait_for_rows(table, 10, sleeper)
    sleeper.signal(signal.SIGSTOP)
    assert wait_until(lambda: not group_of(kafka.bootstrap_servers, member.stream).members, WAIT_S)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.delete_consumer_groups([member.stream])[member.stream].result(WAIT_S)
    sleeper.signal(signal.SIGCONT)
    kafka.produce(member.topic, [("key", str(n)) for n in range(10, 20)])
    wait_for_rows(table, 20, sleeper)
    finish(sleeper)
    assert_exactly_once(kafka, member.topic, table)


# Brokers that do not have it ------------------------------------------------------------------------------------------

_CLASSIC_ONLY = """
services:
  kafka:
    extends: {{ file: {file}, service: kafka }}
    environment:
      KAFKA_GROUP_COORDINATOR_REBALANCE_PROTOCOLS: classic
    volumes: ["kafka-data:/var/lib/kafka/data"]
volumes:
  kafka-data:
"""


@pytest.fixture(scope="module")
def older(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker that has the classic protocol alone."""
    file = tmp_path_factory.mktemp("compose") / "compose.yml"
    file.write_text(_CLASSIC_ONLY.format(file=COMPOSE_FILE.resolve()))
    ports = ServerPorts()
    compose = engine.compose_of(
        file, f"kafka-stream-older-{uuid.uuid4().hex[:8]}", KAFKA_CLUSTER_ID=cluster_id(), **ports.variables()
    )
    with private_kafka_of(compose, ports) as broker:
        yield broker


def opened(server: KafkaServer, topic: str, protocol: str, stack: ExitStack) -> Reader:
    config = {"bootstrap.servers": server.bootstrap_servers}
    source = KafkaSource(config, random_name("group"), [topic], SourceLimits(), protocol)
    source.open(WAIT_S)
    stack.callback(source.close)
    source.subscribe()
    return Reader(source)


def test_brokers_without_the_consumer_protocol_are_joined_by_the_classic_one(older: KafkaServer) -> None:
    topic = older.create_topic(partitions=2)
    with ExitStack() as stack:
        reader = opened(older, topic, "auto", stack)
        reader.until(lambda: len(reader.assigned) == 2)
        refused = opened(older, topic, "consumer", stack)
        with pytest.raises(ConfigurationError, match=r"do not have the consumer group protocol"):
            refused.until(lambda: refused.assigned)
