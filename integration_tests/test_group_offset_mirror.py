"""``GroupOffsetMirror`` on a broker: the group's committed offsets follow the stream's, and never stand in its way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka import TopicPartition as ClientTopicPartition
from confluent_kafka.admin import AdminClient

from integration_tests.engine import wait_until
from integration_tests.results import ResultTable
from integration_tests.servers import KafkaServer, PostgresDatabase, PrivateKafka, random_name
from integration_tests.streams import WAIT_S, stored_offsets, stream_of, wait_for_rows
from kafka_stream import DirectStream
from kafka_stream.admin.mirror import GroupOffsetMirror, mirror_offsets
from kafka_stream.errors import CommandRefused, TopicNotFound
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import TopicPartition

RECORDS = 400


def group_offsets(server: KafkaServer, group_id: str) -> dict[TopicPartition, int]:
    """The committed offsets of a group, as a plain admin client sees them."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap_servers})
    answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group_id)])[group_id].result(WAIT_S)
    return {TopicPartition(tp.topic, tp.partition): tp.offset for tp in answer.topic_partitions}


def _is(wanted: object, look: Callable[[], object]) -> bool:
    return look() == wanted


def produced(kafka: KafkaServer, records: int = RECORDS) -> str:
    topic = kafka.create_topic()
    kafka.produce(topic, [str(number) for number in range(records)])
    return topic


def mirrored(server: KafkaServer, database: PostgresDatabase, topic: str, **options: Any) -> DirectStream:
    return stream_of(server, database, topic, listeners=[GroupOffsetMirror()], **options)


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_a_stream_that_has_stopped_leaves_its_offsets_with_the_group(
    assignment: str, kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = produced(kafka)
    stream = mirrored(kafka, postgres, topic, assignment=assignment)
    with stream:
        wait_for_rows(table, RECORDS, stream)
    assert sum(stored_offsets(stream).values()) == RECORDS
    assert group_offsets(kafka, stream.name) == stored_offsets(stream)


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_a_stream_that_runs_is_followed(
    assignment: str, kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = produced(kafka)
    with mirrored(kafka, postgres, topic, assignment=assignment) as stream:
        for total in (RECORDS, 2 * RECORDS):
            wait_for_rows(table, total, stream)
            ends = {TopicPartition(topic, number): end for number, end in kafka.end_offsets(topic).items()}
            assert wait_until(partial(_is, ends, partial(group_offsets, kafka, stream.name)), WAIT_S), ends
            kafka.produce(topic, [str(number) for number in range(RECORDS)])


def test_two_members_leave_the_newest_offsets_when_partitions_move(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, caplog: pytest.LogCaptureFixture
) -> None:
    topic, name = produced(kafka), random_name("stream")
    first, second = (mirrored(kafka, postgres, topic, assignment="group", name=name) for _ in range(2))
    with first:
        wait_for_rows(table, RECORDS, first)
        with second:
            assert wait_until(lambda: len(second.status().positions) == 2, WAIT_S), second.status()
            kafka.produce(topic, [str(number) for number in range(RECORDS)])
            wait_for_rows(table, 2 * RECORDS, first, second)
        assert wait_until(lambda: len(first.status().positions) == 4, WAIT_S), first.status()
    assert group_offsets(kafka, name) == stored_offsets(first)
    assert sum(stored_offsets(first).values()) == 2 * RECORDS


def test_what_the_broker_refuses_is_told_once_and_the_stream_goes_on(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, caplog: pytest.LogCaptureFixture
) -> None:
    """A static stream whose group somebody else is a member of."""
    topic, other = produced(kafka), produced(kafka, 1)
    name = random_name("stream")
    member = stream_of(kafka, postgres, other, assignment="group", group_id=name)
    stream = mirrored(kafka, postgres, topic, name=name)
    with caplog.at_level(logging.WARNING, "kafka_stream.source"), member:
        wait_for_rows(table, 1, member)
        with stream:
            for total in (1, 2, 3):
                wait_for_rows(table, 1 + total * RECORDS, stream)
                kafka.produce(topic, [str(number) for number in range(RECORDS)])

            def told() -> int:
                return sum("committed offsets could not be written" in record.message for record in caplog.records)

            assert wait_until(lambda: told() == 1, WAIT_S)
            wait_for_rows(table, 1 + 4 * RECORDS, stream)
    assert told() == 1
    assert group_offsets(kafka, name) == {}


def test_a_broker_that_is_away_at_the_stop_holds_up_nothing_for_long(
    private_kafka: PrivateKafka, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = produced(private_kafka)
    stream = mirrored(private_kafka, postgres, topic)
    stream.start()
    wait_for_rows(table, RECORDS, stream)
    private_kafka.pause()
    assert stream.stop(timeout_s=12)
    stream.wait(0)


# ---------------------------------------------------------------------------------------------------------- by command


def test_the_offsets_of_a_stopped_stream_are_written_and_those_of_a_live_group_refused(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = produced(kafka)
    cluster = Cluster({"bootstrap.servers": kafka.bootstrap_servers}, logging.getLogger("test"))
    stream = stream_of(kafka, postgres, topic, assignment="group")
    with stream:
        wait_for_rows(table, RECORDS, stream)
        assert wait_until(lambda: cluster.group_members(stream.name) != [], WAIT_S)
        with pytest.raises(CommandRefused, match=f"group '{stream.name}' has members, .* on "):
            mirror_offsets(stream.store, stream.name, cluster, stream.name)
        assert group_offsets(kafka, stream.name) == {}
    assert wait_until(lambda: cluster.group_members(stream.name) == [], WAIT_S)
    written = mirror_offsets(stream.store, stream.name, cluster, stream.name)
    assert written == group_offsets(kafka, stream.name) == stored_offsets(stream)


def test_a_single_partition_that_is_refused_is_noticed(kafka: KafkaServer) -> None:
    """The call itself succeeds: the error is the partition's."""
    topic = produced(kafka)
    cluster = Cluster({"bootstrap.servers": kafka.bootstrap_servers}, logging.getLogger("test"))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    group = random_name("group")
    good, bad = ClientTopicPartition(topic, 0, 1), ClientTopicPartition(random_name(), 0, 1)
    refused: list[str] = []

    def answered() -> bool:
        """Without an exception: the broker's first group waits for the topic of the offsets."""
        answer = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [good, bad])])[group]
        if answer.exception(WAIT_S) is None:
            refused.extend(tp.topic for tp in answer.result().topic_partitions if tp.error is not None)
        return bool(refused)

    assert wait_until(answered, WAIT_S)
    assert refused == [bad.topic]
    with pytest.raises(TopicNotFound, match=bad.topic):
        cluster.commit_group_offsets(group, {TopicPartition(bad.topic, 0): 1, TopicPartition(topic, 0): 1})
