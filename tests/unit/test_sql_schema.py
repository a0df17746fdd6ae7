"""The store's tables: created, verified, and left alone by Alembic."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import BigInteger, Column, Engine, Integer, MetaData, Table, create_engine, event, insert, inspect, text

from kafka_stream.errors import ConfigurationError, MissingExtra, SchemaMismatch
from kafka_stream.offset_stores.sql import SqlOffsetStore, define_tables, schema_sql
from kafka_stream.offset_stores.sql import engine as engines
from kafka_stream.offset_stores.sql import schema as schemas
from kafka_stream.offset_stores.sql.tables import SCHEMA_VERSION, Tables
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, at_once, claim_of, commit, next_offsets
from tests.alembic_application import AlembicApplication, recipe

OF_STATE = ("states", "watermarks", "late", "seen")
NAMES = {f"kafka_stream_{name}" for name in ("schema", "topics", "offsets", "history", "dead_letters", *OF_STATE)}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = create_engine(f"sqlite:///{tmp_path}/orders.db")
    yield found
    found.dispose()


def _works(store: SqlOffsetStore) -> bool:
    store.initialise(STREAM, "orders", {0: 0}, None)
    store.take_over(STREAM, OLDER, [P0], {})
    commit(store, OLDER, {P0: (0, 5)})
    return next_offsets(store) == {P0: 5}


def test_tables_are_created_once_and_only_when_the_store_is_opened(engine: Engine) -> None:
    store = SqlOffsetStore(engine)
    assert store.positions(STREAM) == {}
    assert inspect(engine).get_table_names() == []
    for _ in range(2):
        store.open()
        assert set(inspect(engine).get_table_names()) == NAMES
    assert _works(store)


def test_a_prefix_keeps_two_stores_apart(engine: Engine) -> None:
    stores = [SqlOffsetStore(engine, table_prefix=prefix) for prefix in ("a_", "b_")]
    for store in stores:
        store.open()
    assert _works(stores[0])
    assert stores[1].positions(STREAM) == {}
    assert len(inspect(engine).get_table_names()) == 2 * len(NAMES)


def test_many_processes_may_create_the_tables_at_once(tmp_path: Path) -> None:
    stores = [SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db") for _ in range(6)]
    at_once([store.open for store in stores])
    for store in stores:
        store.check_schema()
        store.close()


def test_verify_creates_nothing_and_says_what_to_do(engine: Engine) -> None:
    store = SqlOffsetStore(engine, tables="verify")
    with pytest.raises(SchemaMismatch, match=r"lacks the tables .*kafka_stream_offsets.*schema apply"):
        store.open()
    assert inspect(engine).get_table_names() == []
    store.apply_schema()
    store.apply_schema()
    store.open()
    store.check_schema()
    assert _works(store)


def test_the_printed_sql_is_what_is_created(engine: Engine) -> None:
    store = SqlOffsetStore(engine, tables="verify")
    assert store.schema_sql() == schema_sql("sqlite") == schema_sql("sqlite:///x.db")
    with engine.begin() as connection:
        for statement in store.schema_sql().split(";\n"):
            connection.execute(text(statement))
    store.open()
    assert _works(store)
    assert "BIGINT" in schema_sql("postgresql")
    assert 'streams."Kp_offsets"' in schema_sql("postgres://h/d", schema="streams", table_prefix="Kp_")
    with pytest.raises(ConfigurationError, match="supported: mariadb, mysql, postgresql, sqlite"):
        schema_sql("oracle")


@pytest.mark.parametrize("table_prefix", ["kafka_stream_", "ours_"])
def test_alembic_proposes_no_change_to_an_application_that_used_define_tables(
    engine: Engine, table_prefix: str
) -> None:
    metadata = MetaData()
    Table("orders", metadata, Column("id", Integer, primary_key=True), Column("total", BigInteger))
    defined = define_tables(metadata, table_prefix=table_prefix)
    assert isinstance(defined, Tables)
    metadata.create_all(engine)
    store = SqlOffsetStore(engine, table_prefix=table_prefix, tables="verify")
    store.open()
    assert _works(store)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []


def test_alembic_proposes_no_change_where_the_store_created_the_tables(engine: Engine) -> None:
    SqlOffsetStore(engine).open()
    metadata = MetaData()
    define_tables(metadata)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("arguments", ["", ", table_prefix='ours_'"])
def test_a_migration_that_alembic_generates_runs_as_it_is(tmp_path: Path, engine: Engine, arguments: str) -> None:
    url = engine.url.render_as_string()
    application = AlembicApplication(tmp_path, url, f"define_tables(metadata{arguments})")
    assert "kafka_stream.offset_stores" not in application.generate()
    application.check()
    store = SqlOffsetStore(url, tables="verify", table_prefix="ours_" if arguments else "kafka_stream_")
    store.open()
    assert _works(store)
    application.check()
    store.close()


def test_tables_that_the_store_created_are_left_alone_by_the_documented_recipe(tmp_path: Path, engine: Engine) -> None:
    store = SqlOffsetStore(engine)
    store.open()
    application = AlembicApplication(tmp_path, engine.url.render_as_string(), recipe())
    assert "kafka_stream_" not in application.generate()
    application.check()
    assert _works(store)


# An engine that leads to another schema -------------------------------------------------------------------------------


@pytest.fixture
def tenant(engine: Engine, tmp_path: Path) -> Engine:
    """An engine whose tables are a tenant's; SQLite attaches a file for each schema."""

    def attach(driver: Any, record: object) -> None:
        driver.execute(f"ATTACH DATABASE '{tmp_path}/tenant.db' AS tenant")

    event.listen(engine, "connect", attach)
    return engine.execution_options(schema_translate_map={None: "tenant", "template": "tenant"})


@pytest.mark.parametrize("schema", [None, "template", "tenant"])
def test_the_tables_are_where_a_schema_translate_map_leads(engine: Engine, tenant: Engine, schema: str | None) -> None:
    store = SqlOffsetStore(tenant, schema=schema)
    for _ in range(2):
        store.open()
    assert "(table tenant.kafka_stream_offsets)" in store.describe()
    assert _works(store)
    assert store.topics(STREAM)
    assert set(inspect(engine).get_table_names(schema="tenant")) == NAMES
    assert inspect(engine).get_table_names() == []
    claim = claim_of(OLDER, {P0: (5, 6)}, store.take_over(STREAM, OLDER, [P0], {}))
    orders = Table("orders", MetaData(), Column("id", Integer, primary_key=True))
    with store.begin(claim) as transaction:
        orders.create(transaction.connection)
        transaction.advance()
        transaction.commit()
    assert inspect(engine).has_table("orders", schema="tenant"), "the handler's tables are still the tenant's"


def test_a_map_that_leads_on_is_refused(engine: Engine) -> None:
    twice = engine.execution_options(schema_translate_map={None: "a", "a": "b"})
    with pytest.raises(ConfigurationError, match=r"from None to 'a' and on to 'b'"):
        SqlOffsetStore(twice)
    SqlOffsetStore(twice, schema="a")


def _versions(engine: Engine, version: int, oldest: int) -> None:
    SqlOffsetStore(engine).open()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM kafka_stream_schema"))
        table = define_tables(MetaData()).schema
        connection.execute(insert(table).values(version=version, oldest_compatible_version=oldest))


def test_newer_tables_that_work_with_older_code_are_used(engine: Engine) -> None:
    _versions(engine, SCHEMA_VERSION + 1, SCHEMA_VERSION)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE kafka_stream_offsets ADD COLUMN colour TEXT DEFAULT 'red'"))
    store = SqlOffsetStore(engine)
    store.open()
    assert _works(store)


def test_newer_tables_that_do_not_are_refused(engine: Engine) -> None:
    newest, oldest = SCHEMA_VERSION + 2, SCHEMA_VERSION + 1
    _versions(engine, newest, oldest)
    told = rf"version {newest}, which works with code of version {oldest} or later.*upgrade"
    with pytest.raises(SchemaMismatch, match=told):
        SqlOffsetStore(engine).open()


def _of_version_1(engine: Engine) -> None:
    _versions(engine, 1, 1)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE kafka_stream_history"))


def test_tables_of_version_1_get_their_history_and_older_code_may_work_on_beside_it(engine: Engine) -> None:
    _of_version_1(engine)
    store = SqlOffsetStore(engine)
    assert store.history(STREAM, 10) == []
    for _ in range(2):
        store.open()
    with engine.connect() as connection:
        assert schemas.stored_versions(connection, define_tables(MetaData())) == [(SCHEMA_VERSION, 1)]
    assert _works(store)


def test_verify_asks_for_what_version_1_lacks(engine: Engine) -> None:
    _of_version_1(engine)
    with pytest.raises(SchemaMismatch, match=r"lacks the tables kafka_stream_history: run `kafka-stream schema apply`"):
        SqlOffsetStore(engine, tables="verify").open()
    SqlOffsetStore(engine, tables="verify").apply_schema()
    SqlOffsetStore(engine, tables="verify").open()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE kafka_stream_offsets DROP COLUMN leader_epoch", "lacks the columns leader_epoch"),
        ("DROP TABLE kafka_stream_topics", "lacks the tables kafka_stream_topics"),
    ],
)
def test_tables_that_are_not_as_they_must_be_are_refused(engine: Engine, change: str, words: str) -> None:
    SqlOffsetStore(engine).open()
    with engine.begin() as connection:
        connection.execute(text(change))
    with pytest.raises(SchemaMismatch, match=words):
        SqlOffsetStore(engine, tables="verify").open()


@pytest.mark.parametrize(
    ("column", "replaced", "words"),
    [
        ("next_offset BIGINT", "next_offset INTEGER", "cannot hold 64-bit offsets in next_offset"),
        ("PRIMARY KEY (stream, topic, partition)", "PRIMARY KEY (stream, topic)", "must have the primary key"),
    ],
)
def test_tables_made_by_hand_are_looked_at(engine: Engine, column: str, replaced: str, words: str) -> None:
    sql = schema_sql("sqlite").replace('"partition"', "partition")
    assert column in sql
    with engine.begin() as connection:
        for statement in sql.replace(column, replaced).split(";\n"):
            connection.execute(text(statement))
    with pytest.raises(SchemaMismatch, match=words):
        SqlOffsetStore(engine).open()


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Engine:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr("kafka_stream.offset_stores.sql.dialects.postgresql.create_engine", missing)
    store = SqlOffsetStore("postgresql://app:hush@db/shop")
    for connecting in (store.open, partial(store.positions, STREAM)):
        with pytest.raises(MissingExtra, match=r"'psycopg'.*pip install 'kafka-stream\[postgresql\]'"):
            connecting()
    store.close()


def test_an_unknown_option_of_the_driver_shows_no_secret() -> None:
    url, database = engines.parsed("sqlite:///orders.db?timeout=hush")
    with pytest.raises(ConfigurationError) as raised:
        engines.made(url, database).connect()
    assert "hush" not in str(raised.value)
