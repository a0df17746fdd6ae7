"""Where ``COPY`` would do otherwise than INSERT, or fails, ``SqlSink`` inserts; a frozen COPY holds nobody up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from integration_tests.servers import PostgresDatabase
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.sinks.sql.postgres import writer as postgres_writer
from kafka_stream.sinks.sql.postgres.copying import send
from kafka_stream.sinks.sql.postgres.writer import PostgresWriter
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition

MANY = 1_000
ROOT = Path(__file__).parents[1]
METADATA = sa.MetaData()
ORDERS = sa.Table(
    "orders",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("amount", sa.Integer, server_default="7"),
    sa.Column("note", sa.Text),
)
ROWS: list[Any] = [(n, n % 100, f"note {n}") for n in range(MANY)]


@dataclass
class Transaction:
    connection: sa.Connection


@pytest.fixture
def database(postgres: PostgresDatabase) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.url)
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each group of many rows was copied."""
    seen: list[bool] = []
    copies = PostgresWriter._copies

    def noticed(self: PostgresWriter, *arguments: Any) -> bool:
        seen.append(copies(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(PostgresWriter, "_copies", noticed)
    return seen


def given(rows: Any) -> Any:
    return rows


def write(database: sa.Engine, rows: Any, on_conflict: Any = "error", table: sa.Table = ORDERS) -> None:
    with database.begin() as connection:
        sink = SqlSink(table, given, on_conflict)
        sink.write(sink.prepare(rows), Transaction(connection))


def execute(database: sa.Engine, *statements: str) -> list[Any]:
    with database.begin() as connection:
        for statement in statements:
            result = connection.execute(sa.text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def stored(database: sa.Engine) -> list[Any]:
    return execute(database, "SELECT * FROM orders ORDER BY id")


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
def test_many_rows_are_copied(on_conflict: Any, database: sa.Engine, copied: list[bool]) -> None:
    write(database, ROWS, on_conflict)
    write(database, [{"id": MANY + n} for n in range(MANY)], on_conflict)
    assert stored(database) == [*ROWS, *((MANY + n, 7, None) for n in range(MANY))]
    assert copied == [True, True]


@pytest.mark.parametrize("on_conflict", ["error", "ignore", "update"])
def test_what_was_copied_once_is_encoded_before_the_transaction(
    on_conflict: Any, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = SqlSink(ORDERS, given, on_conflict)
    with database.begin() as connection:
        first = sink.prepare(ROWS)
        sink.write(first, Transaction(connection))
    second = sink.prepare([(MANY + n, n, None) for n in range(MANY)])
    assert sink.prepare(ROWS[:20]).encoded == {}, "few rows are inserted"
    assert sink.prepare([(str(n), n, "") for n in range(MANY)]).encoded == {}, "what cannot be encoded"
    assert (len(first.encoded), len(second.encoded)) == (0, 1)
    monkeypatch.setattr(postgres_writer, "encoded_pieces", None)  # what would encode them in the transaction
    with database.begin() as connection:
        sink.write(second, Transaction(connection))
    assert stored(database) == [*ROWS, *((MANY + n, n, None) for n in range(MANY))]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders ALTER note TYPE varchar(20)",
        "ALTER TABLE orders ALTER note SET NOT NULL",
        "ALTER TABLE orders ALTER amount TYPE bigint",
        "CREATE RULE nothing AS ON INSERT TO orders DO INSTEAD NOTHING",
    ],
)
def test_what_was_encoded_for_another_table_is_not_used(change: str, database: sa.Engine) -> None:
    sink = SqlSink(ORDERS, given)
    with database.begin() as connection:
        sink.write(sink.prepare(ROWS), Transaction(connection))
    ahead = sink.prepare([(MANY + n, n, "x") for n in range(MANY)])
    assert ahead.encoded
    execute(database, change)
    with database.begin() as connection:
        sink.write(ahead, Transaction(connection))
    assert len(stored(database)) == (MANY if "RULE" in change else 2 * MANY)


def test_what_was_encoded_for_another_connection_is_not_used(database: sa.Engine) -> None:
    sink = SqlSink(ORDERS, given)
    with database.begin() as connection:
        sink.write(sink.prepare(ROWS), Transaction(connection))
    ahead = sink.prepare([(MANY + n, n, "x") for n in range(MANY)])
    assert ahead.encoded
    database.dispose()
    with database.begin() as connection:
        sink.write(ahead, Transaction(connection))
    assert len(stored(database)) == 2 * MANY


def test_few_rows_are_inserted(database: sa.Engine, copied: list[bool]) -> None:
    write(database, ROWS[:20])
    assert (stored(database), copied) == (ROWS[:20], [])


def test_conflicts_among_many_rows(database: sa.Engine, copied: list[bool]) -> None:
    execute(database, "INSERT INTO orders VALUES (5, 5, 'old'), (2000, 1, 'old')")
    write(database, [*ROWS, *((n, 1, "again") for n in range(500))], "ignore")
    assert stored(database) == [(5, 5, "old") if n == 5 else ROWS[n] for n in range(MANY)] + [(2000, 1, "old")]
    write(database, [*ROWS, *({"id": n, "note": "last"} for n in range(MANY))], "update")
    assert stored(database) == [(n, n % 100, "last") for n in range(MANY)] + [(2000, 1, "old")]
    assert set(copied) == {True}


def test_two_sinks_of_one_table_in_one_transaction(database: sa.Engine, copied: list[bool]) -> None:
    with database.begin() as connection:
        for rows in (ROWS, [(n, n, "second") for n in range(MANY)]):
            sink = SqlSink(ORDERS, given, "update")
            sink.write(sink.prepare(rows), Transaction(connection))
    assert (stored(database), copied) == ([(n, n, "second") for n in range(MANY)], [True, True])


REFUSED = {
    "a rule": ["CREATE RULE twice AS ON INSERT TO orders DO ALSO INSERT INTO seen VALUES (new.id)"],
    "a trigger": [
        (
            "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN INSERT INTO seen VALUES (0); RETURN NULL; END'"
        ),
        "CREATE TRIGGER see AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION see()",
    ],
    "another type": ["ALTER TABLE orders ALTER amount TYPE bigint"],
    "a domain": ["CREATE DOMAIN small AS integer CHECK (value < 1000)", "ALTER TABLE orders ALTER amount TYPE small"],
    "a view": [
        "ALTER TABLE orders RENAME TO behind",
        "CREATE VIEW orders AS SELECT * FROM behind",
    ],
}


@pytest.mark.parametrize("on_conflict", ["error", "update"])
@pytest.mark.parametrize("what", REFUSED)
def test_where_copy_would_do_otherwise_rows_are_inserted(
    what: str, on_conflict: Any, database: sa.Engine, copied: list[bool]
) -> None:
    execute(database, "CREATE TABLE seen (id bigint)", *REFUSED[what])
    if what == "a rule" and on_conflict == "update":
        with pytest.raises(DBAPIError, match="rules"):  # as PostgreSQL has it
            write(database, ROWS, on_conflict)
        return
    write(database, ROWS, on_conflict)
    assert copied == [False]
    assert stored(database) == ROWS
    assert execute(database, "SELECT count(*) FROM seen") == [(MANY if what in {"a rule", "a trigger"} else 0,)]


def test_row_security_is_kept(database: sa.Engine, copied: list[bool]) -> None:
    with database.connect() as connection:
        role = f"writer_{os.getpid()}"
        connection.execute(sa.text(f"CREATE ROLE {role}"))
        connection.execute(sa.text(f"GRANT INSERT, SELECT ON orders TO {role}"))
        connection.execute(sa.text("ALTER TABLE orders ENABLE ROW LEVEL SECURITY"))
        connection.execute(sa.text("CREATE POLICY p ON orders FOR INSERT WITH CHECK (amount < 99)"))
        connection.execute(sa.text(f"SET ROLE {role}"))
        sink = SqlSink(ORDERS, given)
        with pytest.raises(DBAPIError, match="row-level security policy"):
            sink.write(sink.prepare(ROWS), Transaction(connection))
    assert copied == [False]


def test_a_user_who_may_not_create_temporary_tables(database: sa.Engine, copied: list[bool]) -> None:
    with database.connect() as connection:
        role = f"plain_{os.getpid()}"
        connection.execute(sa.text(f"CREATE ROLE {role}"))
        name = connection.execute(sa.text("SELECT current_database()")).scalar_one()
        connection.execute(sa.text(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM public'))
        connection.execute(sa.text(f"GRANT INSERT, SELECT, UPDATE ON orders TO {role}"))
        connection.execute(sa.text(f"SET ROLE {role}"))
        sink = SqlSink(ORDERS, given, "update")
        sink.write(sink.prepare(ROWS), Transaction(connection))
        assert connection.execute(sa.text("SELECT count(*) FROM orders")).scalar_one() == MANY
    assert copied == [False]


def test_a_partitioned_table_and_another_schema_are_copied(database: sa.Engine, copied: list[bool]) -> None:
    table = sa.Table(
        "by day",
        sa.MetaData(),
        sa.Column("Id %", sa.Integer, key="id"),
        sa.Column("day", sa.Date),
        schema="Shop",
        postgresql_partition_by="RANGE (day)",
    )
    execute(database, 'CREATE SCHEMA "Shop"')
    table.create(database)
    execute(database, 'CREATE TABLE "Shop".rest PARTITION OF "Shop"."by day" DEFAULT')
    write(database, [{"id": n, "day": None} for n in range(MANY)], table=table)
    assert execute(database, 'SELECT count(*) FROM "Shop".rest') == [(MANY,)]


def test_text_is_sent_as_utf_8_or_not_copied(postgres: PostgresDatabase, copied: list[bool]) -> None:
    engine = sa.create_engine(postgres.url, client_encoding="latin1")
    METADATA.create_all(engine)
    rows = [(n, n, "ü") for n in range(MANY)]
    write(engine, rows)
    assert (stored(engine), copied) == (rows, [False])
    engine.dispose()


def test_values_of_other_kinds_are_inserted(database: sa.Engine, copied: list[bool]) -> None:
    write(database, [(str(n), n % 100, f"note {n}") for n in range(MANY)])
    assert (stored(database), copied) == (ROWS, [False])


def test_a_refused_row_is_reported_as_by_insert_and_nothing_is_kept(database: sa.Engine, copied: list[bool]) -> None:
    with pytest.raises(IntegrityError) as caught:
        write(database, [*ROWS, (3, 3, "again")])
    assert getattr(caught.value.orig, "sqlstate", None) == "23505"
    assert "(id)=(3)" in str(caught.value.orig)
    assert (stored(database), copied) == ([], [True]), "the rows before it are copied again, and it is inserted"


def test_keys_that_only_the_database_takes_for_one(database: sa.Engine, copied: list[bool]) -> None:
    """A statement of many rows cannot change one of them twice."""
    execute(
        database,
        "CREATE EXTENSION IF NOT EXISTS citext",
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    )
    table = sa.Table(
        "words", sa.MetaData(), sa.Column("word", sa.Text(collation="ci"), primary_key=True), sa.Column("n", sa.Integer)
    )
    table.create(database)
    write(database, [*((f"w{n}", n) for n in range(MANY)), *((f"W{n}", -1) for n in range(10))], "update", table)
    assert execute(database, "SELECT count(*), count(*) FILTER (WHERE n >= 10) FROM words") == [(MANY, MANY - 10)]
    assert copied == [False]


@pytest.mark.parametrize("on_conflict", ["error", "update"])
def test_a_connection_that_breaks_in_the_copy_is_reported_as_such(
    on_conflict: Any,
    database: sa.Engine,
    postgres: PostgresDatabase,
    store: SqlOffsetStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink = SqlSink(ORDERS, given, on_conflict)
    prepared = sink.prepare(ROWS)
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, taken)) as transaction:
        pid = transaction.connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()

        def send_late(*arguments: Any) -> None:
            postgres.execute(f"SELECT pg_terminate_backend({pid})")
            send(*arguments)

        monkeypatch.setattr(postgres_writer, "send", send_late)
        with pytest.raises(Exception) as caught:
            sink.write(prepared, transaction)
        assert type(store.classify(caught.value)).__name__ == "StoreUnavailable"
        assert transaction.connection.invalidated
    assert stored(database) == []


STREAM, P0 = "s", TopicPartition("orders", 0)
OLDER, NEWER = Owner("older", "h"), Owner("newer", "h")
FROZEN = """
import os, signal, sys
import psycopg
from integration_tests import test_sql_copy_refusals as t
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.offset_stores.sql import SqlOffsetStore

store = SqlOffsetStore(sys.argv[1])
store.open()
taken = store.take_over(t.STREAM, t.OLDER, [t.P0], {})
write, written = psycopg.Copy.write, []

def freezing(self, data):
    write(self, data)
    written.append(data)
    if len(written) == 20:
        os.kill(os.getpid(), signal.SIGSTOP)

psycopg.Copy.write = freezing
sink = SqlSink(t.ORDERS, t.given, sys.argv[2])
prepared = sink.prepare([(n, n, "x" * 1000) for n in range(100_000)])
try:
    with store.begin(t.claim_of(t.OLDER, taken)) as transaction:
        sink.write(prepared, transaction)
        transaction.advance()
        transaction.commit()
except Exception as error:
    print(type(store.classify(error) or error).__name__, flush=True)
else:
    print("committed", flush=True)
os._exit(0)
"""


def claim_of(owner: Owner, taken: Any) -> Claim:
    ranges = (OffsetRange(P0, 0, 5),)
    return Claim(STREAM, owner, ranges, {P0: taken[P0].owner_epoch}, {}, {})


@pytest.mark.parametrize("on_conflict", ["error", "update"])
def test_an_owner_frozen_in_the_middle_of_a_copy_holds_nobody_up(
    on_conflict: Any, database: sa.Engine, postgres: PostgresDatabase, store: SqlOffsetStore
) -> None:
    command = [sys.executable, "-c", FROZEN, postgres.url, on_conflict]
    zombie = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        _, status = os.waitpid(zombie.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        taken = store.take_over(STREAM, NEWER, [P0], {})
        sink = SqlSink(ORDERS, given, on_conflict)
        with store.begin(claim_of(NEWER, taken)) as transaction:
            transaction.connection.execute(sa.text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE NOWAIT"))
            sink.write(sink.prepare(ROWS), transaction)
            transaction.advance()
            transaction.commit()
        os.kill(zombie.pid, signal.SIGCONT)
        output, _ = zombie.communicate(timeout=60)
        assert output == "StoreUnavailable\n"
    finally:
        zombie.kill()
        zombie.communicate()
    assert stored(database) == ROWS
    assert {tp: p.next_offset for tp, p in store.positions(STREAM).items()} == {P0: 5}
