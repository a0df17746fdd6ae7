"""PostgreSQL, through psycopg 3, at READ COMMITTED."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sqlalchemy import URL, Connection, Engine, Insert, RootTransaction, Table, create_engine, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine.interfaces import DBAPICursor

from kafka_stream.errors import ConfigurationError, TransactionEscaped
from kafka_stream.offset_stores.sql.dead_letters.rows import REPLACED
from kafka_stream.offset_stores.sql.dialects.postgresql_arrays import arrays_of
from kafka_stream.offset_stores.sql.dialects.postgresql_errors import psycopg_error, verdict_of, words_of
from kafka_stream.offset_stores.sql.dialects.postgresql_frozen_owners import SESSION_PREFIX, BlockingSessions
from kafka_stream.offset_stores.sql.dialects.postgresql_servers import ReplicatedServers
from kafka_stream.offset_stores.sql.dialects.postgresql_tables import refuse_readers, refuse_unfit
from kafka_stream.offset_stores.sql.dialects.servers import Servers
from kafka_stream.offset_stores.sql.errors import Verdict
from kafka_stream.offset_stores.sql.pool import borrowed, dropped_if_unfit
from kafka_stream.offset_stores.sql.statements import Grammar, Wanted
from kafka_stream.offset_stores.sql.tables import Tables
from kafka_stream.offset_stores.sql.update_from import UpdateFrom
from kafka_stream.types import Owner

if TYPE_CHECKING:
    import psycopg

_CURSOR = "kafka_stream_cursor"
_PREPARE = "prepare_threshold"
_ISOLATION: Final = "READ COMMITTED"
_NO_SUCH_SAVEPOINT = frozenset({"3B001", "25P01"})  # in a transaction, and outside of one
_ASK_FOR_ALL = (
    "SAVEPOINT kafka_stream_check; SET CONSTRAINTS ALL IMMEDIATE; "
    "ROLLBACK TO SAVEPOINT kafka_stream_check; RELEASE SAVEPOINT kafka_stream_check"
)
_LONGEST_WAIT = "50s"  # for a lock inside of a batch, as MariaDB's and MySQL's default
_READABLE_ID = re.compile(r"[A-Za-z0-9_.-]{1,48}")

# A connection that breaks silently (a cable, a NAT table) must not hold a batch for ever.
_CONNECT_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


class PostgreSQL:
    """PostgreSQL 12 or later."""

    drivers: ClassVar[Mapping[str, str]] = MappingProxyType({"psycopg": "kafka-stream[postgresql]"})
    ends_blockers: ClassVar[bool] = True
    servers: ClassVar[Servers] = ReplicatedServers()
    identity: ClassVar[str] = "SELECT system_identifier, current_database(), current_schema() FROM pg_control_system()"
    creates_schemas: ClassVar[bool] = True
    count_rows: ClassVar[str | None] = "ANALYZE {table}"
    grammar: ClassVar[Grammar] = UpdateFrom(
        wanted="""SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS integer[]),
            CAST(:from_offsets AS bigint[]), CAST(:until_offsets AS bigint[]), CAST(:epochs AS bigint[]),
            CAST(:leader_epochs AS integer[]), CAST(:topic_ids AS text[]))
            AS u(topic, "partition", from_offset, until_offset, epoch, leader_epoch, topic_id)""",
        lock="FOR UPDATE OF o",
        lock_free="FOR UPDATE OF o SKIP LOCKED",
        row_id="ctid",
        # MATERIALIZED, and joined: the session has its name before the first row is locked.
        # No row is waited for without an end: who froze while he held it is replaced between batches.
        mark="mark AS MATERIALIZED (SELECT set_config('application_name', :session, true) AS session, "
        "set_config('kafka_stream.claim', :token, true) AS token, set_config('lock_timeout', "
        f"coalesce(nullif(current_setting('lock_timeout'), '0'), '{_LONGEST_WAIT}'), true) AS timeout),",
        marked="AND current_setting('kafka_stream.claim', true) = :token",
    )

    def create_engine(self, url: URL) -> Engine:
        """Our own engine: one connection for batches, and room for readers.

        ``prepare_threshold=none`` in the URL keeps the driver from preparing statements, for poolers that lose them.
        """
        defaults: dict[str, Any] = {name: value for name, value in _CONNECT_DEFAULTS.items() if name not in url.query}
        if (prepare := url.query.get(_PREPARE)) is not None:  # the driver's own, which no URL of its can say
            url = url.difference_update_query([_PREPARE])
            defaults[_PREPARE] = None if prepare == "none" else int(str(prepare))
        return create_engine(url, pool_size=2, max_overflow=4, connect_args=defaults, isolation_level=_ISOLATION)

    def exists(self, engine: Engine) -> bool:
        """Connecting tells."""
        return True

    def connect(self, engine: Engine) -> Connection:
        """At READ COMMITTED, where a row that somebody else changed is looked at again instead of being an error."""
        connection = engine.connect()
        with dropped_if_unfit(connection):
            level = (driver := _driver(connection)).isolation_level
            if level is not None and level.name == _ISOLATION.replace(" ", "_") and not driver.autocommit:
                return connection  # to set it and to take it back costs as much as a statement
            return connection.execution_options(isolation_level=_ISOLATION)

    def refuse_engine(self, engine: Engine) -> None:
        """Nothing to refuse before connecting."""

    def refuse_autocommit(self, engine: Engine, where: str) -> None:
        """Set something for the length of a transaction, and look whether the next statement is still in it."""
        with borrowed(engine) as connection:
            connection.exec_driver_sql("SELECT set_config('kafka_stream.claim', 'probe', true)")
            kept = connection.exec_driver_sql("SELECT current_setting('kafka_stream.claim', true)").scalar_one()
            connection.rollback()
        if kept != "probe":
            raise ConfigurationError(
                f"the engine for {where} commits each statement on its own (AUTOCOMMIT), so that results and offsets "
                "would not commit together: hand over an engine without isolation_level='AUTOCOMMIT'"
            )

    def prepare_file(self, engine: Engine) -> None:
        """Nothing to set."""

    def refuse_tables(self, connection: Connection, tables: Tables, where: str) -> None:
        """Refuse unlogged tables, which a crash empties while the results stay, and missing privileges."""
        refuse_readers(connection, where)
        refuse_unfit(connection, tables, where)

    def serialize_ddl(self, connection: Connection, key: str) -> None:
        """CREATE TABLE IF NOT EXISTS of two sessions at once can fail: one after the other."""
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": number})

    def begin(self, connection: Connection, session: str) -> RootTransaction:
        """The driver sends BEGIN with the first statement, and the claim sets the session's name."""
        return connection.begin()

    def begin_bounded(self, connection: Connection, session: str, timeout_s: float) -> RootTransaction:
        """With ``lock_timeout``, and the name for whoever waits for us in turn."""
        transaction = connection.begin()
        connection.execute(
            text("SELECT set_config('application_name', :session, true), set_config('lock_timeout', :timeout, true)"),
            {"session": session_name(session), "timeout": f"{int(timeout_s * 1000)}ms"},
        )
        return transaction

    def cursor(self, connection: Connection) -> DBAPICursor:
        """The same as long as the connection lives: a new one takes half as long as a statement."""
        cursor = connection.info.get(_CURSOR)
        if cursor is None:
            cursor = connection.info[_CURSOR] = connection.connection.cursor()
        return cursor

    def relation(self, rows: Sequence[Wanted]) -> Mapping[str, Any]:
        """An array per column, as texts: the driver takes longer for a list than the server for both statements."""
        return arrays_of(rows)

    def rows_changed(self, connection: Connection, counted: int) -> int:
        """The server's answer says so."""
        return counted

    def claim_parameters(self, owner: Owner, token: str) -> Mapping[str, Any]:
        """The session's name, by which a takeover finds it, and a token that only this transaction has."""
        return {"session": session_name(owner.id), "token": token}

    def after_claim(self, connection: Connection) -> None:
        """The claim has set its mark itself."""

    def before_advance(self, connection: Connection) -> None:
        """What the driver knows of its transaction, without asking the server."""
        self.before_end(connection)

    def before_end(self, connection: Connection) -> None:
        """What the driver knows of its transaction, without asking the server."""
        from psycopg.pq import TransactionStatus

        match _driver(connection).pgconn.transaction_status:
            case TransactionStatus.INERROR:
                raise TransactionEscaped(
                    "the handler swallowed an error of the database: PostgreSQL has given the batch's transaction up, "
                    "and its commit would be a silent rollback; let the error out, or use a savepoint "
                    "(with transaction.connection.begin_nested())"
                )
            case TransactionStatus.IDLE:
                raise TransactionEscaped(
                    "the handler committed the batch's transaction, or rolled it back, before its offsets advanced; "
                    "write through transaction.connection and leave the commit to the stream"
                )
            case TransactionStatus.ACTIVE:
                raise TransactionEscaped(
                    "the handler left a COPY or a query open on the batch's connection; finish it before returning"
                )

    def holds_mark(self, connection: Connection, token: str) -> bool:
        """Whether the token is still set."""
        found = connection.exec_driver_sql("SELECT current_setting('kafka_stream.claim', true)").scalar_one()
        return bool(found == token)

    def mark(self, connection: Connection, token: str) -> None:
        """As the claim would."""
        connection.execute(text("SELECT set_config('kafka_stream.claim', :token, true)"), {"token": token})

    def violated(self, connection: Connection) -> None:
        """The server can be asked."""
        return

    def refuse_violations(self, connection: Connection, before: object | None) -> None:
        """The way back restores which are deferred, and has what was asked for asked for once more, at the commit."""
        connection.exec_driver_sql(_ASK_FOR_ALL)

    def has_no_savepoint(self, error: BaseException) -> bool:
        """By SQLSTATE."""
        driver = psycopg_error(error)
        return driver is not None and driver.sqlstate in _NO_SUCH_SAVEPOINT

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
        """As the driver saw it at the last answer."""
        from psycopg.pq import TransactionStatus

        return _driver(connection).pgconn.transaction_status == TransactionStatus.INTRANS

    def is_lost(self, connection: Connection) -> bool:
        """The driver has closed it."""
        return _driver(connection).closed != 0

    def is_busy(self, connection: Connection) -> bool:
        """A COPY that was left open holds psycopg's own lock: a rollback would wait for it for ever."""
        from psycopg.pq import TransactionStatus

        if connection.closed or connection.invalidated:
            return False
        return _driver(connection).pgconn.transaction_status == TransactionStatus.ACTIVE

    def ending_blockers(self, engine: Engine, waiting: Connection) -> BlockingSessions:
        """Through ``pg_blocking_pids`` and ``pg_terminate_backend``, on a second connection.

        The driver knows the number of a pooler's session, where there is one between; the server is asked for its own.
        """
        pid = waiting.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        return BlockingSessions(engine, pid, session_name)

    def verdict(self, error: BaseException) -> Verdict | None:
        """By SQLSTATE. Where the client library gives none, the connection broke, or never came about."""
        driver = psycopg_error(error)
        return None if driver is None else verdict_of(driver)

    def connection_of(self, thing: object) -> object | None:
        """A cursor's, a COPY's or a savepoint's."""
        import psycopg

        if isinstance(thing, psycopg.Cursor | psycopg.Copy | psycopg.Transaction):
            return thing.connection
        return thing if isinstance(thing, psycopg.Connection) else None

    def words(self, error: BaseException) -> str | None:
        """Name and SQLSTATE, the message where it holds no value, and the names that the server gives; no DETAIL."""
        driver = psycopg_error(error)
        return None if driver is None else words_of(driver)


def session_name(owner_id: str) -> str:
    """An owner's ``application_name``: at most 63 bytes of ASCII, readable where the id is."""
    if _READABLE_ID.fullmatch(owner_id):
        return f"{SESSION_PREFIX}{owner_id}"
    return f"{SESSION_PREFIX}{hashlib.sha256(owner_id.encode()).hexdigest()[:32]}"


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver: Any = connection.connection.driver_connection
    assert driver is not None
    return driver  # type: ignore[no-any-return]


__all__ = ["PostgreSQL", "session_name"]
