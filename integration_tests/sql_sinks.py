"""What the tests of ``SqlSink`` on servers share: tables, a transaction to write through, and a look at the rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from integration_tests.mariadb_server import MariadbDatabase
from kafka_stream.sinks.sql import SqlSink


@dataclass
class Transaction:
    """As much of a store's transaction as a sink needs."""

    connection: sa.Connection


def write(sink: SqlSink, rows: Any, database: sa.Engine) -> None:
    """A batch's rows, in a transaction of their own."""
    with database.begin() as connection:
        sink.write(sink.prepare(rows), Transaction(connection))


def rows_of(table: sa.Table, database: sa.Engine) -> list[tuple[Any, ...]]:
    """All that are in it, by key."""
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))]


def given(rows: Any) -> Any:
    """As ``to_rows``: what was prepared are the rows."""
    return rows


def orders_on_mariadb(metadata: sa.MetaData) -> sa.Table:
    """With a key that the writer gives, and a default that the server has."""
    return sa.Table(
        "orders",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("amount", sa.Integer, server_default="7"),
        sa.Column("note", sa.String(40)),
    )


def users_on_mariadb(metadata: sa.MetaData) -> sa.Table:
    """With a key of the server's, another that is unique, and a column that is computed."""
    return sa.Table(
        "users",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.Integer),
        sa.Column("email", sa.String(40)),
        sa.Column("name", sa.String(40)),
        sa.Column("shout", sa.String(40), sa.Computed("upper(name)", persisted=True)),
        sa.UniqueConstraint("email", "tenant"),
    )


@contextmanager
def created_on_mariadb(mariadb: MariadbDatabase, metadata: sa.MetaData) -> Iterator[sa.Engine]:
    """The database with these tables in it."""
    engine = sa.create_engine(mariadb.url, isolation_level="READ COMMITTED")
    try:
        metadata.create_all(engine)
        yield engine
    finally:
        engine.dispose()
