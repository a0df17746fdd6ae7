"""A batch is its records one by one, on SQLite; a refused row names its record and shows no values."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from kafka_stream.batch import Batch
from kafka_stream.errors import ConfigurationError, ProcessingError, RecordError
from kafka_stream.sinks.sql import Delete, SqlSink
from kafka_stream.testing.messages import batch_of, message
from tests.sink_cases import CASES, METADATA, comes_to
from tests.sink_law import Transaction

ORDERS = sa.Table(
    "orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("note", sa.Text, unique=True)
)
SECRET = "a customer's name"


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    ORDERS.create(engine)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA foreign_keys = ON")
        driver.isolation_level = None
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
    engine.dispose()


@pytest.mark.parametrize("name", CASES)
def test_a_batch_comes_to_what_its_records_come_to(name: str, connection: sa.Connection) -> None:
    assert comes_to(CASES[name], connection) == CASES[name].expected


def decoded(batch: Batch) -> Iterator[Any]:
    for one, row in batch.decoded(json.loads):
        key = one.key()
        yield Delete(int(key or b"0")) if row is None else row


def write(sink: SqlSink, prepared: Any, connection: sa.Connection) -> None:
    sink.write(sink.prepare(prepared), Transaction(connection))


@pytest.mark.parametrize("mode", ["error", "update"])
@pytest.mark.parametrize("number", [0, 1, 3, 250])
def test_the_record_of_a_refused_row_is_named(number: int, mode: Any, connection: sa.Connection) -> None:
    write(SqlSink(ORDERS, list), [(1_000, SECRET)], connection)
    rows = [{"id": n, "note": SECRET if n == number else f"note {n}"} for n in range(number + 3)]
    batch = batch_of(map(json.dumps, rows), topic="orders", partition=2, offset=40)
    with pytest.raises(RecordError, match=r"UNIQUE constraint failed: orders\.note") as caught:
        write(SqlSink(ORDERS, decoded, mode), batch, connection)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("orders", 2, 40 + number)
    assert isinstance(caught.value.__cause__, IntegrityError)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_of_equal_rows_the_one_that_is_refused_is_named(connection: sa.Connection) -> None:
    batch = batch_of([message('{"id": 1}', partition=p, offset=5) for p in (0, 1, 2)])
    with pytest.raises(RecordError) as caught:
        write(SqlSink(ORDERS, decoded), batch, connection)
    assert caught.value.partition == 1


def test_a_list_of_pairs_with_messages_names_its_record(connection: sa.Connection) -> None:
    pairs = [(message(None, offset=n), n % 4) for n in range(9)]
    with pytest.raises(RecordError) as caught:
        write(SqlSink(ORDERS, lambda given: [(n, None) for _, n in given]), pairs, connection)
    assert caught.value.offset == 4


def test_a_row_of_many_records_is_numbered_and_its_values_are_not_shown(connection: sa.Connection) -> None:
    def counted(batch: Batch) -> list[Any]:
        return [(len(batch), SECRET), (0, SECRET)]

    with pytest.raises(IntegrityError) as caught:
        write(SqlSink(ORDERS, counted), batch_of(["1", "2"]), connection)
    assert SECRET not in str(caught.value)
    (note,) = caught.value.__notes__
    assert note == (
        "The database refused row 1 of those that to_rows of the SqlSink for table orders gave, of one of the 2 "
        "records from topic[0]@0 to topic[0]@1, or of several of them."
    )


def test_to_rows_may_say_which_record_a_row_stands_for(connection: sa.Connection) -> None:
    def latest(batch: Batch) -> Any:
        """The last record of each key alone; its row counts all of them."""
        last = {one.key(): one for one in batch}
        return [(one, {"id": n, "note": SECRET if n else None}) for n, one in enumerate(last.values())]

    batch = batch_of([message(None, key=key, offset=n) for n, key in enumerate([b"a", b"b", b"c", b"c"])])
    write(SqlSink(ORDERS, list), [(1_000, SECRET)], connection)
    with pytest.raises(RecordError) as caught:
        write(SqlSink(ORDERS, latest), batch, connection)
    assert caught.value.offset == 1, "the one of b"
    taken = [(message("1"), {"id": 1, "note": "a"}), (message("2"), Delete(1)), (message("3"), (0, "b"))]
    write(SqlSink(ORDERS, list, "update"), taken, connection)
    assert connection.execute(sa.select(ORDERS.c.note).where(ORDERS.c.id < 1_000)).all() == [("b",)]


def test_pairs_with_records_are_all_of_a_batch_or_none() -> None:
    with pytest.raises(ProcessingError, match="row 1 is no pair of a message and a row, as those before it are"):
        SqlSink(ORDERS, list).prepare([(message("1"), {"id": 1}), {"id": 2}])


@pytest.mark.parametrize("mode", ["ignore", "update"])
def test_a_key_that_the_table_lacks_is_refused(mode: Any, connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE bare (id INTEGER, note TEXT)")
    table = sa.Table("bare", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("note", sa.Text))
    with pytest.raises(
        ConfigurationError, match=r"\(id\) is the key .* table bare.*no primary key or unique constraint"
    ):
        write(SqlSink(table, list, mode), [(1, "a")], connection)


@pytest.mark.parametrize("mode", ["error", "ignore", "update"])
def test_schemas_that_the_connection_translates(mode: Any, connection: sa.Connection) -> None:
    connection.commit()
    connection.exec_driver_sql("ATTACH ':memory:' AS tenant")
    table = sa.Table(
        "things",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.Integer),
        sa.Column("b", sa.Integer, nullable=False),
        schema="template",
    )
    translated = connection.execution_options(schema_translate_map={"template": "tenant"})
    table.create(translated)
    sink = SqlSink(table, list, mode)
    write(sink, [(n, n, n) for n in range(500)], translated)
    write(sink, [Delete(n) for n in range(1, 500)], translated)
    if mode == "update":
        write(sink, [{"id": 0, "a": 7}], translated)
    found = connection.exec_driver_sql("SELECT * FROM tenant.things").all()
    assert found == [(0, 7 if mode == "update" else 0, 0)]


def test_the_table_is_looked_at_once(connection: sa.Connection) -> None:
    seen: list[str] = []
    sa.event.listen(connection, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    sink = SqlSink(ORDERS, list, "update")
    write(sink, [(1, "a")], connection)
    looks = len(seen)
    assert looks > 1
    write(sink, [(1, "b")], connection)
    assert len(seen) == looks + 1
    write(sink, [(1, "c"), Delete(2)], connection)
    assert [statement.split()[0] for statement in seen[looks + 1 :]] == ["SAVEPOINT", "INSERT", "DELETE", "RELEASE"]


@pytest.mark.parametrize("parents_first", [True, False])
def test_parents_and_children_of_deferred_references_go_in_either_order(
    parents_first: bool, connection: sa.Connection
) -> None:
    metadata = sa.MetaData()
    parents = sa.Table("p", metadata, sa.Column("id", sa.Integer, primary_key=True))
    of = sa.ForeignKey("p.id", deferrable=True, initially="DEFERRED")
    children = sa.Table("c", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("of", of))
    metadata.create_all(connection)
    write(SqlSink(parents, list), [(1,)], connection)
    write(SqlSink(children, list), [(1, 1)], connection)
    changes = [(SqlSink(parents, list), [Delete(1), (2,)]), (SqlSink(children, list), [Delete(1), (2, 2)])]
    for sink, rows in changes if parents_first else reversed(changes):
        write(sink, rows, connection)
    connection.exec_driver_sql("COMMIT")
    assert connection.execute(sa.select(children)).all() == [(2, 2)]
