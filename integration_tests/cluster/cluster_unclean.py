"""A broker is elected that lacks what was committed (an unclean election): the loss is typed, not silent."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from confluent_kafka.cimpl import NewTopic

from integration_tests.engine import wait_until
from integration_tests.kafka_cluster import NODES, KafkaCluster
from integration_tests.results import ResultTable
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.streams import WAIT_S, stream_of, wait_for_rows
from kafka_stream.errors import LogTruncated, OffsetOutOfRange
from kafka_stream.types import TopicPartition

KEPT, LOST = 20, 30


@dataclass
class LaggingTopic:
    """A partition on two brokers, one of which is away and lacks records that were committed meanwhile."""

    cluster: KafkaCluster
    topic: str
    leader: int
    lagging: int

    def elect_the_lagging(self) -> None:
        """The leader goes, the other one comes back and leads; what only the leader had is gone."""
        self.cluster.kill(self.leader)
        self.cluster.start(self.lagging)
        assert wait_until(lambda: self.cluster.leader_of(self.topic, 0) == self.lagging, 2 * WAIT_S)


@pytest.fixture
def lagging(kafka_cluster: KafkaCluster) -> LaggingTopic:
    topic = random_name()
    settings = {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}
    wanted = NewTopic(topic, 1, replica_assignment=[list(NODES[:2])], config=settings)
    client = kafka_cluster.client()  # held for as long as it is waited for
    client.create_topics([wanted])[topic].result(WAIT_S)
    kafka_cluster.produce(topic, [f"kept {n}" for n in range(KEPT)])
    leader = kafka_cluster.leader_of(topic, 0)
    (follower,) = set(NODES[:2]) - {leader}
    found = LaggingTopic(kafka_cluster, topic, leader, follower)
    kafka_cluster.kill(follower)
    assert wait_until(lambda: kafka_cluster.in_sync(topic, 0) == [leader], 2 * WAIT_S)
    kafka_cluster.produce(topic, [f"lost {n}" for n in range(LOST)])
    return found


def test_a_running_stream_ends_with_what_was_lost(
    lagging: LaggingTopic, postgres: PostgresDatabase, table: ResultTable
) -> None:
    stream = stream_of(lagging.cluster, postgres, lagging.topic)
    with pytest.raises((LogTruncated, OffsetOutOfRange)) as lost, stream:
        wait_for_rows(table, KEPT + LOST, stream)
        lagging.elect_the_lagging()
        stream.wait(2 * WAIT_S)
    assert lost.value.partition == TopicPartition(lagging.topic, 0)
    assert lost.value.wanted == KEPT + LOST
    assert table.count() == KEPT + LOST


def test_a_log_that_grew_past_what_it_lost_is_told_by_its_leader_epoch(
    lagging: LaggingTopic, postgres: PostgresDatabase, table: ResultTable
) -> None:
    stream = stream_of(lagging.cluster, postgres, lagging.topic)
    assert stream.run(until="latest").records == KEPT + LOST
    lagging.elect_the_lagging()
    others = KafkaServer(lagging.cluster.bootstrap_servers)  # a producer of what is lost can send nothing more there
    others.produce(lagging.topic, [f"other {n}" for n in range(2 * LOST)])
    for _ in range(2):
        with pytest.raises(LogTruncated) as lost:
            stream.run(until="latest")
        assert lost.value.partition == TopicPartition(lagging.topic, 0)
        assert lost.value.wanted == KEPT + LOST
    assert table.count() == KEPT + LOST
