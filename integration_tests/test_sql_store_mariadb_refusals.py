"""``SqlOffsetStore`` on MariaDB: what the server, the engine or the tables cannot hold, and the tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pymysql.constants import CLIENT
from sqlalchemy import Engine, MetaData, create_engine, text

from integration_tests.command_line import CommandLine
from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from kafka_stream.errors import (
    ConfigurationError,
    KafkaStreamError,
    NotAuthorized,
    SchemaMismatch,
    StoreUnavailable,
)
from kafka_stream.offset_stores.sql import SqlOffsetStore, define_tables, schema_sql
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, TOPIC, at_once, claim_of, commit, next_offsets


@pytest.fixture
def store(mariadb: MariadbDatabase) -> Iterator[SqlOffsetStore]:
    """An open store."""
    found = SqlOffsetStore(mariadb.url)
    found.open()
    yield found
    found.close()


# What the server refuses ----------------------------------------------------------------------------------------------


@pytest.fixture
def weak(mariadb: MariadbDatabase, mariadb_server: MariadbServer) -> Iterator[str]:
    """The URL of a user without any privilege but to log in to the test's database."""
    name = f"{mariadb.name}_2"
    mariadb_server.execute(f"CREATE USER {name}@'%%' IDENTIFIED BY %s", ("hush",))
    mariadb_server.execute(f"GRANT SHOW VIEW ON {mariadb.name}.* TO {name}@'%'")
    url = sa.make_url(mariadb.url).set(username=name, password="hush")
    yield url.render_as_string(hide_password=False)
    mariadb_server.execute(f"DROP USER {name}@'%'")


def _refusal(store: SqlOffsetStore, kind: type[KafkaStreamError] = NotAuthorized) -> str:
    with pytest.raises(KafkaStreamError) as raised:
        store.open()
    store.close()
    assert isinstance(raised.value, kind), repr(raised.value)
    assert "hush" not in str(raised.value)
    return str(raised.value)


def _engine(mariadb: MariadbDatabase, **options: Any) -> Engine:
    return create_engine(mariadb.url, **options)


def test_a_wrong_password_or_database_is_refused_without_showing_it(mariadb: MariadbDatabase) -> None:
    url = sa.make_url(mariadb.url)
    for wrong in (url.set(password="hush"), url.set(username="nobody", password="hush"), url.set(database="nowhere")):
        _refusal(SqlOffsetStore(wrong))


def test_a_server_that_is_not_there_may_come(mariadb: MariadbDatabase) -> None:
    for url in ("mysql://app:hush@127.0.0.1:1/shop", "mariadb://app:hush@127.0.0.1:1/shop"):
        _refusal(SqlOffsetStore(url), StoreUnavailable)


def test_missing_privileges_are_found_when_the_store_is_opened(
    store: SqlOffsetStore, mariadb: MariadbDatabase, mariadb_server: MariadbServer, weak: str
) -> None:
    user = sa.make_url(weak).username
    for granted in ("SELECT", "INSERT", "UPDATE"):
        assert "denied" in _refusal(SqlOffsetStore(weak))
        for table in ("kafka_stream_offsets", "kafka_stream_topics"):
            mariadb_server.execute(f"GRANT {granted} ON {mariadb.name}.{table} TO {user}@'%'")
    for table in ("schema", "history", "dead_letters", "states", "watermarks", "late", "seen"):
        mariadb_server.execute(f"GRANT SELECT ON {mariadb.name}.kafka_stream_{table} TO {user}@'%'")
    writer = SqlOffsetStore(weak)
    writer.open()
    writer.initialise(STREAM, TOPIC, {0: 0}, None)
    writer.take_over(STREAM, OLDER, [P0], {})
    commit(writer, OLDER, {P0: (0, 5)})
    writer.close()


def test_a_user_who_may_not_create_tables_is_refused(weak: str) -> None:
    assert "denied" in _refusal(SqlOffsetStore(weak))


def test_a_user_whose_transactions_only_read_is_refused(store: SqlOffsetStore, mariadb: MariadbDatabase) -> None:
    engine = _engine(mariadb, connect_args={"init_command": "SET SESSION TRANSACTION READ ONLY"})
    assert "READ ONLY (tx_read_only)" in _refusal(SqlOffsetStore(engine))
    engine.dispose()


# Engines --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"isolation_level": "AUTOCOMMIT"}, {"connect_args": {"autocommit": True}}, {"execution_options": True}],
    ids=str,
)
def test_an_autocommit_engine_is_refused(mariadb: MariadbDatabase, options: dict[str, Any]) -> None:
    engine = _engine(mariadb, **{name: value for name, value in options.items() if value is not True})
    if "execution_options" in options:
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    assert "AUTOCOMMIT" in _refusal(SqlOffsetStore(engine), ConfigurationError)
    engine.dispose()


@pytest.mark.parametrize("counts", ["changed rows", "found rows"])
def test_an_engine_whose_connections_count_changed_rows_is_refused(mariadb: MariadbDatabase, counts: str) -> None:
    url = sa.make_url(mariadb.url)
    flags = CLIENT.FOUND_ROWS if counts == "found rows" else 0

    def connect() -> pymysql.Connection[Any]:
        return pymysql.connect(
            host=str(url.host),
            port=url.port or 3306,
            user=str(url.username),
            password=str(url.password),
            database=str(url.database),
            client_flag=flags,
            ssl_disabled=True,
        )

    engine = create_engine("mysql+pymysql://", creator=connect)
    store = SqlOffsetStore(engine)
    if flags:
        store.open()
        store.take_over(STREAM, OLDER, [P0], {})
        commit(store, OLDER, {P0: (0, 0)})
    else:
        assert "CLIENT.FOUND_ROWS" in _refusal(store, ConfigurationError)
    engine.dispose()


def test_a_server_that_counts_changed_rows_all_the_same_is_refused(
    store: SqlOffsetStore, mariadb: MariadbDatabase
) -> None:
    """A proxy that does not pass the flag on: the driver believes that it counts what it finds."""
    engine = _engine(mariadb)

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
        connection = pymysql.connect(**{**parameters, "client_flag": 0})
        connection.client_flag |= CLIENT.FOUND_ROWS
        return connection

    assert "CLIENT.FOUND_ROWS" in _refusal(SqlOffsetStore(engine), ConfigurationError)
    engine.dispose()


def test_an_engine_at_another_isolation_level_is_used_at_read_committed(mariadb: MariadbDatabase) -> None:
    engine = _engine(mariadb, isolation_level="SERIALIZABLE", pool_size=1, max_overflow=1)
    store = SqlOffsetStore(engine)
    store.open()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    level = text("SELECT @@tx_isolation")
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        assert transaction.connection.execute(level).scalar_one() == "READ-COMMITTED"
    with engine.connect() as connection:
        assert connection.execute(level).scalar_one() == "SERIALIZABLE"
    engine.dispose()


def test_a_sql_mode_that_cuts_values_is_refused(mariadb: MariadbDatabase) -> None:
    engine = _engine(mariadb, connect_args={"init_command": "SET sql_mode = 'ANSI_QUOTES'"})
    assert "STRICT_TRANS_TABLES" in _refusal(SqlOffsetStore(engine), ConfigurationError)
    engine.dispose()


def test_a_sql_mode_that_reads_sql_differently_is_worked_with(mariadb: MariadbDatabase) -> None:
    modes = "ANSI,TRADITIONAL,NO_BACKSLASH_ESCAPES,ORACLE"
    engine = _engine(mariadb, connect_args={"init_command": f"SET sql_mode = '{modes}'"})
    store = SqlOffsetStore(engine)
    store.open()
    store.initialise('a "quoted" \\ name', TOPIC, {0: 0}, None)
    store.take_over(STREAM, OLDER, [P0], {})
    commit(store, OLDER, {P0: (0, 5)})
    assert next_offsets(store) == {P0: 5}
    engine.dispose()


def test_a_server_that_is_too_old_is_refused(mariadb: MariadbDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.offset_stores.sql.dialects.mysql._OLDEST_MARIADB", (99, 0))
    for scheme in ("mysql", "mariadb"):
        url = sa.make_url(mariadb.url).set(drivername=scheme)
        assert "is too old: use 99.0 or later" in _refusal(SqlOffsetStore(url), ConfigurationError)


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
@pytest.mark.parametrize("table", ["offsets", "topics", "schema"])
def test_tables_without_transactions_are_refused(
    store: SqlOffsetStore, mariadb: MariadbDatabase, engine: str, table: str
) -> None:
    """Their keys may not be as long as ours: such a table was made by hand."""
    mariadb.execute(
        f"ALTER TABLE kafka_stream_{table} ENGINE={engine}, CONVERT TO CHARACTER SET ascii COLLATE ascii_bin"
    )
    message = _refusal(SqlOffsetStore(mariadb.url), ConfigurationError)
    assert f"is kept by {engine}, which does not roll back: run ALTER TABLE" in message


@pytest.mark.parametrize("table", ["offsets", "states"])
def test_tables_that_take_different_names_for_the_same_are_refused(
    store: SqlOffsetStore, mariadb: MariadbDatabase, table: str
) -> None:
    mariadb.execute(f"ALTER TABLE kafka_stream_{table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    message = _refusal(SqlOffsetStore(mariadb.url), ConfigurationError)
    assert "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" in message
    mariadb.execute(message.split("run ")[1])
    store.open()


def test_narrow_columns_are_refused(store: SqlOffsetStore, mariadb: MariadbDatabase) -> None:
    mariadb.execute("ALTER TABLE kafka_stream_offsets MODIFY next_offset INT NOT NULL")
    with pytest.raises(SchemaMismatch, match="64-bit offsets in next_offset"):
        store.open()


def test_tables_that_vanish_are_not_retried_for_ever(store: SqlOffsetStore, mariadb: MariadbDatabase) -> None:
    mariadb.execute("DROP TABLE kafka_stream_offsets")
    with pytest.raises(SchemaMismatch):
        store.take_over(STREAM, OLDER, [P0], {})


def test_opening_a_store_leaves_nothing_in_its_tables(store: SqlOffsetStore, mariadb: MariadbDatabase) -> None:
    assert mariadb.execute("SELECT count(*) FROM kafka_stream_offsets") == [(0,)]
    assert mariadb.execute("SELECT count(*) FROM kafka_stream_topics") == [(0,)]


def test_many_processes_may_create_database_and_tables_at_once(
    mariadb: MariadbDatabase, mariadb_server: MariadbServer
) -> None:
    schema = f"{mariadb.name} Two"
    mariadb_server.execute(f"GRANT ALL ON `{schema}`.* TO {mariadb.name}@'%'")
    stores = [SqlOffsetStore(mariadb.url, schema=schema, table_prefix="Ks_") for _ in range(8)]
    try:
        at_once([store.open for store in stores])
        stores[0].initialise(STREAM, TOPIC, {0: 2}, None)
        stores[0].take_over(STREAM, OLDER, [P0], {})
        commit(stores[1], OLDER, {P0: (2, 5)})
        assert next_offsets(stores[2]) == {P0: 5}
        assert mariadb.execute(f"SELECT next_offset FROM `{schema}`.`Ks_offsets`") == [(5,)]
    finally:
        for store in stores:
            store.close()
        mariadb_server.execute(f"DROP DATABASE IF EXISTS `{schema}`")


def test_the_printed_sql_is_what_is_created(mariadb: MariadbDatabase) -> None:
    assert schema_sql("mysql") == schema_sql("mariadb") == schema_sql(mariadb.url)
    for statement in filter(None, schema_sql("mysql").strip().split(";\n")):
        mariadb.execute(statement.rstrip(";"))
    store = SqlOffsetStore(mariadb.url, tables="verify")
    store.open()
    store.check_schema()
    store.apply_schema()
    store.take_over(STREAM, OLDER, [P0], {})
    commit(store, OLDER, {P0: (0, 5)})
    store.close()


def test_the_schema_is_printed_applied_and_checked_by_command(mariadb: MariadbDatabase, tmp_path: Path) -> None:
    store = mariadb.url.replace("mysql+pymysql:", "mysql:")
    command_line = CommandLine(tmp_path, {"KAFKA_STREAM_STORE": store})
    try:
        missing = command_line("schema", "check")
        assert missing.status == 2
        assert "kafka_stream_offsets" in missing.err
        assert command_line("schema", "sql").out.strip() == schema_sql("mysql").strip()
        for _ in range(2):
            assert command_line("schema", "apply").status == 0
        assert command_line("schema", "check").status == 0
        assert mariadb.execute("SELECT version FROM kafka_stream_schema") != []
        described = command_line("offsets", "describe", "--stream", STREAM)
        assert "no stream 'orders' in mysql+pymysql://" in described.err
        assert ":***@" in described.err
    finally:
        command_line.end()


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
def test_alembic_proposes_no_change(mariadb: MariadbDatabase, scheme: str) -> None:
    url = sa.make_url(mariadb.url).set(drivername=f"{scheme}+pymysql")
    with_tables = SqlOffsetStore(url)
    with_tables.open()
    with_tables.close()
    metadata = MetaData()
    define_tables(metadata)
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_tables_of_an_applications_own_migration_are_verified(mariadb: MariadbDatabase) -> None:
    metadata = MetaData()
    define_tables(metadata, table_prefix="ours_")
    engine = _engine(mariadb)
    metadata.create_all(engine)
    store = SqlOffsetStore(engine, table_prefix="ours_", tables="verify")
    store.open()
    store.take_over(STREAM, OLDER, [P0], {})
    commit(store, OLDER, {P0: (0, 5)})
    engine.dispose()
