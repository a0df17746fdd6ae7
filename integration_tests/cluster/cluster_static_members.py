"""Copies of a group that are killed: who waits for how long, by brokers' facts and by the log."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from integration_tests.engine import wait_until
from integration_tests.group_protocols import group_of, shorten_sessions
from integration_tests.results import ResultTable
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, PostgresDatabase
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import WAIT_S, assert_exactly_once, settings_of, wait_for_rows
from integration_tests.test_static_members import COPY, errors_of, killed, produce, replaced_while_frozen, stopped
from kafka_stream.types import OF_EVERY_BATCH, Phase

SESSION_S = 10


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    return kafka.create_topic(partitions=4)


@pytest.fixture
def settings(kafka: KafkaServer, postgres: PostgresDatabase, topic: str) -> ServiceSettings:
    client = {"session.timeout.ms": SESSION_S * 1000, "heartbeat.interval.ms": 500}
    return settings_of(kafka, postgres, topic, client, assignment="group", max_records_per_batch=50)


@pytest.mark.parametrize("copies", ["static", "without ids"])
def test_a_group_of_four_that_loses_one_reads_on_when_its_session_is_over_and_says_so(
    kafka: KafkaServer, topic: str, table: ResultTable, settings: ServiceSettings, services: Services, copies: str
) -> None:
    members = [
        services.start(replace(settings, group_instance_id=f"orders-{number}" if copies == "static" else None))
        for number in range(4)
    ]

    def shares() -> list[int]:
        described = group_of(settings.bootstrap_servers, settings.stream).members
        return sorted(len(member.assignment.topic_partitions) for member in described)

    assert wait_until(lambda: shares() == [1, 1, 1, 1], WAIT_S), shares()
    produce(kafka, topic, 0)
    wait_for_rows(table, 200, *members)
    given_before = [errors_of(member).count("the group gave") for member in members]
    killed(members[0])
    lost_at = time.monotonic()
    assert shares() == [1, 1, 1, 1], "nobody knows yet"
    assert wait_until(lambda: len(shares()) == 3 and sum(shares()) == 4, WAIT_S), shares()
    print(f"{copies}: shared among three {time.monotonic() - lost_at:.1f} s after the kill, of a {SESSION_S} s session")
    produce(kafka, topic, 200)
    wait_for_rows(table, 400, *members[1:])
    given = [errors_of(member).count("the group gave") for member in members]
    assert sum(given[1:]) > sum(given_before[1:]), "one of the three says what it was given"
    for member in members[1:]:
        stopped(member)
    assert_exactly_once(kafka, topic, table)


def test_by_the_consumer_protocol_a_killed_copy_works_on_when_its_old_session_is_over(
    kafka: KafkaServer, topic: str, table: ResultTable, settings: ServiceSettings, services: Services
) -> None:
    shorten_sessions(settings.bootstrap_servers, settings.stream, SESSION_S * 1000)
    settings = replace(settings, group_protocol="consumer", kafka={}, group_instance_id=COPY)
    produce(kafka, topic, 0)
    first = services.start(settings)
    wait_for_rows(table, 200, first)
    killed(first)
    produce(kafka, topic, 200)
    second = services.start(settings)
    wait_for_rows(table, 400, second)
    stopped(second)
    assert_exactly_once(kafka, topic, table)


@pytest.mark.parametrize("phase", OF_EVERY_BATCH)
def test_a_copy_that_wakes_up_late_commits_nothing_wherever_it_was_frozen(
    kafka: KafkaServer, topic: str, table: ResultTable, settings: ServiceSettings, services: Services, phase: Phase
) -> None:
    settings = replace(settings, group_instance_id=COPY)
    produce(kafka, topic, 0)
    successor = replaced_while_frozen(table, settings, services, phase)
    stopped(successor)
    assert_exactly_once(kafka, topic, table)
