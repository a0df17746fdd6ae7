"""What ``SqlSink`` leaves out of a batch, on SQLite; that it comes to the same is held by the sink's law."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.sinks.sql import Delete, SqlSink
from tests.sink_law import Transaction

METADATA = sa.MetaData()


def table(name: str, *more: Any, **options: Any) -> sa.Table:
    return sa.Table(
        name,
        METADATA,
        sa.Column("k", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("v", sa.Integer),
        sa.Column("note", sa.String(9)),
        *more,
        **options,
    )


PLAIN = table("plain")
CHECKED = table("checked", sa.CheckConstraint("v < 100"))
UNIQUE = table("with_unique", sa.UniqueConstraint("v"))
TRIGGERED = table("triggered")
COMPUTED = table("computed", sa.Column("twice", sa.Integer, sa.Computed("abs(v)")))
INDEXED = table("indexed", sa.Index("by_expression", sa.text("abs(v)")))
DEFAULTED = table("defaulted", sa.Column("d", sa.Integer, server_default="7"))
PARENT = table("parent")
REFERS = table("refers", sa.ForeignKeyConstraint(["v"], ["parent.k"]))
table("child", sa.ForeignKeyConstraint(["v"], ["parent.k"], ondelete="CASCADE"))
FIXED = sa.Table("fixed", METADATA, sa.Column("k", sa.Integer, primary_key=True), sa.Column("v", sa.JSON))
PRICED = sa.Table("priced", METADATA, sa.Column("k", sa.Integer, primary_key=True), sa.Column("v", sa.Numeric(9, 2)))


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TRIGGER t AFTER INSERT ON triggered BEGIN SELECT 1; END"))
        yield connection
    engine.dispose()


def written(table: sa.Table, given: list[Any], connection: sa.Connection, mode: Any = "update") -> int:
    """How many rows and deletes the driver gets, from a sink that sees the table for the first time."""
    counts: list[int] = []

    def count(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith(("INSERT", "DELETE", "UPDATE")):
            counts.append(len(parameters) if isinstance(parameters, list) else 1)

    sa.event.listen(connection, "before_cursor_execute", count)
    sink = SqlSink(table, lambda rows: rows, mode)
    sink.write(sink.prepare(given), Transaction(connection))
    return sum(counts)


HOT = [(k, v, "n") for v in range(9) for k in (1, 2)]


@pytest.mark.parametrize("mode", ["update", "ignore"])
def test_of_full_rows_one_for_each_key_is_written(mode: Any, connection: sa.Connection) -> None:
    assert written(PLAIN, HOT, connection, mode) == 2
    last = 8 if mode == "update" else 0
    assert connection.execute(sa.select(PLAIN).order_by("k")).all() == [(1, last, "n"), (2, last, "n")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(1, 1, "a"), Delete(1), (1, 2, "b"), Delete(1)], 1),
        ([Delete(1), Delete(1), (1, 2, "b")], 1),
        ([(1, 1, "a"), {"k": 1, "v": 2}, {"k": 1, "v": 3}], 2),
        ([{"k": 1, "v": 2}, {"k": 1, "note": "b"}, (1, 3, "c")], 1),
        ([Delete(1), {"k": 1, "v": 2}], 2),
    ],
    ids=["delete is last", "row is last", "one column is last", "all columns are last", "a delete and a part"],
)
def test_the_changes_that_decide_are_written(given: list[Any], expected: int, connection: sa.Connection) -> None:
    assert written(PLAIN, given, connection) == expected


@pytest.mark.parametrize(
    "which", [CHECKED, UNIQUE, REFERS, TRIGGERED, COMPUTED, INDEXED], ids=lambda table: str(table.name)
)
def test_nothing_is_left_out_where_a_row_may_be_refused_or_seen(which: sa.Table, connection: sa.Connection) -> None:
    written(PARENT, [(k, 0, "n") for k in range(9)], connection)
    given = [(k, v, "n") for v in range(9) for k in ((1, 2) if which is not UNIQUE else (1,))]
    assert written(which, given, connection) == len(given)


@pytest.mark.parametrize("row", [(1, "7", "n"), (1, 2**63 - 1, 7), (1, True, "n"), (1, None, b"n")])
def test_nothing_is_left_out_if_a_value_is_of_another_class(row: Any, connection: sa.Connection) -> None:
    assert written(PLAIN, [row, (1, 2, "n"), (1, 3, "n")], connection) == 3


def test_a_delete_that_others_may_notice_is_written(connection: sa.Connection) -> None:
    assert written(PARENT, [(1, 1, "a"), (1, 2, "b"), Delete(1), (1, 2, "b"), (1, 3, "c")], connection) == 3


def test_a_row_whose_default_may_be_refused_is_written(connection: sa.Connection) -> None:
    assert written(DEFAULTED, [{"k": 1, "v": 1}, (1, 2, "n", 3)], connection) == 2
    assert written(DEFAULTED, [{"k": 1, "v": 1}, {"k": 1, "v": 2}], connection) == 1


def test_values_that_only_their_type_knows_are_written(connection: sa.Connection) -> None:
    assert written(FIXED, [(1, {"a": 1}), (1, {"a": 2})], connection) == 2
    assert written(PRICED, [(1, Decimal("1.25")), (1, Decimal("2.5"))], connection) == 1
    assert written(PRICED, [(1, Decimal("NaN")), (1, Decimal("2.5"))], connection) == 2
