"""Connections of an engine's pool that are of no use any more, because of what their server was when they began."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, create_engine, text

from integration_tests.servers import PostgresDatabase
from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of, next_offsets
from tests.sql_backend import SqlBackend


@pytest.fixture
def pool(backend: SqlBackend) -> Iterator[Engine]:
    """An application's, with a pool of its own."""
    found = create_engine(backend.url, pool_size=5)
    yield found
    found.dispose()


def _idle_sessions_of_a_failover(pool: Engine, postgres: PostgresDatabase) -> None:
    """Fill the pool with sessions that began while the database took no writes."""
    name = pool.url.database
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(pool.connect()).execute(text("SELECT 1"))
    writing = create_engine(pool.url, connect_args={"options": "-c default_transaction_read_only=off"})
    with writing.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
    writing.dispose()


def test_sessions_that_began_read_only_cost_one_batch(pool: Engine, postgres: PostgresDatabase) -> None:
    store = SqlOffsetStore(pool)
    store.open()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    pool.dispose()
    _idle_sessions_of_a_failover(pool, postgres)
    claim = claim_of(OLDER, {P0: (0, 1)}, taken)
    with pytest.raises(StoreUnavailable, match="took no writes"), store.begin(claim):
        pytest.fail("it wrote")
    with store.begin(claim) as transaction:
        transaction.advance()
        transaction.commit()
    assert next_offsets(store) == {P0: 1}


def test_nor_do_they_keep_a_takeover_from_its_partitions(pool: Engine, postgres: PostgresDatabase) -> None:
    store = SqlOffsetStore(pool)
    store.open()
    pool.dispose()
    _idle_sessions_of_a_failover(pool, postgres)
    with pytest.raises(StoreUnavailable, match="took no writes"):
        store.take_over(STREAM, OLDER, [P0], {})
    assert store.take_over(STREAM, OLDER, [P0], {})[P0].owner == OLDER


def test_nor_a_store_from_being_opened(pool: Engine, postgres: PostgresDatabase, store: SqlOffsetStore) -> None:
    _idle_sessions_of_a_failover(pool, postgres)
    users = SqlOffsetStore(pool, tables="verify")
    users.open()
    assert users.take_over(STREAM, OLDER, [P0], {})[P0].owner == OLDER


def _session_number(transaction: SqlTransaction) -> int:
    return int(transaction.connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())


@pytest.mark.parametrize("number", [1290, 1836, 1053])
def test_mariadb_a_connection_whose_server_takes_no_writes_is_not_used_again(
    mariadb_store: SqlOffsetStore, number: int
) -> None:
    claim = claim_of(OLDER, {P0: (0, 1)}, mariadb_store.take_over(STREAM, OLDER, [P0], {}))
    used = []
    refusing = f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}"
    for statement in (refusing, "SELECT 1"):
        try:
            with mariadb_store.begin(claim) as transaction:
                used.append(_session_number(transaction))
                transaction.connection.exec_driver_sql(statement)
        except Exception as error:
            assert isinstance(mariadb_store.classify(error), StoreUnavailable)
    assert used[0] != used[1]


def test_a_statement_that_was_prepared_before_its_table_was_altered_is_prepared_anew(
    store: SqlOffsetStore, postgres: PostgresDatabase
) -> None:
    claim = claim_of(OLDER, {P0: (0, 0)}, store.take_over(STREAM, OLDER, [P0], {}))

    def look() -> None:
        with store.begin(claim) as transaction:
            for _ in range(10):  # more often than the driver waits before it prepares
                transaction.connection.exec_driver_sql("SELECT * FROM results").all()
            transaction.advance()
            transaction.commit()

    look()
    postgres.execute("ALTER TABLE results ADD COLUMN more text")
    with pytest.raises(Exception, match="FeatureNotSupported") as raised:
        look()
    assert isinstance(store.classify(raised.value), StoreUnavailable)
    look()
