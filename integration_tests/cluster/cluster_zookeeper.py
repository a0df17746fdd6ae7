"""Three servers of ZooKeeper, of which one or two are killed and frozen: streams go on as soon as two agree again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from integration_tests.copies import Copies, under_load
from integration_tests.kafka_cluster import NODES
from integration_tests.load import Pauses
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, random_name
from integration_tests.zookeeper_ensemble import ZooKeeperEnsemble

GONE_S = 12.0
"""Longer than a session."""


@pytest.fixture
def copies(kafka: KafkaServer, zookeeper_ensemble: ZooKeeperEnsemble, services: Services) -> Iterator[Copies]:
    """Of each assignment, each below a chroot of its own."""
    found = Copies(kafka, services, kafka.create_topic(partitions=4), lambda: random_name("stream"))
    chroots = [zookeeper_ensemble.create_chroot() for _ in range(2)]
    for assignment, chroot in zip(("group", "static"), chroots, strict=True):
        found.start_on_zookeeper(assignment, zookeeper_ensemble.address + chroot)
    yield found
    for each in found.all:
        each.service.end()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_another_server_leads(
    copies: Copies, zookeeper_ensemble: ZooKeeperEnsemble, how: str, report: Callable[[Pauses], None]
) -> None:
    with under_load(copies) as pauses:
        for _ in range(2):
            node = zookeeper_ensemble.leader()
            (zookeeper_ensemble.kill if how == "killed" else zookeeper_ensemble.pause)(node)
            copies.wait_until_they_go_on()
            if how == "killed":
                zookeeper_ensemble.start(node)
            else:
                zookeeper_ensemble.unpause(node)
            zookeeper_ensemble.wait_until_up()
    report(pauses)


def test_each_follower_is_frozen_in_turn(
    copies: Copies, zookeeper_ensemble: ZooKeeperEnsemble, report: Callable[[Pauses], None]
) -> None:
    """Among them the server that a stream is connected to."""
    with under_load(copies) as pauses:
        for node in NODES:
            zookeeper_ensemble.pause(node)
            copies.wait_until_they_go_on()
            zookeeper_ensemble.unpause(node)
            zookeeper_ensemble.wait_until_up()
    report(pauses)


def test_two_servers_of_three_are_away(
    copies: Copies, zookeeper_ensemble: ZooKeeperEnsemble, report: Callable[[Pauses], None]
) -> None:
    with under_load(copies) as pauses:
        for node in NODES[:2]:
            zookeeper_ensemble.kill(node)
        threading.Event().wait(GONE_S)
        zookeeper_ensemble.start(*NODES[:2])
        zookeeper_ensemble.wait_until_up()
        copies.wait_until_they_go_on()
    report(pauses)
