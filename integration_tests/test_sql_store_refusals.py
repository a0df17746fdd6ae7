"""``SqlOffsetStore`` on PostgreSQL: what the server refuses, and the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, make_url, text

from integration_tests.servers import PostgresDatabase, random_name
from kafka_stream.errors import (
    ConfigurationError,
    KafkaStreamError,
    NotAuthorized,
    OwnershipLost,
    SchemaMismatch,
    StoreUnavailable,
)
from kafka_stream.offset_stores.sql import SqlOffsetStore, define_tables
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    STREAM,
    TOPIC,
    at_once,
    claim_of,
    commit,
    next_offsets,
)
from kafka_stream.types import Owner
from tests.sql_backend import Result, SqlBackend

# What the server refuses ----------------------------------------------------------------------------------------------


@pytest.fixture
def role(postgres: PostgresDatabase) -> Iterator[str]:
    """A role without any privilege, that may log in."""
    name = random_name("role")
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hush'")
    yield name
    postgres.execute(f"DROP OWNED BY {name}")
    postgres.execute(f"DROP ROLE {name}")


def _as(role: str, postgres: PostgresDatabase, **options: Any) -> SqlOffsetStore:
    url = sa.make_url(postgres.url).set(username=role, password="hush")
    return SqlOffsetStore(url, **options)


def _refusal(store: SqlOffsetStore) -> str:
    with pytest.raises(KafkaStreamError) as raised:
        store.open()
    store.close()
    assert isinstance(raised.value, NotAuthorized), repr(raised.value)
    return str(raised.value)


def test_a_wrong_password_or_database_is_refused_without_showing_it(postgres: PostgresDatabase) -> None:
    url = sa.make_url(postgres.url)
    for wrong in (url.set(password="hush"), url.set(username="nobody", password="hush"), url.set(database="nowhere")):
        message = _refusal(SqlOffsetStore(wrong))
        assert "hush" not in message
        assert ":test@" not in message


def test_a_server_that_is_not_there_may_come(postgres: PostgresDatabase) -> None:
    store = SqlOffsetStore("postgresql://app:hush@127.0.0.1:1/shop")
    with pytest.raises(StoreUnavailable) as raised:
        store.open()
    assert "hush" not in str(raised.value)


def test_missing_privileges_are_found_when_the_store_is_opened(
    store: SqlOffsetStore, postgres: PostgresDatabase, role: str
) -> None:
    postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    reader = _as(role, postgres)
    assert reader.positions(STREAM) == {}
    assert "GRANT SELECT, INSERT, UPDATE" in _refusal(reader)
    postgres.execute(f"GRANT INSERT, UPDATE ON kafka_stream_offsets, kafka_stream_topics TO {role}")
    writer = _as(role, postgres)
    writer.open()
    writer.initialise(STREAM, TOPIC, {0: 0}, None)
    writer.take_over(STREAM, OLDER, [P0], {})
    commit(writer, OLDER, {P0: (0, 5)})
    writer.close()


def test_a_user_who_may_not_create_tables_is_refused(postgres: PostgresDatabase, role: str) -> None:
    assert "permission denied" in _refusal(_as(role, postgres))


def test_a_read_only_user_is_refused(store: SqlOffsetStore, postgres: PostgresDatabase, role: str) -> None:
    postgres.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    postgres.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    assert "default_transaction_read_only" in _refusal(_as(role, postgres))


def test_another_roles_session_cannot_be_ended_and_is_named(
    store: SqlOffsetStore, postgres: PostgresDatabase, role: str
) -> None:
    postgres.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    weak = _as(role, postgres, takeover_lock_timeout_s=1.0)
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        with pytest.raises(StoreUnavailable, match="which this user may not end"):
            weak.take_over(STREAM, NEWER, [P0], {})
        transaction.advance()
        transaction.commit()
    weak.close()


# Engines and tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execution_option", [False, True])
def test_an_autocommit_engine_is_refused(postgres: PostgresDatabase, execution_option: bool) -> None:
    engine = create_engine(postgres.url, **({} if execution_option else {"isolation_level": "AUTOCOMMIT"}))
    if execution_option:
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        SqlOffsetStore(engine).open()
    engine.dispose()


def test_an_engine_at_another_isolation_level_is_used_at_read_committed(postgres: PostgresDatabase) -> None:
    engine = create_engine(postgres.url, isolation_level="SERIALIZABLE", pool_size=1, max_overflow=1)
    store = SqlOffsetStore(engine)
    store.open()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        level = transaction.connection.execute(text("SHOW transaction_isolation")).scalar_one()
        assert level == "read committed"
    with engine.connect() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "serializable"
    engine.dispose()


def test_the_servers_default_isolation_level_is_not_taken(postgres: PostgresDatabase) -> None:
    database = make_url(postgres.url).database
    postgres.execute(f"ALTER DATABASE \"{database}\" SET default_transaction_isolation = 'serializable'")
    store = SqlOffsetStore(postgres.url)
    store.open()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    for start in (0, 5):
        with store.begin(claim_of(OLDER, {P0: (start, start + 5)}, taken)) as transaction:
            level = transaction.connection.execute(text("SHOW transaction_isolation")).scalar_one()
            assert level == "read committed"
            transaction.advance()
            transaction.commit()
    store.close()


def test_sessions_that_end_between_two_batches_cost_one_attempt_whatever_the_pool_holds(
    store: SqlOffsetStore, postgres: PostgresDatabase
) -> None:
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        assert next_offsets(store) == {P0: 0}  # through a second connection, which stays in the pool
        transaction.advance()
        transaction.commit()
    ended = postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert len(ended) >= 2
    claim = claim_of(OLDER, {P0: (5, 9)}, taken)
    with pytest.raises(StoreUnavailable), store.begin(claim):
        pytest.fail("a session that has ended took the claim")
    with store.begin(claim) as transaction:
        transaction.advance()
        transaction.commit()
    assert next_offsets(store) == {P0: 9}


@pytest.mark.parametrize("table", ["offsets", "topics", "dead_letters", "states", "watermarks", "late", "seen"])
def test_unlogged_tables_are_refused(store: SqlOffsetStore, postgres: PostgresDatabase, table: str) -> None:
    postgres.execute(f"ALTER TABLE kafka_stream_{table} SET UNLOGGED")
    with pytest.raises(ConfigurationError, match="SET LOGGED"):
        store.open()


def test_narrow_columns_are_refused(store: SqlOffsetStore, postgres: PostgresDatabase) -> None:
    postgres.execute("ALTER TABLE kafka_stream_offsets ALTER next_offset TYPE integer")
    with pytest.raises(SchemaMismatch, match="64-bit offsets in next_offset"):
        store.open()


def test_tables_that_vanish_are_not_retried_for_ever(store: SqlOffsetStore, postgres: PostgresDatabase) -> None:
    postgres.execute("DROP TABLE kafka_stream_offsets")
    with pytest.raises(SchemaMismatch):
        store.take_over(STREAM, OLDER, [P0], {})


def test_many_processes_may_create_schema_and_tables_at_once(postgres: PostgresDatabase) -> None:
    stores = [SqlOffsetStore(postgres.url, schema="My schema", table_prefix="Ks_") for _ in range(8)]
    at_once([store.open for store in stores])
    stores[0].take_over(STREAM, OLDER, [P0], {})
    commit(stores[1], OLDER, {P0: (0, 5)})
    assert next_offsets(stores[2]) == {P0: 5}
    assert postgres.execute('SELECT next_offset FROM "My schema"."Ks_offsets"') == [(5,)]
    for store in stores:
        store.close()


def test_alembic_proposes_no_change(store: SqlOffsetStore, backend: SqlBackend) -> None:
    metadata = MetaData()
    define_tables(metadata)
    Result.__table__.to_metadata(metadata)  # type: ignore[attr-defined]
    with backend.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_many_partitions_are_claimed_by_two_owners_without_a_deadlock(
    store: SqlOffsetStore, backend: SqlBackend
) -> None:
    stores = [SqlOffsetStore(backend.url) for _ in range(4)]
    partitions = [type(P0)(TOPIC, number) for number in range(50)]

    def take(number: int) -> None:
        for _ in range(10):
            stores[number].take_over(STREAM, Owner(f"owner-{number}", "here"), partitions[:: 1 - 2 * (number % 2)], {})

    at_once([lambda: take(0), lambda: take(1), lambda: take(2), lambda: take(3)])
    assert {position.owner_epoch for position in store.positions(STREAM).values()} == {40}
    stale = claim_of(Owner("owner-0", "here"), {P0: (0, 1)}, {P0: store.positions(STREAM)[P0]})
    store.take_over(STREAM, NEWER, [P0], {})
    with pytest.raises(OwnershipLost), store.begin(stale):
        pytest.fail("a stale owner was let in")
    for each in stores:
        each.close()
