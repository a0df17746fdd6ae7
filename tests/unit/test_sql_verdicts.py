"""What the errors of each database mean: whether the batch is retried, the stream stops, or a record is to blame."""

from __future__ import annotations

import sqlite3
import ssl
from types import SimpleNamespace
from typing import Any

import psycopg
import pymysql
import pytest
from psycopg import errors as psycopg_errors

from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.offset_stores.sql.dialects.mysql import MySQL
from kafka_stream.offset_stores.sql.dialects.mysql_errors import VERDICTS as NUMBERS
from kafka_stream.offset_stores.sql.dialects.postgresql import PostgreSQL
from kafka_stream.offset_stores.sql.dialects.sqlite import VERDICTS as CODES
from kafka_stream.offset_stores.sql.dialects.sqlite import SQLite
from kafka_stream.offset_stores.sql.errors import ABOUT_NO_ROW, TRANSIENT, Verdict

STORE = SqlOffsetStore("sqlite://")

RETRIED = "retried"
STOPS = "stops"
RECORD = "record"

STATES = {
    RETRIED: "08006 25006 25P03 40001 40P01 53000 53100 53200 53300 55P03 57014 57P01 57P02 57P03 58030",
    STOPS: "0A000 26000 28000 42501 42601 42702 42703 42883 42P01 42P07 42P10 3D000 3F000 55000 XX001 XX002",
    RECORD: "20000 21000 22001 22003 22007 22P02 23502 23503 23505 23514 23P01 40002 42804 44000 54000 P0001 P0002",
}
MARIADB = {
    RETRIED: "1020 1021 1030 1037 1038 1040 1041 1114 1203 1205 1213 1290 1317 1792 1836 1969 2006 2013 3019 3024",
    STOPS: "1044 1051 1054 1064 1142 1143 1146 1305 1348 1370 1630",
    RECORD: "1048 1062 1153 1264 1265 1292 1364 1366 1369 1406 1451 1452 1526 1644 1690 4025 4038",
}
SQLITE = {
    RETRIED: "SQLITE_BUSY SQLITE_LOCKED SQLITE_FULL SQLITE_IOERR SQLITE_NOMEM SQLITE_INTERRUPT",
    STOPS: "SQLITE_ERROR SQLITE_READONLY SQLITE_PERM SQLITE_AUTH SQLITE_CORRUPT SQLITE_NOTADB",
    RECORD: "SQLITE_CONSTRAINT SQLITE_MISMATCH SQLITE_TOOBIG",
}


def _listed(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(code, meaning) for meaning, codes in table.items() for code in codes.split()]


def _meaning(verdict: Verdict | None, error: Exception) -> str:
    assert verdict is not None
    assert STORE.blames_records(error) is (verdict not in ABOUT_NO_ROW)
    assert STORE.blames_records(_chained(error)) is STORE.blames_records(error)
    if verdict in TRANSIENT:
        return RETRIED
    return STOPS if verdict in ABOUT_NO_ROW else RECORD


def _chained(error: Exception) -> ValueError:
    chained = ValueError("the handler's own words")
    chained.__cause__ = error
    return chained


@pytest.mark.parametrize(("state", "meaning"), _listed(STATES))
def test_postgresql(state: str, meaning: str) -> None:
    error = psycopg_errors.lookup(state)("…")
    assert error.sqlstate == state
    assert _meaning(PostgreSQL().verdict(error), error) == meaning


@pytest.mark.parametrize(("number", "meaning"), _listed(MARIADB))
def test_mariadb(number: str, meaning: str) -> None:
    error = pymysql.err.OperationalError(int(number), "…")
    assert _meaning(MySQL().verdict(error), error) == meaning


@pytest.mark.parametrize(("name", "meaning"), _listed(SQLITE))
def test_sqlite(name: str, meaning: str) -> None:
    error = sqlite3.OperationalError("…")
    error.sqlite_errorcode = getattr(sqlite3, name) | 0x100
    assert _meaning(SQLite().verdict(error), error) == meaning


AT = 'connection to server at "127.0.0.1", port 5432 failed: '
ON = 'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: '
ANSWER = 'FATAL:  password authentication failed for user "app"'
GONE = (
    "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n"
    "\tbefore or while processing the request."
)
BROKE_OFF = (
    f"connection failed: {AT}{GONE}",
    f"connection failed: {ON}{GONE}",
    f"connection failed: {AT}could not receive data from server: Connection reset by peer",
    f"connection failed: {AT}could not send startup packet: Broken pipe",
    f"connection failed: {AT}could not send password response: Broken pipe",
    f"connection failed: {AT}SSL SYSCALL error: EOF detected",
    f"connection failed: {AT}SSL SYSCALL error: Connection reset by peer",
    f"connection failed: {AT}SSL connection has been closed unexpectedly",
    f"connection failed: {AT}timeout expired",
    f"connection failed: {AT}FATAL:  the database system is shutting down",
    f"connection failed: {AT}FATAL:  terminating connection due to administrator command",
    f"connection failed: {AT}FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    f'connection failed: {AT}FATAL:  too many connections for role "app"',
    "connection timeout expired",
    "connection is bad: no error details available",
    f"Multiple connection attempts failed. All failures were:\n- connection failed: {AT}{GONE}\n- {AT}{ANSWER}",
)
NOT_LET_IN = (
    f"connection failed: {AT}{ANSWER}",
    f'connection failed: {ON}FATAL:  role "app" is not permitted to log in',
    f'connection failed: {AT}FATAL:  database "nowhere" does not exist',
    f"connection failed: {AT}FATAL:  Passwort-Authentifizierung für Benutzer »app« fehlgeschlagen",
    f"connection failed: {AT}fe_sendauth: no password supplied",
    f"connection failed: {AT}{ANSWER}\n{AT}{ANSWER}",
)


def _login(said: str) -> psycopg.OperationalError:
    """As the driver raises it, once it was asked for a password; the client library gives no SQLSTATE then."""
    asked: Any = SimpleNamespace(used_password=True)
    return psycopg.OperationalError(said, pgconn=asked)


@pytest.mark.parametrize("said", BROKE_OFF)
def test_a_login_at_postgresql_that_breaks_off_is_tried_again(said: str) -> None:
    assert PostgreSQL().verdict(_login(said)) is Verdict.UNAVAILABLE


@pytest.mark.parametrize("said", NOT_LET_IN)
def test_a_login_that_postgresql_refuses_is_not(said: str) -> None:
    assert PostgreSQL().verdict(_login(said)) is Verdict.LOGIN


def _at_mariadb(number: int, said: str, cause: Exception | None = None) -> pymysql.err.OperationalError:
    error: Any = pymysql.err.OperationalError(number, said)
    error.original_exception = cause
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "error",
    [
        _at_mariadb(2013, "Lost connection to MySQL server during query"),
        _at_mariadb(2013, "Lost connection to MySQL server during query ([Errno 104] Connection reset by peer)"),
        _at_mariadb(2006, "MySQL server has gone away (BrokenPipeError(32, 'Broken pipe'))", BrokenPipeError()),
        _at_mariadb(2003, "Can't connect to MySQL server on '127.0.0.1' (timed out)", TimeoutError()),
        _at_mariadb(2003, "Can't connect to MySQL server on '127.0.0.1' (EOF)", ssl.SSLEOFError()),
        _at_mariadb(2003, "Can't connect to MySQL server on '127.0.0.1' (closed)", ssl.SSLZeroReturnError()),
        _at_mariadb(2003, "Can't connect to MySQL server on '127.0.0.1' (reset)", ConnectionResetError()),
    ],
    ids=str,
)
def test_a_login_at_mariadb_that_breaks_off_is_tried_again(error: pymysql.err.OperationalError) -> None:
    assert MySQL().verdict(error) is Verdict.UNAVAILABLE


def test_a_login_that_mariadb_refuses_is_not() -> None:
    assert MySQL().verdict(_at_mariadb(1045, "Access denied for user 'app'@'localhost'")) is Verdict.LOGIN
    unknown = ssl.SSLCertVerificationError("certificate verify failed")
    assert MySQL().verdict(_at_mariadb(2003, "Can't connect to MySQL server", unknown)) is Verdict.TLS


def test_what_nobody_knows_may_be_a_record() -> None:
    for error in (ValueError("x"), sqlite3.InterfaceError("no code"), pymysql.err.DataError("no number")):
        assert STORE.blames_records(error)


def test_no_code_has_two_meanings() -> None:
    assert set(NUMBERS.values()) | set(CODES.values()) <= set(Verdict)
    assert set(map(int, " ".join(MARIADB.values()).split())) <= NUMBERS.keys()
