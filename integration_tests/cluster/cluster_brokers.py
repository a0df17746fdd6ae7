"""Brokers are killed, frozen and restarted under load, and partitions move: every stream goes on, and copies all once.

Both assignments and offsets in Kafka and in a database live through each fault, beside bare clients; the longest time
without a commit of each is printed, and goes to the test's report.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from integration_tests.copies import Copies, under_load
from integration_tests.engine import DockerEngine
from integration_tests.kafka_cluster import NODES, KafkaCluster
from integration_tests.kafka_tools import move_replicas, prefer_other_leaders
from integration_tests.load import Pauses
from integration_tests.running_service import Services
from integration_tests.servers import PostgresServer
from kafka_stream.offset_stores.kafka.transactional_ids import of_shard

GONE_S = 10.0
"""Longer than a broker's session: another one has taken its place by then."""
TWO_GONE_S = 30.0

GROUP = "bare"
"""The bare consumer's."""

Which = Callable[[Copies], int]


@pytest.fixture
def copies(kafka_cluster: KafkaCluster, postgres_server: PostgresServer, services: Services) -> Iterator[Copies]:
    """Of each assignment, with each kind of offsets; all groups have one coordinator."""
    topic = kafka_cluster.create_topic(partitions=4)
    found = Copies(kafka_cluster, services, topic, lambda: kafka_cluster.name_beside(GROUP))
    databases = [postgres_server.create_database() for _ in range(2)]
    for assignment, database in zip(("group", "static"), databases, strict=True):
        found.start_on_kafka(assignment)
        found.start_on_postgres(assignment, database)
    yield found
    for each in found.all:
        each.service.end()
    for database in databases:
        postgres_server.drop_database(database)


def leader(copies: Copies) -> int:
    """The broker that leads one of the partitions that are read."""
    return cluster_of(copies).leader_of(copies.topic, 0)


def controller(copies: Copies) -> int:
    """The broker that leads the cluster's own log."""
    return cluster_of(copies).controller()


def group_coordinator(copies: Copies) -> int:
    """The broker that keeps the group, and the offsets, of the first stream, which is a member."""
    return cluster_of(copies).coordinator_of(copies.all[0].settings.stream)


def transaction_coordinator(copies: Copies) -> int:
    """The broker that keeps the transactions of the static stream with its offsets in Kafka."""
    return cluster_of(copies).transaction_coordinator_of(of_shard(copies.all[2].settings.stream, "static"))


def cluster_of(copies: Copies) -> KafkaCluster:
    assert isinstance(copies.server, KafkaCluster)
    return copies.server


@pytest.mark.parametrize("which", [leader, controller, group_coordinator, transaction_coordinator])
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_broker_goes_away_and_comes_back(
    copies: Copies, how: str, which: Which, report: Callable[[Pauses], None]
) -> None:
    cluster = cluster_of(copies)
    with under_load(copies, GROUP) as pauses:
        node = which(copies)
        (cluster.kill if how == "killed" else cluster.pause)(node)
        copies.wait_until_they_go_on()
        threading.Event().wait(GONE_S)
        (cluster.start if how == "killed" else cluster.unpause)(node)
        cluster.wait_until_up()
    report(pauses)


def test_brokers_are_restarted_one_after_the_other(copies: Copies, report: Callable[[Pauses], None]) -> None:
    cluster = cluster_of(copies)
    with under_load(copies, GROUP) as pauses:
        for node in NODES:
            cluster.stop(node)
            cluster.start(node)
            cluster.wait_until_up()
    report(pauses)


def test_two_brokers_of_three_are_away(copies: Copies, report: Callable[[Pauses], None]) -> None:
    cluster = cluster_of(copies)
    with under_load(copies, GROUP) as pauses:
        for node in NODES[:2]:
            cluster.kill(node)
        threading.Event().wait(TWO_GONE_S)
        for node in NODES[:2]:
            cluster.start(node)
        cluster.wait_until_up()
    report(pauses)


def test_partitions_move_and_their_leaders_change(
    copies: Copies, engine: DockerEngine, report: Callable[[Pauses], None]
) -> None:
    cluster = cluster_of(copies)
    topics = [copies.topic, *(each.settings.target for each in copies.all if each.settings.target)]
    with under_load(copies, GROUP) as pauses:
        for replicas in ([1, 2], [2, 3], [3, 1, 2]):
            move_replicas(engine, cluster, topics, replicas)
            copies.wait_until_they_go_on()
            prefer_other_leaders(cluster, topics)
            copies.wait_until_they_go_on()
    report(pauses)
