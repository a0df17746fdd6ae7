"""SqlSink's statements for MariaDB, without a server; what they do is seen in the integration tests."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from pymysql.cursors import RE_INSERT_VALUES
from sqlalchemy.dialects.mysql import mysqldb, pymysql

from kafka_stream.sinks.sql.mysql_catalog import MySQLFacts
from kafka_stream.sinks.sql.mysql_writer import MySQLWriter
from kafka_stream.sinks.sql.rules import Rules
from kafka_stream.sinks.sql.statements import Prepared
from kafka_stream.sinks.sql.target import Target

TABLE = sa.Table(
    "orders",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("100%(v0)s", sa.LargeBinary),
)


def insert_of(dialect: sa.Dialect, on_conflict: Any) -> Prepared:
    target = Target.of(TABLE, None)
    writer = MySQLWriter(target, dialect, Rules(on_conflict, target.key), MySQLFacts(triggers=frozenset()))
    statement = writer._insert(tuple(target.columns))
    assert isinstance(statement, Prepared)
    return statement


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
def test_rows_go_to_the_driver_as_they_are(on_conflict: Any) -> None:
    dialect = pymysql.dialect(paramstyle="pyformat")  # as an engine makes it
    insert = insert_of(dialect, on_conflict)
    assert insert.names is None
    assert insert.sql.startswith("INSERT INTO orders (id, `100%%(v0)s`) VALUES (%s, %s)")
    assert RE_INSERT_VALUES.match(insert.sql), "the driver does not make statements of many rows of it"
    assert (dialect.paramstyle, dialect.positional) == ("pyformat", False), "the engine's own was changed"


def test_a_driver_that_is_not_known_gets_what_its_dialect_says() -> None:
    dialect = mysqldb.dialect(paramstyle="pyformat")
    assert insert_of(dialect, "error").names == ("v0", "v1")
