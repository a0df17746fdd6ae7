"""``SqlOffsetStore`` on MariaDB: the stores' contract, and what only a server does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, text

from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from integration_tests.proxy import MariadbProxy
from kafka_stream.errors import (
    CommitOutcomeUnknown,
    OutstandingPlan,
    StoreUnavailable,
    TransactionEscaped,
)
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.testing.administration_contract import HistoryContract
from kafka_stream.testing.compare_and_set_contract import CompareAndSetContract
from kafka_stream.testing.escape_contract import EscapableTransactionContract
from kafka_stream.testing.plan_contract import DurablePlanContract
from kafka_stream.testing.store_backend import (
    OLDER,
    P0,
    P1,
    STREAM,
    TOPIC,
    at_once,
    claim_of,
    commit,
    epochs_of,
    next_offsets,
)
from kafka_stream.types import MAX_OFFSET, TopicPartition
from tests.sql_backend import Result, SqlBackend, write

DEADLOCK = 1213


@pytest.fixture
def backend(mariadb_backend: SqlBackend) -> SqlBackend:
    return mariadb_backend


@pytest.fixture
def store(mariadb_store: SqlOffsetStore) -> SqlOffsetStore:
    return mariadb_store


class TestSqlOffsetStoreOnMariadb(
    CompareAndSetContract, DurablePlanContract, EscapableTransactionContract, HistoryContract
):
    """The contract."""

    @pytest.fixture
    def backend(self, backend: SqlBackend) -> SqlBackend:
        return backend


# Values ---------------------------------------------------------------------------------------------------------------


def test_the_whole_range_of_offsets_and_microseconds_are_kept(store: SqlOffsetStore, mariadb: MariadbDatabase) -> None:
    before = datetime.now(UTC)
    store.initialise(STREAM, TOPIC, {0: MAX_OFFSET - 1}, None)
    store.take_over(STREAM, OLDER, [P0], {})
    commit(store, OLDER, {P0: (MAX_OFFSET - 1, MAX_OFFSET)})
    commit(store, OLDER, {P0: (MAX_OFFSET, MAX_OFFSET)})
    found = store.positions(STREAM)[P0]
    assert found.next_offset == MAX_OFFSET
    assert found.changed_at is not None
    assert before <= found.changed_at <= datetime.now(UTC)
    mariadb.execute("UPDATE kafka_stream_offsets SET changed_at = '2024-02-29 12:30:15.123456'")
    assert store.positions(STREAM)[P0].changed_at == datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)


def test_times_do_not_depend_on_the_sessions_zone(backend: SqlBackend) -> None:
    engine = create_engine(backend.url, connect_args={"init_command": "SET time_zone = '-11:00'"})
    store = SqlOffsetStore(engine)
    store.open()
    found = store.take_over(STREAM, OLDER, [P0], {})[P0].changed_at
    assert found is not None
    assert abs(datetime.now(UTC) - found) < timedelta(minutes=10)
    engine.dispose()


def test_names_that_differ_in_case_or_accents_are_different_and_may_be_long(mariadb: MariadbDatabase) -> None:
    mariadb.execute(f"ALTER DATABASE {mariadb.name} CHARACTER SET latin1")
    store = SqlOffsetStore(mariadb.url)
    store.open()
    streams = ["orders", "Orders", "ördérs", "🚚" * 255]
    for number, stream in enumerate(streams):
        partition = TopicPartition("t" * 249, 2**31 - 1)
        store.take_over(stream, OLDER, [partition, TopicPartition("T" * 249, 0)], {})
        claim = replace(claim_of(OLDER, {partition: (0, number)}, store.positions(stream)), stream=stream)
        with store.begin(claim) as transaction:
            transaction.advance()
            transaction.commit()
    for number, stream in enumerate(streams):
        assert sorted(p.next_offset for p in store.positions(stream).values()) == sorted([0, number])
    with pytest.raises(Exception, match="too long"):
        store.initialise("x" * 256, TOPIC, {0: 0}, None)
    store.close()


def test_a_thousand_partitions_move_together(store: SqlOffsetStore) -> None:
    partitions = [TopicPartition(TOPIC, number) for number in range(1000)]
    taken = store.take_over(STREAM, OLDER, partitions, {})
    commit(store, OLDER, dict.fromkeys(partitions, (0, 7)), epochs_of(taken))
    assert set(next_offsets(store).values()) == {7}


# Handlers that leave their transaction --------------------------------------------------------------------------------


def _raw(transaction: SqlTransaction) -> pymysql.Connection[Any]:
    driver: Any = transaction.connection.connection.driver_connection
    assert isinstance(driver, pymysql.Connection)
    return driver


COMMITS: dict[str, Callable[[SqlTransaction], object]] = {
    "connection.commit()": lambda t: t.connection.commit(),
    "text COMMIT": lambda t: t.connection.execute(text("COMMIT")),
    "COMMIT AND CHAIN": lambda t: t.connection.exec_driver_sql("COMMIT AND CHAIN"),
    "BEGIN": lambda t: t.connection.exec_driver_sql("BEGIN"),
    "driver commit": lambda t: _raw(t).commit(),
    "driver begin": lambda t: _raw(t).begin(),
    "driver autocommit": lambda t: _raw(t).autocommit(True),
    "CREATE TABLE": lambda t: t.connection.execute(text("CREATE TABLE surprise (n int)")),
    "TRUNCATE": lambda t: t.connection.execute(text("TRUNCATE results_of_another")),
    "LOCK TABLES": lambda t: t.connection.execute(text("LOCK TABLES results WRITE")),
    "procedure": lambda t: t.connection.execute(text("CALL committing()")),
}
ROLLBACKS: dict[str, Callable[[SqlTransaction], object]] = {
    "connection.rollback()": lambda t: t.connection.rollback(),
    "text ROLLBACK": lambda t: t.connection.exec_driver_sql("ROLLBACK"),
    "ROLLBACK AND CHAIN": lambda t: t.connection.exec_driver_sql("ROLLBACK AND CHAIN"),
    "driver rollback": lambda t: _raw(t).rollback(),
    "driver reconnect": lambda t: [getattr(_raw(t), do)() for do in ("close", "connect")],
}


@pytest.mark.parametrize("then_writes", [False, True])
@pytest.mark.parametrize("how", COMMITS)
def test_a_handler_that_commits(
    store: SqlOffsetStore, backend: SqlBackend, mariadb: MariadbDatabase, how: str, then_writes: bool
) -> None:
    mariadb.execute("CREATE TABLE results_of_another (n int)")
    mariadb.execute("CREATE PROCEDURE committing() COMMIT")
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(TransactionEscaped, match="commit"), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        COMMITS[how](transaction)
        if then_writes and not transaction.connection.closed:
            write(transaction.connection, 2)
        transaction.advance()
    assert backend.results()[:1] == [1]
    assert backend.results()[1:] in ([], [2]), "committed by the handler's own autocommit, if at all"
    assert store.positions(STREAM)[P0].next_offset == 0
    with pytest.raises(OutstandingPlan), store.begin(claim):
        pytest.fail("the plan was overlooked")


@pytest.mark.parametrize("how", ROLLBACKS)
def test_a_handler_that_rolls_back(store: SqlOffsetStore, backend: SqlBackend, how: str) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(TransactionEscaped), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        ROLLBACKS[how](transaction)
        write(transaction.connection, 2)
        transaction.advance()
    assert backend.results() == []
    commit(store, OLDER, {P0: (0, 5)})


def _deadlock(transaction: SqlTransaction, other: sa.Connection) -> sa.exc.OperationalError:
    """Make the handler the victim of a deadlock with another session, by writing less than that one."""
    lock = text("UPDATE results SET value = value + 1 WHERE id = :id")
    other.execute(text("INSERT INTO results (value) SELECT seq FROM seq_1_to_1000"))
    transaction.connection.execute(lock, {"id": 1})
    other.execute(lock, {"id": 2})
    errors: list[sa.exc.OperationalError] = []

    def in_the_handler() -> None:
        try:
            transaction.connection.execute(lock, {"id": 2})
        except sa.exc.OperationalError as error:
            errors.append(error)

    at_once([in_the_handler, lambda: other.execute(lock, {"id": 1})])
    other.rollback()
    (error,) = errors
    assert error.orig is not None
    assert error.orig.args[0] == DEADLOCK
    return error


def test_a_deadlock_that_the_handler_swallowed(
    store: SqlOffsetStore, backend: SqlBackend, mariadb: MariadbDatabase
) -> None:
    mariadb.execute("INSERT INTO results (id, value) VALUES (1, 0), (2, 0)")
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with (
        backend.engine.connect() as other,
        pytest.raises(TransactionEscaped, match="deadlock"),
        store.begin(claim) as transaction,
    ):
        write(transaction.connection, 7)
        _deadlock(transaction, other)
        write(transaction.connection, 8)
        transaction.advance()
    assert sorted(backend.results()) == [0, 0]
    commit(store, OLDER, {P0: (0, 5)})


def test_deadlocks_and_lock_timeouts_of_a_handler_are_transient_and_constraints_are_not(
    store: SqlOffsetStore, backend: SqlBackend, mariadb: MariadbDatabase
) -> None:
    mariadb.execute("INSERT INTO results (id, value) VALUES (1, 0), (2, 0)")
    mariadb.execute("ALTER TABLE results ADD CONSTRAINT positive CHECK (value >= 0)")
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with backend.engine.connect() as other, store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        error = _deadlock(transaction, other)
        wrapped = RuntimeError("the handler's own")
        wrapped.__cause__ = error
        for raised in (error, error.orig, wrapped):
            assert raised is not None
            assert isinstance(store.classify(raised), StoreUnavailable)
    with backend.engine.connect() as other, store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        other.execute(text("SELECT * FROM results WHERE id = 1 FOR UPDATE"))
        transaction.connection.execute(text("SET innodb_lock_wait_timeout = 1"))
        with pytest.raises(sa.exc.OperationalError) as waited:
            transaction.connection.execute(text("UPDATE results SET value = 5 WHERE id = 1"))
        assert isinstance(store.classify(waited.value), StoreUnavailable)
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        for wrong in ("INSERT INTO results VALUES (1, 0)", "INSERT INTO results VALUES (9, -1)"):
            with pytest.raises(sa.exc.DBAPIError) as constraint:
                transaction.connection.execute(text(wrong))
            assert store.classify(constraint.value) is None
        transaction.advance()
        transaction.commit()
    assert next_offsets(store) == {P0: 5}


def test_savepoints_orm_and_open_results_are_the_handlers_own(store: SqlOffsetStore, backend: SqlBackend) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with store.begin(claim) as transaction:
        write(transaction.connection, 1)
        nested = transaction.connection.begin_nested()
        write(transaction.connection, 2)
        nested.rollback()
        transaction.session().add(Result(value=3))
        transaction.connection.execute(text("SELECT GET_LOCK('mine', 0)"))
        transaction.advance()
        transaction.commit()
    assert sorted(backend.results()) == [1, 3]
    assert next_offsets(store) == {P0: 5}


# The connection breaks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("took_effect", [False, True])
def test_a_commit_whose_answer_is_lost_is_settled_by_reclaiming(
    backend: SqlBackend, mariadb_proxy: MariadbProxy, took_effect: bool
) -> None:
    store = SqlOffsetStore(mariadb_proxy.url)
    store.open()
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0, P1], {}))
    if took_effect:
        mariadb_proxy.cut_after_commit(having=b"INTO results")
    else:
        mariadb_proxy.cut_before_commit(having=b"INTO results")
    with pytest.raises(CommitOutcomeUnknown), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        transaction.advance()
        transaction.commit()
    found = store.reclaim(claim)
    assert found[P0].next_offset == (5 if took_effect else 0)
    assert backend.results() == ([1] if took_effect else [])
    commit(store, OLDER, {P0: (found[P0].next_offset, 9)}, epochs_of(found))
    store.close()


def test_reclaiming_ends_a_commits_own_transaction_where_the_server_has_not_noticed(
    store: SqlOffsetStore, backend: SqlBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with store.begin(claim) as transaction:
        write(transaction.connection, 1)
        transaction.advance()
        found = store.reclaim(claim)
        assert found[P0].next_offset == 0
        with pytest.raises((StoreUnavailable, CommitOutcomeUnknown)):
            transaction.commit()
    assert backend.results() == []
    commit(store, OLDER, {P0: (0, 5)}, epochs_of(found))


def test_a_connection_that_breaks_anywhere_else_is_retried(backend: SqlBackend, mariadb_proxy: MariadbProxy) -> None:
    store = SqlOffsetStore(mariadb_proxy.url)
    store.open()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    claim = claim_of(OLDER, {P0: (0, 5)}, taken)
    assert store.positions(STREAM) == taken  # the connection is the pool's again
    mariadb_proxy.cut()
    with pytest.raises(StoreUnavailable), store.begin(claim):
        pytest.fail("a broken connection was used")
    with pytest.raises(StoreUnavailable), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        mariadb_proxy.cut()
        transaction.advance()
    with store.begin(claim) as transaction:
        mariadb_proxy.cut()
        with pytest.raises(sa.exc.OperationalError) as raised:
            write(transaction.connection, 1)
        assert isinstance(store.classify(raised.value), StoreUnavailable)
        with pytest.raises(StoreUnavailable):
            transaction.advance()
    with store.begin(claim) as transaction:
        mariadb_proxy.cut()
        for _ in range(2):  # the driver has no number for the second error
            with pytest.raises(pymysql.MySQLError) as broken:
                _raw(transaction).cursor().execute("SELECT 1")
            assert isinstance(store.classify(broken.value), StoreUnavailable)
    mariadb_proxy.refuse()
    with pytest.raises(StoreUnavailable):
        store.take_over(STREAM, OLDER, [P0], {})
    mariadb_proxy.admit()
    assert store.positions(STREAM) == taken
    assert backend.results() == []
    store.close()


def test_a_session_that_an_operator_ended_is_retried(
    store: SqlOffsetStore, backend: SqlBackend, mariadb: MariadbDatabase, mariadb_server: MariadbServer
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(StoreUnavailable), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        mariadb_server.end_sessions(mariadb)
        transaction.advance()
    backend.engine.dispose()
    assert backend.results() == []
    commit(store, OLDER, {P0: (0, 5)})
