"""``SqlOffsetStore`` on PostgreSQL: the stores' contract, and what only a server does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, text

from integration_tests.frozen_owners import frozen_owners, take_over_past
from integration_tests.proxy import PostgresProxy
from integration_tests.servers import PostgresDatabase
from kafka_stream.errors import (
    CommitOutcomeUnknown,
    OutstandingPlan,
    ProcessingError,
    StoreUnavailable,
    TransactionEscaped,
)
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.testing.administration_contract import HistoryContract
from kafka_stream.testing.compare_and_set_contract import CompareAndSetContract
from kafka_stream.testing.escape_contract import EscapableTransactionContract
from kafka_stream.testing.plan_contract import DurablePlanContract
from kafka_stream.testing.store_backend import (
    NEWER,
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
from kafka_stream.types import Owner, TopicPartition
from tests.sql_backend import Result, SqlBackend, write


class TestSqlOffsetStoreOnPostgres(
    CompareAndSetContract, DurablePlanContract, EscapableTransactionContract, HistoryContract
):
    """The contract, on the ``backend`` of conftest.py."""

    @pytest.fixture
    def backend(self, backend: SqlBackend) -> SqlBackend:
        return backend


# Handlers that leave their transaction --------------------------------------------------------------------------------


def _raw(transaction: SqlTransaction) -> psycopg.Connection[Any]:
    driver = transaction.connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


COMMITS: dict[str, Callable[[SqlTransaction], object]] = {
    "connection.commit()": lambda t: t.connection.commit(),
    "text COMMIT": lambda t: t.connection.execute(text("COMMIT")),
    "text COMMIT, BEGIN": lambda t: t.connection.exec_driver_sql("COMMIT; BEGIN"),
    "COMMIT AND CHAIN": lambda t: t.connection.exec_driver_sql("COMMIT AND CHAIN"),
    "driver commit": lambda t: _raw(t).commit(),
    "procedure": lambda t: t.connection.exec_driver_sql("DO $$ BEGIN NULL; END $$; COMMIT"),
}
ROLLBACKS: dict[str, Callable[[SqlTransaction], object]] = {
    "connection.rollback()": lambda t: t.connection.rollback(),
    "text ROLLBACK": lambda t: t.connection.exec_driver_sql("ROLLBACK"),
    "text ROLLBACK, BEGIN": lambda t: t.connection.exec_driver_sql("ROLLBACK AND CHAIN"),
    "driver rollback": lambda t: _raw(t).rollback(),
}


@pytest.mark.parametrize("then_writes", [False, True])
@pytest.mark.parametrize("how", COMMITS)
def test_a_handler_that_commits(store: SqlOffsetStore, backend: SqlBackend, how: str, then_writes: bool) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(TransactionEscaped, match="commit"), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        COMMITS[how](transaction)
        if then_writes:
            write(transaction.connection, 2)
        transaction.advance()
    assert backend.results() == [1], "what came after it is not committed by us"
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


def test_an_error_that_the_handler_swallowed(store: SqlOffsetStore, backend: SqlBackend) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(TransactionEscaped, match="swallowed"), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        with pytest.raises(sa.exc.DataError):
            transaction.connection.execute(text("SELECT 1 / 0"))
        transaction.advance()
    assert backend.results() == []
    commit(store, OLDER, {P0: (0, 5)})


def test_a_transaction_that_is_aborted_after_the_advance_is_not_taken_for_committed(
    store: SqlOffsetStore, backend: SqlBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(StoreUnavailable), store.begin(claim) as transaction:
        transaction.advance()
        with pytest.raises(sa.exc.DataError):
            transaction.connection.execute(text("SELECT 1 / 0"))
        transaction.commit()
    assert next_offsets(store) == {P0: 0}


def test_a_copy_that_was_left_open(store: SqlOffsetStore, backend: SqlBackend) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(TransactionEscaped, match="COPY"), store.begin(claim) as transaction:
        copy = _raw(transaction).cursor().copy("COPY results (value) FROM STDIN")
        copy.__enter__().write_row((1,))
        transaction.advance()
    assert backend.results() == []
    commit(store, OLDER, {P0: (0, 5)})


def test_copy_savepoints_orm_and_settings_of_the_session_are_the_handlers_own(
    store: SqlOffsetStore, backend: SqlBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with store.begin(claim) as transaction:
        with _raw(transaction).cursor().copy("COPY results (value) FROM STDIN") as copy:
            copy.write_row((1,))
        with _raw(transaction).transaction():
            write(transaction.connection, 2)
        nested = transaction.connection.begin_nested()
        with pytest.raises(sa.exc.DataError):
            transaction.connection.execute(text("SELECT 1 / 0"))
        nested.rollback()
        transaction.connection.execute(text("SET application_name = 'mine'"))
        transaction.session().add(Result(value=3))
        transaction.advance()
        transaction.commit()
    assert sorted(backend.results()) == [1, 2, 3]
    assert next_offsets(store) == {P0: 5}


def test_a_deferred_constraint_fails_at_the_commit(
    store: SqlOffsetStore, backend: SqlBackend, postgres: PostgresDatabase
) -> None:
    postgres.execute("ALTER TABLE results ADD CONSTRAINT once UNIQUE (value) DEFERRABLE INITIALLY DEFERRED")
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(ProcessingError, match="once"), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        write(transaction.connection, 1)
        transaction.advance()
        transaction.commit()
    assert backend.results() == []
    commit(store, OLDER, {P0: (0, 5)})


# The connection breaks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("took_effect", [False, True])
def test_a_commit_whose_answer_is_lost_is_settled_by_reclaiming(
    backend: SqlBackend, postgres_proxy: PostgresProxy, took_effect: bool
) -> None:
    store = SqlOffsetStore(postgres_proxy.url)
    store.open()
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0, P1], {}))
    if took_effect:
        postgres_proxy.cut_after_commit()
    else:
        postgres_proxy.cut_before_commit()
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


def test_a_connection_that_breaks_anywhere_else_is_retried(backend: SqlBackend, postgres_proxy: PostgresProxy) -> None:
    store = SqlOffsetStore(postgres_proxy.url)
    store.open()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    claim = claim_of(OLDER, {P0: (0, 5)}, taken)
    postgres_proxy.cut()
    with pytest.raises(StoreUnavailable), store.begin(claim):
        pytest.fail("a broken connection was used")
    with pytest.raises(StoreUnavailable), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        postgres_proxy.cut()
        transaction.advance()
    with store.begin(claim) as transaction:
        postgres_proxy.cut()
        with pytest.raises(sa.exc.OperationalError) as raised:
            write(transaction.connection, 1)
        assert isinstance(store.classify(raised.value), StoreUnavailable)
        with pytest.raises(StoreUnavailable):
            transaction.advance()
    with store.begin(claim) as transaction:
        postgres_proxy.cut()
        with pytest.raises(psycopg.OperationalError) as broken:
            _raw(transaction).execute("SELECT 1")
        assert isinstance(store.classify(broken.value), StoreUnavailable)
    postgres_proxy.refuse()
    with pytest.raises(StoreUnavailable):
        store.take_over(STREAM, OLDER, [P0], {})
    postgres_proxy.admit()
    assert store.positions(STREAM) == taken
    assert backend.results() == []
    store.close()


def test_deadlocks_and_serialization_failures_of_a_handler_are_transient(
    store: SqlOffsetStore, backend: SqlBackend, postgres: PostgresDatabase
) -> None:
    postgres.execute("INSERT INTO results VALUES (1, 0), (2, 0)")
    taken = store.take_over(STREAM, OLDER, [P0], {})
    lock = text("UPDATE results SET value = value + 1 WHERE id = :id")
    with backend.engine.connect() as other, store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        other.execute(text("SET deadlock_timeout = '1h'"))  # the handler is the one that gives up
        transaction.connection.execute(lock, {"id": 1})
        other.execute(lock, {"id": 2})
        errors: list[BaseException] = []

        def in_the_handler() -> None:
            try:
                transaction.connection.execute(lock, {"id": 2})
            except sa.exc.OperationalError as error:
                errors.append(error)

        at_once([in_the_handler, lambda: other.execute(lock, {"id": 1})])
        other.rollback()
        (error,) = errors
        wrapped = RuntimeError("the handler's own")
        wrapped.__cause__ = error
        for raised in (error, error.orig, wrapped):  # type: ignore[attr-defined]
            assert raised is not None
            assert isinstance(store.classify(raised), StoreUnavailable)
    commit(store, OLDER, {P0: (0, 5)})
    with store.begin(claim_of(OLDER, {P0: (5, 6)}, taken)) as transaction:
        with pytest.raises(sa.exc.IntegrityError) as constraint:
            transaction.connection.execute(text("INSERT INTO results VALUES (1, 0)"))
        assert store.classify(constraint.value) is None


# Frozen owners --------------------------------------------------------------------------------------------------------


@pytest.fixture
def frozen(postgres: PostgresDatabase, backend: SqlBackend) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts an owner that freezes inside its transaction, and waits until it has."""
    with frozen_owners(postgres.url) as start:
        yield start


@pytest.mark.parametrize("where", ["after the claim", "mid-INSERT", "mid-COPY", "after the advance"])
def test_a_takeover_past_a_frozen_owner(
    where: str, frozen: Callable[[str], subprocess.Popen[str]], store: SqlOffsetStore, backend: SqlBackend
) -> None:
    # Its rows are free a moment before the locks of its tables are.
    lock = "SET LOCAL lock_timeout = '30s'", "LOCK TABLE results IN ACCESS EXCLUSIVE MODE"
    take_over_past(frozen(where), store, backend, *lock)


def test_a_takeover_past_a_frozen_owner_needs_no_second_connection_of_the_users_engine(
    frozen: Callable[[str], subprocess.Popen[str]], store: SqlOffsetStore, backend: SqlBackend
) -> None:
    frozen("after the claim")
    engine = create_engine(backend.url, pool_size=1, max_overflow=0)
    users = SqlOffsetStore(engine)
    users.open()
    assert users.take_over(STREAM, NEWER, [P0, P1], {})[P0].owner == NEWER
    engine.dispose()


def test_a_takeover_of_a_new_partition_past_a_frozen_takeover(
    store: SqlOffsetStore, backend: SqlBackend, postgres: PostgresDatabase
) -> None:
    """The row that it waits for is not there to be seen: it was inserted and not committed."""
    with backend.engine.connect() as connection:
        connection.execute(text("SELECT set_config('application_name', 'kafka-stream:another', true)"))
        connection.execute(
            text(
                "INSERT INTO kafka_stream_offsets (stream, topic, partition, next_offset, owner_epoch, state, "
                "changed_at) VALUES (:stream, :topic, 0, 0, 1, 'open', now())"
            ),
            {"stream": STREAM, "topic": TOPIC},
        )
        taken = store.take_over(STREAM, NEWER, [P0], {})
        assert taken[P0].owner == NEWER
        with pytest.raises(sa.exc.OperationalError):
            connection.execute(text("SELECT 1"))


def test_a_session_that_is_nobodys_owner_is_named_and_left_alone(store: SqlOffsetStore, backend: SqlBackend) -> None:
    store.take_over(STREAM, OLDER, [P0], {})
    impatient = SqlOffsetStore(backend.url, takeover_lock_timeout_s=1.0)
    with backend.engine.connect() as other:
        other.execute(text("SET application_name = 'migration'"))
        other.execute(text("SELECT * FROM kafka_stream_offsets FOR UPDATE"))
        with pytest.raises(StoreUnavailable, match=rf"session \d+ of user .*migration.*stored owner is {OLDER.id}"):
            impatient.take_over(STREAM, NEWER, [P0], {})
        other.execute(text("LOCK TABLE kafka_stream_offsets IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(StoreUnavailable, match="migration"):
            impatient.take_over(STREAM, NEWER, [P0], {})
        other.rollback()
    assert impatient.take_over(STREAM, NEWER, [P0], {})[P0].owner == NEWER
    impatient.close()


def test_a_claim_does_not_wait_for_a_row_that_another_session_holds(store: SqlOffsetStore, backend: SqlBackend) -> None:
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    with backend.engine.connect() as other:
        other.execute(text("SELECT * FROM kafka_stream_offsets WHERE partition = 1 FOR UPDATE"))
        with pytest.raises(StoreUnavailable), store.begin(claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, taken)):
            pytest.fail("a row that another session holds was claimed")
        commit(store, OLDER, {P0: (0, 5)}, epochs_of(taken))
    commit(store, OLDER, {P0: (5, 6), P1: (0, 5)}, epochs_of(taken))


def test_batches_carry_their_owners_name(
    store: SqlOffsetStore, backend: SqlBackend, postgres: PostgresDatabase
) -> None:
    strange = Owner("Ü" * 200, "h" * 300, "v" * 300)
    for owner in (OLDER, strange):
        taken = store.take_over(STREAM, owner, [P0], {})
        with store.begin(claim_of(owner, {P0: (0, 0)}, taken)):
            ((name,),) = postgres.execute(
                "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'kafka-stream:%'"
            )
        assert len(name) < 63
        if owner is OLDER:
            assert name == f"kafka-stream:{OLDER.id}"
    assert postgres.execute("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'kafka-stream:%'") == []


@pytest.mark.parametrize(("options", "limit"), [({}, "50s"), ({"options": "-c lock_timeout=50ms"}, "50ms")])
def test_a_batch_waits_for_no_lock_without_an_end(backend: SqlBackend, options: dict[str, str], limit: str) -> None:
    """Whoever holds it may be frozen, and is replaced between batches only."""
    url = sa.make_url(backend.url).update_query_dict(options)
    store = SqlOffsetStore(url.render_as_string(hide_password=False))
    store.open()
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with backend.engine.connect() as other, store.begin(claim) as transaction:
        assert transaction.connection.execute(text("SHOW lock_timeout")).scalar_one() == limit
        if options:
            other.execute(text("LOCK TABLE results"))
            with pytest.raises(sa.exc.OperationalError) as waited:
                write(transaction.connection, 1)
            assert isinstance(store.classify(waited.value), StoreUnavailable)
    store.close()


# The planner ----------------------------------------------------------------------------------------------------------


def test_after_a_takeover_of_many_partitions_the_planner_knows_how_many(
    store: SqlOffsetStore, postgres: PostgresDatabase
) -> None:
    """While it takes the table for empty, claim and advance compare each moved partition with all that are owned."""
    owned = [TopicPartition(TOPIC, number) for number in range(1_000)]
    taken = store.take_over(STREAM, OLDER, owned, {})
    assert postgres.execute("SELECT reltuples FROM pg_class WHERE relname = 'kafka_stream_offsets'") == [(1_000,)]
    commit(store, OLDER, dict.fromkeys(owned[::9], (0, 5)), epochs_of(taken))


def test_a_takeover_does_not_need_to_own_the_table(store: SqlOffsetStore, postgres: PostgresDatabase) -> None:
    postgres.execute("CREATE ROLE writer LOGIN PASSWORD 'w'")
    try:
        postgres.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer")
        url = sa.make_url(postgres.url).set(username="writer", password="w")
        writer = SqlOffsetStore(url.render_as_string(hide_password=False), tables="verify")
        owned = [TopicPartition(TOPIC, number) for number in range(100)]
        commit(writer, OLDER, dict.fromkeys(owned, (0, 5)), epochs_of(writer.take_over(STREAM, OLDER, owned, {})))
        writer.close()
    finally:
        postgres.execute("DROP OWNED BY writer")
        postgres.execute("DROP ROLE writer")
