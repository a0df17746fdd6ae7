"""What workers make of rows for PostgreSQL and MariaDB comes to what it comes to without them, odd values and all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from integration_tests.kinds import MARIADB_TABLE, ON_MARIADB, ON_POSTGRES, POSTGRES_TABLE, row_of
from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.sql import Add, Delete, Greatest, Latest, Merge, SqlSink
from kafka_stream.sinks.sql.on_workers.shipped import RowsLeftBehind
from tests.elsewhere import prepared_elsewhere

PIECES = 3


COUNTS = {
    metadata: sa.Table(
        "counts",
        metadata,
        sa.Column("name", sa.String(20), primary_key=True),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("last", sa.String(20)),
    )
    for metadata in (ON_POSTGRES, ON_MARIADB)
}
MERGE = Merge(records=Add, seen=Greatest, last=Latest(by="seen"))


@dataclass
class Transaction:
    connection: sa.Connection


@dataclass
class Database:
    engine: sa.Engine
    kinds: sa.Table
    counts: sa.Table

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self.engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    def write(self, sink: SqlSink, *values: Any) -> None:
        with self.transaction() as transaction:
            for value in values:
                sink.write(value, transaction)

    def rows(self, table: sa.Table) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))]


@pytest.fixture(scope="module")
def on_postgres(postgres_server: Any) -> Iterator[Database]:
    yield from _created(postgres_server, ON_POSTGRES, POSTGRES_TABLE)


@pytest.fixture(scope="module")
def on_mariadb(mariadb_server: Any) -> Iterator[Database]:
    yield from _created(mariadb_server, ON_MARIADB, MARIADB_TABLE)


def _created(server: Any, metadata: sa.MetaData, kinds: sa.Table) -> Iterator[Database]:
    found = server.create_database()
    engine = sa.create_engine(found.url)
    metadata.create_all(engine)
    yield Database(engine, kinds, COUNTS[metadata])
    engine.dispose()
    server.drop_database(found)


@pytest.fixture(params=["on_postgres", "on_mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """With empty tables."""
    found: Database = request.getfixturevalue(request.param)
    yield found
    with found.transaction() as transaction:
        for table in (found.kinds, found.counts):
            transaction.connection.execute(sa.delete(table))


@pytest.fixture
def postgres_database(on_postgres: Database) -> Iterator[Database]:
    yield on_postgres
    with on_postgres.transaction() as transaction:
        transaction.connection.execute(sa.delete(on_postgres.kinds))


def as_given(rows: Any) -> Any:
    return rows


def rows_of(database: Database, numbers: range) -> list[Any]:
    names = set(database.kinds.columns.keys())
    return [row_of(number, names) for number in numbers]


def elsewhere(sink: SqlSink, rows: list[Any]) -> list[Any]:
    """What workers give of the rows in pieces."""
    size = -(-len(rows) // PIECES)
    return [prepared_elsewhere(sink, rows[begin : begin + size]) for begin in range(0, len(rows), size)]


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
def test_values_of_all_kinds_are_the_same(database: Database, on_conflict: Any) -> None:
    rows = rows_of(database, range(2_400))
    if on_conflict != "error":
        rows += [{**row, "text": "again"} for row in rows[::3]] + [Delete(7), {"id": 9, "text": "partial"}]
    here, sink = SqlSink(database.kinds, as_given, on_conflict), SqlSink(database.kinds, as_given, on_conflict)
    database.write(here, here.prepare(rows))
    expected = database.rows(database.kinds)
    assert len(expected) == 2_400 - (on_conflict != "error")
    for _ in range(3):
        with database.transaction() as transaction:
            transaction.connection.execute(sa.delete(database.kinds))
        shipped = elsewhere(sink, rows)
        database.write(sink, *shipped)
        assert database.rows(database.kinds) == expected
    assert shipped[0].is_copied == (database.engine.dialect.name == "postgresql")


def test_rows_of_a_key_are_merged_by_the_worker(database: Database) -> None:
    rows = [
        {"name": f"n{number % 700}", "records": 1, "seen": number % 1_000, "last": f"{number}"}
        for number in range(6_000)
    ]
    here, sink = SqlSink(database.counts, as_given, MERGE), SqlSink(database.counts, as_given, MERGE)
    for _ in range(3):
        database.write(here, here.prepare(rows))
    expected = database.rows(database.counts)
    with database.transaction() as transaction:
        transaction.connection.execute(sa.delete(database.counts))
    for _ in range(3):
        shipped = elsewhere(sink, rows)
        database.write(sink, *shipped)
    assert database.rows(database.counts) == expected
    assert shipped[0].is_copied == (database.engine.dialect.name == "postgresql")
    assert len(pickle.dumps(shipped[0])) < len(pickle.dumps(rows)) / PIECES


@pytest.mark.parametrize("on_conflict", ["error", "update"])
def test_a_refused_row_has_the_batch_done_over_and_leaves_nothing(database: Database, on_conflict: Any) -> None:
    sink = SqlSink(database.kinds, as_given, on_conflict)
    for _ in range(3):
        rows = rows_of(database, range(1_500))
        database.write(sink, *elsewhere(sink, rows))
        with database.transaction() as transaction:
            transaction.connection.execute(sa.delete(database.kinds))
        rows[1_200]["text"] = "secret " * 20
        with pytest.raises((RowsLeftBehind, sa.exc.DBAPIError)) as caught:
            database.write(sink, *elsewhere(sink, rows))
        assert isinstance(caught.value, RowsLeftBehind)
        assert isinstance(caught.value, ProcessingError)
        assert "secret" not in str(caught.value)
        assert database.rows(database.kinds) == []


@pytest.mark.parametrize(
    ("column", "changed", "back", "is_copied"),
    [("text", "text", "varchar(40)", True), ("id", "bigint", "integer", False)],
)
def test_rows_that_were_encoded_for_other_types_are_left_behind_until_that_is_known(
    postgres_database: Database, column: str, changed: str, back: str, is_copied: bool
) -> None:
    sink, database = SqlSink(POSTGRES_TABLE, as_given), postgres_database

    def alter(type_: str) -> None:
        with database.transaction() as transaction:
            transaction.connection.execute(sa.text(f"ALTER TABLE kinds ALTER COLUMN {column} TYPE {type_}"))

    database.write(sink, prepared_elsewhere(sink, rows_of(database, range(100))))
    old = prepared_elsewhere(sink, rows_of(database, range(100, 200)))
    assert old.is_copied
    before = sink.work_changed
    alter(changed)
    try:
        with pytest.raises(RowsLeftBehind, match="other types"):
            database.write(sink, old)
        assert sink.work_changed > before
        new = prepared_elsewhere(sink, rows_of(database, range(100, 200)))
        assert new.is_copied == is_copied
        database.write(sink, new)
        assert len(database.rows(POSTGRES_TABLE)) == 200
    finally:
        alter(back)
    for begin in (200, 300, 400):
        try:
            shipped = prepared_elsewhere(sink, rows_of(database, range(begin, begin + 100)))
            database.write(sink, shipped)
        except RowsLeftBehind:
            database.write(sink, sink.prepare(rows_of(database, range(begin, begin + 100))))
    assert shipped.is_copied
    assert len(database.rows(POSTGRES_TABLE)) == 500


def test_keys_that_only_the_database_takes_for_one_are_inserted_as_rows(postgres_database: Database) -> None:
    metadata = sa.MetaData()
    words = sa.Table("words", metadata, sa.Column("word", postgresql.CITEXT, primary_key=True), sa.Column("n", sa.Text))
    database, sink = postgres_database, SqlSink(words, as_given, "update")
    rows = [(f"{letter}{number}", letter) for number in range(600) for letter in ("a", "A")]
    with database.transaction() as transaction:
        transaction.connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS citext"))
        metadata.create_all(transaction.connection)
    for _ in range(4):
        try:
            database.write(sink, prepared_elsewhere(sink, rows))
        except RowsLeftBehind:
            database.write(sink, sink.prepare(rows))
    database.write(sink, prepared_elsewhere(sink, rows))
    assert {n for _, n in database.rows(words)} == {"A"}
    assert len(database.rows(words)) == 600


def test_json_that_an_engine_writes_in_a_way_of_its_own_is_written_so(postgres_database: Database) -> None:
    engine = sa.create_engine(postgres_database.engine.url, json_serializer=sorted_json)
    database = Database(engine, POSTGRES_TABLE, postgres_database.counts)
    sink = SqlSink(POSTGRES_TABLE, as_given)
    for number in range(3):
        rows = [{"id": it, "document": {"b": 1, "a": 2}} for it in range(100 * number, 100 * number + 100)]
        database.write(sink, prepared_elsewhere(sink, rows))
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT DISTINCT CAST(document AS text) FROM kinds")).scalars().all()
    engine.dispose()
    assert found == ['{"a":2,"b":1}']


def sorted_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def test_a_zero_for_a_number_of_the_databases_own_is_refused_on_the_worker(on_mariadb: Database) -> None:
    metadata = sa.MetaData()
    numbered = sa.Table("numbered", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
    metadata.create_all(on_mariadb.engine)
    sink = SqlSink(numbered, as_given, "update")
    on_mariadb.write(sink, prepared_elsewhere(sink, [(1, 1)]))
    with pytest.raises(ProcessingError, match="AUTO_INCREMENT"):
        prepared_elsewhere(sink, [(0, 1), (0, 2)])
