"""Broker and database that break, freeze or go away while a stream runs: it retries, and stores every record once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from integration_tests.engine import wait_until
from integration_tests.proxy import PostgresProxy
from integration_tests.results import ResultTable
from integration_tests.servers import KafkaServer, PostgresDatabase, PrivateKafka
from integration_tests.service import RowWriter
from integration_tests.streams import WAIT_S, assert_exactly_once, stream_of, wait_for_rows, wait_for_stable_end
from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.sql import SqlTransaction
from kafka_stream.progress import StreamListener, StreamState
from kafka_stream.types import OF_EVERY_BATCH, OffsetRange, Phase

RECORDS = 3_000
IMPATIENT = {"socket.timeout.ms": 2000, "reconnect.backoff.max.ms": 500}


class At(StreamListener):
    """Does something the third time that a batch comes to a point, and remembers what was retried."""

    def __init__(self, phase: Phase, action: Callable[[], None]) -> None:
        self.retried: list[str] = []
        self.reached = threading.Event()
        self._phase = phase
        self._action = action
        self._seen = 0

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        self._seen += phase is self._phase
        if phase is self._phase and self._seen == 3:
            self._action()
            self.reached.set()

    def on_retry(self, error: Exception, delay_s: float) -> None:
        self.retried.append(type(error).__name__)


def nothing() -> None:
    """No action."""


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    name = kafka.create_topic(partitions=4)
    kafka.transaction(name, [f"aborted {n}" for n in range(300)], outcome="abort")
    kafka.transaction(name, [f"committed {n}" for n in range(RECORDS)])
    wait_for_stable_end(kafka, name)
    return name


@contextmanager
def running(stream: DirectStream) -> Iterator[DirectStream]:
    """Started, and stopped in order; what stopped it otherwise is raised."""
    with stream:
        yield stream
        assert stream.stop(WAIT_S)


# --------------------------------------------------------------------------------------------------------- database


@pytest.mark.parametrize("cut", ["cut_before_commit", "cut_after_commit"])
def test_a_connection_that_breaks_during_commit(
    kafka: KafkaServer, postgres_proxy: PostgresProxy, table: ResultTable, topic: str, cut: str
) -> None:
    at = At(Phase.AFTER_WRITE, lambda: getattr(postgres_proxy, cut)(having=b"INSERT INTO results"))
    stream = stream_of(
        kafka, PostgresDatabase(postgres_proxy.url), topic, IMPATIENT, max_records_per_batch=200, listeners=[at]
    )
    summary = stream.run(until="latest")
    assert postgres_proxy.wait_for_commit_cut(0)
    assert ("TransientError" in at.retried) == (cut == "cut_before_commit")
    assert summary.records == RECORDS
    assert_exactly_once(kafka, topic, table)


def test_a_connection_that_breaks_during_commit_while_the_database_is_gone_for_a_while(
    kafka: KafkaServer, postgres_proxy: PostgresProxy, table: ResultTable, topic: str
) -> None:
    def cut_and_refuse() -> None:
        postgres_proxy.refuse_new()
        postgres_proxy.cut_after_commit(having=b"INSERT INTO results")

    at = At(Phase.AFTER_WRITE, cut_and_refuse)
    database = PostgresDatabase(postgres_proxy.url)
    with running(stream_of(kafka, database, topic, IMPATIENT, max_records_per_batch=200, listeners=[at])) as stream:
        assert wait_until(lambda: len(at.retried) >= 3, WAIT_S)
        assert postgres_proxy.wait_for_commit_cut(0)
        assert stream.status().state is StreamState.RETRYING
        postgres_proxy.admit()
        wait_for_rows(table, RECORDS, stream)
        assert wait_until(lambda: stream.status().state is StreamState.RUNNING, WAIT_S)
        assert stream.status().error is None
    assert_exactly_once(kafka, topic, table)


@pytest.mark.parametrize("phase", [phase for phase in OF_EVERY_BATCH if phase is not Phase.AFTER_COMMIT])
def test_all_connections_are_terminated_as_by_a_restart(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str, phase: Phase
) -> None:
    def terminate() -> None:
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    at = At(phase, terminate)
    stream_of(kafka, postgres, topic, IMPATIENT, max_records_per_batch=200, listeners=[at]).run(until="latest")
    assert at.reached.is_set()
    assert at.retried or phase in (Phase.AFTER_FETCH, Phase.AFTER_PREPARE)
    assert_exactly_once(kafka, topic, table)


def test_a_database_that_is_gone_for_a_while(
    kafka: KafkaServer, postgres_proxy: PostgresProxy, table: ResultTable, topic: str
) -> None:
    at = At(Phase.AFTER_WRITE, postgres_proxy.refuse)
    with running(
        stream_of(
            kafka, PostgresDatabase(postgres_proxy.url), topic, IMPATIENT, max_records_per_batch=200, listeners=[at]
        )
    ) as stream:
        assert wait_until(lambda: len(at.retried) >= 3, WAIT_S)
        assert stream.status().state is StreamState.RETRYING
        assert isinstance(stream.status().error, Exception)
        before = table.count()
        assert before < RECORDS
        postgres_proxy.admit()
        wait_for_rows(table, RECORDS, stream)
        assert wait_until(lambda: stream.status().state is StreamState.RUNNING, WAIT_S)
        assert stream.status().error is None
    assert_exactly_once(kafka, topic, table)


def test_a_database_that_freezes_for_a_while(
    kafka: KafkaServer, postgres_proxy: PostgresProxy, table: ResultTable, topic: str
) -> None:
    at = At(Phase.AFTER_WRITE, postgres_proxy.pause)
    with running(
        stream_of(
            kafka, PostgresDatabase(postgres_proxy.url), topic, IMPATIENT, max_records_per_batch=200, listeners=[at]
        )
    ) as stream:
        assert at.reached.wait(WAIT_S)
        started_at = stream.status().batch_started_at
        assert started_at is not None, "the batch that hangs is to be seen"
        assert table.count() < RECORDS
        postgres_proxy.resume()
        wait_for_rows(table, RECORDS, stream)
    assert_exactly_once(kafka, topic, table)


def test_a_connection_that_breaks_while_the_server_works_on(
    kafka: KafkaServer, postgres: PostgresDatabase, postgres_proxy: PostgresProxy, table: ResultTable, topic: str
) -> None:
    """The old session keeps the rows of this very owner locked, until the server finds that its client is gone."""
    turns = itertools.count()
    slow = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    def write(batch: Batch, transaction: SqlTransaction) -> None:
        RowWriter(linger_s=3.0 if next(turns) == 2 else 0.0)(batch, transaction)

    at = At(Phase.AFTER_WRITE, nothing)
    database = PostgresDatabase(postgres_proxy.url)
    stream = stream_of(kafka, database, topic, IMPATIENT, max_records_per_batch=200, sink=write, listeners=[at])
    with running(stream):
        assert wait_until(lambda: postgres.execute(slow), WAIT_S)
        postgres_proxy.cut()
        assert wait_until(lambda: at.retried, WAIT_S)
        assert postgres.execute(slow), "the old session is to be there still"
        wait_for_rows(table, RECORDS, stream)
    assert_exactly_once(kafka, topic, table)


def test_a_deadlock_in_the_handler_is_retried(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable, topic: str
) -> None:
    turns = itertools.count()

    def write(batch: Batch, transaction: SqlTransaction) -> None:
        RowWriter()(batch, transaction)
        if next(turns) == 2:
            transaction.connection.exec_driver_sql(
                "DO $$ BEGIN RAISE 'as in a deadlock' USING ERRCODE = '40P01'; END $$"
            )

    at = At(Phase.AFTER_WRITE, nothing)
    stream_of(kafka, postgres, topic, IMPATIENT, max_records_per_batch=200, sink=write, listeners=[at]).run(
        until="latest"
    )
    assert at.retried == ["StoreUnavailable"]
    assert_exactly_once(kafka, topic, table)


# ----------------------------------------------------------------------------------------------------------- broker


@pytest.mark.parametrize(
    ("assignment", "breaks", "mends"),
    [("static", "pause", "unpause"), ("group", "kill", "start")],
    ids=["frozen", "killed"],
)
def test_a_broker_that_is_gone_for_a_while(
    private_kafka: PrivateKafka,
    postgres: PostgresDatabase,
    table: ResultTable,
    assignment: str,
    breaks: str,
    mends: str,
) -> None:
    topic = private_kafka.create_topic(partitions=2)
    private_kafka.produce(topic, [f"committed {n}" for n in range(RECORDS)])
    with running(
        stream_of(private_kafka, postgres, topic, IMPATIENT, max_records_per_batch=200, assignment=assignment)
    ) as stream:
        wait_for_rows(table, 1, stream)
        getattr(private_kafka, breaks)()
        getattr(private_kafka, mends)()
        private_kafka.wait_until_up()
        private_kafka.produce(topic, [f"committed {n}" for n in range(RECORDS, RECORDS + 100)])
        wait_for_rows(table, RECORDS + 100, stream)
    assert_exactly_once(private_kafka, topic, table)
