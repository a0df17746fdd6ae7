"""The sources' contract on a real broker, and what only a real one can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from confluent_kafka import Consumer

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, OpenTransaction, PrivateKafka
from kafka_stream.errors import BrokerUnavailable, ConfigurationError, TopicNotFound
from kafka_stream.protocols import Lost, OffsetAt, Source
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.source.kafka_source import KafkaSource
from kafka_stream.testing.source_contract import SourceContract
from kafka_stream.testing.source_reader import Reader
from kafka_stream.types import OffsetRange, TopicPartition


class KafkaHarness:
    def __init__(self, server: KafkaServer) -> None:
        self._server = server

    def create_topic(self, partitions: int) -> str:
        return self._server.create_topic(partitions=partitions)

    def recreate_topic(self, topic: str) -> None:
        partitions = len(self._server.end_offsets(topic))
        self._server.delete_topic(topic)
        self._server.create_topic(topic, partitions=partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        self._server.add_partitions(topic, total)

    def produce(self, topic: str, partition: int, values: Sequence[str]) -> None:
        self._server.produce(topic, values, partition)

    def abort(self, topic: str, partition: int, values: Sequence[str]) -> None:
        self._server.transaction(topic, values, partition, outcome="abort")
        # The broker answers before it writes the marker: what is produced next could take the marker's offset.
        assert wait_until(lambda: self._stable_end(topic, partition) == self._end(topic, partition), 30)

    def _stable_end(self, topic: str, partition: int) -> int:
        return self._server.end_offsets(topic)[partition]

    def _end(self, topic: str, partition: int) -> int:
        return self._server.end_offsets(topic, committed=False)[partition]

    def open_transaction(self, topic: str, partition: int, values: Sequence[str]) -> OpenTransaction:
        return self._server.open_transaction(topic, values, partition)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        self._server.delete_records(topic, partition, before_offset)

    def source(self, group_id: str, topics: Sequence[str], limits: SourceLimits) -> Source:
        config = {"bootstrap.servers": self._server.bootstrap_servers, "session.timeout.ms": 6000}
        return KafkaSource(config, group_id, topics, limits)


@pytest.fixture
def harness(kafka: KafkaServer) -> KafkaHarness:
    return KafkaHarness(kafka)


class TestKafkaSource(SourceContract):
    @pytest.fixture
    def harness(self, kafka: KafkaServer) -> KafkaHarness:
        return KafkaHarness(kafka)


def opened(source: Source, stack: ExitStack) -> Reader:
    """Open a source for the length of a test."""
    source.open(30)
    stack.callback(source.close)
    return Reader(source)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def private_reader(server: PrivateKafka, topic: str, stack: ExitStack) -> Reader:
    config = {
        "bootstrap.servers": server.bootstrap_servers,
        "session.timeout.ms": 6000,
        "reconnect.backoff.max.ms": 500,
    }
    return opened(KafkaSource(config, f"group-{topic}", [topic], SourceLimits()), stack)


# Groups ---------------------------------------------------------------------------------------------------------------


def test_a_partition_that_is_not_released_in_time_moves_all_the_same(
    kafka: KafkaServer, harness: KafkaHarness, stack: ExitStack
) -> None:
    topic = kafka.create_topic(partitions=2)
    hasty = SourceLimits(revoke_timeout_s=0.5)
    first = opened(harness.source(f"group-{topic}", [topic], hasty), stack)
    first.source.subscribe()
    first.until(lambda: len(first.assigned) == 2)
    second = opened(harness.source(f"group-{topic}", [topic], hasty), stack)
    second.source.subscribe()
    second.until(lambda: second.assigned)
    first.look()
    assert first.revoked == second.assigned
    assert first.source.is_revoking(sorted(first.revoked))
    second.source.close()
    first.events.clear()
    first.until(lambda: first.assigned)  # it comes back, while the first owner still has not noticed that it was gone
    assert first.source.is_revoking(sorted(first.assigned))
    first.source.release(sorted(first.assigned))
    assert not first.source.is_revoking(sorted(first.assigned))


def test_new_partitions_are_assigned_to_a_running_group(kafka: KafkaServer, stack: ExitStack) -> None:
    topic = kafka.create_topic(partitions=1)
    config = {"bootstrap.servers": kafka.bootstrap_servers, "topic.metadata.refresh.interval.ms": 500}
    reader = opened(KafkaSource(config, f"group-{topic}", [topic], SourceLimits()), stack)
    reader.source.subscribe()
    reader.until(lambda: reader.assigned)
    kafka.add_partitions(topic, 2)
    new = TopicPartition(topic, 1)
    reader.until(lambda: new in reader.assigned)
    kafka.produce(topic, ["a"], 1)
    reader.read({new: 0}, {new: 1})


def test_a_group_member_goes_on_after_its_position_was_lost(
    kafka: KafkaServer, harness: KafkaHarness, stack: ExitStack
) -> None:
    topic = kafka.create_topic(partitions=2)
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    for partition in partitions:
        kafka.produce(topic, map(str, range(10)), partition.partition)
        kafka.delete_records(topic, partition.partition, before_offset=5)
    reader = opened(harness.source(f"group-{topic}", [topic], SourceLimits()), stack)
    reader.source.subscribe()
    reader.until(lambda: len(reader.assigned) == 2)
    reader.start({partitions[0]: 2, partitions[1]: 6})
    reader.until(lambda: reader.lost and reader.positions[partitions[1]] == 10)
    assert [lost.partition for lost in reader.lost] == [partitions[0]]
    reader.read({partitions[0]: 5}, {partitions[0]: 10})
    reader.source.close()
    assert not reader.revoked  # moving a partition by hand was no rebalance


def test_a_rejoin_voids_what_was_assigned_at_once(kafka: KafkaServer, harness: KafkaHarness, stack: ExitStack) -> None:
    topic = kafka.create_topic(partitions=1)
    reader = opened(harness.source(f"group-{topic}", [topic], SourceLimits()), stack)
    reader.source.subscribe()
    reader.until(lambda: reader.assigned)
    reader.source.rejoin()
    assert reader.source.is_revoking([TopicPartition(topic, 0)])
    assert reader.source.events() == []


def test_partitions_are_lost_when_the_group_does_not_answer(private_kafka: PrivateKafka, stack: ExitStack) -> None:
    topic = private_kafka.create_topic(partitions=1)
    partition = TopicPartition(topic, 0)
    reader = private_reader(private_kafka, topic, stack)
    reader.source.subscribe()
    reader.until(lambda: reader.assigned)
    reader.read({partition: 0}, {partition: 0})
    private_kafka.pause()
    reader.until(lambda: any(isinstance(event, Lost) for event in reader.events))
    assert reader.source.is_revoking([partition])
    private_kafka.unpause()
    reader.source.release([partition])
    reader.events.clear()
    reader.until(lambda: reader.assigned)
    assert not reader.source.is_revoking([partition])
    private_kafka.produce(topic, ["a"], 0)
    reader.read({partition: 0}, {partition: 1})


# The log --------------------------------------------------------------------------------------------------------------


def test_a_truncated_log_is_noticed_by_a_reader_that_starts(private_kafka: PrivateKafka, stack: ExitStack) -> None:
    topic = private_kafka.create_topic(partitions=1)
    partition = TopicPartition(topic, 0)
    for start in range(0, 100, 10):
        private_kafka.produce(topic, map(str, range(start, start + 10)), 0)
    with ExitStack() as before:
        reader = private_reader(private_kafka, topic, before)
        reader.assign([partition])
        reader.start({partition: 0})
        reader.buffered(partition, 100)
        epoch = reader.take([OffsetRange(partition, 0, 100)])[partition][-1].leader_epoch()
    private_kafka.kill()
    assert private_kafka.truncate_tail(topic, 0, from_offset=60) == 60
    private_kafka.start()
    private_kafka.produce(topic, (f"new {n}" for n in range(100)), 0)  # the stored offset exists again
    reader = private_reader(private_kafka, topic, stack)
    reader.assign([partition])
    reader.source.start_reading({partition: (100, epoch)})
    reader.until(lambda: reader.lost)
    assert (reader.lost[0].offset, reader.lost[0].truncated) == (100, True)
    assert reader.source.buffered() == {}
    reader.positions[partition] = 60
    reader.source.start_reading({partition: (60, epoch)})
    reader.until(lambda: reader.positions[partition] == 160)
    assert reader.values[partition][0] == "new 0"


def test_a_truncated_log_is_noticed_by_a_running_reader(private_kafka: PrivateKafka, stack: ExitStack) -> None:
    topic = private_kafka.create_topic(partitions=1)
    partition = TopicPartition(topic, 0)
    for start in range(0, 100, 10):
        private_kafka.produce(topic, map(str, range(start, start + 10)), 0)
    reader = private_reader(private_kafka, topic, stack)
    reader.assign([partition])
    reader.read({partition: 0}, {partition: 100})
    private_kafka.kill()
    assert private_kafka.truncate_tail(topic, 0, from_offset=60) == 60
    private_kafka.start()
    reader.until(lambda: reader.lost)
    assert (reader.lost[0].offset, reader.lost[0].truncated) == (100, True)


def test_reading_goes_on_after_the_broker_was_away(private_kafka: PrivateKafka, stack: ExitStack) -> None:
    topic = private_kafka.create_topic(partitions=2)
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    for partition in partitions:
        private_kafka.produce(topic, map(str, range(1000)), partition.partition)
    reader = private_reader(private_kafka, topic, stack)
    reader.assign(partitions)
    reader.read(dict.fromkeys(partitions, 0), dict.fromkeys(partitions, 1000))
    private_kafka.kill()
    with pytest.raises(BrokerUnavailable, match=f"{private_kafka.bootstrap_servers} did not answer"):
        reader.source.offsets(partitions, OffsetAt.LATEST)
    private_kafka.start()
    for partition in partitions:
        private_kafka.produce(topic, map(str, range(1000, 2000)), partition.partition)
    reader.until(lambda: all(reader.positions[p] == 2000 for p in partitions))
    for partition in partitions:
        assert reader.values[partition] == [str(n) for n in range(2000)]
    assert reader.lost == []


def test_a_topic_that_is_deleted_while_it_is_read_is_reported(kafka: KafkaServer, stack: ExitStack) -> None:
    topic = kafka.create_topic(partitions=1)
    config = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "topic.metadata.refresh.interval.ms": 500,
        "topic.metadata.propagation.max.ms": 1000,
    }
    reader = opened(KafkaSource(config, f"group-{topic}", [topic], SourceLimits()), stack)
    partition = TopicPartition(topic, 0)
    reader.assign([partition])
    reader.read({partition: 0}, {partition: 0})
    kafka.delete_topic(topic)
    with pytest.raises(TopicNotFound, match=f"{topic!r} does not exist"):
        reader.until(lambda: False)


def test_a_group_that_does_not_admit_a_member_says_why(kafka: KafkaServer, stack: ExitStack) -> None:
    topic = kafka.create_topic(partitions=1)
    eager = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": f"group-{topic}"}
    with Consumer({**eager, "partition.assignment.strategy": "range"}) as other:
        other.subscribe([topic])
        assert wait_until(lambda: other.poll(0.5) is None and bool(other.assignment()), 60)
        late = opened(
            KafkaSource({"bootstrap.servers": kafka.bootstrap_servers}, f"group-{topic}", [topic], SourceLimits()),
            stack,
        )
        late.source.subscribe()
        with pytest.raises(ConfigurationError, match="do not use cooperative-sticky: stop them, or choose another"):
            late.until(lambda: other.poll(0) is not None)
    hasty = {"bootstrap.servers": kafka.bootstrap_servers, "session.timeout.ms": 100, "heartbeat.interval.ms": 30}
    reader = opened(KafkaSource(hasty, f"group-{topic}-hasty", [topic], SourceLimits()), stack)
    reader.source.subscribe()
    with pytest.raises(ConfigurationError, match=r"set session.timeout.ms between the broker's group\.min"):
        reader.until(lambda: False)
