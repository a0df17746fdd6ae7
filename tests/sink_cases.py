"""Batches that once came to something else than their records one by one, and what they must come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from kafka_stream.sinks.sql import Delete, SqlSink
from kafka_stream.sinks.sql.rows import OnConflict
from tests.sink_law import Transaction

METADATA = sa.MetaData()


def _table(name: str, *columns: Any) -> sa.Table:
    return sa.Table(name, METADATA, *columns)


def _id(name: str = "id") -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)


USERS = _table("case_users", _id(), sa.Column("email", sa.String(40), unique=True))
WORDS = _table("case_words", sa.Column("word", sa.String(40), primary_key=True), sa.Column("n", sa.Integer))
PARENTS = _table(
    "case_parents", _id(), sa.Column("a", sa.String(10), server_default="given"), sa.Column("b", sa.String(10))
)
CHILDREN = _table("case_children", _id(), sa.Column("of", sa.ForeignKey(PARENTS.c.id, ondelete="CASCADE")))
DOCUMENTS = _table(
    "case_documents", _id(), sa.Column("title", sa.String(40)), sa.Column("body", sa.Text, nullable=False)
)
PRICES = _table(
    "case_prices",
    sa.Column("price", sa.Numeric(9, 2), primary_key=True),
    sa.Column("title", sa.String(40)),
    sa.Column("body", sa.Text, nullable=False),
)
TREE = _table("case_tree", _id(), sa.Column("parent", sa.ForeignKey("case_tree.id")))
LOG = _table(
    "case_log", sa.Column("n", sa.Integer, primary_key=True), sa.Column("a", sa.String(9)), sa.Column("b", sa.String(9))
)


@dataclass(frozen=True)
class Given:
    """What is in a table, what a batch brings, and what is there afterwards."""

    table: sa.Table
    mode: OnConflict
    stored: Sequence[Any]
    given: Sequence[Any]
    expected: Sequence[tuple[Any, ...]]
    children: Sequence[int] = ()


CASES: dict[str, Given] = {
    "ignore keeps a row whose fellow was ignored": Given(
        USERS, "ignore", [(1, "a@x")], [(1, "b@x"), (2, "b@x")], [(1, "a@x"), (2, "b@x")]
    ),
    "ignore tries a key again whose first row was ignored": Given(
        USERS, "ignore", [(1, "a@x")], [(2, "a@x"), (2, "b@x")], [(1, "a@x"), (2, "b@x")]
    ),
    "a number and a text of one key": Given(WORDS, "update", [], [("7", 1), (7, 2)], [("7", 2)]),
    "a delete by a number of a text": Given(WORDS, "update", [("7", 1)], [("7", 2), ("8", 1), Delete(7)], [("8", 1)]),
    "a delete and a full row: references go": Given(
        PARENTS, "update", [(1, "x", "y")], [Delete(1), (1, "z", "z")], [(1, "z", "z")], children=[1]
    ),
    "a delete and a row without a column: it has its default": Given(
        PARENTS, "update", [(1, "x", "y")], [Delete(1), {"id": 1, "b": "z"}], [(1, "given", "z")], children=[1]
    ),
    "a row that leaves out what a new one needs": Given(
        DOCUMENTS,
        "update",
        [(1, "old", "long"), (2, "old", "long")],
        [{"id": 1, "title": "new"}, {"id": 2, "title": "new"}, {"id": 1}],
        [(1, "new", "long"), (2, "new", "long")],
    ),
    "the same by a key of so many digits": Given(
        PRICES,
        "update",
        [(Decimal("1.25"), "old", "long")],
        [{"price": Decimal("1.25"), "title": "new"}],
        [(Decimal("1.25"), "new", "long")],
    ),
    "rows of several shapes that refer to each other": Given(
        TREE,
        "error",
        [],
        [(1, None), {"id": 2}, (3, 2), {"id": 4}, (5, 4)],
        [(1, None), (2, None), (3, 2), (4, None), (5, 4)],
    ),
    "numbers follow the order given": Given(
        LOG,
        "error",
        [],
        [{"a": "x", "b": "1"}, {"a": "y"}, {"a": "z", "b": "2"}],
        [("x", "1"), ("y", None), ("z", "2")],
    ),
    "a unique value is handed over": Given(
        USERS, "update", [(1, "x"), (2, "y")], [(1, "z"), (2, "x"), (3, "y")], [(1, "z"), (2, "x"), (3, "y")]
    ),
    "parents and children of one table go together": Given(
        TREE, "error", [(1, None), (2, 1)], [Delete(2), Delete(1), (1, None)], [(1, None)]
    ),
}


def comes_to(case: Given, connection: sa.Connection) -> list[Any]:
    """What the batch comes to; as one batch of a sink that sees the table for the first time."""
    for row in case.stored:
        connection.execute(sa.insert(case.table).values(row))
    for number in case.children:
        connection.execute(sa.insert(CHILDREN).values(id=number, of=number))
    sink = SqlSink(case.table, lambda rows: rows, case.mode)
    sink.write(sink.prepare(list(case.given)), Transaction(connection))
    assert connection.execute(sa.select(CHILDREN)).all() == []
    columns = [it for it in case.table.columns if it.name != "n" or case.table is not LOG]
    return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(next(iter(case.table.columns))))]
