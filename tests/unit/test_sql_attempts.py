"""Attempts inside a batch's transaction on SQLite: what is undone, what is asked for, and who has left."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, event, text

from kafka_stream.errors import ProcessingError, SpoiledTransaction, StoreUnavailable, TransactionEscaped
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of
from tests.sql_backend import Result, SqlBackend, write

DEFERRED = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY)",
    "CREATE TABLE items (id INTEGER PRIMARY KEY, of INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO items VALUES (1, 77)",  # from before foreign keys were enforced
)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SqlBackend]:
    found = SqlBackend(f"sqlite:///{tmp_path}/orders.db")
    with found.engine.begin() as connection:
        for statement in DEFERRED:
            connection.execute(text(statement))
    yield found
    found.engine.dispose()


@pytest.fixture
def store(backend: SqlBackend) -> Iterator[SqlOffsetStore]:
    engine = create_engine(backend.url)
    event.listen(engine, "connect", lambda driver, record: driver.execute("PRAGMA foreign_keys = ON"))
    found = SqlOffsetStore(engine)
    found.open()
    yield found
    engine.dispose()


@pytest.fixture
def transaction(store: SqlOffsetStore) -> Iterator[SqlTransaction]:
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))) as transaction:
        yield transaction


def _commit(transaction: SqlTransaction) -> None:
    transaction.advance()
    transaction.commit()


def _item(transaction: SqlTransaction, number: int, of: int) -> None:
    transaction.connection.execute(text("INSERT INTO items VALUES (:id, :of)"), {"id": number, "of": of})


def _items(backend: SqlBackend) -> list[int]:
    with backend.engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM items ORDER BY id")).scalars())


def test_a_deferred_constraint_is_found_in_the_attempt_that_violates_it(
    transaction: SqlTransaction, backend: SqlBackend
) -> None:
    with transaction.attempt():
        transaction.connection.execute(text("INSERT INTO orders VALUES (1)"))
        _item(transaction, 2, of=1)
    with pytest.raises(ProcessingError, match=r"FOREIGN KEY .*items.*orders") as raised, transaction.attempt():
        _item(transaction, 3, of=99)
    assert isinstance(raised.value.__cause__, sqlite3.IntegrityError)
    with transaction.attempt():
        _item(transaction, 4, of=1)
    _commit(transaction)
    assert _items(backend) == [1, 2, 4]


def test_a_session_is_flushed_at_the_end_and_a_new_one_follows_a_failure(
    transaction: SqlTransaction, backend: SqlBackend
) -> None:
    with transaction.attempt():
        transaction.session().add(Result(id=1, value=1))
    with pytest.raises(ProcessingError, match="flushed"), transaction.attempt():
        failed = transaction.session()
        failed.add(Result(id=1, value=2))
    with pytest.raises(TransactionEscaped):
        failed.add(Result(id=3, value=3))
    with transaction.attempt():
        transaction.session().add(Result(id=4, value=4))
    _commit(transaction)
    assert sorted(backend.results()) == [1, 4]


def test_a_savepoint_that_the_handler_left_open_goes_with_its_attempt(
    transaction: SqlTransaction, backend: SqlBackend
) -> None:
    with transaction.attempt():
        transaction.connection.begin_nested()
        write(transaction.connection, 1)
    with pytest.raises(ZeroDivisionError), transaction.attempt():
        transaction.connection.begin_nested()
        write(transaction.connection, 2)
        _ = 1 / 0
    _commit(transaction)
    assert backend.results() == [1]


def _raw(transaction: SqlTransaction) -> Any:
    return transaction.connection.connection.driver_connection


LEAVING: dict[str, Callable[[SqlTransaction], object]] = {
    "connection.commit()": lambda t: t.connection.commit(),
    "connection.rollback()": lambda t: t.connection.rollback(),
    "text COMMIT": lambda t: t.connection.execute(text("COMMIT")),
    "text ROLLBACK": lambda t: t.connection.execute(text("ROLLBACK")),
    "driver commit": lambda t: _raw(t).commit(),
    "executescript": lambda t: _raw(t).executescript("CREATE TABLE more (x)"),
    "close": lambda t: t.connection.close(),
}


@pytest.mark.parametrize("then", ["ends", "raises"])
@pytest.mark.parametrize("how", LEAVING)
def test_who_leaves_the_transaction_inside_an_attempt(transaction: SqlTransaction, how: str, then: str) -> None:
    with pytest.raises(TransactionEscaped), transaction.attempt():
        write(transaction.connection, 1)
        LEAVING[how](transaction)
        if then == "raises":
            raise ValueError("the record's")


def test_a_refusal_that_rolls_everything_back_spoils_the_transaction(transaction: SqlTransaction) -> None:
    for number in (1, 2):
        with transaction.attempt():
            transaction.connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": number})
    with pytest.raises(SpoiledTransaction) as raised, transaction.attempt():
        transaction.connection.execute(text("INSERT OR ROLLBACK INTO orders VALUES (1)"))
    assert raised.value.attempt == 2
    assert isinstance(raised.value.__cause__, sa.exc.IntegrityError)


def test_what_the_database_gave_up_is_no_data(transaction: SqlTransaction, store: SqlOffsetStore) -> None:
    def handler() -> None:
        driver = _raw(transaction)
        driver.set_progress_handler(lambda: 1, 1)
        try:
            transaction.connection.execute(text("SELECT count(*) FROM items"))
        finally:
            driver.set_progress_handler(None, 1)

    with pytest.raises(sa.exc.OperationalError) as raised, transaction.attempt():
        handler()
    assert isinstance(store.classify(raised.value), StoreUnavailable)
    assert not store.blames_records(raised.value)


def test_without_anything_deferred_nothing_is_looked_at(tmp_path: Path) -> None:
    backend = SqlBackend(f"sqlite:///{tmp_path}/plain.db")
    store = SqlOffsetStore(backend.engine)
    store.open()
    statements: list[str] = []
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))) as transaction:
        _raw(transaction).set_trace_callback(statements.append)
        with transaction.attempt():
            write(transaction.connection, 1)
    assert not any("foreign_key_check" in statement for statement in statements)
    with closing(sqlite3.connect(tmp_path / "plain.db")) as driver:
        assert driver.execute("SELECT count(*) FROM results").fetchone() == (0,)
    backend.engine.dispose()
