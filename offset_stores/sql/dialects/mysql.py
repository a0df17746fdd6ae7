"""MariaDB and MySQL, through PyMySQL, at READ COMMITTED."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Insert,
    RootTransaction,
    Table,
    create_engine,
    event,
    exc,
    literal_column,
)
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.engine.interfaces import DBAPICursor

from kafka_stream.errors import ConfigurationError, NotAuthorized, StoreUnavailable, TransactionEscaped
from kafka_stream.offset_stores.sql.dead_letters.rows import REPLACED
from kafka_stream.offset_stores.sql.dialects import mysql_frozen_owners as sessions
from kafka_stream.offset_stores.sql.dialects.mysql_errors import number_of, pymysql_error, verdict_of, words_of
from kafka_stream.offset_stores.sql.dialects.mysql_tables import counts_changed_rows, refuse_unfit, try_tables
from kafka_stream.offset_stores.sql.dialects.servers import LoneServer, Servers
from kafka_stream.offset_stores.sql.errors import Verdict, driver_error
from kafka_stream.offset_stores.sql.pool import borrowed, dropped_if_unfit
from kafka_stream.offset_stores.sql.statements import Grammar, Wanted
from kafka_stream.offset_stores.sql.tables import Tables
from kafka_stream.offset_stores.sql.update_join import UpdateJoin
from kafka_stream.types import Owner

if TYPE_CHECKING:
    import pymysql

_OLDEST_MARIADB = (10, 6)
_OLDEST_MYSQL = (8, 0)
_CONNECT_TIMEOUT_S = 10.0
_DDL_TIMEOUT_S = 30
_SAVEPOINT = "kafka_stream_claim"
_TIMEOUTS = "kafka_stream_timeouts"
_SET_TIMEOUTS = "SET SESSION innodb_lock_wait_timeout = %s, lock_wait_timeout = %s"
_NO_SUCH_SAVEPOINT = 1305
_ONLY_READS = 1792

# A connection that breaks silently (a cable, a NAT table) must not hold a batch for ever; where the system knows them.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


class MySQL:
    """MariaDB 10.6 or later, MySQL 8.0 or later."""

    drivers: ClassVar[Mapping[str, str]] = MappingProxyType({"pymysql": "kafka-stream[mysql]"})
    ends_blockers: ClassVar[bool] = True
    servers: ClassVar[Servers] = LoneServer()
    identity: ClassVar[str] = "SELECT @@hostname, @@port, @@datadir, DATABASE()"
    creates_schemas: ClassVar[bool] = True
    count_rows: ClassVar[str | None] = None
    grammar: ClassVar[Grammar] = UpdateJoin()

    def create_engine(self, url: URL) -> Engine:
        """Our own engine: one connection for batches, and room for readers."""
        engine = create_engine(url, pool_size=2, max_overflow=4)
        if "unix_socket" not in url.query:
            event.listen(engine, "do_connect", _connect)
        return engine

    def exists(self, engine: Engine) -> bool:
        """Connecting tells."""
        return True

    def connect(self, engine: Engine) -> Connection:
        """At READ COMMITTED, where a row that somebody else changed is looked at again instead of being an error.

        Raises ``ConfigurationError`` if the connection counts changed rows: an empty range would look like a lost one.
        """
        from pymysql.constants import CLIENT

        connection = engine.connect()
        with dropped_if_unfit(connection):
            connection.execution_options(isolation_level="READ COMMITTED")  # asks the server
            if not _driver(connection).client_flag & CLIENT.FOUND_ROWS:
                raise ConfigurationError(counts_changed_rows("the engine"))
        return connection

    def refuse_engine(self, engine: Engine) -> None:
        """Nothing to refuse before connecting."""

    def refuse_autocommit(self, engine: Engine, where: str) -> None:
        """Ask the session, as the engine gives it, whether it commits by itself and what it does with bad values."""
        with borrowed(engine) as connection:
            autocommit, sql_mode = connection.exec_driver_sql("SELECT @@autocommit, @@sql_mode").one()
            is_mariadb = bool(getattr(connection.dialect, "is_mariadb", False))
            version = tuple(connection.dialect.server_version_info or ())
        if autocommit:
            raise ConfigurationError(
                f"the engine for {where} commits each statement on its own (AUTOCOMMIT), so that results and offsets "
                "would not commit together: hand over an engine without isolation_level='AUTOCOMMIT' or autocommit=True"
            )
        if not {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"} & set(str(sql_mode).split(",")):
            raise ConfigurationError(
                f"the sql_mode of {where} is not strict, so that values which do not fit would be cut silently: add "
                "STRICT_TRANS_TABLES to it"
            )
        oldest = _OLDEST_MARIADB if is_mariadb else _OLDEST_MYSQL
        if version[:2] < oldest:
            raise ConfigurationError(
                f"{where} is {'MariaDB' if is_mariadb else 'MySQL'} {'.'.join(map(str, version))}, which is too old: "
                f"use {'.'.join(map(str, oldest))} or later"
            )

    def prepare_file(self, engine: Engine) -> None:
        """Nothing to set."""

    def refuse_tables(self, connection: Connection, tables: Tables, where: str) -> None:
        """Refuse tables without transactions or that confuse names, missing privileges, and counts of changed rows."""
        refuse_unfit(connection, tables, where)
        try:
            try_tables(connection, tables, where)
        except exc.DBAPIError as error:
            if number_of(driver_error(error)) != _ONLY_READS:
                raise
            raise NotAuthorized(
                f"{where} takes no writes: this user's transactions are READ ONLY (tx_read_only); use one that may"
            ) from error

    def serialize_ddl(self, connection: Connection, key: str) -> None:
        """DDL commits: what comes one after the other is held together by a user lock, which ends with the session."""
        if not sessions.name_session(connection, key, sessions.Role.DDL, _DDL_TIMEOUT_S):
            raise StoreUnavailable(f"another session has been creating the tables {key} for {_DDL_TIMEOUT_S} s")

    def begin(self, connection: Connection, session: str) -> RootTransaction:
        """The server begins a transaction with the first statement that reads a table."""
        transaction = connection.begin()
        sessions.name_session(connection, session, sessions.Role.BATCH)
        return transaction

    def begin_bounded(self, connection: Connection, session: str, timeout_s: float) -> RootTransaction:
        """Locks of rows and of tables; whole seconds are the shortest that the server knows."""
        transaction = connection.begin()
        before = connection.exec_driver_sql("SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout").one()
        connection.info[_TIMEOUTS] = tuple(before)
        seconds = max(1, round(timeout_s))
        connection.exec_driver_sql(_SET_TIMEOUTS, (seconds, seconds))
        sessions.name_session(connection, session, sessions.Role.TAKEOVER)
        return transaction

    def cursor(self, connection: Connection) -> DBAPICursor:
        """A new one, which is cheap here."""
        return connection.connection.cursor()

    def relation(self, rows: Sequence[Wanted]) -> Mapping[str, Any]:
        """One JSON text; 64-bit integers are read from it exactly."""
        fields = [
            (r.topic, r.partition, r.from_offset, r.until_offset, r.epoch, r.leader_epoch, r.topic_id) for r in rows
        ]
        return {"wanted": json.dumps(fields)}

    def rows_changed(self, connection: Connection, counted: int) -> int:
        """Rows that were found, whether or not they had these values before."""
        return counted

    def claim_parameters(self, owner: Owner, token: str) -> Mapping[str, Any]:
        """None: the mark is a savepoint."""
        return {}

    def after_claim(self, connection: Connection) -> None:
        """A savepoint ends with its transaction: by a commit, which DDL is too, a rollback, a deadlock, a reconnect."""
        connection.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}")

    def before_advance(self, connection: Connection) -> None:
        """Release the savepoint, if it is still there."""
        try:
            connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        except exc.DBAPIError as error:
            if number_of(driver_error(error)) != _NO_SUCH_SAVEPOINT:
                raise
            connection.invalidate()  # not for the pool: LOCK TABLES, for one, outlives a rollback
            raise TransactionEscaped(
                "the batch's transaction ended before its offsets advanced: the handler committed it or rolled it back "
                "(DDL such as CREATE TABLE commits), or swallowed a deadlock, at which the database rolls everything "
                "back; write through transaction.connection, let errors out, and leave the commit to the stream"
            ) from error

    def holds_mark(self, connection: Connection, token: str) -> bool:
        """The savepoint was there a moment ago."""
        return True

    def mark(self, connection: Connection, token: str) -> None:
        """The savepoint."""
        self.after_claim(connection)

    def before_end(self, connection: Connection) -> None:
        """The attempt's savepoint will tell."""

    def violated(self, connection: Connection) -> None:
        """Nothing is deferred here."""
        return

    def refuse_violations(self, connection: Connection, before: object | None) -> None:
        """Nothing is deferred here."""

    def has_no_savepoint(self, error: BaseException) -> bool:
        """By number."""
        return number_of(driver_error(error)) == _NO_SUCH_SAVEPOINT

    def keep_letters(self, table: Table) -> Insert:
        """``ON DUPLICATE KEY UPDATE``; there is no other unique key that a new letter could meet."""
        statement = insert(table)
        changes = {name: statement.inserted[name] for name in REPLACED}
        one: ColumnElement[int] = literal_column("1")  # behind the values the driver takes no parameter of executemany
        return statement.on_duplicate_key_update({**changes, "attempts": table.c.attempts + one})

    def after_transaction(self, connection: Connection) -> None:
        """The session is as it was, and nobody's."""
        before = connection.info.pop(_TIMEOUTS, None)
        if before is not None:
            connection.exec_driver_sql(_SET_TIMEOUTS, before)
        sessions.unname_session(connection)

    def in_transaction(self, connection: Connection) -> bool:
        """As the driver saw it at the last answer."""
        from pymysql.constants import SERVER_STATUS

        driver: Any = _driver(connection)  # its types lack the attribute
        return bool(driver.open and driver.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def is_lost(self, connection: Connection) -> bool:
        """The driver has closed it."""
        return not _driver(connection).open

    def is_busy(self, connection: Connection) -> bool:
        """Never: the driver reads what is left of a result that was left open."""
        return False

    def ending_blockers(self, engine: Engine, waiting: Connection) -> sessions.NamedSessions:
        """Through the user locks that their sessions hold, and ``KILL``."""
        return sessions.NamedSessions(waiting)

    def verdict(self, error: BaseException) -> Verdict | None:
        """By the error's number; the driver has no number for a connection that it has closed itself."""
        driver = pymysql_error(error)
        return None if driver is None else verdict_of(driver)

    def connection_of(self, thing: object) -> object | None:
        """A cursor's, unless it is closed."""
        import pymysql

        if isinstance(thing, pymysql.cursors.Cursor):
            return thing.connection
        return thing if isinstance(thing, pymysql.Connection) else None

    def words(self, error: BaseException) -> str | None:
        """Number, and the message without values."""
        driver = pymysql_error(error)
        return None if driver is None else words_of(driver)


def _connect(dialect: Any, record: Any, arguments: list[Any], parameters: dict[str, Any]) -> Any:
    """As SQLAlchemy would connect, through a socket that notices a connection which breaks silently."""
    dbapi = dialect.loaded_dbapi
    parameters = {"connect_timeout": _CONNECT_TIMEOUT_S, **parameters, "defer_connect": True}
    try:
        connection = dbapi.connect(*arguments, **parameters)
    except OSError as error:  # files for TLS that are not there, or hold something else
        files = ", ".join(
            f"{name}={path}" for name, path in sorted((parameters.get("ssl") or {}).items()) if name != "password"
        )
        raise dbapi.OperationalError(2026, f"the files for TLS cannot be read: {error} ({files})") from error
    try:
        end = socket.create_connection((connection.host, connection.port), connection.connect_timeout)
    except OSError as error:
        raise dbapi.OperationalError(2003, f"Can't connect to {connection.host}:{connection.port} ({error})") from error
    end.settimeout(None)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            end.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.connect(end)
    return connection


def _driver(connection: Connection) -> pymysql.Connection[Any]:
    driver: Any = connection.connection.driver_connection
    assert driver is not None
    return driver  # type: ignore[no-any-return]


__all__ = ["MySQL"]
