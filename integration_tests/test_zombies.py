"""Owners that are frozen by SIGSTOP and wake up after a successor has worked: what they had in hand is lost."""

from __future__ import annotations

import signal

import pytest

from integration_tests.group_protocols import member_by
from integration_tests.results import ResultTable
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, PostgresDatabase
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import (
    assert_exactly_once,
    settings_of,
    topic_of,
    wait_for_rows,
)
from kafka_stream.types import OF_EVERY_BATCH, Phase

RECORDS = 6_000


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    return topic_of(kafka, aborted=500, committed=RECORDS)


@pytest.fixture
def settings(kafka: KafkaServer, postgres: PostgresDatabase, topic: str) -> ServiceSettings:
    return settings_of(kafka, postgres, topic, max_records_per_batch=200)


def sessions_in_a_transaction(database: PostgresDatabase) -> int:
    ((count,),) = database.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    )
    return int(count)


@pytest.mark.parametrize("phase", OF_EVERY_BATCH)
def test_a_static_owner_that_wakes_up_late_changes_nothing_and_names_its_successor(
    kafka: KafkaServer,
    postgres: PostgresDatabase,
    table: ResultTable,
    settings: ServiceSettings,
    services: Services,
    phase: Phase,
) -> None:
    zombie = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{phase}:3")
    zombie.wait_until_stopped()
    in_transaction = phase in (Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE)
    assert sessions_in_a_transaction(postgres) == int(in_transaction)

    successor = services.start(settings)
    wait_for_rows(table, RECORDS, successor)
    zombie.signal(signal.SIGCONT)
    assert zombie.wait() == 1, zombie.report()
    failure = zombie.said("failed")[0]
    assert failure["type"] == "OwnershipLost"
    ((owner,),) = postgres.execute("SELECT DISTINCT owner FROM kafka_stream_offsets")
    assert owner in failure["message"]

    successor.signal(signal.SIGTERM)
    assert successor.wait() == 0, successor.report()
    assert_exactly_once(kafka, settings.topic, table)


@pytest.mark.parametrize(
    ("phase", "protocol"),
    [
        (Phase.AFTER_PREPARE, "classic"),
        (Phase.AFTER_WRITE, "classic"),
        (Phase.AFTER_ADVANCE, "classic"),
        (Phase.AFTER_ADVANCE, "consumer"),
    ],
)
def test_a_group_member_that_wakes_up_late_changes_nothing_and_works_on(
    kafka: KafkaServer,
    postgres: PostgresDatabase,
    table: ResultTable,
    settings: ServiceSettings,
    services: Services,
    phase: Phase,
    protocol: str,
) -> None:
    member = member_by(settings, protocol)
    zombie = services.start(member, KAFKA_STREAM_TEST_PAUSE_AT=f"{phase}:3")
    zombie.wait_until_stopped()
    successor = services.start(member)
    wait_for_rows(table, RECORDS, successor)

    zombie.signal(signal.SIGCONT)
    turns = len(zombie.said("positions"))
    zombie.wait_until_said("positions", turns + 1)  # it has joined again and taken its share over
    for service in (successor, zombie):
        service.signal(signal.SIGTERM)
        assert service.wait() == 0, service.report()
    assert_exactly_once(kafka, settings.topic, table)
