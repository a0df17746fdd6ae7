"""What the tests of ``SqlSink`` on servers share: tables, a transaction to write through, and a look at the rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from integration_tests.engine import wait_until
from integration_tests.mariadb_server import MariadbDatabase
from kafka_stream.sinks.sql import Delete, SqlSink

WAIT_S = 30.0


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


def write_and_delete_the_same_keys(orders: sa.Table, database: sa.Engine, waiting: str) -> None:
    """Two copies: between the deletes of the first and its rows, the second one comes as far as it can.

    ``waiting`` counts the sessions that wait.
    """
    write(SqlSink(orders, given), [(1, 1, "old"), (2, 2, "old")], database)
    deleted, second_waits = threading.Event(), threading.Event()

    def pause(*arguments: Any) -> None:
        if arguments[2].startswith("DELETE"):
            deleted.set()
            assert second_waits.wait(WAIT_S)

    def first() -> None:
        with database.begin() as connection:
            sa.event.listen(connection, "after_cursor_execute", pause)
            sink = SqlSink(orders, given, "update")
            sink.write(sink.prepare([Delete(2), (1, 10, "first")]), Transaction(connection))

    def second() -> None:
        assert deleted.wait(WAIT_S)
        write(SqlSink(orders, given, "update"), [Delete(1), (2, 20, "second")], database)

    with ThreadPoolExecutor() as pool:
        copies = [pool.submit(first), pool.submit(second)]
        try:
            _wait_for_a_session(database, waiting, unless=copies[1].done)
        finally:
            second_waits.set()
        for copy in copies:
            copy.result(timeout=WAIT_S)


def _wait_for_a_session(database: sa.Engine, waiting: str, unless: Callable[[], bool]) -> None:
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert wait_until(lambda: bool(connection.execute(sa.text(waiting)).scalar_one()) or unless(), WAIT_S)
