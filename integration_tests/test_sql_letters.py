"""Dead letters on PostgreSQL and MariaDB: the contract, and what only servers do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from integration_tests.servers import PostgresDatabase
from kafka_stream import Batch, DirectStream, FixedDelay
from kafka_stream.errors import ProcessingError, TransactionEscaped
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.in_place_contract import InPlaceContract
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of
from tests.sql_backend import SqlBackend, write


class TestDeadLettersOnPostgres(InPlaceContract):
    @pytest.fixture
    def backend(self, backend: SqlBackend) -> SqlBackend:
        return backend


class TestDeadLettersOnMariadb(InPlaceContract):
    @pytest.fixture
    def backend(self, mariadb_backend: SqlBackend) -> SqlBackend:
        return mariadb_backend


# Attempts -------------------------------------------------------------------------------------------------------------

_DEFERRED = """
    CREATE TABLE orders (id int PRIMARY KEY);
    CREATE TABLE items (id int PRIMARY KEY, customer int,
        of_order int REFERENCES orders DEFERRABLE INITIALLY DEFERRED,
        CONSTRAINT one_item UNIQUE (customer) DEFERRABLE INITIALLY IMMEDIATE);
    CREATE TABLE fired (id int);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO fired VALUES (NEW.id); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER note AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION note()
"""


@pytest.fixture
def deferred(postgres: PostgresDatabase, store: SqlOffsetStore) -> Iterator[SqlTransaction]:
    """A batch's transaction beside tables with deferred constraints and a deferred trigger."""
    postgres.execute(_DEFERRED)
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))) as transaction:
        yield transaction


def _item(transaction: SqlTransaction, number: int, of_order: int) -> None:
    transaction.connection.execute(
        sa.text("INSERT INTO items VALUES (:id, :id, :of_order)"), {"id": number, "of_order": of_order}
    )


def test_deferred_constraints_are_asked_for_in_each_attempt_and_triggers_fire_once(
    deferred: SqlTransaction, backend: SqlBackend
) -> None:
    with deferred.attempt():
        _item(deferred, 0, of_order=1)
        deferred.connection.execute(sa.text("INSERT INTO orders VALUES (1)"))
    for number in range(1, 20):  # more often than the driver waits before it prepares a statement
        if number % 2:
            with deferred.attempt():
                _item(deferred, number, of_order=1)
        else:
            with pytest.raises(ProcessingError, match=r"23503.*items_of_order_fkey"), deferred.attempt():
                _item(deferred, number, of_order=99)
    # What is immediate, and what is deferred, is as it was.
    with deferred.attempt():
        _item(deferred, 100, of_order=2)
        deferred.connection.execute(sa.text("INSERT INTO orders VALUES (2)"))
    with pytest.raises(sa.exc.IntegrityError), deferred.attempt():
        deferred.connection.execute(sa.text("INSERT INTO items VALUES (101, 100, 1)"))
    deferred.advance()
    deferred.commit()
    good = [0, *range(1, 20, 2), 100]
    with backend.engine.connect() as connection:
        assert list(connection.execute(sa.text("SELECT id FROM items ORDER BY id")).scalars()) == good
        assert list(connection.execute(sa.text("SELECT id FROM fired ORDER BY id")).scalars()) == good


LEAVING: dict[str, Callable[[SqlTransaction], object]] = {
    "connection.commit()": lambda t: t.connection.commit(),
    "connection.rollback()": lambda t: t.connection.rollback(),
    "text COMMIT": lambda t: t.connection.execute(sa.text("COMMIT")),
    "text ROLLBACK": lambda t: t.connection.execute(sa.text("ROLLBACK")),
    "driver commit": lambda t: t.connection.connection.driver_connection.commit(),  # type: ignore[union-attr]
}


@pytest.fixture(params=["backend", "mariadb_backend"])
def any_backend(request: pytest.FixtureRequest) -> SqlBackend:
    """On PostgreSQL and on MariaDB."""
    found: SqlBackend = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def any_store(any_backend: SqlBackend) -> Iterator[SqlOffsetStore]:
    found = any_backend.store()
    found.open()
    yield found
    found.close()


@pytest.mark.parametrize("then", ["ends", "raises"])
@pytest.mark.parametrize("how", LEAVING)
def test_who_leaves_the_transaction_inside_an_attempt(any_store: SqlOffsetStore, how: str, then: str) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, any_store.take_over(STREAM, OLDER, [P0], {}))
    with any_store.begin(claim) as transaction, pytest.raises(TransactionEscaped), transaction.attempt():
        write(transaction.connection, 1)
        LEAVING[how](transaction)
        if then == "raises":
            raise ValueError("the record's")


def test_ddl_in_an_attempt_is_an_escape_on_mariadb(mariadb_store: SqlOffsetStore) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, mariadb_store.take_over(STREAM, OLDER, [P0], {}))
    with mariadb_store.begin(claim) as transaction, pytest.raises(TransactionEscaped), transaction.attempt():
        transaction.connection.execute(sa.text("CREATE TABLE more (x int)"))


# What never makes a dead letter ---------------------------------------------------------------------------------------

RECORDS = 40


@pytest.fixture
def memory_kafka() -> MemoryKafka:
    kafka = MemoryKafka({"orders": 1})
    for _ in range(RECORDS):
        kafka.produce("orders", "x", partition=0)
    return kafka


TROUBLES = {
    "read-only": "SET LOCAL transaction_read_only = on",
    "statement timeout": "SET LOCAL statement_timeout = '50ms'; SELECT pg_sleep(600)",
    "disk full": "DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
    "too many connections": "DO $$ BEGIN RAISE EXCEPTION 'sorry' USING ERRCODE = '53300'; END $$",
    "shutting down": "SELECT pg_terminate_backend(pg_backend_pid())",
}
MARIADB_TROUBLES = {
    "read-only": "SIGNAL SQLSTATE '25006' SET MYSQL_ERRNO = 1792, MESSAGE_TEXT = 'READ ONLY'",
    "statement timeout": "SET STATEMENT max_statement_time = 0.05 FOR SELECT SLEEP(600)",
    "disk full": "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1021, MESSAGE_TEXT = 'Disk full'",
    "table full": "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'",
    "shutting down": "KILL CONNECTION_ID()",
}
CASES = [("backend", trouble) for trouble in TROUBLES.values()]
CASES += [("mariadb_backend", trouble) for trouble in MARIADB_TROUBLES.values()]


@pytest.mark.parametrize(("any_backend", "trouble"), CASES, indirect=["any_backend"])
def test_a_database_in_trouble_makes_no_dead_letter(
    any_backend: SqlBackend, any_store: SqlOffsetStore, memory_kafka: MemoryKafka, trouble: str
) -> None:
    calls: list[int] = []

    def insert(batch: Batch, transaction: SqlTransaction) -> None:
        calls.append(len(batch))
        if len(calls) in {2, 3, 4}:
            transaction.connection.exec_driver_sql(trouble)
        for message in batch:
            write(transaction.connection, message.offset() or 0)

    DirectStream(
        name="s",
        topics=["orders"],
        kafka=memory_kafka,
        store=any_store,
        sink=insert,
        assignment="static",
        max_records_per_batch=10,
        on_error="dead-letter",
        retry=FixedDelay(delay_s=0.01),
    ).run(until="latest")
    assert len(calls) > 3 + RECORDS // 10, "it was retried, with ever fewer records"
    assert list(any_store.letters("s")) == []
    assert sorted(any_backend.results()) == list(range(RECORDS))
