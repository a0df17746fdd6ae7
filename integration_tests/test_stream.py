"""A stream's ordinary life on real servers: both assignments, bounds, stops, rebalances, new partitions, failures."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from integration_tests.engine import wait_until
from integration_tests.results import ResultTable
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.service import RowWriter
from integration_tests.streams import (
    SHORT_SESSIONS,
    WAIT_S,
    assert_exactly_once,
    settings_of,
    stored_offsets,
    stream_of,
    topic_of,
    wait_for_rows,
    wait_for_stable_end,
)
from kafka_stream import Batch, RecordError, TopicPartition
from kafka_stream.errors import ConfigurationError, OwnershipLost, ProcessingError, TransactionEscaped
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.progress import StreamListener, StreamState
from kafka_stream.protocols import BatchProgress
from kafka_stream.types import Guarantee, OffsetRange, Phase

RECORDS = 4_000


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    """Read by many tests, each under a stream name of its own."""
    return topic_of(kafka, aborted=300, committed=RECORDS)


# ------------------------------------------------------------------------------------------------------ bounded runs


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_a_bounded_run_reads_what_is_there_and_ends(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str, assignment: str
) -> None:
    stream = stream_of(kafka, postgres, topic, assignment=assignment, max_records_per_batch=500)
    summary = stream.run(until="latest")
    assert summary.records == RECORDS
    assert {r.topic_partition.partition: r.until_offset for r in summary.ranges} == kafka.end_offsets(topic)
    assert_exactly_once(kafka, topic, table)
    assert stream.run(until="latest").records == 0
    assert stream.status().state is StreamState.STOPPED


def test_shards_read_a_share_each(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    name = random_name("stream")
    seen = []
    for shard in range(3):
        stream = stream_of(kafka, postgres, topic, name=name, assignment=f"static:{shard}/3")
        seen.append([r.partition for r in stream.run(until="latest").ranges])
    assert seen == [[0, 3], [1], [2]]
    assert_exactly_once(kafka, topic, table)


def test_a_run_is_bounded_by_offsets_and_by_a_time(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, [f"committed {n}" for n in range(50)], partition=0)
    kafka.produce(topic, [f"committed {n}" for n in range(50, 100)], partition=1)
    between = datetime.now(UTC)
    assert wait_until(lambda: datetime.now(UTC).timestamp() > between.timestamp() + 0.1, 5)
    kafka.produce(topic, [f"committed {n}" for n in range(100, 150)], partition=1)
    stream = stream_of(kafka, postgres, topic)
    stream.run(until={TopicPartition(topic, 0): 20})
    assert (table.count(), table.count("partition = 0 AND record_offset < 20")) == (20, 20)
    stream.run(until=between)
    assert (table.count(), table.count("partition = 1 AND record_offset < 50")) == (100, 50)
    with pytest.raises(ConfigurationError, match="beyond its end"):
        stream.run(until={TopicPartition(topic, 0): 51})
    stream.run(until="latest")
    assert_exactly_once(kafka, topic, table)


def test_a_bounded_run_does_not_wait_for_an_open_transaction(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, [f"committed {n}" for n in range(10)])
    opened = kafka.open_transaction(topic, ["aborted 1"])
    kafka.produce(topic, ["committed 10"])
    stream = stream_of(kafka, postgres, topic)
    assert stream.run(until="latest").records == 10
    opened.abort()
    wait_for_stable_end(kafka, topic)
    assert stream.run(until="latest").records == 1
    assert_exactly_once(kafka, topic, table)


def test_a_bounded_run_is_refused_while_the_group_has_members(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    stream = stream_of(kafka, postgres, topic, assignment="group")
    with stream:
        wait_for_rows(table, RECORDS, stream)
        with pytest.raises(ConfigurationError, match="has 1 member"):
            stream.replace().run(until="latest")
    stream.replace().run(until="latest")
    assert_exactly_once(kafka, topic, table)


def test_progress_over_a_tail_without_records_is_committed(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    """Otherwise retention could pass a stored offset behind which nothing was lost."""
    topic = kafka.create_topic(partitions=1)
    kafka.transaction(topic, ["committed 0"])
    kafka.transaction(topic, ["aborted 0", "aborted 1"], outcome="abort")
    (end,) = wait_for_stable_end(kafka, topic).values()
    stream = stream_of(kafka, postgres, topic)
    stream.run(until="latest")
    assert stored_offsets(stream) == {TopicPartition(topic, 0): end}
    kafka.transaction(topic, ["aborted 2"], outcome="abort")
    with stream:
        (end,) = wait_for_stable_end(kafka, topic).values()
        assert wait_until(lambda: stream.status().positions == {TopicPartition(topic, 0): end}, WAIT_S)
    kafka.delete_records(topic, 0, before_offset=end)
    assert stream.run(until="latest").records == 0
    assert table.count() == 1


# ------------------------------------------------------------------------------------------------- triggers, limits


class BatchLog(StreamListener):
    """When batches were fetched (monotonic seconds), and what they reported."""

    def __init__(self) -> None:
        self.fetched_at: list[float] = []
        self.reports: list[BatchProgress] = []

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        if phase is Phase.AFTER_FETCH:
            self.fetched_at.append(time.monotonic())

    def on_batch(self, progress: BatchProgress) -> None:
        self.reports.append(progress)


def test_batches_keep_an_interval_and_report_what_they_did(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=1)
    log = BatchLog()
    stream = stream_of(kafka, postgres, topic, interval_s=0.5, listeners=[log])
    with stream:
        for number in range(12):
            kafka.produce(topic, [f"committed {number}"])
        wait_for_rows(table, 12, stream)
    with_records = [at for at, report in zip(log.fetched_at, log.reports, strict=True) if report.records]
    # A batch is planned an interval after the one before; each is noted a little after that.
    assert all(later - earlier > 0.3 for earlier, later in itertools.pairwise(with_records))
    assert sum(report.records for report in log.reports) == 12
    assert log.reports[-1].guarantee is Guarantee.EXACTLY_ONCE
    assert log.reports[-1].stream == stream.name
    assert_exactly_once(kafka, topic, table)


def test_batches_keep_their_limits(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    log = BatchLog()
    stream = stream_of(
        kafka,
        postgres,
        topic,
        listeners=[log],
        max_records_per_batch=300,
        max_records_per_partition=90,
        max_bytes_per_batch=4_000,
    )
    stream.run(until="latest")
    assert max(report.records for report in log.reports) <= 300
    assert max(len(r) for report in log.reports for r in report.ranges) <= 90 + 300  # the aborted ones have no record
    assert max(report.bytes for report in log.reports) <= 4_000
    assert_exactly_once(kafka, topic, table)


# ------------------------------------------------------------------------------------------------------------ stops


def test_an_embedded_stream_is_stopped_asked_and_waited_for(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    stream = stream_of(kafka, postgres, topic, max_records_per_batch=100, code_version="v7")
    assert stream.status().state is StreamState.NEW
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stream.start()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    with pytest.raises(RuntimeError, match="running already"):
        stream.start()
    wait_for_rows(table, 100, stream)
    assert stream.wait(timeout_s=0.0) is None
    assert stream.stop()
    summary = stream.wait()
    assert summary is not None
    assert summary.records == table.count()

    with stream:
        wait_for_rows(table, RECORDS, stream)
        assert wait_until(lambda: set(stream.status().lag.values()) == {0}, WAIT_S)
        status = stream.status()
    assert status.state is StreamState.RUNNING
    assert status.guarantee is Guarantee.EXACTLY_ONCE
    assert status.owner is not None
    assert status.owner.code_version == "v7"
    assert {tp.partition: offset for tp, offset in status.positions.items()} == kafka.end_offsets(topic)
    assert status.records == RECORDS - summary.records
    assert stream.status().state is StreamState.STOPPED
    assert_exactly_once(kafka, topic, table)


@pytest.mark.parametrize(("assignment", "number"), [("static", signal.SIGTERM), ("group", signal.SIGINT)])
def test_a_signal_finishes_the_batch_and_leaves(
    kafka: KafkaServer,
    postgres: PostgresDatabase,
    table: ResultTable,
    topic: str,
    services: Services,
    assignment: str,
    number: signal.Signals,
) -> None:
    settings = settings_of(kafka, postgres, topic, assignment=assignment, max_records_per_batch=400, linger_s=0.5)
    service = services.start(settings)
    service.wait_until_said("batch")
    service.signal(number)
    assert service.wait() == 0, service.report()
    stopped_at = table.count()
    assert service.said("done")[0]["records"] == stopped_at < RECORDS
    ((unfinished,),) = postgres.execute("SELECT count(*) FROM kafka_stream_offsets WHERE planned_until IS NOT NULL")
    assert unfinished == 0
    rest = services.start(replace(settings, linger_s=0.0, assignment="static", until="latest"))
    assert rest.wait() == 0, rest.report()
    assert_exactly_once(kafka, topic, table)


def test_a_second_signal_leaves_at_once_and_nothing_of_the_batch_stays(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str, services: Services
) -> None:
    settings = settings_of(kafka, postgres, topic, linger_s=300.0)
    service = services.start(settings)
    in_handler = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    assert wait_until(lambda: postgres.execute(in_handler) == [(1,)], WAIT_S), service.report()

    def ended() -> bool:
        """Two signals that come close together may arrive as one: do as an impatient person would."""
        service.signal(signal.SIGTERM)
        return not service.is_running()

    assert wait_until(ended, 10), service.report()
    assert service.wait() == -signal.SIGTERM, service.report()
    assert table.count() == 0
    rest = services.start(replace(settings, linger_s=0.0, until="latest"))
    assert rest.wait() == 0, rest.report()
    assert_exactly_once(kafka, topic, table)


# -------------------------------------------------------------------------------------------------------- ownership


def test_copies_of_a_service_come_and_go_under_load(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, services: Services
) -> None:
    topic = kafka.create_topic(partitions=6)
    kafka.transaction(topic, [(f"key-{n % 997}", f"committed {n}") for n in range(30_000)])
    wait_for_stable_end(kafka, topic)
    group = settings_of(
        kafka, postgres, topic, assignment="group", max_records_per_batch=100, linger_s=0.02, client=SHORT_SESSIONS
    )
    first = services.start(group)
    first.wait_until_said("batch", times=3)
    others = [services.start(group), services.start(group)]
    for copy in others:
        copy.wait_until_said("batch", times=3)
    assert table.count("true") < 30_000
    first.signal(signal.SIGTERM)
    assert first.wait() == 0, first.report()
    others[0].end()
    ((workers,),) = postgres.execute("SELECT count(DISTINCT pid) FROM results")
    assert workers == 3
    late = services.start(replace(group, max_records_per_batch=5_000, linger_s=0.0))
    late.wait_until_said("positions")  # before that a signal may find nobody who handles it
    wait_for_rows(table, 30_000, late, others[1])
    for copy in (late, others[1]):
        copy.signal(signal.SIGTERM)
        assert copy.wait() == 0, copy.report()
    assert_exactly_once(kafka, topic, table)


def test_a_second_static_owner_makes_the_first_stop_and_is_named(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, [f"committed {n}" for n in range(100)])
    first = stream_of(kafka, postgres, topic)
    first.start()
    try:
        wait_for_rows(table, 100, first)
        with first.replace(store=SqlOffsetStore(postgres.url)) as second:
            assert wait_until(lambda: second.status().positions, WAIT_S)
            kafka.produce(topic, [f"committed {n}" for n in range(100, 200)])
            with pytest.raises(OwnershipLost) as lost:
                first.wait(WAIT_S)
            assert lost.value.other == second.owner
            assert second.owner.id in str(lost.value)
            wait_for_rows(table, 200, second)
            assert second.status().state is StreamState.RUNNING
            assert first.status().state is StreamState.FAILED
    finally:
        first.stop()
    assert_exactly_once(kafka, topic, table)


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_partitions_that_are_added_are_read_from_their_beginning(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, assignment: str
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, ["committed 0"])
    sooner = {"topic.metadata.refresh.interval.ms": 1000}
    stream = stream_of(kafka, postgres, topic, assignment=assignment, start="latest", client=sooner)
    with stream:
        assert wait_until(lambda: stream.status().positions, WAIT_S)
        kafka.add_partitions(topic, 3)
        kafka.produce(topic, [f"committed {n}" for n in range(1, 11)], partition=1)
        kafka.produce(topic, [f"committed {n}" for n in range(11, 21)], partition=2)
        wait_for_rows(table, 20, stream)
    assert table.count("partition = 0") == 0
    findings = table.check([record for record in kafka.read_committed(topic) if record[0] > 0])
    assert findings.are_exactly_once, findings


def test_several_streams_in_one_process(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    other = kafka.create_topic(partitions=2)
    kafka.produce(other, [f"elsewhere {n}" for n in range(500)])
    lengths: list[int] = []
    rows = stream_of(kafka, postgres, topic, assignment="group")
    counts = stream_of(kafka, postgres, other, sink=lambda batch, _: lengths.append(len(batch)))
    with rows, counts:
        wait_for_rows(table, RECORDS, rows)
        assert wait_until(lambda: sum(lengths) >= 500, WAIT_S), counts.status()
        assert threading.active_count() >= 3
    assert sum(lengths) == 500
    assert {tp.topic for tp in stored_offsets(rows)} == {topic}
    assert {tp.topic for tp in stored_offsets(counts)} == {other}
    assert_exactly_once(kafka, topic, table)


# -------------------------------------------------------------------------------------------------------- first start


@pytest.mark.parametrize("phase", [Phase.AFTER_FETCH, Phase.AFTER_ADVANCE])
def test_latest_is_stored_so_that_a_crash_before_the_first_commit_loses_nothing(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, services: Services, phase: Phase
) -> None:
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, [(f"{n}", f"earlier {n}") for n in range(100)])
    earlier = len(kafka.read_committed(topic))
    settings = settings_of(kafka, postgres, topic, start="latest")
    service = services.start(settings, KAFKA_STREAM_TEST_KILL_AT=str(phase))
    service.wait_until_said("positions")
    kafka.produce(topic, [(f"{n}", f"committed {n}") for n in range(50)])
    assert service.wait() == -signal.SIGKILL, service.report()
    kafka.produce(topic, [(f"{n}", f"committed {n}") for n in range(50, 100)])
    assert table.count() == 0

    again = services.start(replace(settings, until="latest"))
    assert again.wait() == 0, again.report()
    committed = [record for record in kafka.read_committed(topic) if (record[3] or b"").startswith(b"committed")]
    assert (earlier, len(committed)) == (100, 100)
    findings = table.check(committed)
    assert findings.are_exactly_once, findings


# --------------------------------------------------------------------------------------------------------- failures


def test_a_handler_that_raises_leaves_nothing_behind(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    failing = True

    def write(batch: Batch, transaction: SqlTransaction) -> None:
        RowWriter()(batch, transaction)
        if failing and transaction.connection.exec_driver_sql("SELECT count(*) FROM results").scalar_one() >= 2_000:
            raise KeyError("price")

    stream = stream_of(kafka, postgres, topic, sink=write, max_records_per_batch=500)
    for _ in range(2):
        with pytest.raises(ProcessingError, match="price") as failed:
            stream.run(until="latest")
        assert isinstance(failed.value.__cause__, KeyError)
        assert table.count() < 2_000
        assert stream.status().error is failed.value
        positions = stored_offsets(stream)
        ends = postgres.execute("SELECT partition, max(record_offset) FROM results GROUP BY partition")
        assert all(positions[TopicPartition(topic, number)] > last for number, last in ends)
    failing = False
    stream.run(until="latest")
    assert_exactly_once(kafka, topic, table)


def test_a_record_error_names_its_record(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    def prepare(batch: Batch) -> Batch:
        for message in batch:
            if message.value() == b"committed 1234":
                raise RecordError.of(message, "no price")
        return batch

    stream = stream_of(kafka, postgres, topic, prepare=prepare)
    with pytest.raises(RecordError, match="no price") as failed:
        stream.run(until="latest")
    (found,) = [record for record in kafka.read_committed(topic) if record[3] == b"committed 1234"]
    assert (failed.value.topic, failed.value.partition, failed.value.offset) == (topic, *found[:2])
    assert table.count("value = 'committed 1234'") == 0


def test_a_handler_that_commits_on_its_own_stops_the_stream(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    def write(batch: Batch, transaction: SqlTransaction) -> None:
        RowWriter()(batch, transaction)
        transaction.connection.commit()

    with pytest.raises(TransactionEscaped):
        stream_of(kafka, postgres, topic, sink=write).run(until="latest")


class Claimed(StreamListener):
    """The batches whose transaction is open, or was."""

    def __init__(self) -> None:
        self.ranges: list[tuple[OffsetRange, ...]] = []

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        if phase is Phase.AFTER_CLAIM:
            self.ranges.append(ranges)


def test_async_prepare_runs_before_the_transaction_opens(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    query = "SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in tr%' AND datname = current_database()"
    found: list[object] = []
    claimed = Claimed()
    too_late: list[bool] = []

    async def prepare(batch: Batch) -> Batch:
        found.append(postgres.execute(query))
        too_late.append(batch.ranges in claimed.ranges)
        return batch

    stream_of(kafka, postgres, topic, prepare=prepare, listeners=[claimed]).run(until="latest")
    assert found[0] == [], "later ones may run beside the transaction of the batch before"
    assert len(claimed.ranges) >= len(too_late) > 0
    assert not any(too_late)
    assert_exactly_once(kafka, topic, table)
