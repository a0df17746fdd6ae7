"""SQLite, through Python's own driver: one writer at a time, ``BEGIN IMMEDIATE``, write-ahead log.

The statements that begin and mark a transaction are ours, on our own connections: a user's engine needs no event
handlers for us, and its other users notice nothing but the write-ahead log.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import urlsplit

from sqlalchemy import URL, Connection, Engine, Insert, RootTransaction, Table, create_engine, exc
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from kafka_stream.errors import ConfigurationError, TransactionEscaped
from kafka_stream.offset_stores.sql.dead_letters.rows import REPLACED
from kafka_stream.offset_stores.sql.dialects.servers import LoneServer, Servers
from kafka_stream.offset_stores.sql.dialects.sqlite_foreign_keys import Violations
from kafka_stream.offset_stores.sql.error_words import sentence, without_quoted
from kafka_stream.offset_stores.sql.errors import Verdict, driver_error
from kafka_stream.offset_stores.sql.pool import borrowed
from kafka_stream.offset_stores.sql.statements import Grammar, Wanted
from kafka_stream.offset_stores.sql.tables import Tables
from kafka_stream.offset_stores.sql.update_from import UpdateFrom
from kafka_stream.types import Owner

_BUSY_TIMEOUT_S = 5.0
_OLDEST_SQLITE = (3, 35)
_SAVEPOINT = "kafka_stream_claim"
_RAISED_BY_TRIGGER = "SQLITE_CONSTRAINT_TRIGGER"
VERDICTS: Mapping[int, Verdict] = MappingProxyType(
    {
        # A missing table, a bad statement; few of these are about a value (JSON that cannot be read).
        sqlite3.SQLITE_ERROR: Verdict.STATEMENT,
        sqlite3.SQLITE_BUSY: Verdict.LOCKED,
        sqlite3.SQLITE_LOCKED: Verdict.LOCKED,
        sqlite3.SQLITE_PROTOCOL: Verdict.LOCKED,
        sqlite3.SQLITE_INTERRUPT: Verdict.GAVE_UP,
        sqlite3.SQLITE_SCHEMA: Verdict.GAVE_UP,
        sqlite3.SQLITE_FULL: Verdict.UNAVAILABLE,
        sqlite3.SQLITE_IOERR: Verdict.UNAVAILABLE,
        sqlite3.SQLITE_NOMEM: Verdict.UNAVAILABLE,
        sqlite3.SQLITE_READONLY: Verdict.REFUSED,
        sqlite3.SQLITE_PERM: Verdict.REFUSED,
        sqlite3.SQLITE_AUTH: Verdict.REFUSED,
        sqlite3.SQLITE_CANTOPEN: Verdict.STATEMENT,
        sqlite3.SQLITE_CORRUPT: Verdict.STATEMENT,
        sqlite3.SQLITE_NOTADB: Verdict.STATEMENT,
        sqlite3.SQLITE_CONSTRAINT: Verdict.DATA,
        sqlite3.SQLITE_MISMATCH: Verdict.DATA,
        sqlite3.SQLITE_TOOBIG: Verdict.DATA,
    }
)
"""By primary result code."""


class SQLite:
    """The embedded default."""

    drivers: ClassVar[Mapping[str, str]] = MappingProxyType({"pysqlite": ""})
    ends_blockers: ClassVar[bool] = False
    servers: ClassVar[Servers] = LoneServer()
    identity: ClassVar[str] = "SELECT file FROM pragma_database_list WHERE name = 'main'"
    creates_schemas: ClassVar[bool] = False
    count_rows: ClassVar[str | None] = None
    grammar: ClassVar[Grammar] = UpdateFrom(
        wanted="""SELECT json_extract(value, '$[0]') AS topic, json_extract(value, '$[1]') AS "partition",
            json_extract(value, '$[2]') AS from_offset, json_extract(value, '$[3]') AS until_offset,
            json_extract(value, '$[4]') AS epoch, json_extract(value, '$[5]') AS leader_epoch,
            json_extract(value, '$[6]') AS topic_id FROM json_each(:wanted)""",
        lock="",
        lock_free="",
        row_id="rowid",
        mark="",
        marked="",
    )

    def create_engine(self, url: URL) -> Engine:
        """Our own engine; a database in memory is one connection for all threads."""
        if _file_of(url) is None:
            return create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
        timeout = {} if "timeout" in url.query else {"timeout": _BUSY_TIMEOUT_S}
        return create_engine(url, connect_args=timeout)

    def exists(self, engine: Engine) -> bool:
        """Whether the file is there: connecting would create it."""
        file = _file_of(engine.url)
        return file is None or file.exists()

    def connect(self, engine: Engine) -> Connection:
        """As the engine gives it."""
        return engine.connect()

    def refuse_engine(self, engine: Engine) -> None:
        """Refuse an old SQLite, and a database in memory of which each thread sees its own."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python with 3.35 or later")
        if isinstance(engine.pool, SingletonThreadPool):
            raise ConfigurationError(
                "an engine for SQLite in memory with the default pool gives each thread its own database: make it "
                "with poolclass=StaticPool and connect_args={'check_same_thread': False}, or use a file"
            )

    def refuse_autocommit(self, engine: Engine, where: str) -> None:
        """Write to a temporary table, which locks nothing, and look whether a rollback takes it back."""
        with borrowed(engine) as connection:
            connection.exec_driver_sql("CREATE TEMP TABLE IF NOT EXISTS kafka_stream_probe (x INTEGER)")
            connection.commit()
            connection.exec_driver_sql("INSERT INTO temp.kafka_stream_probe VALUES (1)")
            connection.rollback()
            kept = connection.exec_driver_sql("SELECT count(*) FROM temp.kafka_stream_probe").scalar_one()
            connection.exec_driver_sql("DROP TABLE temp.kafka_stream_probe")
            connection.commit()
            mode = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()).lower()
        if kept:
            raise ConfigurationError(
                f"the engine for {where} commits each statement on its own (AUTOCOMMIT), so that results and offsets "
                "would not commit together: hand over an engine without isolation_level='AUTOCOMMIT'"
            )
        if mode == "off":
            raise ConfigurationError(f"{where} has PRAGMA journal_mode=OFF and cannot roll back; set it to WAL")

    def prepare_file(self, engine: Engine) -> None:
        """Turn the write-ahead log on: readers and the one writer do not wait for each other."""
        with borrowed(engine) as connection:
            driver = _driver(connection)  # not through SQLAlchemy: a user's handlers may begin, and it must be outside
            (mode,) = driver.execute("PRAGMA journal_mode").fetchall()[0]
            if str(mode).lower() not in {"wal", "memory"}:
                try:
                    driver.execute("PRAGMA journal_mode = WAL").fetchall()
                except sqlite3.OperationalError as error:
                    if self.verdict(error) not in {Verdict.LOCKED, Verdict.REFUSED}:  # the next start will set it
                        raise

    def refuse_tables(self, connection: Connection, tables: Tables, where: str) -> None:
        """Nothing to refuse: SQLite has no tables without transactions."""

    def serialize_ddl(self, connection: Connection, key: str) -> None:
        """``BEGIN IMMEDIATE`` has done it."""

    def begin(self, connection: Connection, session: str) -> RootTransaction:
        """Take the write lock at once: a transaction that starts by reading could not upgrade later."""
        transaction = connection.begin()
        if _driver(connection).in_transaction:  # the engine's own handlers, or PEP 249 mode, have begun a deferred one
            connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return transaction

    def begin_bounded(self, connection: Connection, session: str, timeout_s: float) -> RootTransaction:
        """As ``begin``, which is the only thing that waits."""
        before = int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one())
        connection.rollback()
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")
        connection.rollback()
        try:
            return self.begin(connection, session)
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {before}")

    def cursor(self, connection: Connection) -> DBAPICursor:
        """A new one, which is cheap here."""
        return connection.connection.cursor()

    def relation(self, rows: Sequence[Wanted]) -> Mapping[str, Any]:
        """One JSON text; SQLite reads 64-bit integers from it exactly."""
        fields = [
            (r.topic, r.partition, r.from_offset, r.until_offset, r.epoch, r.leader_epoch, r.topic_id) for r in rows
        ]
        return {"wanted": json.dumps(fields)}

    def rows_changed(self, connection: Connection, counted: int) -> int:
        """Asked for: Python's driver counts only statements that begin with UPDATE or INSERT, not with WITH."""
        return int(_driver(connection).execute("SELECT changes()").fetchone()[0])

    def claim_parameters(self, owner: Owner, token: str) -> Mapping[str, Any]:
        """None: the mark is a savepoint."""
        return {}

    def after_claim(self, connection: Connection) -> None:
        """A savepoint ends with its transaction, by whatever means that was ended."""
        connection.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}")

    def before_advance(self, connection: Connection) -> None:
        """Release the savepoint, if it is still there."""
        try:
            connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        except exc.OperationalError as error:
            if _code_of(driver_error(error)) != sqlite3.SQLITE_ERROR:
                raise
            raise TransactionEscaped(
                "the batch's transaction ended before its offsets advanced: the handler committed it or rolled it "
                "back (COMMIT, ROLLBACK, executescript), or SQLite did after an error that the handler swallowed; "
                "write through transaction.connection and leave the commit to the stream"
            ) from error

    def holds_mark(self, connection: Connection, token: str) -> bool:
        """The savepoint was there a moment ago."""
        return True

    def mark(self, connection: Connection, token: str) -> None:
        """The savepoint."""
        self.after_claim(connection)

    def before_end(self, connection: Connection) -> None:
        """The attempt's savepoint will tell."""

    def violated(self, connection: Connection) -> Violations | None:
        """Only all violations can be asked for, so that those of before have to be known."""
        return Violations.found(_driver(connection))

    def refuse_violations(self, connection: Connection, before: object | None) -> None:
        """Those that are new."""
        if isinstance(before, Violations):
            before.refuse_more(_driver(connection))

    def has_no_savepoint(self, error: BaseException) -> bool:
        """Nothing else can be wrong with these statements."""
        return _code_of(driver_error(error)) == sqlite3.SQLITE_ERROR

    def keep_letters(self, table: Table) -> Insert:
        """``ON CONFLICT DO UPDATE``."""
        statement = insert(table)
        changes = {name: statement.excluded[name] for name in REPLACED}
        return statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_={**changes, "attempts": table.c.attempts + 1}
        )

    def after_transaction(self, connection: Connection) -> None:
        """Nothing is left."""

    def in_transaction(self, connection: Connection) -> bool:
        """As the driver sees it."""
        return _driver(connection).in_transaction

    def is_lost(self, connection: Connection) -> bool:
        """Never: there is no other end."""
        return False

    def is_busy(self, connection: Connection) -> bool:
        """Never: a cursor that was left open is reset."""
        return False

    def ending_blockers(self, engine: Engine, waiting: Connection) -> None:
        """SQLite does not know who holds its lock."""
        return

    def verdict(self, error: BaseException) -> Verdict | None:
        """By the primary result code."""
        driver = driver_error(error)
        if not isinstance(driver, sqlite3.Error):
            return None
        return VERDICTS.get(_code_of(driver), Verdict.OTHER)

    def connection_of(self, thing: object) -> object | None:
        """A cursor's."""
        if isinstance(thing, sqlite3.Cursor):
            return thing.connection
        return thing if isinstance(thing, sqlite3.Connection) else None

    def words(self, error: BaseException) -> str | None:
        """The message names tables, columns and constraints; a trigger's is the user's, the parser's quotes."""
        driver = driver_error(error)
        if not isinstance(driver, sqlite3.Error):
            return None
        name = getattr(driver, "sqlite_errorname", None)
        said = "" if name == _RAISED_BY_TRIGGER else without_quoted(str(driver), '"')
        return sentence(type(driver).__name__, name, said)


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _code_of(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", -1) & 0xFF  # the rest makes the code finer


def _file_of(url: URL) -> Path | None:
    """The database's file; ``None`` in memory."""
    name = url.database
    if not name or name == ":memory:":
        return None
    if name.startswith("file:"):
        parts = urlsplit(name)
        in_memory = url.query.get("mode") == "memory" or parts.path == ":memory:"
        return None if in_memory else Path(parts.path)
    return Path(name)


__all__ = ["VERDICTS", "SQLite"]
