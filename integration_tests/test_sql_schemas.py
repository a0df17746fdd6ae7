"""Where the store's tables are on PostgreSQL and MariaDB: what migrations bring along, where engines lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change, Clearing, StateDescription
from kafka_stream.sinks.sql.stateful.registry import register
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of, commit, next_offsets
from tests.alembic_application import AlembicApplication, recipe
from tests.sql_backend import SqlBackend


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param).url
    return found


def _works(store: SqlOffsetStore) -> bool:
    store.initialise(STREAM, "orders", {0: 0}, None)
    store.take_over(STREAM, OLDER, [P0], {})
    commit(store, OLDER, {P0: (0, 5)})
    return next_offsets(store) == {P0: 5}


def test_a_migration_that_alembic_generates_runs_as_it_is(tmp_path: Path, url: str) -> None:
    application = AlembicApplication(tmp_path, url, "define_tables(metadata)")
    assert "kafka_stream.offset_stores" not in application.generate()
    application.check()
    store = SqlOffsetStore(url, tables="verify")
    store.open()
    assert _works(store)
    store.close()


def test_it_finds_nothing_to_change_where_the_store_created_the_tables(tmp_path: Path, url: str) -> None:
    store = SqlOffsetStore(url)
    store.open()
    bringing = AlembicApplication(tmp_path / "bringing", url, "define_tables(metadata)")
    assert "kafka_stream_" not in bringing.generate()
    leaving = AlembicApplication(tmp_path / "leaving", url, f"{recipe()}\noptions['version_table'] = 'leaving'")
    assert "kafka_stream_" not in leaving.generate()
    store.close()


def test_the_tables_are_where_a_schema_translate_map_leads(backend: SqlBackend) -> None:
    engine = create_engine(
        backend.url, execution_options={"schema_translate_map": {None: "tenant", "template": "tenant"}}
    )
    for schema in (None, "template"):
        store = SqlOffsetStore(engine, schema=schema)
        for _ in range(2):
            store.open()
    assert _works(store)
    assert inspect(engine).get_table_names() == ["results"]
    assert inspect(engine).has_table("kafka_stream_offsets", schema="tenant")
    engine.dispose()


def test_state_is_found_and_cleared_where_a_schema_translate_map_leads(backend: SqlBackend) -> None:
    described = StateDescription("totals", "state", "totals", ("page",))
    engine = create_engine(backend.url, execution_options={"schema_translate_map": {None: "tenant"}})
    store = SqlOffsetStore(engine)
    store.open()
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tenant.totals (page text PRIMARY KEY, total int)")
        connection.exec_driver_sql("CREATE TABLE totals (page text PRIMARY KEY, total int)")
        for table in ("tenant.totals", "totals"):
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('{table}', 1)")
    store.initialise(STREAM, "orders", {0: 0}, None)
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))) as transaction:
        register(transaction, described)
        transaction.advance()
        transaction.commit()
    assert store.state_rows(STREAM, described) == {"totals": 1}
    assert [row["page"] for row in store.find_state(STREAM, described, ["tenant.totals"], 2)] == ["tenant.totals"]
    action = Action("1", ActionKind.RESET, "me")
    assert store.change_and_clear(STREAM, [P0], action, lambda _: [Change(P0, 0)], Clearing([P0])) == {"totals": 1}
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT page FROM totals").scalars().all() == ["totals"]
    engine.dispose()
