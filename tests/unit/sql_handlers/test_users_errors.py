"""What comes out of a handler of ``SqlOffsetStore``: whose failure it is, what is told of it, what ends with it."""

from __future__ import annotations

import os
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from kafka_stream.errors import ProcessingError, RecordError, StatementRefused, StoreUnavailable
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from tests.sql_backend import RESULTS, Result, SqlBackend
from tests.sql_batches import Handler, failure_of

SECRET = "jane@example.org"


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[sa.Engine]:
    """Another database, in which every write fails: somebody holds its lock."""
    engine = create_engine(f"sqlite:///{tmp_path}/other.db", connect_args={"timeout": 0})
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE other (x INTEGER)"))
    holder = sqlite3.connect(tmp_path / "other.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    yield engine
    holder.close()
    engine.dispose()


# Whose failure it is --------------------------------------------------------------------------------------------------


def _insert(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO other VALUES (1)"))


def test_an_error_of_another_database_is_not_this_stores(store: SqlOffsetStore, locked: sa.Engine) -> None:
    failure = failure_of(store, lambda prepared, transaction: _insert(locked))
    assert type(failure) is StatementRefused
    assert isinstance(failure.__cause__, sa.exc.OperationalError)


def test_nor_is_one_that_the_drivers_cursor_raised(store: SqlOffsetStore, locked: sa.Engine) -> None:
    def handler(prepared: Any, transaction: SqlTransaction) -> None:
        driver = locked.raw_connection()
        try:
            driver.cursor().execute("INSERT INTO other VALUES (1)")
        finally:
            driver.close()

    assert type(failure_of(store, handler)) is StatementRefused


def test_nor_a_bug_in_what_handles_it(store: SqlOffsetStore, locked: sa.Engine) -> None:
    def handler(prepared: Any, transaction: SqlTransaction) -> None:
        try:
            _insert(locked)
        except sa.exc.OperationalError:
            os.environ["NO_SUCH_VARIABLE"]

    failure = failure_of(store, handler)
    assert type(failure) is ProcessingError
    assert isinstance(failure.__cause__, KeyError)


def test_nor_one_that_prepare_ran_into(store: SqlOffsetStore, locked: sa.Engine) -> None:
    failure = failure_of(store, lambda prepared, transaction: None, prepare=lambda batch: _insert(locked))
    assert type(failure) is StatementRefused


def _interrupted(transaction: SqlTransaction) -> None:
    driver = transaction.connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.set_progress_handler(lambda: 1, 1)


def _flush(session: Session) -> None:
    session.add(Result(value=1))
    session.flush()


GIVES_UP: dict[str, Callable[[SqlTransaction], object]] = {
    "connection": lambda t: t.connection.execute(sa.insert(RESULTS).values(value=1)),
    "session": lambda t: _flush(t.session()),
    "own session": lambda t: _flush(Session(t.connection)),
    "cursor": lambda t: _cursor(t).execute("INSERT INTO results VALUES (1, 1)"),
}


def _give_up(transaction: SqlTransaction, how: str) -> None:
    _interrupted(transaction)
    GIVES_UP[how](transaction)


@pytest.mark.parametrize("how", GIVES_UP)
def test_what_the_batchs_own_connection_ran_into_is_the_stores(store: SqlOffsetStore, how: str) -> None:
    def wrapped(prepared: Any, transaction: SqlTransaction) -> None:
        try:
            _give_up(transaction, how)
        except Exception as error:
            raise ValueError("the handler's own words") from error

    assert isinstance(failure_of(store, lambda prepared, transaction: _give_up(transaction, how)), StoreUnavailable)
    assert isinstance(failure_of(store, wrapped), StoreUnavailable)


def test_an_error_of_the_batchs_connection_that_led_to_a_bug_is_the_bugs(store: SqlOffsetStore) -> None:
    def handler(prepared: Any, transaction: SqlTransaction) -> None:
        try:
            _give_up(transaction, "connection")
        except sa.exc.OperationalError:
            os.environ["NO_SUCH_VARIABLE"]

    assert type(failure_of(store, handler)) is ProcessingError


def test_an_error_in_our_words_keeps_what_it_was_raised_from(store: SqlOffsetStore) -> None:
    def handler(prepared: Any, transaction: SqlTransaction) -> None:
        try:
            b"\xff".decode()
        except UnicodeDecodeError as error:
            raise RecordError("no text", topic="orders", partition=0, offset=3) from error

    for failure in (
        failure_of(store, handler),
        failure_of(store, lambda prepared, transaction: None, prepare=lambda batch: handler(batch, None)),  # type: ignore[arg-type]
    ):
        assert isinstance(failure, RecordError)
        assert isinstance(failure.__cause__, UnicodeDecodeError)


# What is told ---------------------------------------------------------------------------------------------------------

_PEOPLE = sa.Table(
    "people",
    sa.MetaData(),
    sa.Column("email", sa.String(5), sa.CheckConstraint("length(email) < 17", name="short"), primary_key=True),
    sa.Column("color", sa.Enum("red", "green", name="color", validate_strings=True)),
    sa.Column("seen", sa.DateTime),
)


@pytest.fixture
def people(backend: SqlBackend) -> sa.Table:
    with backend.engine.begin() as connection:
        _PEOPLE.create(connection)
        connection.execute(
            text(
                "CREATE TRIGGER no_jane BEFORE INSERT ON people WHEN NEW.color = 'red' BEGIN "
                f"SELECT RAISE(ABORT, '{SECRET} is red'); END"
            )
        )
        connection.execute(sa.insert(_PEOPLE).values(email=SECRET))
    return _PEOPLE


TOLD: dict[str, tuple[Handler, str]] = {
    "duplicate": (
        lambda _, t: t.connection.execute(sa.insert(_PEOPLE).values(email=SECRET)),
        "IntegrityError (SQLITE_CONSTRAINT_PRIMARYKEY): UNIQUE constraint failed: people.email",
    ),
    "many rows": (
        lambda _, t: t.connection.execute(sa.insert(_PEOPLE), [{"email": f"{n}@{SECRET}"} for n in range(9)]),
        "IntegrityError (SQLITE_CONSTRAINT_CHECK): CHECK constraint failed: short",
    ),
    "trigger": (
        lambda _, t: t.connection.execute(sa.insert(_PEOPLE).values(email="x", color="red")),
        "IntegrityError (SQLITE_CONSTRAINT_TRIGGER)",
    ),
    "missing table": (
        lambda _, t: t.connection.execute(text("INSERT INTO nowhere\n  VALUES (:v)"), {"v": SECRET}),
        "OperationalError (SQLITE_ERROR): no such table: nowhere",
    ),
    "interpolated": (
        lambda _, t: t.connection.exec_driver_sql(f"INSERT INTO people VALUES ('x' '{SECRET}')"),
        'OperationalError (SQLITE_ERROR): near "…": syntax error',
    ),
    "a type's own": (
        lambda _, t: t.connection.execute(sa.insert(_PEOPLE).values(email="x", color=SECRET)),
        "StatementError (LookupError)",
    ),
    "driver": (
        lambda _, t: _cursor(t).execute("INSERT INTO people (email) VALUES (?)", (SECRET,)),
        "IntegrityError (SQLITE_CONSTRAINT_PRIMARYKEY): UNIQUE constraint failed: people.email",
    ),
}


def _cursor(transaction: SqlTransaction) -> Any:
    return transaction.connection.connection.cursor()


@pytest.mark.parametrize("what", TOLD)
@pytest.mark.usefixtures("people")
def test_a_databases_error_is_one_sentence_without_values_and_so_is_its_traceback(
    store: SqlOffsetStore, what: str
) -> None:
    handler, told = TOLD[what]
    failure = failure_of(store, handler)
    assert type(failure) is (StatementRefused if "(SQLITE_ERROR)" in told else ProcessingError)
    assert str(failure).endswith(f" failed on orders[0] [0, 1): {told}; nothing of the batch was committed")
    logged = "".join(traceback.format_exception(failure)).split("\n")
    assert [line for line in logged if SECRET in line and "lambda" not in line] == []


@pytest.mark.usefixtures("people")
def test_so_is_one_behind_the_handlers_own_words(store: SqlOffsetStore) -> None:
    def handler(prepared: Any, transaction: SqlTransaction) -> None:
        try:
            TOLD["duplicate"][0](prepared, transaction)
        except sa.exc.IntegrityError as error:
            raise RecordError("is there already", topic="orders", partition=0, offset=0) from error

    failure = failure_of(store, handler)
    assert str(failure) == "record orders[0]@0: is there already"
    assert SECRET not in "".join(traceback.format_exception(failure))


@pytest.mark.usefixtures("people")
def test_and_one_of_a_session_that_is_flushed_at_the_end(store: SqlOffsetStore) -> None:
    class Base(sa.orm.DeclarativeBase):
        pass

    class Person(Base):
        __table__ = _PEOPLE.to_metadata(Base.metadata)

    failure = failure_of(store, lambda _, t: t.session().add(Person(email=SECRET)))
    assert "could not be flushed: IntegrityError (SQLITE_CONSTRAINT_PRIMARYKEY): UNIQUE" in str(failure)
    assert SECRET not in "".join(traceback.format_exception(failure))


@pytest.mark.usefixtures("people")
def test_an_errors_fields_stay(store: SqlOffsetStore) -> None:
    cause = failure_of(store, TOLD["duplicate"][0]).__cause__
    assert isinstance(cause, sa.exc.IntegrityError)
    assert isinstance(cause.orig, sqlite3.IntegrityError)
    assert cause.orig.sqlite_errorname == "SQLITE_CONSTRAINT_PRIMARYKEY"


def test_what_is_no_databases_error_is_told_as_it_is(store: SqlOffsetStore) -> None:
    assert "ValueError: 17 is no price; nothing" in str(failure_of(store, _no_price))
    assert store.tell(ValueError("x")) is None


def _no_price(prepared: Any, transaction: SqlTransaction) -> None:
    raise ValueError("17 is no price")
