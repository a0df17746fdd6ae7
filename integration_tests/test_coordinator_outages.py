"""The broker that coordinates a group is killed, stopped and frozen while records come: every stream goes on.

Both assignments and both kinds of offsets live through the same rounds, beside a bare consumer and a bare producer;
``KAFKA_STREAM_TEST_ROUNDS`` says how many rounds, ``KAFKA_STREAM_TEST_OUTAGES`` of which kinds
(``killed,stopped,frozen``); `make soak BROKERS=3` has such outages beside all other faults.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from integration_tests.copies import Copies, under_load
from integration_tests.kafka_cluster import KafkaCluster
from integration_tests.running_service import Services
from integration_tests.servers import PostgresServer, random_name

ROUNDS = int(os.environ.get("KAFKA_STREAM_TEST_ROUNDS", "3"))
OUTAGES = os.environ.get("KAFKA_STREAM_TEST_OUTAGES", "killed,stopped,frozen").split(",")
GONE_S = 4.0
FROZEN_S = 9.0
"""Longer than a broker's session: another one coordinates the group by then."""


@pytest.fixture
def group() -> str:
    """The bare consumer's."""
    return random_name("bare")


@pytest.fixture
def copies(
    kafka_cluster: KafkaCluster, group: str, postgres_server: PostgresServer, services: Services
) -> Iterator[Copies]:
    """One stream of each assignment with each kind of offsets, all of one coordinator."""
    topic = kafka_cluster.create_topic(partitions=4)
    found = Copies(kafka_cluster, services, topic, lambda: kafka_cluster.name_beside(group))
    with ExitStack() as stack:
        for assignment in ("group", "static"):
            found.start_on_kafka(assignment)
            database = postgres_server.create_database()
            stack.callback(postgres_server.drop_database, database)
            found.start_on_postgres(assignment, database)
        yield found
        for each in found.all:
            each.service.end()


def outage(cluster: KafkaCluster, group: str, number: int) -> str:
    """Take the group's coordinator away for a while, each time in another way."""
    node = cluster.coordinator_of(group)
    how = OUTAGES[number % len(OUTAGES)]
    if how == "frozen":
        cluster.pause(node)
        threading.Event().wait(FROZEN_S)
        cluster.unpause(node)
    else:
        (cluster.kill if how == "killed" else cluster.stop)(node)
        threading.Event().wait(GONE_S)
        cluster.start(node)
    cluster.wait_until_up()
    return f"broker {node} {how}"


def test_every_stream_goes_on_when_its_coordinator_comes_back(
    kafka_cluster: KafkaCluster, group: str, copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    with under_load(copies, group) as pauses:
        for number in range(ROUNDS):
            started = time.monotonic()
            what = outage(kafka_cluster, group, number)
            copies.wait_until_they_go_on()
            with capsys.disabled():
                went_on_s = time.monotonic() - started
                print(
                    f"\nround {number + 1}: {what}, all go on after {went_on_s:.1f} s; longest pauses: {pauses}", end=""
                )
