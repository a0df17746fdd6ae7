"""PostgreSQL fails over to its replica, and ZooKeeper to another leader, under streams that copy a topic.

The short form; integration_tests/cluster has more of it.
"""

from __future__ import annotations

from integration_tests.copies import Copies, under_load
from integration_tests.failover import AcknowledgedRows
from integration_tests.postgres_pair import PostgresPair
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, random_name
from integration_tests.zookeeper_ensemble import ZooKeeperEnsemble


def test_what_was_acknowledged_is_on_the_promoted_replica(
    kafka: KafkaServer, postgres_pair: PostgresPair, services: Services
) -> None:
    copies = Copies(kafka, services, kafka.create_topic(partitions=4), lambda: random_name("stream"))
    copies.start_on_postgres("static", postgres_pair.create_database())
    with AcknowledgedRows(postgres_pair.create_database()) as rows, under_load(copies):
        postgres_pair.kill_primary()
        postgres_pair.promote()
        copies.wait_until_they_go_on()
    assert rows.acknowledged
    assert rows.missing() == []


def test_streams_go_on_when_another_server_of_zookeeper_leads(
    kafka: KafkaServer, zookeeper_ensemble: ZooKeeperEnsemble, services: Services
) -> None:
    copies = Copies(kafka, services, kafka.create_topic(partitions=4), lambda: random_name("stream"))
    copies.start_on_zookeeper("static", zookeeper_ensemble.address + zookeeper_ensemble.create_chroot())
    with under_load(copies):
        zookeeper_ensemble.kill(zookeeper_ensemble.leader())
        copies.wait_until_they_go_on()
