"""What comes out of a handler on PostgreSQL and MariaDB: whose connection it came from, and what of it is told."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import text

from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of
from tests.sql_backend import RESULTS, SqlBackend

SECRET = "jane@example.org"
Handler = Callable[[SqlTransaction], object]

_PG_SLOW = "SET LOCAL statement_timeout = '10ms'; SELECT pg_sleep(60)"
_MARIADB_SLOW = "SET STATEMENT max_statement_time = 0.01 FOR SELECT SLEEP(60)"


def _raised(store: SqlOffsetStore, handler: Handler) -> Exception:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    try:
        with store.begin(claim) as transaction:
            handler(transaction)
    except Exception as error:
        return error
    raise AssertionError("the handler did not fail")


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection


def _in_savepoint(connection: sa.Connection, statement: str) -> None:
    with connection.begin_nested():
        connection.exec_driver_sql(statement)


def _in_the_drivers_savepoint(connection: sa.Connection, statement: str) -> None:
    with _driver(connection).transaction():
        _driver(connection).execute(statement)


def _in_copy(connection: sa.Connection, statement: str) -> None:
    connection.exec_driver_sql("SET LOCAL statement_timeout = '10ms'")
    with _driver(connection).cursor().copy("COPY (SELECT pg_sleep(60)) TO STDOUT") as copy:
        copy.read()


EITHERS: dict[str, Callable[[sa.Connection, str], object]] = {
    "connection": lambda connection, statement: connection.exec_driver_sql(statement),
    "savepoint": _in_savepoint,
    "session": lambda connection, statement: sa.orm.Session(connection).execute(text(statement)),
    "cursor": lambda connection, statement: _driver(connection).cursor().execute(statement),
}
POSTGRES = {**EITHERS, "the driver's savepoint": _in_the_drivers_savepoint, "COPY": _in_copy}


def _is_told_apart(
    store: SqlOffsetStore, backend: SqlBackend, run: Callable[[sa.Connection, str], object], slow: str
) -> None:
    def wrapped(transaction: SqlTransaction) -> None:
        try:
            run(transaction.connection, slow)
        except Exception as error:
            raise ValueError("the handler's own words") from error

    with backend.engine.connect() as other:
        assert isinstance(store.classify(_raised(store, lambda t: run(t.connection, slow))), StoreUnavailable)
        assert isinstance(store.classify(_raised(store, wrapped)), StoreUnavailable)
        assert store.classify(_raised(store, lambda t: run(other, slow))) is None


@pytest.mark.parametrize("how", POSTGRES)
def test_postgres_only_the_batchs_own_connection_is_the_stores(
    store: SqlOffsetStore, backend: SqlBackend, how: str
) -> None:
    _is_told_apart(store, backend, POSTGRES[how], _PG_SLOW)


@pytest.mark.parametrize("how", EITHERS)
def test_mariadb_only_the_batchs_own_connection_is_the_stores(
    mariadb_store: SqlOffsetStore, mariadb_backend: SqlBackend, how: str
) -> None:
    _is_told_apart(mariadb_store, mariadb_backend, EITHERS[how], _MARIADB_SLOW)


# What is told ---------------------------------------------------------------------------------------------------------

TABLES = """
    CREATE TABLE cities (name VARCHAR(20) PRIMARY KEY);
    CREATE TABLE people (
        email VARCHAR(20), age INTEGER NOT NULL, city VARCHAR(20), seen TIMESTAMP NULL,
        CONSTRAINT people_key PRIMARY KEY (email), CONSTRAINT adult CHECK (age > 17),
        CONSTRAINT at_home FOREIGN KEY (city) REFERENCES cities (name)
    );
    INSERT INTO people (email, age) VALUES ('jane@example.org', 30)
"""
INTO_PEOPLE = "INSERT INTO people (email, age, city) VALUES (:email, :age, :city)"


def _row(email: Any = "x", age: Any = 20, city: Any = None) -> Handler:
    return lambda t: t.connection.execute(text(INTO_PEOPLE), {"email": email, "age": age, "city": city})


ON_BOTH: dict[str, Handler] = {
    "duplicate": _row(SECRET),
    "null": _row(SECRET + "a", None),
    "check": _row(SECRET + "a", 3),
    "foreign key": _row("x", 20, SECRET),
    "too long": _row(SECRET * 2),
    "no number": _row("x", SECRET),
    "no time": lambda t: t.connection.execute(text("UPDATE people SET seen = :v"), {"v": SECRET}),
    "no table": lambda t: t.connection.execute(text("INSERT INTO nowhere\n VALUES (:v)"), {"v": SECRET}),
    "no column": lambda t: t.connection.execute(text("UPDATE people SET nothing = :v"), {"v": SECRET}),
    "interpolated": lambda t: t.connection.exec_driver_sql(f"UPDATE people SET email '{SECRET}'"),
    "driver": lambda t: _driver(t.connection).cursor().execute(INTO_PEOPLE, {"email": SECRET}),
}


def _copied(transaction: SqlTransaction) -> None:
    with _driver(transaction.connection).cursor().copy("COPY people (email, age) FROM STDIN") as copy:
        copy.write_row(("x", SECRET))


def _says_it(transaction: SqlTransaction) -> None:
    transaction.connection.exec_driver_sql(f"DO $$ BEGIN RAISE '{SECRET}'; END $$")


POSTGRES_SAYS: dict[str, tuple[Handler, str]] = {
    "duplicate": (
        ON_BOTH["duplicate"],
        'UniqueViolation (SQLSTATE 23505): duplicate key value violates unique constraint "people_key", table "people"',
    ),
    "null": (
        ON_BOTH["null"],
        (
            'NotNullViolation (SQLSTATE 23502): null value in column "age" of relation "people" violates not-null '
            "constraint"
        ),
    ),
    "check": (
        ON_BOTH["check"],
        'CheckViolation (SQLSTATE 23514): new row for relation "people" violates check constraint "adult"',
    ),
    "foreign key": (
        ON_BOTH["foreign key"],
        (
            'ForeignKeyViolation (SQLSTATE 23503): insert or update on table "people" violates foreign key constraint '
            '"at_home"'
        ),
    ),
    "too long": (
        ON_BOTH["too long"],
        "StringDataRightTruncation (SQLSTATE 22001): value too long for type character varying(20)",
    ),
    "no number": (
        ON_BOTH["no number"],
        'InvalidTextRepresentation (SQLSTATE 22P02): invalid input syntax for type integer: "…"',
    ),
    "no table": (ON_BOTH["no table"], 'UndefinedTable (SQLSTATE 42P01): relation "nowhere" does not exist'),
    "no column": (
        ON_BOTH["no column"],
        'UndefinedColumn (SQLSTATE 42703): column "nothing" of relation "people" does not exist',
    ),
    "interpolated": (
        ON_BOTH["interpolated"],
        'SyntaxError (SQLSTATE 42601): syntax error at or near "…"',
    ),
    "COPY": (_copied, 'InvalidTextRepresentation (SQLSTATE 22P02): invalid input syntax for type integer: "…"'),
    "RAISE": (_says_it, "RaiseException (SQLSTATE P0001)"),
    "client": (
        lambda t: _driver(t.connection).cursor().execute("SELECT %s", (object(),)),
        "ProgrammingError: cannot adapt type 'object' using placeholder '%s' (format: AUTO)",
    ),
}
MARIADB_SAYS: dict[str, tuple[Handler, str]] = {
    "duplicate": (ON_BOTH["duplicate"], "IntegrityError (1062): Duplicate entry '…' for key 'PRIMARY'"),
    "null": (ON_BOTH["null"], "IntegrityError (1048): Column 'age' cannot be null"),
    "check": (ON_BOTH["check"], "OperationalError (4025): CONSTRAINT `adult` failed for `{db}`.`people`"),
    "foreign key": (
        ON_BOTH["foreign key"],
        (
            "IntegrityError (1452): Cannot add or update a child row: a foreign key constraint fails (`{db}`.`people`, "
            "CONSTRAINT `at_home` FOREIGN KEY (`city`) REFERENCES `cities` (`name`))"
        ),
    ),
    "too long": (ON_BOTH["too long"], "DataError (1406): Data too long for column 'email' at row 1"),
    "no number": (
        ON_BOTH["no number"],
        "DataError (1366): Incorrect integer value: '…' for column `{db}`.`people`.`age` at row 1",
    ),
    "no time": (
        ON_BOTH["no time"],
        "OperationalError (1292): Incorrect datetime value: '…' for column `{db}`.`people`.`seen` at row 1",
    ),
    "no table": (ON_BOTH["no table"], "ProgrammingError (1146): Table '{db}.nowhere' doesn't exist"),
    "SIGNAL": (
        lambda t: t.connection.exec_driver_sql(f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{SECRET}'"),
        "OperationalError (1644)",
    ),
}


def _no_secret_is_logged(error: BaseException) -> None:
    assert SECRET not in "".join(traceback.format_exception(error, limit=0))


@pytest.fixture
def people(backend: SqlBackend) -> None:
    _create(backend)


@pytest.fixture
def mariadb_people(mariadb_backend: SqlBackend) -> None:
    _create(mariadb_backend)


def _create(backend: SqlBackend) -> None:
    with backend.engine.begin() as connection:
        for statement in TABLES.split(";"):
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize("what", POSTGRES_SAYS)
@pytest.mark.usefixtures("people")
def test_postgres_tells_names_and_no_values(store: SqlOffsetStore, what: str) -> None:
    handler, told = POSTGRES_SAYS[what]
    error = _raised(store, handler)
    assert store.tell(error) == told
    assert store.tell(error) == told, "also when it is asked again"
    _no_secret_is_logged(error)


@pytest.mark.parametrize("what", MARIADB_SAYS)
@pytest.mark.usefixtures("mariadb_people")
def test_mariadb_tells_names_and_no_values(
    mariadb_store: SqlOffsetStore, mariadb_backend: SqlBackend, what: str
) -> None:
    handler, told = MARIADB_SAYS[what]
    error = _raised(mariadb_store, handler)
    assert mariadb_store.tell(error) == told.format(db=mariadb_backend.engine.url.database)
    _no_secret_is_logged(error)


@pytest.mark.parametrize("what", ON_BOTH)
@pytest.mark.usefixtures("people", "mariadb_people")
def test_no_database_tells_a_value(store: SqlOffsetStore, mariadb_store: SqlOffsetStore, what: str) -> None:
    for each in (store, mariadb_store):
        error = _raised(each, ON_BOTH[what])
        told = each.tell(error)
        assert told
        assert "\n" not in told
        assert SECRET not in told
        _no_secret_is_logged(error)


@pytest.mark.usefixtures("people")
def test_the_drivers_fields_stay(store: SqlOffsetStore) -> None:
    error = _raised(store, ON_BOTH["duplicate"])
    store.tell(error)
    assert isinstance(error, sa.exc.IntegrityError)
    assert isinstance(error.orig, psycopg.errors.UniqueViolation)
    assert error.orig.diag.constraint_name == "people_key"


def test_a_deferred_constraint_is_told_without_the_row(store: SqlOffsetStore, backend: SqlBackend) -> None:
    with backend.engine.begin() as connection:
        connection.exec_driver_sql(
            "ALTER TABLE results ADD CONSTRAINT once UNIQUE (value) DEFERRABLE INITIALLY DEFERRED"
        )

    def handler(transaction: SqlTransaction) -> None:
        transaction.connection.execute(sa.insert(RESULTS), [{"value": 424242}, {"value": 424242}])
        transaction.advance()
        transaction.commit()

    error = _raised(store, handler)
    assert 'unique constraint "once", table "results"' in str(error)
    assert "424242" not in "".join(traceback.format_exception(error, limit=0))
