"""``SqlSink`` on SQLite: what its rows come to, and what it refuses."""

from __future__ import annotations

import enum
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from kafka_stream.errors import ConfigurationError, ProcessingError, RecordError
from kafka_stream.protocols import Sink
from kafka_stream.sinks.sql import Delete, SqlSink
from kafka_stream.types import Writes
from tests.sink_law import Transaction
from tests.sqlite_tables import in_memory

METADATA = sa.MetaData()
ORDERS = sa.Table(
    "orders",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("amount", sa.Integer, server_default="7"),
    sa.Column("note", sa.Text),
)
LOG = sa.Table("log", METADATA, sa.Column("line", sa.Text), sa.Column("at", sa.Integer))
PRICES = sa.Table(
    "prices",
    METADATA,
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("sku", sa.Integer, primary_key=True),
    sa.Column("price", sa.Integer),
)
USERS = sa.Table(
    "users",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("email", sa.Text, unique=True),
    sa.Column("name", sa.Text),
)

TAGS = sa.Table("tags", METADATA, sa.Column("tag", sa.Text, primary_key=True))


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class OrmBase(DeclarativeBase):
    metadata = METADATA


class Payment(OrmBase):
    __tablename__ = "payments"
    id: Mapped[int] = mapped_column("payment_id", primary_key=True)
    payload: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    colour: Mapped[Colour] = mapped_column(default=Colour.BLUE)


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    with in_memory(METADATA) as connection:
        yield connection


def write(sink: SqlSink, rows: Any, connection: sa.Connection) -> None:
    sink.write(sink.prepare(rows), Transaction(connection))


def rows_of(table: sa.Table, connection: sa.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.columns))]


def given(rows: Any) -> Any:
    return rows


def test_it_is_a_sink_through_a_sql_transaction() -> None:
    sink = SqlSink(ORDERS, given)
    assert isinstance(sink, Sink)
    assert (sink.writes, sink.needs, sink.describe()) == (Writes.THROUGH_TRANSACTION, "sql", "table orders")


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
@pytest.mark.parametrize(
    "rows",
    [
        [(2, 20, "b"), (1, 10, "a")],
        [{"id": 2, "amount": 20, "note": "b"}, {"note": "a", "id": 1, "amount": 10}],
        [MappingProxyType({"id": 2, "amount": 20, "note": "b"}), (1, 10, "a")],
        {(2, 20, "b"): 0, (1, 10, "a"): 0}.keys(),
    ],
    ids=["tuples", "dicts", "mixed", "any iterable"],
)
def test_rows_of_every_shape_are_written(connection: sa.Connection, on_conflict: Any, rows: Any) -> None:
    write(SqlSink(ORDERS, given, on_conflict), rows, connection)
    assert rows_of(ORDERS, connection) == [(1, 10, "a"), (2, 20, "b")]


def test_beside_inserts_the_next_batch_is_prepared_at_once(connection: sa.Connection) -> None:
    sink, found = SqlSink(ORDERS, given), list[int]()
    sink.write_overlapping(
        sink.prepare([(1, 10, "a")]), Transaction(connection), lambda: found.append(len(rows_of(ORDERS, connection)))
    )
    assert found == [0]


def test_no_rows_write_nothing(connection: sa.Connection) -> None:
    sink = SqlSink(ORDERS, lambda _: ())
    assert len(sink.prepare(None)) == 0
    write(sink, None, connection)
    assert rows_of(ORDERS, connection) == []


def test_missing_columns_take_their_defaults(connection: sa.Connection) -> None:
    write(SqlSink(ORDERS, given), [{"id": 1}, {"id": 2, "amount": None}, {"id": 3, "note": "c"}], connection)
    assert rows_of(ORDERS, connection) == [(1, 7, None), (2, None, None), (3, 7, "c")]


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
def test_an_orm_class_takes_its_attribute_names_types_and_python_defaults(
    connection: sa.Connection, on_conflict: Any
) -> None:
    rows = [{"id": 2, "payload": {"a": [1]}}, {"id": 1, "payload": {}, "colour": Colour.RED}]
    write(SqlSink(Payment, given, on_conflict), rows, connection)
    write(SqlSink(Payment, given, on_conflict), [(3, {"b": None}, Colour.RED)], connection)
    assert connection.execute(sa.select(Payment.id, Payment.payload, Payment.colour).order_by(Payment.id)).all() == [
        (1, {}, Colour.RED),
        (2, {"a": [1]}, Colour.BLUE),
        (3, {"b": None}, Colour.RED),
    ]


def test_a_default_function_runs_for_each_row(connection: sa.Connection) -> None:
    numbers = itertools.count(1)
    table = sa.Table(
        "numbered",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("n", sa.Integer, default=lambda: next(numbers)),
        sa.Column("kind", sa.Text, default=sa.func.lower("X")),
    )
    table.create(connection)
    write(SqlSink(table, given, "update"), [{"id": 1}, {"id": 2}], connection)
    write(SqlSink(table, given, "update"), [{"id": 2, "kind": "y"}], connection)
    assert rows_of(table, connection) == [(1, 1, "x"), (2, 2, "y")]


def test_columns_that_the_database_computes_are_left_out(connection: sa.Connection) -> None:
    table = sa.Table(
        "computed",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("twice", sa.Integer, sa.Computed("n * 2")),
        sa.Column("n", sa.Integer),
    )
    table.create(connection)
    write(SqlSink(table, given, "update"), [(1, 21)], connection)
    assert rows_of(table, connection) == [(1, 42, 21)]
    with pytest.raises(ProcessingError, match="row 0 has 'twice', which is no column that can be written"):
        SqlSink(table, given).prepare([{"id": 1, "twice": 3}])


def test_awkward_names_are_quoted(connection: sa.Connection) -> None:
    table = sa.Table(
        "order", sa.MetaData(), sa.Column("from 100%", sa.Text, primary_key=True), sa.Column("select:1", sa.Text)
    )
    table.create(connection)
    write(SqlSink(table, given, "update"), [{"from 100%": "a", "select:1": "%s"}, Delete("b")], connection)
    assert rows_of(table, connection) == [("a", "%s")]


def test_more_rows_than_a_statement_can_hold_are_written(connection: sa.Connection) -> None:
    rows = [(n, n, "x") for n in range(40_000)]
    write(SqlSink(ORDERS, given, "update"), rows, connection)
    assert connection.execute(sa.select(sa.func.count(), sa.func.sum(ORDERS.c.amount))).one() == (
        40_000,
        sum(range(40_000)),
    )


# on_conflict="error"


def test_error_writes_every_row_as_given_in_that_order(connection: sa.Connection) -> None:
    sink = SqlSink(LOG, given)
    write(sink, [("b", 1), ("a", 1), ("b", 1)], connection)
    assert connection.execute(sa.select(LOG.c.line)).scalars().all() == ["b", "a", "b"]


@pytest.mark.parametrize("rows", [[(1, 1, "a"), (1, 2, "b")], [(5, 1, "a")]], ids=["within a batch", "with the table"])
def test_error_raises_what_the_database_says_about_a_repeated_key(connection: sa.Connection, rows: Any) -> None:
    write(SqlSink(ORDERS, given), [(5, 0, "stored")], connection)
    with pytest.raises(IntegrityError):
        write(SqlSink(ORDERS, given), rows, connection)


def test_error_with_deletes_comes_to_one_change_after_the_other(connection: sa.Connection) -> None:
    sink = SqlSink(ORDERS, given)
    write(sink, [(1, 1, "old"), (2, 2, "old")], connection)
    write(sink, [Delete(1), (1, 10, "new"), (3, 30, "x"), Delete(3), Delete(2), Delete(9)], connection)
    assert rows_of(ORDERS, connection) == [(1, 10, "new")]


def test_error_lets_the_database_number_rows_in_the_order_given(connection: sa.Connection) -> None:
    write(SqlSink(USERS, given), [{"email": "b"}, {"email": "a"}], connection)
    assert rows_of(USERS, connection) == [(1, "b", None), (2, "a", None)]


# on_conflict="ignore"


def test_ignore_keeps_the_first_of_the_table_and_of_the_batch(connection: sa.Connection) -> None:
    sink = SqlSink(ORDERS, given, "ignore")
    write(sink, [(1, 1, "stored")], connection)
    write(sink, [(2, 2, "first"), (1, 9, "late"), (2, 9, "late"), {"id": 2, "note": "late"}], connection)
    assert rows_of(ORDERS, connection) == [(1, 1, "stored"), (2, 2, "first")]


def test_ignore_keeps_the_first_for_every_unique_constraint(connection: sa.Connection) -> None:
    write(
        SqlSink(USERS, given, "ignore"),
        [(2, "e", "first"), (1, "e", "late"), (3, None, "x"), (4, None, "y")],
        connection,
    )
    assert rows_of(USERS, connection) == [(2, "e", "first"), (3, None, "x"), (4, None, "y")]


def test_ignore_with_a_key_ignores_conflicts_of_that_key_only(connection: sa.Connection) -> None:
    sink = SqlSink(USERS, given, "ignore", key=("email",))
    write(sink, [{"email": "b", "name": "1"}, {"email": "a", "name": "2"}, {"email": "b", "name": "3"}], connection)
    assert rows_of(USERS, connection) == [(1, "b", "1"), (2, "a", "2")]
    with pytest.raises(IntegrityError):
        write(sink, [(1, "c", "other")], connection)


def test_ignore_keeps_the_first_after_a_delete(connection: sa.Connection) -> None:
    sink = SqlSink(ORDERS, given, "ignore")
    write(sink, [(1, 1, "stored"), (2, 2, "stored")], connection)
    write(sink, [(1, 9, "x"), Delete(1), (1, 10, "first"), (1, 11, "late"), Delete(2)], connection)
    assert rows_of(ORDERS, connection) == [(1, 10, "first")]


def test_ignore_writes_all_rows_of_a_table_without_anything_unique(connection: sa.Connection) -> None:
    write(SqlSink(LOG, given, "ignore"), [("a", 1), ("a", 1)], connection)
    assert rows_of(LOG, connection) == [("a", 1), ("a", 1)]


# on_conflict="update" and Delete


def test_update_keeps_the_last_change_of_each_key(connection: sa.Connection) -> None:
    sink = SqlSink(ORDERS, given, "update")
    write(sink, [(1, 1, "old"), (2, 2, "old"), (3, 3, "old")], connection)
    write(sink, [(1, 5, "x"), Delete(2), (4, 4, "x"), Delete(4), (1, 6, "last"), Delete(3), (3, 7, "back")], connection)
    assert rows_of(ORDERS, connection) == [(1, 6, "last"), (3, 7, "back")]


def test_update_leaves_columns_alone_that_a_mapping_does_not_have(connection: sa.Connection) -> None:
    sink = SqlSink(ORDERS, given, "update")
    write(sink, [(1, 1, "old"), (2, 2, "old")], connection)
    write(sink, [{"id": 1, "amount": 5}, {"id": 2, "note": "new"}, {"id": 3}], connection)
    assert rows_of(ORDERS, connection) == [(1, 5, "old"), (2, 2, "new"), (3, 7, None)]


CHANGES: list[Any] = [
    (1, 1, "a"),
    {"id": 1, "amount": 2},
    {"id": 1, "note": "n"},
    {"id": 1},
    Delete(1),
    {"id": 1, "note": "other"},
]


@pytest.mark.parametrize("on_conflict", ["ignore", "update"])
@pytest.mark.parametrize("stored", [[], [(1, 0, "stored")]], ids=["no row", "a row"])
def test_the_outcome_does_not_depend_on_where_a_batch_ends(
    connection: sa.Connection, on_conflict: Any, stored: Any
) -> None:
    sink = SqlSink(ORDERS, given, on_conflict)

    def outcome(batches: list[Any]) -> list[tuple[Any, ...]]:
        connection.execute(sa.delete(ORDERS))
        write(sink, stored, connection)
        for batch in batches:
            write(sink, batch, connection)
        return rows_of(ORDERS, connection)

    for changes in itertools.permutations(CHANGES, 4):
        assert outcome([changes]) == outcome([[change] for change in changes]), changes


def test_a_key_of_two_columns(connection: sa.Connection) -> None:
    sink = SqlSink(PRICES, given, "update")
    write(sink, [("eu", 2, 1), ("eu", 1, 2), ("us", 1, 3)], connection)
    write(sink, [Delete("eu", 1), {"sku": 2, "region": "eu", "price": 9}, Delete("us", 7)], connection)
    assert rows_of(PRICES, connection) == [("eu", 2, 9), ("us", 1, 3)]


def test_a_unique_constraint_as_the_key(connection: sa.Connection) -> None:
    sink = SqlSink(USERS, given, "update", key=["email"])
    write(sink, [{"email": "b", "name": "1"}, {"email": "a", "name": "2"}], connection)
    write(sink, [{"email": "b", "name": "3"}, Delete("a")], connection)
    assert rows_of(USERS, connection) == [(1, "b", "3")]


def test_update_of_a_table_that_is_all_key_ignores(connection: sa.Connection) -> None:
    sink = SqlSink(TAGS, given, "update")
    write(sink, [("b",), ("a",), ("b",)], connection)
    write(sink, [{"tag": "b"}, Delete("a")], connection)
    assert rows_of(TAGS, connection) == [("b",)]


@pytest.fixture
def statements(connection: sa.Connection) -> list[tuple[str, Any]]:
    """The first word of each statement that changes rows, and its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if (word := statement.split()[0]) in ("INSERT", "DELETE", "UPDATE"):
            seen.append((word, parameters))

    sa.event.listen(connection, "before_cursor_execute", note)
    return seen


def test_rows_and_deletes_are_written_in_key_order_and_few_statements(
    connection: sa.Connection, statements: list[tuple[str, Any]]
) -> None:
    rows = [("us", 1, 0), ("eu", 2, 0), Delete("us", 9), ("eu", 1, 0), Delete("eu", 9), Delete("eu", 1), ("eu", 1, 5)]
    write(SqlSink(PRICES, given, "ignore"), rows, connection)
    assert statements == [
        ("INSERT", [("eu", 1, 0), ("eu", 2, 0), ("us", 1, 0)]),
        ("DELETE", [("eu", 1), ("eu", 9), ("us", 9)]),
        ("INSERT", ("eu", 1, 5)),
    ]


def test_a_deleted_row_is_gone_before_the_one_that_follows_it(
    connection: sa.Connection, statements: list[tuple[str, Any]]
) -> None:
    write(SqlSink(ORDERS, given), [(1, 1, "old"), (2, 2, "old")], connection)
    write(SqlSink(ORDERS, given, "update"), [Delete(1), {"id": 1, "note": "new"}, Delete(2), (2, 5, "new")], connection)
    assert rows_of(ORDERS, connection) == [(1, 7, "new"), (2, 5, "new")]
    assert [word for word, _ in statements] == ["INSERT", "DELETE", "INSERT", "INSERT"]


def test_keys_that_cannot_be_compared_have_an_order_too(connection: sa.Connection) -> None:
    table = sa.Table("by_colour", sa.MetaData(), sa.Column("colour", sa.Enum(Colour), primary_key=True))
    table.create(connection)
    sink = SqlSink(table, given, "update")
    write(sink, [(Colour.RED,), (Colour.BLUE,), Delete(Colour.RED)], connection)
    assert rows_of(table, connection) == [(Colour.BLUE,)]


# What is refused


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 1}, {"id": 2, "colour": "red"}], "row 1 has 'colour', which is no column .* these are id, amount"),
        ([{"amount": 2}], "a row with the columns amount has no 'id', which is of the key"),
        ([{"id": None, "amount": 2}], "'id' is None"),
        ([(None, 1, "a")], "'id' is None"),
        ([Delete(None)], "'id' is None"),
        ([(1, 2, "a"), (1, 2)], "row 1 is a tuple of 2 values; in table order they are id, amount, note"),
        ([Delete(1, 2)], r"row 0 is Delete\(1, 2\), but the key is \(id\)"),
        (["row"], "row 0 is a str, not a mapping, a tuple or a Delete"),
        ([None], "row 0 is a NoneType"),
        ([{}], "row 0 is an empty mapping"),
        ([{1: 2}], "row 0 has 1, which is no column"),
        ("rows", "gave a str; it gives an iterable"),
        (None, "gave a NoneType; it gives an iterable"),
    ],
)
def test_what_is_no_row_is_refused_by_name(rows: Any, message: str) -> None:
    with pytest.raises(ProcessingError, match=f"to_rows of the SqlSink for table orders.*{message}"):
        SqlSink(ORDERS, given, "update").prepare(rows)


def test_a_null_in_a_key_of_two_columns_is_named() -> None:
    with pytest.raises(ProcessingError, match="'sku' is None"):
        SqlSink(PRICES, given, "update").prepare([("eu", None, 1)])


def test_a_delete_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="names the key"):
        Delete()
    with pytest.raises(ProcessingError, match=r"row 0 is Delete\('a'\), but the table has no primary key"):
        SqlSink(LOG, given).prepare([Delete("a")])


def test_what_to_rows_raises_comes_through() -> None:
    def to_rows(_: object) -> Iterator[Mapping[str, Any]]:
        yield {"id": 1}
        raise RecordError("no price", topic="orders", partition=0, offset=3)

    with pytest.raises(RecordError, match="no price"):
        SqlSink(ORDERS, to_rows).prepare(None)


async def _coroutine(_: object) -> list[Any]:
    return []


async def _async_generator(_: object) -> AsyncIterator[Any]:
    yield ()


class _AsyncCallable:
    async def __call__(self, _: object) -> list[Any]:
        return []


@pytest.mark.parametrize("to_rows", [_coroutine, _async_generator, _AsyncCallable(), partial(_coroutine)])
def test_async_to_rows_is_refused_with_where_async_belongs(to_rows: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"is async; .* belongs in the stream's prepare"):
        SqlSink(ORDERS, to_rows)


def test_a_plain_function_that_gives_a_coroutine_is_refused() -> None:
    with pytest.raises(ProcessingError, match=r"is async; .* belongs in the stream's prepare"):
        SqlSink(ORDERS, lambda batch: _coroutine(batch)).prepare(None)  # type: ignore[arg-type, return-value]


class Wide(OrmBase):
    __tablename__ = "wide"
    id: Mapped[int] = mapped_column(primary_key=True)


class Wider(Wide):
    __tablename__ = "wider"
    id: Mapped[int] = mapped_column(sa.ForeignKey("wide.id"), primary_key=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": LOG, "on_conflict": "update"}, 'on_conflict="update" needs a key, but table log has no primary key'),
        ({"table": ORDERS, "key": ("note",)}, "neither its primary key nor a unique constraint"),
        ({"table": ORDERS, "key": ("colour",)}, "names 'colour', which is no column"),
        ({"table": ORDERS, "on_conflict": "replace"}, "on_conflict='replace' .* is unknown"),
        ({"table": "orders"}, "to a sqlalchemy Table or an ORM class, not to str 'orders'"),
        ({"table": dict}, "to a sqlalchemy Table or an ORM class"),
        ({"table": Wider}, "Wider is mapped to more than one table"),
        ({"table": ORDERS, "to_rows": []}, "to_rows of the SqlSink for table orders is a list, not a function"),
        (
            {
                "table": sa.Table(
                    "generated", sa.MetaData(), sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True)
                ),
                "on_conflict": "update",
            },
            "'id' of table generated is computed by the database",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SqlSink(**{"to_rows": given} | arguments)


def test_a_dialect_whose_upsert_is_not_known_is_refused() -> None:
    engine = sa.create_engine("sqlite://")
    engine.dialect.name = "oracle"
    with (
        engine.connect() as connection,
        pytest.raises(ConfigurationError, match="works on mariadb, mysql, postgresql and sqlite, not on"),
    ):
        write(SqlSink(ORDERS, given, "update"), [(1, 2, "a")], connection)
    engine.dispose()


def test_a_partial_unique_index_is_no_key() -> None:
    table = sa.Table("parts", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("live", sa.Boolean))
    sa.Index("live_parts", table.c.id, unique=True, postgresql_where=table.c.live)
    with pytest.raises(ConfigurationError, match="neither its primary key nor a unique constraint"):
        SqlSink(table, given, "update", key=("id",))
    sa.Index("all_parts", table.c.id, unique=True)
    assert len(SqlSink(table, given, "update", key=("id",)).prepare([(1, True)])) == 1
