"""``SqlSink`` on SQLite, of what workers give: what travels, what is found out, and what has to be done over."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
import pickle
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from kafka_stream.errors import ProcessingError
from kafka_stream.protocols import ConvertingSink
from kafka_stream.sinks.sql import Add, Computed, Delete, Merge, SqlSink
from kafka_stream.sinks.sql.on_workers import part
from kafka_stream.sinks.sql.on_workers.shipped import RowsLeftBehind
from tests.elsewhere import prepared_elsewhere
from tests.sink_law import Transaction
from tests.sqlite_tables import in_memory

METADATA = sa.MetaData()
NUMBERS = itertools.count()


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


ORDERS = sa.Table(
    "orders",
    METADATA,
    sa.Column("order_id", sa.Integer, primary_key=True, key="id", autoincrement=False),
    sa.Column("amount", sa.Numeric(12, 2)),
    sa.Column("at", sa.DateTime),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("document", sa.JSON),
    sa.Column("colour", sa.Enum(Colour)),
    sa.Column("owner", sa.Uuid),
    sa.Column("number", sa.Integer, default=lambda: next(NUMBERS)),
    sa.Column("kind", sa.Text, default="plain"),
    sa.Index("orders_by_kind", "kind"),
    sa.CheckConstraint("amount < 1000"),
)
ENUMS = sa.Table(
    "enums",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("colour", sa.Enum(Colour, values_callable=lambda kind: [it.value for it in kind])),
)

COUNTS = sa.Table(
    "counts",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("records", sa.Integer, nullable=False),
    sa.Column("bits", sa.Integer, nullable=False, server_default="0"),
    sa.Column("twice", sa.Integer),
)


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    with in_memory(METADATA) as connection:
        yield connection


def as_given(rows: Any) -> Any:
    return rows


def rows_in(table: sa.Table, connection: sa.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))]


def write_elsewhere(sink: SqlSink, connection: sa.Connection, *pieces: Any) -> None:
    for value in [prepared_elsewhere(sink, piece) for piece in pieces]:
        sink.write(value, Transaction(connection))


ROWS: list[Any] = [
    {
        "id": 1,
        "amount": Decimal("9.50"),
        "at": dt.datetime(2026, 1, 2, 3, 4, 5, 6),
        "raw": b"\0x",
        "document": {"a": [1, None]},
        "colour": Colour.RED,
        "owner": UUID(int=7),
    },
    {"id": 2, "amount": None},
    (3, Decimal(1), None, b"", None, Colour.BLUE, None, None, "given"),
    {"id": 2, "kind": "other"},
    Delete(3),
    {"id": 4, "document": "text"},
]


@pytest.mark.parametrize("on_conflict", ["ignore", "update"])
def test_rows_of_all_kinds_are_the_same_before_and_after_the_table_is_known(
    connection: sa.Connection, on_conflict: Any
) -> None:
    here, sink = SqlSink(ORDERS, as_given, on_conflict), SqlSink(ORDERS, as_given, on_conflict)
    here.write(here.prepare(ROWS), Transaction(connection))
    expected = [row[:7] + row[8:] for row in rows_in(ORDERS, connection)]
    assert len(expected) == 3
    for _ in range(3):
        connection.execute(sa.delete(ORDERS))
        write_elsewhere(sink, connection, ROWS[:3], ROWS[3:4], ROWS[4:])
        assert [row[:7] + row[8:] for row in rows_in(ORDERS, connection)] == expected


def test_what_is_found_out_of_the_table_is_new_work_once(connection: sa.Connection) -> None:
    sink = SqlSink(ORDERS, as_given, "update")
    assert isinstance(sink, ConvertingSink)
    before = sink.work_changed
    first = prepared_elsewhere(sink, ROWS)
    assert first.given
    sink.write(first, Transaction(connection))
    known = sink.work_changed
    assert known > before
    assert not prepared_elsewhere(sink, ROWS).given
    sink.write(first, Transaction(connection))
    assert sink.work_changed == known


def test_of_changes_that_are_folded_little_travels(connection: sa.Connection) -> None:
    sink = SqlSink(COUNTS, as_given, Merge(records=Add))
    rows = [{"name": f"n{it % 3}", "records": 1} for it in range(3_000)]
    write_elsewhere(sink, connection, rows)
    shipped = prepared_elsewhere(sink, rows)
    assert len(shipped) == 3_000
    assert len(pickle.dumps(shipped)) < 1_000
    sink.write(shipped, Transaction(connection))
    assert [row[:2] for row in rows_in(COUNTS, connection)] == [(f"n{it}", 2_000) for it in range(3)]


def test_functions_of_a_merge_stay_where_rows_are_written(connection: sa.Connection) -> None:
    merge = Merge(
        records=Add,
        bits=lambda old, new: old.op("|")(new),
        twice=Computed(lambda old, new: old.c.records + 2 * new.c.records),
    )
    sink = SqlSink(COUNTS, as_given, merge)
    rows = [{"name": "a", "records": 1, "bits": bits, "twice": 0} for bits in (1, 4, 2)]
    write_elsewhere(sink, connection, rows[:1])
    write_elsewhere(sink, connection, rows[1:2], rows[2:])
    assert rows_in(COUNTS, connection) == [("a", 3, 7, 4)]


def test_a_row_that_is_refused_has_the_batch_done_over(connection: sa.Connection) -> None:
    sink = SqlSink(ORDERS, as_given)
    rows = [{"id": number, "amount": amount} for number, amount in enumerate([1, 2, 5_000, 4])]
    for _ in range(2):  # before the table is known, and after it
        value = prepared_elsewhere(sink, rows)
        savepoint = connection.begin_nested()
        with pytest.raises(RowsLeftBehind, match="refused") as caught:
            sink.write(value, Transaction(connection))
        savepoint.rollback()
        assert isinstance(caught.value, ProcessingError)
        assert isinstance(caught.value.__cause__, sa.exc.IntegrityError)
        assert "5000" not in str(caught.value)


def test_types_that_cannot_be_sent_are_told_of_and_rows_are_encoded_where_they_are_written(
    connection: sa.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    sink = SqlSink(ENUMS, as_given, "update")
    for colour in (Colour.RED, Colour.BLUE):
        write_elsewhere(sink, connection, [{"id": 1, "colour": colour}])
    assert rows_in(ENUMS, connection) == [(1, Colour.BLUE)]
    assert connection.exec_driver_sql("SELECT colour FROM enums").scalar() == "b"
    assert prepared_elsewhere(sink, [(2, Colour.RED)]).given
    assert "the types of table enums cannot be sent to workers" in caplog.text


def test_a_worker_without_the_driver_gives_rows(connection: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Any) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'")

    sink = SqlSink(COUNTS, as_given, "update")
    write_elsewhere(sink, connection, [("a", 1, 0, None)])
    monkeypatch.setattr(part, "Arranger", missing)
    assert prepared_elsewhere(sink, [("a", 2, 0, None)]).given
    write_elsewhere(sink, connection, [("a", 2, 0, None)])
    assert rows_in(COUNTS, connection) == [("a", 2, 0, None)]


def test_nothing_is_written_of_a_batch_without_rows(connection: sa.Connection) -> None:
    sink = SqlSink(COUNTS, as_given, "update")
    for rows in ([], [("a", 1, 0, None)], []):
        write_elsewhere(sink, connection, rows)
    assert len(rows_in(COUNTS, connection)) == 1


def test_mistakes_in_rows_are_refused_on_the_worker(connection: sa.Connection) -> None:
    sink = SqlSink(COUNTS, as_given, "update")
    for _ in range(2):
        with pytest.raises(ProcessingError, match="'nmae', which is no column"):
            prepared_elsewhere(sink, [{"nmae": "a"}])
        write_elsewhere(sink, connection, [("a", 1, 0, None)])
