"""``SqlSink`` on PostgreSQL: its types, its upserts, and two copies that write the same keys."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import IntegrityError

from integration_tests.servers import PostgresDatabase
from integration_tests.sql_sinks import (
    Transaction,
    given,
    rows_of,
    write,
    write_and_delete_the_same_keys,
)
from kafka_stream.sinks.sql import Delete, SqlSink

METADATA = sa.MetaData()
ORDERS = sa.Table(
    "orders",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("amount", sa.Integer, server_default="7"),
    sa.Column("note", sa.Text),
)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


TYPES = sa.Table(
    "types",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("day", sa.Date),
    sa.Column("price", sa.Numeric(12, 2)),
    sa.Column("payload", JSONB),
    sa.Column("plain_json", sa.JSON),
    sa.Column("tags", ARRAY(sa.Text)),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("colour", sa.Enum(Colour)),
    sa.Column("size", sa.Float),
    sa.Column("paid", sa.Boolean),
    schema="shop",
)


@pytest.fixture
def database(postgres: PostgresDatabase) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.url)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("shop"))
        METADATA.create_all(connection)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
def test_values_of_all_kinds_come_back_as_they_were(database: sa.Engine, on_conflict: Any) -> None:
    at = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
    when = (at, date(2024, 2, 29))
    what = ({"a": [1, None]}, {"b": "ü"}, ["x", None], b"\x00\xff", Colour.RED, 0.1, True)
    full = (uuid.UUID(int=1), *when, Decimal("12.50"), *what)
    bare = {"id": uuid.UUID(int=2), "at": at, "tags": []}
    write(SqlSink(TYPES, given, on_conflict), [bare, full], database)
    nulls: list[Any] = [None] * 9
    nulls[4] = []
    assert rows_of(TYPES, database) == [full, (uuid.UUID(int=2), at, *nulls)]


def test_update_ignore_and_delete(database: sa.Engine) -> None:
    write(SqlSink(ORDERS, given), [(1, 1, "old"), (2, 2, "old"), (3, 3, "old")], database)
    update = SqlSink(ORDERS, given, "update")
    changes = [(1, 5, "x"), Delete(2), {"id": 4, "note": "n"}, {"id": 1, "amount": 6}, Delete(3), {"id": 3}, Delete(9)]
    write(update, changes, database)
    write(update, [Delete(4), {"id": 4, "amount": 8}], database)
    write(SqlSink(ORDERS, given, "ignore"), [(1, 0, "late"), (5, 5, "first"), (5, 0, "late")], database)
    assert rows_of(ORDERS, database) == [(1, 6, "x"), (3, 7, None), (4, 8, None), (5, 5, "first")]


def test_a_unique_constraint_as_the_key(database: sa.Engine) -> None:
    users = sa.Table(
        "users",
        sa.MetaData(),
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        sa.Column("tenant", sa.Integer),
        sa.Column("email", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("shout", sa.Text, sa.Computed("upper(name)", persisted=True)),
        sa.UniqueConstraint("email", "tenant"),
    )
    users.create(database)
    sink = SqlSink(users, given, "update", key=("tenant", "email"))
    write(sink, [(1, "a", "x"), (2, "a", "y")], database)
    write(sink, [(1, "a", "z"), Delete(2, "a"), (2, "b", "w")], database)
    assert [row[1:] for row in rows_of(users, database)] == [(1, "a", "z", "Z"), (2, "b", "w", "W")]


def test_a_repeated_key_raises_and_nothing_of_the_batch_is_kept(database: sa.Engine) -> None:
    with pytest.raises(IntegrityError) as caught:
        write(SqlSink(ORDERS, given), [(1, 1, "a"), (2, 2, "b"), (1, 3, "c")], database)
    assert getattr(caught.value.orig, "sqlstate", None) == "23505"
    assert rows_of(ORDERS, database) == []


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
@pytest.mark.parametrize("shape", ["tuples", "mappings"])
def test_more_rows_than_a_statement_has_parameters(database: sa.Engine, on_conflict: Any, shape: str) -> None:
    tuples = [(n, n % 100, f"note {n}") for n in range(30_000)]
    rows: list[Any] = (
        tuples if shape == "tuples" else [dict(zip(ORDERS.columns.keys(), r, strict=True)) for r in tuples]
    )
    write(SqlSink(ORDERS, given, on_conflict), rows, database)
    assert rows_of(ORDERS, database) == tuples


def test_the_next_batch_is_gone_on_with_as_soon_as_the_server_copies(database: sa.Engine) -> None:
    sink, statuses = SqlSink(ORDERS, given), list[TransactionStatus]()
    with database.begin() as connection:
        driver: Any = connection.connection.driver_connection
        for first in (0, 20_000):
            prepared = sink.prepare([(n, n % 100, "a note") for n in range(first, first + 20_000)])
            sink.write_overlapping(
                prepared, Transaction(connection), lambda: statuses.append(driver.info.transaction_status)
            )
    assert statuses == [TransactionStatus.IDLE, TransactionStatus.ACTIVE], "only the second is encoded before"
    assert len(rows_of(ORDERS, database)) == 40_000


BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
)
"""How many sessions wait for a lock."""


def test_copies_that_write_and_delete_the_same_keys_do_not_deadlock(database: sa.Engine) -> None:
    write_and_delete_the_same_keys(ORDERS, database, BLOCKED)
    assert rows_of(ORDERS, database) == [(2, 20, "second")]
