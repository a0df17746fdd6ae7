"""Connections, transactions and reads, with drivers' errors turned into the library's: what the store is made of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from pydantic import Secret
from sqlalchemy import URL, Connection, Engine, Table, TextClause, exc, inspect, select, tuple_

from kafka_stream.errors import KafkaStreamError, PartitionsHeld, StoreUnavailable
from kafka_stream.offset_stores.sql import engine as engines
from kafka_stream.offset_stores.sql.cleanup import clean
from kafka_stream.offset_stores.sql.dialects import Database
from kafka_stream.offset_stores.sql.driver_statement import DriverStatement
from kafka_stream.offset_stores.sql.errors import Verdict, mapped
from kafka_stream.offset_stores.sql.pool import dropped_if_unfit
from kafka_stream.offset_stores.sql.statements import Statements
from kafka_stream.offset_stores.sql.tables import Names, Tables, position_of
from kafka_stream.types import Owner, StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")

T = TypeVar("T")

_ATTEMPTS = range(3)  # at taking locks, each as long as the lock timeout; all but the first end dead owners' sessions
_ATTEMPTS_AGAIN = range(1, 2)  # where they were held before: whoever waits for them holds up the other partitions
_COUNT_TIMEOUT_S = 1.0


class Access:
    """A database, its tables and an engine: the user's, or our own, which is made when it is first needed."""

    def __init__(
        self, url: URL, database: Database, tables: Tables, users_engine: Engine | None, lock_timeout_s: float
    ) -> None:
        self.database = database
        self.tables = tables
        self._url = Secret(url)  # an option may hold a password, which SQLAlchemy would show
        self._users_engine = users_engine
        self._own_engine: Engine | None = None
        self._lock_timeout_s = lock_timeout_s
        self._statements: Statements | None = None
        self._driver_statements: dict[TextClause, DriverStatement] = {}
        self._was_let_in = False
        self._timelines: dict[str, int] = {}
        self._held_before: dict[str, frozenset[TopicPartition]] = {}

    @property
    def where(self) -> str:
        """The URL without password and options (which may hold one), and the table."""
        shown = self._url.get_secret_value().set(query={}).render_as_string(hide_password=True)
        return f"{shown} (table {self.tables.offsets.fullname})"

    @property
    def engine(self) -> Engine:
        """The engine; making it connects to nothing. Raises ``MissingExtra``."""
        if self._users_engine is not None:
            return self._users_engine
        if self._own_engine is None:
            self._own_engine = engines.made(self._url.get_secret_value(), self.database)
        return self._own_engine

    @property
    def statements(self) -> Statements:
        """The store's statements in this database's words."""
        if self._statements is None:
            self._statements = Statements.of(Names.of(self.tables, self.engine.dialect), self.database.grammar)
        return self._statements

    def for_driver(self, statement: TextClause) -> DriverStatement:
        """One of the statements, as the driver takes it."""
        if (found := self._driver_statements.get(statement)) is None:
            found = self._driver_statements[statement] = DriverStatement.of(statement, self.engine.dialect)
        return found

    def dispose(self) -> None:
        """Close our own engine's connections; the user's engine is the user's."""
        own, self._own_engine = self._own_engine, None
        if own is not None:
            own.dispose()

    def was_let_in(self) -> None:
        """A login has succeeded: a later one that fails is the server's state, not a wrong password."""
        self._was_let_in = True

    @contextmanager
    def mapping(self, doing: str) -> Iterator[None]:
        """Turn a driver's error into the library's."""
        try:
            yield
        except exc.TimeoutError as error:  # the pool's, not the database's
            raise StoreUnavailable(
                f"no connection of the engine's pool for {self.where} became free while {doing}"
            ) from error
        except Exception as error:
            verdict = self.database.verdict(error)
            if verdict is None:
                if not isinstance(error, exc.SQLAlchemyError):
                    raise
                verdict = Verdict.OTHER
            if verdict is Verdict.LOGIN and self._was_let_in:
                verdict = Verdict.UNAVAILABLE
            raise mapped(error, verdict, doing, self.where) from error

    def learn_servers(self) -> None:
        """Look at all servers that the URL names, so that none is taken that another one has replaced."""
        self.database.servers.learn(self.engine, self._timelines)

    def connect(self) -> Connection:
        """A connection without a transaction, to no server that another one is known to have replaced.

        Raises:
            StoreSuperseded: it leads to one.
        """
        connection = self.database.connect(self.engine)
        with dropped_if_unfit(connection):
            self.database.servers.refuse_older(connection, self._timelines, self.where)
        return connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with; rolled back at the end."""
        connection = self.connect()
        try:
            yield connection
        except BaseException as error:
            clean(connection, self.database, after=error)
            raise
        clean(connection, self.database)

    @contextmanager
    def looking(self, doing: str, table: Table) -> Iterator[Connection | None]:
        """A connection to read a table with; none if it is not there, and nothing is created."""
        with self.mapping(doing):
            if not self.database.exists(self.engine):
                yield None
                return
            with self.reading() as connection:
                is_there = inspect(connection).has_table(table.name, schema=table.schema)
                yield connection if is_there else None

    @contextmanager
    def writing(self, session: str, timeout_s: float) -> Iterator[Connection]:
        """A transaction that waits for locks no longer than this; committed if the body succeeds."""
        connection = self.connect()
        try:
            transaction = self.database.begin_bounded(connection, session, timeout_s)
            yield connection
            transaction.commit()
            if (said := self.database.servers.unreplicated(connection)) is not None:
                raise StoreUnavailable(f"{self.where} has committed on the primary alone: {said}")
        except BaseException as error:
            clean(connection, self.database, after=error)
            raise
        clean(connection, self.database, keep=True)

    def read(
        self, connection: Connection, stream: str, partitions: Sequence[TopicPartition] | None = None
    ) -> dict[TopicPartition, StoredPosition]:
        """What is stored for these partitions, or for all of the stream."""
        offsets = self.tables.offsets
        query = select(offsets).where(offsets.c.stream == stream).order_by(offsets.c.topic, offsets.c.partition)
        if partitions is not None:
            query = query.where(offsets.c.topic.in_(sorted({tp.topic for tp in partitions})))
        rows = ((TopicPartition(row.topic, row.partition), row) for row in connection.execute(query))
        wanted = None if partitions is None else set(partitions)
        return {tp: position_of(row) for tp, row in rows if wanted is None or tp in wanted}

    def with_locks(
        self,
        work: Callable[[Connection], T],
        *,
        session: str,
        stream: str,
        partitions: Sequence[TopicPartition],
        doing: str,
    ) -> T:
        """Do the work in one transaction, past the locks of dead owners where the database can end their sessions.

        Where some of these positions were held the last time, too, that takes no longer than one lock timeout.

        Raises:
            StoreUnavailable: somebody holds the locks that we may not end; it names them, and the stored owner.
        """
        before = self._held_before.get(stream, frozenset())
        attempts = _ATTEMPTS if before.isdisjoint(partitions) else _ATTEMPTS_AGAIN
        others = before.difference(partitions)
        try:
            done = self._past_locks(work, attempts, session=session, stream=stream, partitions=partitions, doing=doing)
        except PartitionsHeld as error:
            self._held_before[stream] = others.union(error.partitions)
            raise
        self._held_before[stream] = others
        return done

    def _past_locks(
        self,
        work: Callable[[Connection], T],
        attempts: Iterable[int],
        *,
        session: str,
        stream: str,
        partitions: Sequence[TopicPartition],
        doing: str,
    ) -> T:
        blocked_by: str | None = None
        owners: Mapping[str, Owner] = {}
        for attempt in attempts:
            with self.mapping(doing):
                try:
                    with self.writing(session, self._lock_timeout_s) as connection:
                        blockers = self.database.ending_blockers(self.engine, connection) if attempt else None
                        try:
                            with blockers or nullcontext():
                                if blockers is not None:
                                    with blockers.seeing_owners():
                                        owners = self._owners(connection, stream, partitions)
                                    blockers.end_those_of(owners, session)
                                return work(connection)
                        finally:
                            blocked_by = blockers.describe() if blockers is not None else None
                except exc.DBAPIError as error:
                    if self.database.verdict(error) is not Verdict.LOCKED:
                        raise
                    cause = error
            if not self.database.ends_blockers:
                with self.mapping(doing), self.reading() as connection:
                    owners = self._owners(connection, stream, partitions)
                break
        held = self._held(session, stream, partitions) if self.database.ends_blockers else ()
        raise self._locked(stream, blocked_by, owners, doing, held) from cause

    def count_rows(self, session: str) -> None:
        """Have the planner look at the offsets: while it takes the table for empty, it compares all rows with all."""
        if self.database.count_rows is None:
            return
        names = Names.of(self.tables, self.engine.dialect)
        doing = "refreshing the offsets' statistics"
        try:
            with self.mapping(doing), self.writing(session, _COUNT_TIMEOUT_S) as connection:
                connection.exec_driver_sql(self.database.count_rows.format(table=names.offsets))
        except KafkaStreamError as error:
            logger.debug("%s failed: %s", doing, error)

    def _owners(self, connection: Connection, stream: str, partitions: Sequence[TopicPartition]) -> dict[str, Owner]:
        stored = self.read(connection, stream, partitions).values()
        return {position.owner.id: position.owner for position in stored if position.owner is not None}

    def _held(self, session: str, stream: str, partitions: Sequence[TopicPartition]) -> tuple[TopicPartition, ...]:
        """Those of the positions that somebody holds now, if the database can tell: the others are free."""
        offsets = self.tables.offsets
        ours = tuple_(offsets.c.topic, offsets.c.partition).in_([tuple(tp) for tp in partitions])
        free = select(offsets.c.topic, offsets.c.partition).where(offsets.c.stream == stream, ours)
        try:
            with self.mapping("looking who holds positions"), self.writing(session, self._lock_timeout_s) as connection:
                stored = self.read(connection, stream, partitions).keys()
                found = connection.execute(free.with_for_update(skip_locked=True))
                return tuple(sorted(stored - {TopicPartition(*row) for row in found}))
        except KafkaStreamError as error:
            logger.debug("who holds positions of stream %r cannot be told: %s", stream, error)
            return ()

    def _locked(
        self,
        stream: str,
        blocked_by: str | None,
        owners: Mapping[str, Owner],
        doing: str,
        held: tuple[TopicPartition, ...],
    ) -> KafkaStreamError:
        stored = ", ".join(map(str, owners.values())) or "nobody"
        what = f"{', '.join(map(str, held[:5]))} in {self.where}" if held else self.where
        text = (
            f"{what} is locked by {blocked_by or 'another process'} while {doing} of stream {stream!r}; the "
            f"stored owner is {stored}: if that process is frozen, end it"
        )
        return PartitionsHeld(text, partitions=held) if held else StoreUnavailable(text)


__all__ = ["Access"]
