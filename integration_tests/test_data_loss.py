"""What was not read yet and is gone stops the stream with an error that says so, or is passed over by choice."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from integration_tests.engine import wait_until
from integration_tests.results import ResultTable
from integration_tests.servers import KafkaServer, PostgresDatabase, PostgresServer, PrivateKafka
from integration_tests.service import RowWriter
from integration_tests.streams import WAIT_S, stored_offsets, stream_of, wait_for_rows
from kafka_stream import Batch, DirectStream
from kafka_stream.errors import DataLoss, LogTruncated, OffsetOutOfRange, TopicRecreated
from kafka_stream.offset_stores.sql import SqlTransaction
from kafka_stream.progress import StreamState
from kafka_stream.types import TopicPartition


def values(first: int, count: int, kind: str = "committed") -> list[str]:
    return [f"{kind} {n}" for n in range(first, first + count)]


def stored_values(table: ResultTable) -> list[str]:
    return [value for (value,) in table.database.execute("SELECT value FROM results ORDER BY value")]


def assert_lost(error: DataLoss, partition: TopicPartition, wanted: int, available: tuple[int, int]) -> None:
    assert (error.partition, error.wanted, error.available) == (partition, wanted, available)
    for fact in (str(partition), str(wanted), *map(str, available), "on_data_loss"):
        assert fact in str(error)


def recreate(kafka: KafkaServer, topic: str, records: list[str]) -> None:
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=1)
    kafka.produce(topic, records)


# ------------------------------------------------------------------------------------------------------- recreated


@pytest.mark.parametrize("records", [50, 200], ids=["shorter", "longer"])
def test_a_topic_that_was_recreated_while_nobody_looked(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, records: int
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, values(0, 100))
    stream = stream_of(kafka, postgres, topic)
    assert stream.run(until="latest").records == 100

    recreate(kafka, topic, values(1000, records))
    for _ in range(2):
        with pytest.raises(TopicRecreated) as lost:
            stream.run(until="latest")
        assert_lost(lost.value, TopicPartition(topic, 0), 100, (0, records))
    assert table.count() == 100


@pytest.mark.parametrize(("choice", "expected"), [("earliest", 150), ("latest", 100)])
def test_a_recreated_topic_is_read_on_by_choice(
    kafka: KafkaServer,
    postgres: PostgresDatabase,
    table: ResultTable,
    caplog: pytest.LogCaptureFixture,
    choice: str,
    expected: int,
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, values(0, 100))
    stream = stream_of(kafka, postgres, topic)
    stream.run(until="latest")
    recreate(kafka, topic, values(1000, 50))

    going_on = stream.replace(on_data_loss=choice)
    with caplog.at_level(logging.WARNING, "kafka_stream"):
        going_on.run(until="latest")
    assert table.count() == expected
    assert "deleted and created again" in caplog.text
    kafka.produce(topic, values(2000, 10))
    stream.run(until="latest")
    assert table.count() == expected + 10


def test_a_topic_that_is_recreated_under_a_running_stream(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, values(0, 100))
    stream = stream_of(kafka, postgres, topic)
    with pytest.raises(TopicRecreated) as lost, stream:
        assert wait_until(lambda: table.count() == 100, WAIT_S)
        recreate(kafka, topic, values(1000, 50))
        stream.wait(WAIT_S)
    assert lost.value.partition == TopicPartition(topic, 0)
    assert stream.status().error is lost.value


# -------------------------------------------------------------------------------------------------------- retention


def test_retention_that_has_passed_the_stored_offset(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, values(0, 10), partition=0)
    kafka.produce(topic, values(10, 10), partition=1)
    stream = stream_of(kafka, postgres, topic)
    stream.run(until="latest")
    kafka.produce(topic, values(100, 50), partition=1)
    kafka.delete_records(topic, 1, before_offset=30)

    with pytest.raises(OffsetOutOfRange) as lost:
        stream.run(until="latest")
    assert_lost(lost.value, TopicPartition(topic, 1), 10, (30, 60))
    assert table.count() == 20


@pytest.mark.parametrize(("choice", "expected"), [("earliest", values(130, 30)), ("latest", [])])
def test_retention_is_passed_over_by_choice(
    kafka: KafkaServer,
    postgres: PostgresDatabase,
    table: ResultTable,
    caplog: pytest.LogCaptureFixture,
    choice: str,
    expected: list[str],
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, values(0, 10))
    stream = stream_of(kafka, postgres, topic)
    stream.run(until="latest")
    kafka.produce(topic, values(110, 50))
    kafka.delete_records(topic, 0, before_offset=30)

    with caplog.at_level(logging.WARNING, "kafka_stream"):
        stream.replace(on_data_loss=choice).run(until="latest")
    assert sorted(stored_values(table)) == sorted(values(0, 10) + expected)
    assert "Going on at offset" in caplog.text


def test_retention_that_passes_a_stream_while_it_is_running(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, [f"committed {n} {'x' * 1000}" for n in range(20_000)])
    in_hand, may_go_on = threading.Event(), threading.Event()
    write = RowWriter()

    def held_up(batch: Batch, transaction: SqlTransaction) -> None:
        in_hand.set()
        assert may_go_on.wait(WAIT_S)
        write(batch, transaction)

    little = {"queued.min.messages": 1, "queued.max.messages.kbytes": 64, "fetch.message.max.bytes": 65_536}
    stream = stream_of(kafka, postgres, topic, sink=held_up, max_records_per_batch=10, client=little)
    with pytest.raises(OffsetOutOfRange) as lost, stream:
        assert in_hand.wait(WAIT_S)
        kafka.delete_records(topic, 0, before_offset=19_000)
        may_go_on.set()
        stream.wait(WAIT_S)
    assert lost.value.available == (19_000, 20_000)
    assert lost.value.wanted == stored_offsets(stream)[TopicPartition(topic, 0)]
    assert table.count() == lost.value.wanted < 19_000


# ------------------------------------------------------------------------------------------------------- truncation


@dataclass(frozen=True)
class CutLogs:
    """Three topics whose 60 records were read, and then lost their tail in a crash of the broker.

    ``regrown`` got 100 new records after it, past where it had been read to, and ``running`` was being read meanwhile.
    """

    shorter: str
    regrown: str
    running: str
    end: int
    streams: dict[str, DirectStream]
    failure: BaseException | None


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """One for all readers of the cut logs, so that the broker crashes once."""
    database = postgres_server.create_database()
    yield database
    postgres_server.drop_database(database)


@pytest.fixture(scope="module")
def logs(private_broker: PrivateKafka, database: PostgresDatabase) -> CutLogs:
    table = ResultTable(database)
    topics = [private_broker.create_topic(partitions=1) for _ in range(3)]
    shorter, regrown, running = topics
    for topic, batch in itertools.product(topics, range(6)):
        private_broker.produce(topic, values(10 * batch, 10))
    streams = {"shorter": stream_of(private_broker, database, shorter)}
    streams |= {choice: stream_of(private_broker, database, regrown) for choice in ("stop", "earliest", "latest")}
    for stream in streams.values():
        assert stream.run(until="latest").records == 60

    survivor = stream_of(private_broker, database, running)
    survivor.start()
    try:
        wait_for_rows(table, 5 * 60, survivor)
        private_broker.kill()
        (end,) = {private_broker.truncate_tail(topic, 0, from_offset=40) for topic in topics}
        private_broker.start()
        private_broker.produce(regrown, values(1000, 100))
        private_broker.produce(running, values(1000, 100))
        ended = wait_until(lambda: survivor.status().state is StreamState.FAILED, WAIT_S)
        assert ended, survivor.status()
    finally:
        survivor.stop()
    assert table.count() == 5 * 60
    return CutLogs(shorter, regrown, running, end, streams, survivor.status().error)


def test_a_log_that_lost_its_tail(logs: CutLogs) -> None:
    with pytest.raises(LogTruncated) as lost:
        logs.streams["shorter"].run(until="latest")
    assert_lost(lost.value, TopicPartition(logs.shorter, 0), 60, (0, logs.end))


def test_a_log_that_lost_its_tail_and_grew_past_the_stored_offset_again(
    logs: CutLogs, private_broker: PrivateKafka
) -> None:
    """Offsets cannot tell: only the leader epoch of what was read does."""
    (available,) = private_broker.end_offsets(logs.regrown).values()
    assert available >= logs.end + 100 > 60
    for _ in range(2):
        with pytest.raises(LogTruncated) as lost:
            logs.streams["stop"].run(until="latest")
        assert_lost(lost.value, TopicPartition(logs.regrown, 0), 60, (0, available))


@pytest.mark.parametrize("choice", ["earliest", "latest"])
def test_a_log_that_lost_its_tail_is_read_on_by_choice(
    logs: CutLogs, private_broker: PrivateKafka, caplog: pytest.LogCaptureFixture, choice: str
) -> None:
    (available,) = private_broker.end_offsets(logs.regrown).values()
    stream = logs.streams[choice]
    with caplog.at_level(logging.WARNING, "kafka_stream"):
        summary = stream.replace(on_data_loss=choice).run(until="latest")
    assert summary.records == {"earliest": available, "latest": 0}[choice]
    assert "truncated" in caplog.text
    private_broker.produce(logs.regrown, values(2000, 5))
    assert stream.run(until="latest").records == 5


@pytest.mark.parametrize("outcome", ["commit", "abort"])
def test_a_marker_that_was_written_after_a_restart_of_the_broker_is_no_truncation(
    private_kafka: PrivateKafka, postgres: PostgresDatabase, table: ResultTable, outcome: str
) -> None:
    """The marker has a newer leader epoch than the last record, and then the partition stays quiet."""
    topic = private_kafka.create_topic(partitions=1)
    private_kafka.produce(topic, values(0, 5))
    transaction = private_kafka.open_transaction(topic, values(5, 5))
    private_kafka.stop()
    private_kafka.start()
    transaction.commit() if outcome == "commit" else transaction.abort()
    stream = stream_of(private_kafka, postgres, topic)
    expected = 10 if outcome == "commit" else 5
    assert wait_until(lambda: private_kafka.end_offsets(topic) == {0: 11}, WAIT_S)
    assert stream.run(until="latest").records == expected
    for _ in range(2):
        assert stream.run(until="latest").records == 0
    with stream:
        private_kafka.produce(topic, values(10, 5))
        wait_for_rows(table, expected + 5, stream)
    (epoch,) = postgres.execute("SELECT leader_epoch FROM kafka_stream_offsets")
    assert epoch > (0,), "that of the newest records, which is known again"


def test_a_log_that_lost_its_tail_under_a_running_stream(logs: CutLogs) -> None:
    assert isinstance(logs.failure, LogTruncated)
    assert (logs.failure.partition, logs.failure.wanted) == (TopicPartition(logs.running, 0), 60)
    # It may have noticed before or after the log had grown again.
    assert logs.failure.available in {(0, logs.end), (0, logs.end + 100)}
