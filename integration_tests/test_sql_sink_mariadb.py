"""``SqlSink`` on MariaDB: its types, its upserts, its refusals, and two copies that write the same keys."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, IntegrityError

from integration_tests.mariadb_server import MariadbDatabase
from integration_tests.sql_sinks import (
    Transaction,
    created_on_mariadb,
    given,
    orders_on_mariadb,
    rows_of,
    users_on_mariadb,
    write,
    write_and_delete_the_same_keys,
)
from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql import Delete, SqlSink
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of, next_offsets

METADATA = sa.MetaData()
ORDERS = orders_on_mariadb(METADATA)
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("region", sa.String(10, collation="utf8mb4_bin"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("100% of it", sa.Integer),
)
USERS = users_on_mariadb(METADATA)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


TYPES = sa.Table(
    "types",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("at", mysql.DATETIME(fsp=6), nullable=False),
    sa.Column("day", sa.Date),
    sa.Column("price", sa.Numeric(12, 2)),
    sa.Column("payload", sa.JSON),
    sa.Column("words", sa.Text),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("colour", sa.Enum(Colour)),
    sa.Column("size", sa.Double),
    sa.Column("paid", sa.Boolean),
)


@pytest.fixture
def database(mariadb: MariadbDatabase) -> Iterator[sa.Engine]:
    with created_on_mariadb(mariadb, METADATA) as engine:
        yield engine


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
def test_values_of_all_kinds_come_back_as_they_were(database: sa.Engine, on_conflict: Any) -> None:
    at = datetime(2024, 2, 29, 12, 30, 15, 123456)
    words = '🚚 it\'s \\ 100% %s %(v0)s "quoted"; -- \0'
    what = ({"a": [1, None, "%s"]}, words, b"\x00\xff%s'\\", Colour.RED, 0.1, True)
    full = (uuid.UUID(int=1), at, date(2024, 2, 29), Decimal("12.50"), *what)
    bare = {"id": uuid.UUID(int=2), "at": at}
    write(SqlSink(TYPES, given, on_conflict), [bare, full], database)
    assert rows_of(TYPES, database) == [full, (uuid.UUID(int=2), at, *[None] * 8)]
    if on_conflict != "error":
        write(SqlSink(TYPES, given, on_conflict), [full, bare, Delete(uuid.UUID(int=2))], database)
        assert rows_of(TYPES, database) == [full]


def test_update_ignore_and_delete(database: sa.Engine) -> None:
    write(SqlSink(ORDERS, given), [(1, 1, "old"), (2, 2, "old"), (3, 3, "old")], database)
    update = SqlSink(ORDERS, given, "update")
    changes = [(1, 5, "x"), Delete(2), {"id": 4, "note": "n"}, {"id": 1, "amount": 6}, Delete(3), {"id": 3}, Delete(9)]
    write(update, changes, database)
    write(update, [Delete(4), {"id": 4, "amount": 8}], database)
    write(SqlSink(ORDERS, given, "ignore"), [(1, 0, "late"), (5, 5, "first"), (5, 0, "late")], database)
    assert rows_of(ORDERS, database) == [(1, 6, "x"), (3, 7, None), (4, 8, None), (5, 5, "first")]


def test_keys_of_two_columns_and_names_that_need_quotes(database: sa.Engine) -> None:
    update = SqlSink(PAIRS, given, "update")
    write(update, [("eu", 1, 1), ("EU", 1, 2), ("us", 1, 3)], database)
    write(update, [("eu", 1, 10), Delete("EU", 1), Delete("us", 7), ("us", 2, 4)], database)
    assert rows_of(PAIRS, database) == [("eu", 1, 10), ("us", 1, 3), ("us", 2, 4)]


def test_a_unique_constraint_as_the_key(database: sa.Engine) -> None:
    sink = SqlSink(USERS, given, "update", key=("tenant", "email"))
    rows = [{"tenant": 1, "email": "a", "name": "x"}, {"tenant": 2, "email": "a", "name": "y"}]
    write(sink, rows, database)
    write(sink, [{"tenant": 1, "email": "a", "name": "z"}, Delete(2, "a"), {**rows[1], "email": "b"}], database)
    found = [row[1:] for row in rows_of(USERS, database)]
    assert found == [(1, "a", "z", "Z"), (2, "b", "y", "Y")]


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
@pytest.mark.parametrize("key", ["id", ("tenant", "email")], ids=str)
def test_a_conflict_on_another_unique_key_changes_no_row_that_was_not_meant(
    database: sa.Engine, on_conflict: Any, key: Any
) -> None:
    columns = ("id", "tenant", "email", "name")
    old = [dict(zip(columns, row, strict=True)) for row in [(1, 1, "a", "x"), (2, 1, "b", "y")]]
    write(SqlSink(USERS, given), old, database)
    conflicting = (3, 1, "a", "new") if key == "id" else (1, 1, "c", "new")
    sink = SqlSink(USERS, given, on_conflict, key=key)
    with pytest.raises(DBAPIError, match="a row conflicts on a unique key that is not its key"):
        write(sink, [dict(zip(columns, row, strict=True)) for row in [conflicting, (2, 1, "b", "z")]], database)
    assert [row[:4] for row in rows_of(USERS, database)] == [(1, 1, "a", "x"), (2, 1, "b", "y")]
    write(sink, [{**old[0], "name": "z"}], database)
    assert rows_of(USERS, database)[0][:4] == (1, 1, "a", "z" if on_conflict == "update" else "x")


def test_ignore_without_a_key_ignores_all_that_is_unique_and_nothing_else(database: sa.Engine) -> None:
    sink = SqlSink(USERS, given, "ignore")
    write(sink, [{"id": 1, "tenant": 1, "email": "a", "name": "x"}], database)
    late = [{"id": 2, "tenant": 1, "email": "a"}, {"id": 1, "tenant": 1, "email": "z"}, {"id": 3, "tenant": 3}]
    write(sink, late, database)
    assert [row[:4] for row in rows_of(USERS, database)] == [(1, 1, "a", "x"), (3, 3, None, None)]
    with pytest.raises(DBAPIError):
        write(sink, [{"id": 4, "email": "too long " * 40}], database)
    with pytest.raises(DBAPIError):
        write(SqlSink(TYPES, given, "ignore"), [{"id": uuid.UUID(int=1), "at": None}], database)
    assert len(rows_of(USERS, database)) == 2


def test_a_repeated_key_raises_and_nothing_of_the_batch_is_kept(database: sa.Engine) -> None:
    with pytest.raises(IntegrityError) as caught:
        write(SqlSink(ORDERS, given), [(1, 1, "a"), (2, 2, "b"), (1, 3, "c")], database)
    assert caught.value.orig is not None
    assert caught.value.orig.args[0] == 1062
    assert rows_of(ORDERS, database) == []


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
@pytest.mark.parametrize("shape", ["tuples", "mappings"])
def test_many_rows_are_written_in_few_statements(database: sa.Engine, on_conflict: Any, shape: str) -> None:
    tuples = [(n, n % 100, f"note {n}") for n in range(30_000)]
    rows: list[Any] = (
        tuples if shape == "tuples" else [dict(zip(ORDERS.columns.keys(), r, strict=True)) for r in tuples]
    )
    with database.connect() as connection:
        sink = SqlSink(ORDERS, given, on_conflict)
        counted = sa.text("SHOW SESSION STATUS LIKE 'Questions'")
        before = int(connection.execute(counted).one()[1])
        sink.write(sink.prepare(rows), Transaction(connection))
        assert int(connection.execute(counted).one()[1]) - before < 20
        if on_conflict != "error":
            sink.write(sink.prepare([Delete(n) for n in range(0, 30_000, 2)]), Transaction(connection))
            assert int(connection.execute(counted).one()[1]) - before < 60
        connection.commit()
    assert rows_of(ORDERS, database) == (tuples if on_conflict == "error" else tuples[1::2])


@pytest.mark.parametrize("engine", ["MyISAM", "Aria", "MEMORY"])
@pytest.mark.parametrize("on_conflict", ["error", "update"])
def test_a_table_without_transactions_is_refused_before_a_row_is_written(
    database: sa.Engine, mariadb: MariadbDatabase, engine: str, on_conflict: Any
) -> None:
    mariadb.execute(f"ALTER TABLE orders ENGINE={engine}")
    with pytest.raises(ConfigurationError, match=rf"table orders .*{engine}.*ALTER TABLE orders ENGINE=InnoDB"):
        write(SqlSink(ORDERS, given, on_conflict), [(1, 1, "a")], database)
    assert rows_of(ORDERS, database) == []


def test_a_zero_that_the_database_would_replace_by_a_number_of_its_own_is_refused(database: sa.Engine) -> None:
    with pytest.raises(ProcessingError, match=r"'id' is 0.*AUTO_INCREMENT.*autoincrement=False"):
        write(SqlSink(USERS, given, "update"), [{"id": 0, "name": "x"}], database)
    write(SqlSink(USERS, given), [{"id": None, "name": "x"}, {"name": "y", "tenant": 0}], database)
    assert [row[0] for row in rows_of(USERS, database)] == [1, 2]


def test_rows_and_offsets_commit_together_or_not_at_all(database: sa.Engine, mariadb: MariadbDatabase) -> None:
    store = SqlOffsetStore(mariadb.url)
    store.open()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    sink = SqlSink(ORDERS, given, "update")
    for start, committing in ((0, False), (0, True), (3, True)):
        with store.begin(claim_of(OLDER, {P0: (start, start + 3)}, taken)) as transaction:
            sink.write(sink.prepare([(1, start, "x"), (start + 2, start, "y")]), transaction)
            transaction.advance()
            if committing:
                transaction.commit()
    assert next_offsets(store) == {P0: 6}
    assert rows_of(ORDERS, database) == [(1, 3, "x"), (2, 0, "y"), (5, 3, "y")]
    mariadb.execute("ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount >= 0)")
    with store.begin(claim_of(OLDER, {P0: (6, 9)}, taken)) as transaction:
        with pytest.raises(DBAPIError) as refused:
            sink.write(sink.prepare([(9, -1, "x")]), transaction)
        assert store.classify(refused.value) is None, "the row is at fault, not the database"
    store.close()


AT_WORK = (
    "SELECT count(*) FROM information_schema.processlist "
    "WHERE command = 'Query' AND id <> CONNECTION_ID() AND user = substring_index(USER(), '@', 1) AND time_ms > 300"
)
"""How many sessions are at a statement for long."""


def test_copies_that_write_and_delete_the_same_keys_do_not_deadlock(database: sa.Engine) -> None:
    write_and_delete_the_same_keys(ORDERS, database, AT_WORK)
    assert rows_of(ORDERS, database) == [(2, 20, "second")]
