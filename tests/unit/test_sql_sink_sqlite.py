"""SqlSink on SQLite where rows are many: statements of many rows, and what they must not change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from kafka_stream.sinks.sql import SqlSink
from tests.sink_law import Transaction

MANY = 1_030  # five statements of 200 rows, and 30 rows

METADATA = sa.MetaData()
EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("payload", sa.LargeBinary),
    sa.Column("at", sa.DateTime),
    sa.CheckConstraint("id <> 13"),
)
LOG = sa.Table("log", METADATA, sa.Column("line", sa.Integer))
STRICT = sa.Table(
    "strict", METADATA, sa.Column("n", sa.Integer), sa.UniqueConstraint("n", sqlite_on_conflict="ROLLBACK")
)

AT = datetime(2025, 1, 31, 12, 0, 1)


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.connect() as connection:
        driver_of(connection).isolation_level = None  # or the driver itself would begin again after a ROLLBACK
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
    engine.dispose()


@pytest.fixture
def inserts(connection: sa.Connection) -> list[int]:
    """The number of rows of each INSERT that the driver gets."""
    counts: list[int] = []

    def count(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("INSERT"):
            counts.extend([1] * len(parameters) if isinstance(parameters, list) else [statement.count("(?")])

    sa.event.listen(connection, "before_cursor_execute", count)
    return counts


def write(table: sa.Table, rows: Any, connection: sa.Connection, on_conflict: Any = "error") -> None:
    sink = SqlSink(table, lambda rows: rows, on_conflict)
    sink.write(sink.prepare(rows), Transaction(connection))


def in_table(table: sa.Table, connection: sa.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(sa.select(table).order_by(sa.literal_column("rowid")))]


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


PAYLOADS = {
    "bytes": lambda n: b"%d" % n,
    "bytes and nulls": lambda n: None if n % 3 else b"%d" % n,
    "nulls": lambda _: None,
    "bytes and others": lambda n: bytearray(b"%d" % n) if n % 2 else memoryview(b"%d" % n),
}


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=list(PAYLOADS))
def test_many_rows_are_in_the_table_as_given(
    payload: Any, on_conflict: Any, connection: sa.Connection, inserts: list[int]
) -> None:
    write(EVENTS, [(n, payload(n), AT) for n in range(100, 100 + MANY)], connection, on_conflict)
    expected = [(n, None if payload(n) is None else b"%d" % n, AT) for n in range(100, 100 + MANY)]
    assert in_table(EVENTS, connection) == expected
    assert inserts == [200] * 5 + [1] * 30


def test_update_of_many_rows_replaces_what_is_there(connection: sa.Connection) -> None:
    write(EVENTS, [(n, b"old", AT) for n in range(100, 100 + MANY)], connection)
    write(EVENTS, [{"id": n, "payload": b"new"} for n in range(99, 99 + MANY)], connection, "update")
    assert in_table(EVENTS, connection)[:3] == [(99, b"new", None), (100, b"new", AT), (101, b"new", AT)]


def test_rows_without_a_key_keep_the_order_given(connection: sa.Connection, inserts: list[int]) -> None:
    lines = [n * 7919 % MANY for n in range(MANY)]
    write(LOG, [(line,) for line in lines], connection)
    assert [line for (line,) in in_table(LOG, connection)] == lines
    assert inserts == [200] * 5 + [1] * 30


@pytest.mark.parametrize("first", [999, None], ids=["another order", "a null"])
def test_rows_all_over_the_table_go_one_by_one(first: Any, connection: sa.Connection, inserts: list[int]) -> None:
    ids = [first, *range(100, 299)]  # SQLite numbers the row without one
    write(EVENTS, [(n, b"x", AT) for n in ids], connection)
    assert inserts == [1] * 200
    assert len(in_table(EVENTS, connection)) == 200


def test_a_connection_may_bound_the_parameters(connection: sa.Connection, inserts: list[int]) -> None:
    driver_of(connection).setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 30)
    write(EVENTS, [(n, b"x", AT) for n in range(100, 125)], connection)
    assert inserts == [10, 10, 1, 1, 1, 1, 1]
    driver_of(connection).setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 3)
    write(EVENTS, [(n, b"x", AT) for n in range(200, 203)], connection)
    assert inserts[7:] == [1, 1, 1]


BAD = {
    "a constraint": (13, b"x", AT),
    "a type": (13, b"x", "today"),
    "a number": (2**63, b"x", AT),
    "a number in place of bytes": (13, 5, AT),
    "no value of SQL": ({}, b"x", AT),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_a_refused_row_among_many_raises_what_it_would_alone(bad: Any, connection: sa.Connection) -> None:
    with pytest.raises(Exception) as alone:
        write(EVENTS, [bad], connection)
    rows = [(n - 500, b"x", AT) for n in range(300)] + [bad] + [(n, b"x", AT) for n in range(14, 200)]
    with pytest.raises(type(alone.value)) as among_many:
        write(EVENTS, rows, connection)
    if isinstance(alone.value, SQLAlchemyError):
        assert str(among_many.value.__dict__["orig"]) == str(alone.value.__dict__["orig"])
    else:
        assert str(among_many.value) == str(alone.value)
    assert driver_of(connection).in_transaction


def test_what_a_constraint_rolled_back_is_not_written_outside_of_the_transaction(connection: sa.Connection) -> None:
    with pytest.raises(IntegrityError):
        write(STRICT, [(min(n, 500),) for n in range(MANY)], connection)
    assert in_table(STRICT, connection) == []
