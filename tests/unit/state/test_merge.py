"""Columns that are merged, on SQLite: what is combined before the database sees it, and what is left to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from kafka_stream.errors import ProcessingError, RecordError
from kafka_stream.sinks.sql import Add, Computed, Delete, Greatest, Latest, Least, Merge, SqlSink
from kafka_stream.testing import batch_of, message
from tests.sink_law import Transaction
from tests.sqlite_tables import in_memory

METADATA = sa.MetaData()
AT = datetime(2025, 3, 1)
TOTALS = sa.Table(
    "totals",
    METADATA,
    sa.Column("customer", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("orders", sa.BigInteger),
    sa.Column("amount", sa.Numeric(12, 2)),
    sa.Column("name", sa.String(20)),
    sa.Column("at", sa.DateTime),
    sa.Column("day", sa.Date),
    sa.Column("note", sa.String(20), server_default="none"),
)
CHECKED = sa.Table(
    "checked",
    METADATA,
    sa.Column("customer", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("orders", sa.BigInteger, sa.CheckConstraint("orders < 100")),
)


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    with in_memory(METADATA) as connection:
        yield connection


def written(connection: sa.Connection, sink: SqlSink, given: list[Any]) -> int:
    """How many rows the driver gets."""
    counts: list[int] = []

    def count(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            counts.append(len(parameters) if isinstance(parameters, list) else 1)

    sa.event.listen(connection, "before_cursor_execute", count)
    sink.write(sink.prepare(given), Transaction(connection))
    sa.event.remove(connection, "before_cursor_execute", count)
    return sum(counts)


def merging(merge: Merge, table: Any = TOTALS) -> SqlSink:
    return SqlSink(table, lambda rows: rows, merge)


def rows(connection: sa.Connection, *names: str) -> list[Any]:
    return [tuple(row) for row in connection.execute(sa.select(*(TOTALS.c[name] for name in names)))]


def test_what_is_not_named_is_what_it_was_inserted_with(connection: sa.Connection) -> None:
    sink = merging(Merge(orders=Add))
    written(
        connection, sink, [{"customer": 1, "orders": 2, "note": "first"}, {"customer": 1, "orders": 3, "note": "x"}]
    )
    written(connection, sink, [{"customer": 1, "orders": 4, "note": "later"}])
    assert rows(connection, "orders", "note") == [(9, "first")]


def test_rows_of_a_key_are_one_for_the_database(connection: sa.Connection) -> None:
    sink = merging(Merge(orders=Add, amount=Add, name=Latest(by="at"), day=Least))
    given = [
        {
            "customer": n % 2,
            "orders": 1,
            "amount": Decimal("0.10"),
            "name": str(n),
            "at": AT + timedelta(n),
            "day": AT.date(),
        }
        for n in range(1_000)
    ]
    assert written(connection, sink, given) == 2
    assert rows(connection, "orders", "amount", "name") == [
        (500, Decimal("50.00"), "998"),
        (500, Decimal("50.00"), "999"),
    ]


@pytest.mark.parametrize(
    ("column", "how", "values"),
    [
        ("orders", Add, [2**62, 2**62]),
        ("orders", Add, [True, 2]),
        ("orders", lambda old, new: old + new, [1, 2]),
        ("name", Greatest, ["a", "b"]),
        ("day", Greatest, [AT.date(), AT]),
        ("at", Greatest, [AT.replace(tzinfo=UTC), AT.replace(tzinfo=UTC)]),
    ],
    ids=["too large together", "no integer", "a lambda", "texts", "of two classes", "with a zone"],
)
def test_what_may_come_to_something_else_is_left_to_the_database(
    column: str, how: Any, values: list[Any], connection: sa.Connection
) -> None:
    given = [{"customer": 1, column: it} for it in values]
    assert written(connection, merging(Merge({column: how})), given) == len(values)


def test_rows_are_not_combined_where_a_constraint_may_refuse_one(connection: sa.Connection) -> None:
    given = [{"customer": 1, "orders": 60}, {"customer": 1, "orders": 60}, {"customer": 1, "orders": -60}]
    with pytest.raises(sa.exc.IntegrityError, match="CHECK"):
        written(connection, merging(Merge(orders=Add), CHECKED), given)


def test_the_record_whose_row_is_refused_is_named(connection: sa.Connection) -> None:
    records = [message(b"%d" % n, offset=n) for n in range(40)]
    sink = SqlSink(CHECKED, lambda batch: [(it, (1, int(it.value() or b""))) for it in batch], Merge(orders=Add))
    with pytest.raises(RecordError, match=r"\[0\]@14") as raised:
        sink.write(sink.prepare(batch_of(records)), Transaction(connection))
    assert "CHECK" in str(raised.value)


def test_a_delete_lies_between_the_sums(connection: sa.Connection) -> None:
    given = [{"customer": 1, "orders": 5}, Delete(1), {"customer": 1, "orders": 7}, {"customer": 1, "orders": 1}]
    written(connection, merging(Merge(orders=Add)), given)
    assert rows(connection, "orders") == [(8,)]


def test_the_latest_goes_by_another_column(connection: sa.Connection) -> None:
    sink = merging(Merge(name=Latest(by="at")))
    for name, at in [("b", AT), ("a", AT - timedelta(1)), ("c", None), ("d", AT)]:
        written(connection, sink, [{"customer": 1, "name": name, "at": at}])
    assert rows(connection, "name", "at") == [("d", AT)]


@pytest.mark.parametrize("given", [{"customer": 1, "name": "x"}, {"customer": 1, "orders": 1, "name": "x"}])
def test_a_row_without_what_is_compared_is_refused(given: Any) -> None:
    sink = merging(Merge(name=Latest(by="at"), orders=Add))
    with pytest.raises(ProcessingError, match=r"row 0 has 'name', which is merged by 'at', and not that"):
        sink.prepare([given])


def test_values_in_an_expression_are_part_of_the_statement(connection: sa.Connection) -> None:
    text, raw = "50 % of '\"\\ %s :x ?", b"\x00'%"
    merge = Merge(
        note=lambda old, new: old + text,
        orders=Computed(lambda old, new: old.c.orders + sa.case((sa.literal(raw) == raw, 10), else_=1)),
    )
    sink = merging(merge)
    written(connection, sink, [{"customer": n, "orders": 1, "note": "n"} for n in range(300)] * 2)
    assert set(rows(connection, "orders", "note")) == {(11, "n" + text)}


def test_columns_are_named_as_a_class_names_them(connection: sa.Connection) -> None:
    class Model(DeclarativeBase):
        pass

    class Total(Model):
        __tablename__ = "of_class"
        who: Mapped[int] = mapped_column("customer", primary_key=True)
        count: Mapped[int] = mapped_column("orders")
        last: Mapped[int] = mapped_column("seen at")
        what: Mapped[int]

    Model.metadata.create_all(connection)
    sink = merging(Merge(count=Add, what=Latest(by="last")), Total)
    for row in [(1, 1, 5, 10), (1, 2, 4, 20), (1, 3, 6, 30)]:
        written(connection, sink, [row])
    assert connection.execute(sa.select(Total.count, Total.last, Total.what)).all() == [(6, 6, 30)]
