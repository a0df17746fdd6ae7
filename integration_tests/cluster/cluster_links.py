"""The network between any two is cut: brokers from one another, and a stream from the brokers that it reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import combinations

import pytest

from integration_tests.copies import Copies, under_load
from integration_tests.engine import DockerEngine
from integration_tests.kafka_cluster import NODES, KafkaCluster
from integration_tests.kafka_links import Links, linked_cluster
from integration_tests.load import Pauses
from integration_tests.running_service import Services
from integration_tests.servers import PostgresServer, random_name

CUT_S = 15.0
"""Longer than a broker's session, and than a follower may be behind."""


@pytest.fixture(scope="module")
def linked(engine: DockerEngine) -> Iterator[tuple[KafkaCluster, Links]]:
    """Brokers with a proxy in every link."""
    with linked_cluster(engine) as found:
        yield found


@pytest.fixture
def cluster(linked: tuple[KafkaCluster, Links]) -> Iterator[KafkaCluster]:
    """Whole again for the next test."""
    cluster, links = linked
    yield cluster
    links.restore()
    cluster.restore()


@pytest.fixture
def links(linked: tuple[KafkaCluster, Links]) -> Links:
    return linked[1]


@pytest.fixture
def copies(
    cluster: KafkaCluster, links: Links, postgres_server: PostgresServer, services: Services
) -> Iterator[Copies]:
    """With each kind of offsets; they reach the brokers through the links, and the bare clients past them."""
    found = Copies(cluster, services, cluster.create_topic(partitions=4), lambda: random_name("stream"))
    database = postgres_server.create_database()
    found.start_on_kafka("group", bootstrap_servers=links.bootstrap_servers)
    found.start_on_kafka("static", bootstrap_servers=links.bootstrap_servers)
    found.start_on_postgres("static", database, bootstrap_servers=links.bootstrap_servers)
    yield found
    for each in found.all:
        each.service.end()
    postgres_server.drop_database(database)


def test_any_two_brokers_are_cut_from_one_another(
    copies: Copies, cluster: KafkaCluster, links: Links, report: Callable[[Pauses], None]
) -> None:
    with under_load(copies) as pauses:
        for a, b in combinations(NODES, 2):
            links.cut(a, b)
            threading.Event().wait(CUT_S)
            links.heal(a, b)
            cluster.wait_until_up()
            copies.wait_until_they_go_on()
    report(pauses)


def test_a_broker_is_cut_from_both_others(
    copies: Copies, cluster: KafkaCluster, links: Links, report: Callable[[Pauses], None]
) -> None:
    """Clients reach it still, and it takes itself for the leader of what others lead by now."""
    with under_load(copies) as pauses:
        alone = cluster.leader_of(copies.topic, 0)
        others = [node for node in NODES if node != alone]
        for other in others:
            links.cut(alone, other)
        threading.Event().wait(CUT_S)
        for other in others:
            links.heal(alone, other)
        cluster.wait_until_up()
    report(pauses)


@pytest.mark.parametrize("node", NODES)
def test_a_stream_is_cut_from_one_broker(
    copies: Copies, links: Links, node: int, report: Callable[[Pauses], None]
) -> None:
    """The brokers know nothing of it: no other one takes its place."""
    with under_load(copies) as pauses:
        links.cut_from_clients(node)
        threading.Event().wait(CUT_S)
        links.heal_to_clients(node)
        copies.wait_until_they_go_on()
    report(pauses)


def test_a_stream_is_cut_from_all_brokers(copies: Copies, links: Links, report: Callable[[Pauses], None]) -> None:
    with under_load(copies) as pauses:
        for node in NODES:
            links.cut_from_clients(node)
        threading.Event().wait(CUT_S)
        for node in NODES:
            links.heal_to_clients(node)
        copies.wait_until_they_go_on()
    report(pauses)
