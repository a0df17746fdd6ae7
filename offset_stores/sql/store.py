"""``SqlOffsetStore``: positions in tables of a database, beside the results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Literal

from sqlalchemy import URL, Engine, select

from kafka_stream.errors import ConfigurationError, KafkaStreamError
from kafka_stream.offset_stores.sql import administration, takeover
from kafka_stream.offset_stores.sql import engine as engines
from kafka_stream.offset_stores.sql import history as histories
from kafka_stream.offset_stores.sql import schema as schemas
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.state.store import SqlStateStore
from kafka_stream.offset_stores.sql.tables import DEFAULT_PREFIX, own_tables
from kafka_stream.offset_stores.sql.transaction import SqlTransaction
from kafka_stream.offset_stores.sql.transactions.latest import Transactions
from kafka_stream.offset_stores.sql.users_errors import tell
from kafka_stream.protocols import (
    Action,
    ActionKind,
    Change,
    Decide,
    HistoryEntry,
    StoreCapabilities,
    TopicState,
    TopicStatus,
)
from kafka_stream.types import Claim, Owner, StoredPosition, TopicPartition

_SCHEMA_LOCK_TIMEOUT_S = 30.0
_LONGEST_LOCK_TIMEOUT_S = 3600.0


class SqlOffsetStore(SqlStateStore):
    """Keeps positions in tables of the database that the results go to, and commits both together.

    ``url_or_engine`` is a SQLAlchemy URL (``postgres://`` and ``postgresql://`` mean psycopg) or the application's
    own ``Engine``, which is used as it is and never disposed; its ``schema_translate_map`` says where the tables are,
    too. ``tables="create"`` creates what is missing when the
    store is opened; ``"verify"`` only looks (for tables that a migration creates, see ``define_tables``).
    ``takeover_lock_timeout_s`` bounds each wait for a dead owner's locks.

    One row per partition moves by compare-and-set; the idea is koeninger/kafka-exactly-once
    (``update … set off = until where off = from``). On SQLite the database file is switched to its write-ahead log.

    Raises:
        ConfigurationError: the URL or engine cannot work; connects to nothing to find out.
    """

    def __init__(
        self,
        url_or_engine: str | URL | Engine,
        *,
        schema: str | None = None,
        table_prefix: str = DEFAULT_PREFIX,
        tables: Literal["create", "verify"] = "create",
        takeover_lock_timeout_s: float = 1.0,
    ) -> None:
        if tables not in {"create", "verify"}:
            raise ConfigurationError(f"tables={tables!r} is neither 'create' nor 'verify'")
        if not 0 < takeover_lock_timeout_s <= _LONGEST_LOCK_TIMEOUT_S:
            raise ConfigurationError(f"takeover_lock_timeout_s={takeover_lock_timeout_s} must lie between 0 and 3600 s")
        users_engine: Engine | None = None
        if isinstance(url_or_engine, str | URL):
            url, database = engines.parsed(url_or_engine)
        else:
            database = engines.database_of(url_or_engine)
            users_engine, url = url_or_engine, url_or_engine.url
        defined = own_tables(engines.seen_schema(users_engine, schema), table_prefix)
        self._access = Access(url, database, defined, users_engine, takeover_lock_timeout_s)
        self._create = tables == "create"
        self._transactions = Transactions(self._access)

    def __repr__(self) -> str:
        return f"<SqlOffsetStore {self.describe()}>"

    @property
    def capabilities(self) -> StoreCapabilities:
        """An SQL transaction, and claims that the database itself refuses."""
        return StoreCapabilities(transaction="sql", compare_and_set=True, durable_plan=True)

    def describe(self) -> str:
        """The URL without password and options (which may hold one), and the table."""
        return self._access.where

    @property
    def engine(self) -> Engine:
        """The engine that it uses: the user's, or its own, which ``close`` disposes; connects to nothing.

        Raises:
            MissingExtra: the driver is not installed.
        """
        return self._access.engine

    def open(self) -> None:
        """Connect, refuse what cannot hold the promise, and create or verify the tables."""
        access = self._access
        with access.mapping("opening the store"):
            access.learn_servers()
            access.database.refuse_autocommit(access.engine, access.where)
            access.was_let_in()
            access.database.prepare_file(access.engine)
            if self._create and self._lacks_something():
                self.apply_schema()
            with access.reading() as connection:
                schemas.check(connection, access.tables, access.where)
                access.database.refuse_tables(connection, access.tables, access.where)

    def _lacks_something(self) -> bool:
        with self._access.reading() as connection:
            return schemas.lacks_something(connection, self._access.tables)

    def close(self) -> None:
        """Dispose our own engine; the user's is the user's."""
        self._access.dispose()

    def schema_sql(self) -> str:
        """The statements that create the tables, in this database's dialect; connects to nothing."""
        return schemas.tables_sql(self._access.tables, self._access.engine.dialect)

    def apply_schema(self) -> None:
        """Create the tables that are missing; may be run again, and by several processes at once."""
        access = self._access
        with access.mapping("creating the tables"), access.writing("schema", _SCHEMA_LOCK_TIMEOUT_S) as connection:
            schemas.create_missing(connection, access.database, access.tables)

    def check_schema(self) -> None:
        """Compare the tables with what this version needs; changes nothing.

        Raises:
            SchemaMismatch: they do not fit.
        """
        access = self._access
        with access.mapping("checking the tables"):
            if not access.database.exists(access.engine):
                raise schemas.lacking(access.tables, access.where)
            with access.reading() as connection:
                schemas.check(connection, access.tables, access.where)

    def is_started(self, stream: str, topic: str) -> bool:
        """Whether the topic's marker is there and not deleted; see ``OffsetStore``."""
        topics = self._access.tables.topics
        query = select(topics.c.state).where(topics.c.stream == stream, topics.c.topic == topic)
        with self._access.mapping("looking for the stream's start"), self._access.reading() as connection:
            state = connection.execute(query).scalar_one_or_none()
        return state is not None and state != TopicState.DELETED

    def initialise(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        """Store the starts and the marker, unless the marker is there; see ``OffsetStore``."""
        takeover.initialise(self._access, stream, topic, starts, topic_id)

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Raise the epochs and read what is stored after that; see ``OffsetStore``."""
        return takeover.take_over(self._access, stream, owner, partitions, topic_ids)

    def reclaim(self, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
        """Raise the claim's epochs if they are still ours, and read; see ``OffsetStore``."""
        return takeover.reclaim(self._access, claim)

    def reposition(self, claim: Claim) -> None:
        """Move positions without records; see ``OffsetStore``."""
        takeover.reposition(self._access, claim)

    def plan(self, claim: Claim) -> None:
        """Make the claim's ranges durable before the first write; see ``OffsetStore``."""
        takeover.plan(self._access, claim)

    def begin(self, claim: Claim) -> AbstractContextManager[SqlTransaction]:
        """Open a transaction and claim every range in it; see ``OffsetStore``."""
        access = self._access
        return self._transactions.opened(
            lambda connection: SqlTransaction(access, connection, claim),
            "a batch's",
            lambda: takeover.why_not(access, claim),
        )

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        """What the connection of the batch in hand, or of the last one, ran into; see ``OffsetStore``.

        Its ``connection`` that was kept for a later batch is closed by then: ``TransactionEscaped``.
        """
        return self._transactions.classify(error)

    def tell(self, error: BaseException) -> str | None:
        """What a database's error says, without values; see ``TellingStore``."""
        return tell(error)

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        """What is stored for a stream; see ``OffsetStore``."""
        with self._access.looking("reading positions", self._access.tables.offsets) as connection:
            return {} if connection is None else self._access.read(connection, stream)

    # AdministeredStore ----------------------------------------------------------------------------------------------

    @property
    def keeps_history(self) -> bool:
        """In a table of its own."""
        return True

    def identity(self) -> str:
        """The database, as it names itself, and the table; see ``AdministeredStore``."""
        access = self._access
        with access.mapping("asking which database it is"):
            if not access.database.exists(access.engine):
                return access.where
            with access.reading() as connection:
                told = [str(value) for value in connection.exec_driver_sql(access.database.identity).one() if value]
        # A database in memory lives, and is told from others, with its engine.
        return " ".join([*(told or [f"memory {id(access.engine)}"]), access.tables.offsets.fullname])

    def streams(self) -> Sequence[str]:
        """The names of all streams; see ``AdministeredStore``."""
        with self._access.looking("looking for streams", self._access.tables.offsets) as connection:
            return [] if connection is None else administration.streams(self._access, connection)

    def topics(self, stream: str) -> Mapping[str, TopicStatus]:
        """The markers of a stream's topics; see ``AdministeredStore``."""
        with self._access.looking("looking for topics", self._access.tables.topics) as connection:
            return {} if connection is None else administration.topics(self._access, connection, stream)

    def change(
        self, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Move positions while nobody else can; see ``AdministeredStore``."""
        return administration.change(self._access, stream, partitions, action, decide)

    def rehearse(self, stream: str, changes: Sequence[Change]) -> None:
        """Move positions, and roll that back; see ``AdministeredStore``."""
        administration.rehearse(self._access, stream, changes)

    def close_topics(self, stream: str, topics: Collection[str], action: Action, reason: str | None) -> None:
        """Close positions and markers; see ``AdministeredStore``."""
        administration.close_topics(self._access, stream, topics, action, reason)

    def live_owners(self, stream: str) -> Sequence[str]:
        """The stored owners that have not recorded a stop; see ``AdministeredStore``."""
        with self._access.looking("looking for owners", self._access.tables.offsets) as connection:
            return [] if connection is None else administration.live_owners(self._access, connection, stream)

    def record(self, stream: str, entries: Sequence[HistoryEntry], keep_for: timedelta) -> None:
        """Remember takeovers, batches and stops; see ``AdministeredStore``."""
        histories.record(self._access, stream, entries, keep_for)

    def history(
        self, stream: str, limit: int, kinds: Collection[ActionKind] = tuple(ActionKind)
    ) -> Sequence[HistoryEntry]:
        """The latest actions, newest first; see ``AdministeredStore``."""
        with self._access.looking("reading the history", self._access.tables.history) as connection:
            return [] if connection is None else histories.latest(self._access, connection, stream, limit, kinds)


__all__ = ["SqlOffsetStore"]
