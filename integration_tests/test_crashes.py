"""The guarantee: a service that is killed anywhere, frozen, and replaced by new code stores every record once."""

from __future__ import annotations

import itertools
import random
import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest

from integration_tests.results import ResultTable
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, OpenTransaction, PostgresDatabase
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import SHORT_SESSIONS, settings_of, wait_for_rows, wait_for_stable_end
from kafka_stream.types import OF_EVERY_BATCH, Phase

SEED = 20_240_229
ROUNDS = 10
ROUND_WITH_OPEN_TRANSACTIONS = 7
COMMITTED = 200_500
RANDOM_KILLS = 20


@dataclass(frozen=True)
class TransactionalTopic:
    """A topic with plain, committed, aborted and, until they are ended, open transactions' records in 4 partitions."""

    name: str
    to_commit: OpenTransaction
    to_abort: OpenTransaction


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> TransactionalTopic:
    name = kafka.create_topic(partitions=4)
    numbers = itertools.count()
    opened: list[OpenTransaction] = []

    def values(kind: str, count: int) -> Iterable[tuple[str, str]]:
        return [(f"key-{n % 997}", f"{kind} {n}") for n in itertools.islice(numbers, count)]

    for turn in range(ROUNDS):
        kafka.produce(name, values("committed", 10_000))
        kafka.transaction(name, values("committed", 10_000))
        kafka.transaction(name, values("aborted", 1_000), outcome="abort")
        if turn == ROUND_WITH_OPEN_TRANSACTIONS:
            opened.append(kafka.open_transaction(name, values("committed", 500)))
            opened.append(kafka.open_transaction(name, values("aborted", 500)))
    return TransactionalTopic(name, *opened)


def kill_at(services: Services, settings: ServiceSettings, phase: Phase, nth: int) -> None:
    """Let the service work until it kills itself at a named point."""
    service = services.start(settings, KAFKA_STREAM_TEST_KILL_AT=f"{phase}:{nth}")
    assert service.wait() == -signal.SIGKILL, service.report()


def kill_at_random_instants(services: Services, settings: ServiceSettings, chance: random.Random, times: int) -> None:
    """Kill the service wherever it is: one time in four on its way to its first batch, otherwise amid its work."""
    for turn in range(times):
        service = services.start(settings)
        service.wait_until_said("ready" if turn % 4 == 0 else "batch")
        assert service.kill_after(chance.uniform(0.0, 0.4)), service.report()


def freeze_and_wake(services: Services, settings: ServiceSettings) -> None:
    """Freeze an owner inside its transaction, let a successor work, wake it up: it finds that it has been replaced."""
    frozen = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_WRITE}:3")
    frozen.wait_until_stopped()
    successor = services.start(settings)
    successor.wait_until_said("batch", times=3)
    frozen.signal(signal.SIGCONT)
    assert frozen.wait() == 1, frozen.report()
    assert frozen.said("failed")[0]["type"] == "OwnershipLost"
    successor.wait_until_said("batch", times=len(successor.said("batch")) + 3)
    successor.end()


def test_every_committed_record_is_stored_once_through_all_crashes(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: TransactionalTopic, services: Services
) -> None:
    chance = random.Random(SEED)
    settings = settings_of(kafka, postgres, topic.name, max_records_per_batch=200, linger_s=0.005)

    for phase in OF_EVERY_BATCH:
        kill_at(services, settings, phase, chance.randint(1, 6))
    freeze_and_wake(services, settings)
    kill_at_random_instants(services, settings, chance, RANDOM_KILLS // 2)

    table.migrate_to_version_2()
    version_2 = replace(settings, handler="enriched")
    kill_at_random_instants(services, version_2, chance, RANDOM_KILLS - RANDOM_KILLS // 2)

    so_far = kafka.read_committed(topic.name)
    assert 0 < table.count("code_version = '1'") < table.count() < len(so_far), "every kill was to hit amid the work"
    last = services.start(replace(version_2, max_records_per_batch=5_000, linger_s=0.0))
    wait_for_rows(table, len(so_far), last)
    findings = table.check(so_far)
    assert findings.are_exactly_once, f"with two transactions still open: {findings}"

    topic.to_commit.commit()
    topic.to_abort.abort()
    wait_for_stable_end(kafka, topic.name)
    committed = kafka.read_committed(topic.name)
    assert len(committed) == COMMITTED
    wait_for_rows(table, COMMITTED, last)
    last.signal(signal.SIGTERM)
    assert last.wait() == 0, last.report()
    findings = table.check(committed)
    assert findings.are_exactly_once, findings


def test_a_group_that_loses_a_member_at_every_crash_point_stores_every_record_once(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, services: Services
) -> None:
    topic = kafka.create_topic(partitions=4)
    kafka.transaction(topic, [(f"key-{n % 97}", f"aborted {n}") for n in range(1_000)], outcome="abort")
    kafka.transaction(topic, [(f"key-{n % 97}", f"committed {n}") for n in range(40_000)])
    wait_for_stable_end(kafka, topic)
    settings = settings_of(
        kafka, postgres, topic, SHORT_SESSIONS, assignment="group", max_records_per_batch=50, linger_s=0.03
    )

    survivor = services.start(settings)
    for phase in OF_EVERY_BATCH:
        victim = services.start(settings, KAFKA_STREAM_TEST_KILL_AT=f"{phase}:3")
        assert victim.wait() == -signal.SIGKILL, victim.report()
    committed = kafka.read_committed(topic)
    assert table.count() < len(committed) == 40_000, "every kill was to hit amid the work"

    last = services.start(replace(settings, max_records_per_batch=5_000, linger_s=0.0))
    wait_for_rows(table, len(committed), last, survivor)
    for service in (last, survivor):
        service.signal(signal.SIGTERM)
        assert service.wait() == 0, service.report()
    findings = table.check(committed)
    assert findings.are_exactly_once, findings


@pytest.mark.parametrize(
    ("doctoring", "found"),
    [
        ("DELETE FROM results WHERE value = 'committed 7'", {"lost": 1}),
        ("INSERT INTO results SELECT * FROM results WHERE value = 'committed 7'", {"repeated": 1}),
        (
            "INSERT INTO results SELECT partition, 99, key, 'aborted 8', '1', 1 FROM results WHERE record_offset = 7",
            {"not_expected": 1, "aborted": 1},
        ),
        ("UPDATE results SET value = 'committed 8' WHERE value = 'committed 7'", {"lost": 1, "not_expected": 1}),
        ("UPDATE results SET record_offset = record_offset + 1000", {"lost": 10, "not_expected": 10}),
    ],
    ids=["lost", "repeated", "aborted", "changed", "misplaced"],
)
def test_the_checker_finds_what_is_wrong(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, doctoring: str, found: dict[str, int]
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, [f"committed {n}" for n in range(10)])
    committed = kafka.read_committed(topic)
    for partition, offset, _, value in committed:
        row = (partition, offset, value and value.decode())
        postgres.execute("INSERT INTO results VALUES (%s, %s, NULL, %s, '1', 1)", row)
    clean = table.check(committed)
    assert clean.are_exactly_once

    postgres.execute(doctoring)
    doctored = table.check(committed)
    assert not doctored.are_exactly_once
    assert {name: getattr(doctored, name) for name in ("lost", "repeated", "not_expected", "aborted")} == {
        "lost": 0, "repeated": 0, "not_expected": 0, "aborted": 0, **found
    }  # fmt: skip
