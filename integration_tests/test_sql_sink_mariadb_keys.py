"""``SqlSink`` on MariaDB: what keys are compared as, and which triggers fire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from integration_tests.sql_sinks import (
    created_on_mariadb,
    given,
    orders_on_mariadb,
    rows_of,
    users_on_mariadb,
    write,
)
from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.sql import Delete, SqlSink

METADATA = sa.MetaData()
ORDERS = orders_on_mariadb(METADATA)
USERS = users_on_mariadb(METADATA)
TEXTS = sa.Table("texts", METADATA, sa.Column("id", sa.String(20), primary_key=True), sa.Column("n", sa.Integer))


@pytest.fixture
def database(mariadb: MariadbDatabase) -> Iterator[sa.Engine]:
    with created_on_mariadb(mariadb, METADATA) as engine:
        yield engine


def test_a_number_deletes_the_text_of_it_and_no_other(database: sa.Engine) -> None:
    """The server would compare both as numbers: 0 is 'abc', and 5 is '5 pcs'."""
    sink = SqlSink(TEXTS, given, "update")
    write(sink, [("abc", 1), ("5 pcs", 1), ("5", 1)], database)
    write(sink, [Delete(0), Delete(5)], database)
    assert rows_of(TEXTS, database) == [("5 pcs", 1), ("abc", 1)]
    with pytest.raises(ProcessingError, match="'id' is a float that the column cannot hold"):
        write(sink, [Delete(0.0), Delete(7)], database)


def test_a_text_deletes_the_number_that_it_is_and_no_other(database: sa.Engine) -> None:
    sink = SqlSink(ORDERS, given, "update")
    write(sink, [(0, 1, "a"), (5, 1, "b"), (6, 1, "c")], database)
    write(sink, [Delete("6")], database)
    for text in ("abc", "5 pcs"):
        with pytest.raises(ProcessingError, match="'id' is a str that the column cannot hold"):
            write(sink, [Delete(text)], database)
    assert [row[0] for row in rows_of(ORDERS, database)] == [0, 5]


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
@pytest.mark.parametrize("key", [None, ("email",)], ids=["primary key", "unique constraint"])
def test_a_key_that_the_table_lacks_is_refused(
    database: sa.Engine, mariadb: MariadbDatabase, on_conflict: Any, key: Any
) -> None:
    mariadb.execute("CREATE TABLE lacking (id INTEGER NOT NULL, email VARCHAR(40), KEY (email), UNIQUE (email(3)))")
    table = sa.Table(
        "lacking",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("email", sa.String(40), unique=True),
    )
    with pytest.raises(ConfigurationError, match="is the key of the SqlSink for table lacking, but in the database"):
        write(SqlSink(table, given, on_conflict, key=key), [(1, "a"), (1, "a")], database)
    assert mariadb.execute("SELECT * FROM lacking") == []


@pytest.mark.parametrize("sees_triggers", [True, False])
@pytest.mark.parametrize("key", [None, ("tenant", "email")])
def test_ignore_does_not_fire_the_triggers_of_an_update(
    database: sa.Engine, mariadb: MariadbDatabase, mariadb_server: MariadbServer, key: Any, sees_triggers: bool
) -> None:
    write(SqlSink(USERS, given), [{"id": n, "tenant": n, "email": "a", "name": "old"} for n in (3, 50)], database)
    mariadb.execute("CREATE TRIGGER shout BEFORE UPDATE ON users FOR EACH ROW SET NEW.name = 'fired'")
    if not sees_triggers:
        name = mariadb.name
        mariadb_server.execute(f"REVOKE ALL PRIVILEGES ON `{name}`.* FROM `{name}`@`%`")
        mariadb_server.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{name}`.* TO `{name}`@`%`")
    rows = [{"tenant": n, "email": "a", "name": "new"} for n in range(1, 101)]
    write(SqlSink(USERS, given, "ignore", key=key), [*rows, *rows], database)
    names = [row[3] for row in sorted(rows_of(USERS, database), key=lambda row: row[1])]
    assert names == ["old" if n in (3, 50) else "new" for n in range(1, 101)]
    with pytest.raises(DBAPIError):
        write(SqlSink(USERS, given, "ignore", key=key), [{"tenant": 3, "email": "too long" * 9}], database)


def test_a_schema_that_the_connection_translates(database: sa.Engine, mariadb: MariadbDatabase) -> None:
    table = sa.Table(
        "things",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n", sa.Integer),
        schema="template",
    )
    translated = database.execution_options(schema_translate_map={"template": mariadb.name})
    with translated.begin() as connection:
        table.create(connection)
    sink = SqlSink(table, given, "update")
    for rows in ([(1, 1)], [(n, n) for n in range(100)], [Delete(n) for n in range(1, 100)]):
        write(sink, rows, translated)
    assert mariadb.execute("SELECT * FROM things") == [(0, 0)]
