"""What the store needs to know of a kind of database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from sqlalchemy import URL, Connection, Engine, Insert, RootTransaction, Table
from sqlalchemy.engine.interfaces import DBAPICursor

from kafka_stream.offset_stores.sql.dialects.servers import Servers
from kafka_stream.offset_stores.sql.errors import Verdict
from kafka_stream.offset_stores.sql.statements import Grammar, Wanted
from kafka_stream.offset_stores.sql.tables import Tables
from kafka_stream.types import Owner


class Blockers(Protocol):
    """Who holds the locks that a statement waits for."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def seeing_owners(self) -> AbstractContextManager[None]:
        """Around a look at who owns the rows, on the waiting connection before it has written anything."""

    def end_those_of(self, owners: Collection[str], session: str) -> None:
        """These owners are being replaced, by whom they wait for under this session's name."""

    def describe(self) -> str | None:
        """The sessions that were found and left alone, for people."""


class Database(Protocol):
    """A kind of database. Stateless: everything it works on is handed in."""

    drivers: ClassVar[Mapping[str, str]]
    """The supported SQLAlchemy driver, and the extra that installs it (empty if Python brings it)."""
    ends_blockers: ClassVar[bool]
    """Whether it can end the session that holds a lock."""
    servers: ClassVar[Servers]
    """What it tells of several servers, one of which takes another's place."""
    identity: ClassVar[str]
    """The query for what tells the database (and where names without a schema are) from every other one, in one row."""
    creates_schemas: ClassVar[bool]
    """Whether a missing schema can be created with ``CREATE SCHEMA``."""
    grammar: ClassVar[Grammar]
    """Its words in the statements."""
    count_rows: ClassVar[str | None]
    """What has its planner look how full a table is, where it may not know for a minute; ``{table}`` is its name."""

    def create_engine(self, url: URL) -> Engine:
        """Our own engine for a URL; does not connect. Raises ``ModuleNotFoundError`` without the driver."""

    def exists(self, engine: Engine) -> bool:
        """Whether there is a database to connect to; connecting must not create one just to read."""

    def connect(self, engine: Engine) -> Connection:
        """A connection at the isolation level that the statements are written for, without a transaction."""

    def refuse_engine(self, engine: Engine) -> None:
        """Refuse an engine that cannot work, before it connects. Raises ``ConfigurationError``."""

    def refuse_autocommit(self, engine: Engine, where: str) -> None:
        """Try whether a rollback rolls back, with the engine as it was given. Raises ``ConfigurationError``."""

    def prepare_file(self, engine: Engine) -> None:
        """Set what belongs to the database itself rather than to a connection (SQLite's WAL)."""

    def refuse_tables(self, connection: Connection, tables: Tables, where: str) -> None:
        """Refuse tables that lose rows in a crash, or that we may not write.

        Raises ``ConfigurationError``, ``NotAuthorized``.
        """

    def serialize_ddl(self, connection: Connection, key: str) -> None:
        """Until the end of the transaction, let nobody else create these tables."""

    def begin(self, connection: Connection, session: str) -> RootTransaction:
        """Begin a batch's transaction, under a session's name (an owner's id) if the claim does not set it."""

    def cursor(self, connection: Connection) -> DBAPICursor:
        """The driver's cursor for the store's own statements in a batch's transaction."""

    def relation(self, rows: Sequence[Wanted]) -> Mapping[str, Any]:
        """The parameters from which the grammar makes the wanted rows."""

    def rows_changed(self, connection: Connection, counted: int) -> int:
        """How many rows the statement that has just run has changed, of which the driver has counted so many."""

    def claim_parameters(self, owner: Owner, token: str) -> Mapping[str, Any]:
        """For the claim that itself sets a mark which ends with the transaction."""

    def after_claim(self, connection: Connection) -> None:
        """Right after the claim succeeded: set what ends with the transaction, where the claim cannot."""

    def before_advance(self, connection: Connection) -> None:
        """Right before the advance: is it still the transaction of the claim, fit to go on?

        Raises ``TransactionEscaped`` if not, as far as it can tell without the advance.
        """

    def holds_mark(self, connection: Connection, token: str) -> bool:
        """After an advance that moved too little: is it still the transaction of the claim?"""

    def after_transaction(self, connection: Connection) -> None:
        """Take back what outlives the transaction, before the connection is given back."""

    def before_end(self, connection: Connection) -> None:
        """Right before an attempt's end: is the transaction fit to go on? No round trip.

        Raises ``TransactionEscaped`` if not, as far as the driver knows.
        """

    def violated(self, connection: Connection) -> object | None:
        """What violates deferred constraints now, where that can only be compared; for ``refuse_violations``."""

    def refuse_violations(self, connection: Connection, before: object | None) -> None:
        """Ask for all deferred constraints as a commit would, and leave them deferred; raise what the commit would."""

    def has_no_savepoint(self, error: BaseException) -> bool:
        """Whether an error says that there is no such savepoint, or no transaction."""

    def keep_letters(self, table: Table) -> Insert:
        """The statement for dead letters: one of the same record is replaced (``REPLACED``), and has failed again."""

    def mark(self, connection: Connection, token: str) -> None:
        """Right after ``begin``, where no claim does it: set what ends with the transaction (see ``holds_mark``)."""

    def in_transaction(self, connection: Connection) -> bool:
        """Whether the driver knows its transaction to be open and unbroken; no round trip."""

    def is_lost(self, connection: Connection) -> bool:
        """Whether the driver knows that there is nobody at the other end any more; no round trip."""

    def is_busy(self, connection: Connection) -> bool:
        """Whether a statement (a COPY) is under way that would block even a rollback; no round trip."""

    def begin_bounded(self, connection: Connection, session: str, timeout_s: float) -> RootTransaction:
        """Begin a transaction under a session's name (an owner's id) that waits for locks no longer than this."""

    def ending_blockers(self, engine: Engine, waiting: Connection) -> Blockers | None:
        """While its ``with`` body waits for locks on ``waiting``, end the sessions of dead owners that hold them.

        ``None`` where the database cannot tell who does.
        """

    def verdict(self, error: BaseException) -> Verdict | None:
        """What an error of this database's driver means; ``None`` if it is not one. By type and code."""

    def connection_of(self, thing: object) -> object | None:
        """The driver's connection behind one of its objects: itself, or what a cursor or a COPY works on."""

    def words(self, error: BaseException) -> str | None:
        """What an error of this database's driver says, without any value of a row; ``None`` if it is not one."""


__all__ = ["Blockers", "Database"]
