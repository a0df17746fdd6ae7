"""Rows that are copied into a temporary table leave it in the order of Python, whoever puts them in it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from integration_tests.servers import PostgresDatabase
from integration_tests.test_sql_copy_refusals import Transaction, given
from kafka_stream.errors import RecordError
from kafka_stream.sinks.sql import Add, Merge, SqlSink
from kafka_stream.testing import message

MANY = 700
WORDS = ["a", "B", "c", "D", "z", "_", "~", "0", "9", "ä", "É", "Ω", "漢", "😀"]


@pytest.fixture
def database(postgres: PostgresDatabase) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.url)
    yield engine
    engine.dispose()


def shuffled(keys: list[Any]) -> list[Any]:
    random.Random(5).shuffle(keys)
    return keys


def words(first: int) -> list[Any]:
    """Which a language puts in another order than their characters have."""
    return [f"{WORDS[n % len(WORDS)]}{WORDS[n // 7 % len(WORDS)]}{n}" for n in range(first, first + MANY)]


KEYS: dict[str, tuple[sa.types.TypeEngine[Any], Callable[[int], list[Any]]]] = {
    "integer": (sa.BigInteger(), lambda first: [n - MANY for n in range(first, first + MANY)]),
    "text": (sa.Text(), words),
    "bytes": (sa.LargeBinary(), lambda first: [str(n).encode() for n in range(first, first + MANY)]),
    "uuid": (sa.Uuid(), lambda first: [uuid.uuid5(uuid.NAMESPACE_OID, str(n)) for n in range(first, first + MANY)]),
    "date": (sa.Date(), lambda first: [date(1600, 1, 1) + timedelta(n) for n in range(first, first + MANY)]),
    "timestamptz": (
        sa.DateTime(timezone=True),
        lambda first: [datetime(1969, 12, 31, tzinfo=UTC) + timedelta(minutes=n) for n in range(first, first + MANY)],
    ),
}


def written(sink: SqlSink, database: sa.Engine, rows: Any) -> Any:
    """How the last of three batches was encoded."""
    for batch in rows:
        changes = sink.prepare(batch)
        with database.begin() as connection:
            sink.write(changes, Transaction(connection))
    return changes.encoded[0]


@pytest.mark.parametrize("on_conflict", ["ignore", "update", Merge(amount=Add)], ids=["ignore", "update", "merge"])
@pytest.mark.parametrize("kind", KEYS)
def test_new_rows_are_inserted_in_the_order_of_python(kind: str, on_conflict: Any, database: sa.Engine) -> None:
    type_, keys_from = KEYS[kind]
    table = sa.Table("t", sa.MetaData(), sa.Column("k", type_, primary_key=True), sa.Column("amount", sa.Integer))
    table.create(database)
    if kind == "text":
        with database.begin() as connection:
            connection.execute(sa.text('ALTER TABLE t ALTER k TYPE text COLLATE "und-x-icu"'))
    batches = [shuffled(keys_from(turn * MANY)) for turn in range(3)]
    encoded = written(SqlSink(table, given, on_conflict), database, [[(k, 1) for k in keys] for keys in batches])
    assert not encoded.in_order, "left to the server"
    with database.connect() as connection:
        found = list(connection.scalars(sa.text("SELECT k FROM t ORDER BY ctid").columns(table.c.k)))
    assert found == [key for keys in batches for key in sorted(keys)]


def test_of_a_key_of_two_columns_the_first_decides(database: sa.Engine) -> None:
    table = sa.Table(
        "t",
        sa.MetaData(),
        sa.Column("amount", sa.Integer),
        sa.Column("country", sa.Text, primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True),
    )
    table.create(database)
    batches = [shuffled([(1, WORDS[n % 9], n) for n in range(turn * MANY, (turn + 1) * MANY)]) for turn in range(3)]
    assert not written(SqlSink(table, given, "update"), database, batches).in_order
    with database.connect() as connection:
        found = connection.execute(sa.text("SELECT country, n FROM t ORDER BY ctid")).all()
    assert [tuple(row) for row in found] == [key for rows in batches for key in sorted(row[1:] for row in rows)]


@pytest.mark.parametrize("type_", [sa.Numeric(), sa.Double()], ids=["numeric", "double"])
def test_rows_by_other_keys_and_wide_ones_are_sorted_here(type_: Any, database: sa.Engine) -> None:
    """Python has no order of numbers that are none; and what does not fit into memory would be sorted on a disk."""
    wide = sa.Table(
        "wide", sa.MetaData(), sa.Column("k", sa.Integer, primary_key=True), sa.Column("note", sa.Text), schema=None
    )
    other = sa.Table("other", sa.MetaData(), sa.Column("k", type_, primary_key=True), sa.Column("note", sa.Text))
    for table in (wide, other):
        table.create(database)
    of_batches = [shuffled(list(range(turn * MANY, (turn + 1) * MANY))) for turn in range(3)]
    notes = "x" * 8_000
    assert written(SqlSink(wide, given, "update"), database, [[(k, notes) for k in it] for it in of_batches]).in_order
    unknown = [[(type_.python_type(k), "") for k in it] for it in of_batches]
    assert getattr(written(SqlSink(other, given, "update"), database, unknown), "in_order", True)


def test_a_row_that_is_refused_is_still_the_right_one(database: sa.Engine) -> None:
    table = sa.Table("t", sa.MetaData(), sa.Column("k", sa.Integer, primary_key=True), sa.Column("note", sa.String(3)))
    table.create(database)
    sink = SqlSink(table, given, "update")
    batches = [shuffled(list(range(turn * MANY, (turn + 1) * MANY))) for turn in range(3)]
    pairs = [[(message(b"", offset=k), (k, "abc")) for k in keys] for keys in batches]
    written(sink, database, pairs[:2])
    wrong = batches[2][400]
    pairs[2][400] = (message(b"", offset=wrong), (wrong, "too long"))
    ahead = sink.prepare(pairs[2])
    assert not ahead.encoded[0].in_order
    with pytest.raises(RecordError) as caught, database.begin() as connection:
        sink.write(ahead, Transaction(connection))
    assert caught.value.offset == wrong
