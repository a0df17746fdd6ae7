"""Copies with an id of their own in the group (KIP-345): killed, started again, and started twice."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest

from integration_tests.engine import wait_until
from integration_tests.group_protocols import group_of, shorten_sessions
from integration_tests.results import ResultTable
from integration_tests.running_service import RunningService, Services
from integration_tests.servers import KafkaServer, PostgresDatabase
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import WAIT_S, assert_exactly_once, settings_of, wait_for_rows
from kafka_stream.types import Phase

LONG_SESSION_S = 120
COPY = "orders-0"


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    return kafka.create_topic(partitions=4)


@pytest.fixture
def settings(kafka: KafkaServer, postgres: PostgresDatabase, topic: str) -> ServiceSettings:
    """A copy whose session outlasts the test: what is waited for in it was not waited for."""
    client = {"session.timeout.ms": LONG_SESSION_S * 1000}
    return settings_of(
        kafka, postgres, topic, client, assignment="group", group_instance_id=COPY, max_records_per_batch=50
    )


def produce(kafka: KafkaServer, topic: str, first: int, count: int = 200) -> None:
    kafka.transaction(topic, [(f"key-{n % 97}", f"value {n}") for n in range(first, first + count)])


def killed(service: RunningService) -> None:
    service.signal(signal.SIGKILL)
    assert service.wait() == -signal.SIGKILL


def stopped(service: RunningService) -> None:
    service.signal(signal.SIGTERM)
    assert service.wait() == 0, service.report()


def replaced_while_frozen(
    table: ResultTable, settings: ServiceSettings, services: Services, phase: Phase
) -> RunningService:
    """The copy that took the place of one which was frozen at this point, and has found that out since it woke up."""
    zombie = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{phase}:2")
    zombie.wait_until_stopped()
    successor = services.start(settings)
    wait_for_rows(table, 200, successor)
    zombie.signal(signal.SIGCONT)
    assert zombie.wait() == 1, zombie.report()
    assert zombie.said("failed")[0]["type"] == "InstanceIdInUse", zombie.report()
    return successor


def errors_of(service: RunningService) -> str:
    return service.errors.read_text()


def test_a_lone_copy_that_was_killed_commits_long_before_its_old_session_is_over(
    kafka: KafkaServer, topic: str, table: ResultTable, settings: ServiceSettings, services: Services
) -> None:
    produce(kafka, topic, 0)
    first = services.start(settings)
    wait_for_rows(table, 200, first)
    killed(first)
    (before,) = group_of(settings.bootstrap_servers, settings.stream).members
    produce(kafka, topic, 200)

    begun = time.monotonic()
    second = services.start(settings)
    second.wait_until_said("batch", timeout_s=LONG_SESSION_S / 2)
    print(f"first commit {time.monotonic() - begun:.1f} s after the process's start")
    (after,) = group_of(settings.bootstrap_servers, settings.stream).members
    assert before.group_instance_id == after.group_instance_id == COPY
    assert before.member_id != after.member_id, "the brokers gave its place to the new process"
    wait_for_rows(table, 400, second)
    stopped(second)
    assert_exactly_once(kafka, topic, table)


def test_a_copy_that_is_stopped_keeps_its_place(
    kafka: KafkaServer, topic: str, table: ResultTable, settings: ServiceSettings, services: Services
) -> None:
    produce(kafka, topic, 0)
    first = services.start(settings)
    wait_for_rows(table, 200, first)
    stopped(first)
    (member,) = group_of(settings.bootstrap_servers, settings.stream).members
    assert member.group_instance_id == COPY
    assert len(member.assignment.topic_partitions) == 4, "others do not get them before its session is over"


@pytest.mark.parametrize("copies", ["classic", "consumer"])
def test_of_two_copies_with_one_id_one_ends_and_commits_nothing_more(
    kafka: KafkaServer, topic: str, table: ResultTable, settings: ServiceSettings, services: Services, copies: str
) -> None:
    if copies == "consumer":  # which keeps the id for who has it, for as long as a session lasts
        shorten_sessions(settings.bootstrap_servers, settings.stream)
        settings = replace(settings, group_protocol="consumer", kafka={})
    produce(kafka, topic, 0)
    older = services.start(settings)
    wait_for_rows(table, 200, older)
    younger = services.start(settings)
    ends, goes_on = (older, younger) if copies == "classic" else (younger, older)
    assert ends.wait() == 1, ends.report()
    failure = ends.said("failed")[0]
    assert failure["type"] == "InstanceIdInUse", failure
    assert "a group_instance_id of its own" in failure["message"]
    produce(kafka, topic, 200)
    wait_for_rows(table, 400, goes_on)
    stopped(goes_on)
    assert_exactly_once(kafka, topic, table)


def test_a_copy_that_wakes_up_late_finds_its_place_taken_and_commits_nothing(
    kafka: KafkaServer, topic: str, table: ResultTable, settings: ServiceSettings, services: Services
) -> None:
    produce(kafka, topic, 0)
    successor = replaced_while_frozen(table, settings, services, Phase.AFTER_ADVANCE)
    produce(kafka, topic, 200)
    wait_for_rows(table, 400, successor)
    stopped(successor)
    assert_exactly_once(kafka, topic, table)


@pytest.mark.parametrize("copies", ["without an id", "by the consumer protocol"])
def test_a_copy_that_has_to_wait_for_its_old_session_says_for_how_long_at_most(
    kafka: KafkaServer, topic: str, table: ResultTable, settings: ServiceSettings, services: Services, copies: str
) -> None:
    if copies == "without an id":
        settings = replace(settings, group_instance_id=None, kafka={"session.timeout.ms": 55_000})
    else:
        shorten_sessions(settings.bootstrap_servers, settings.stream, 55_000)
        settings = replace(settings, group_protocol="consumer", kafka={})
    produce(kafka, topic, 0)
    first = services.start(settings)
    wait_for_rows(table, 200, first)
    killed(first)
    second = services.start(settings)
    assert wait_until(lambda: "is waited for until its session is over, 55 s at most" in errors_of(second), WAIT_S)
    stopped(second)
