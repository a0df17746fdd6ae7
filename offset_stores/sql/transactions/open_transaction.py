"""A transaction that user code writes through: results go through ``connection``; what commits them moves last."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, RootTransaction, exc
from sqlalchemy.orm import Session

from kafka_stream.errors import (
    CommitOutcomeUnknown,
    KafkaStreamError,
    ProcessingError,
    StatementRefused,
    StoreUnavailable,
    TransactionEscaped,
)
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.cleanup import clean
from kafka_stream.offset_stores.sql.errors import ABOUT_NO_ROW, TRANSIENT, Verdict, mapped, reason_of
from kafka_stream.offset_stores.sql.transactions.session import KEPT, BatchSession
from kafka_stream.offset_stores.sql.users_errors import connection_at_work, tell

logger = logging.getLogger("kafka_stream")


class OpenTransaction:
    """What user code is given, and how it is seen that it has left the transaction. A subclass says what moves last."""

    def __init__(self, access: Access, connection: Connection) -> None:
        self._access = access
        self._connection = connection
        self._database = access.database
        self._token = secrets.token_hex(8)
        self._root: RootTransaction | None = None
        self._session: BatchSession | None = None
        self._advanced = False
        self._committed = False
        self._over = False
        self._lost = False
        self._escape: str | None = None
        self._driver = connection.connection.driver_connection

    def _move(self) -> None:
        """Execute what is to be the last statement. Raises a ``KafkaStreamError`` if it does not do what it must."""
        raise NotImplementedError

    @property
    def connection(self) -> Connection:
        """The SQLAlchemy connection, inside the batch's transaction.

        Raises:
            TransactionEscaped: the batch is over.
        """
        self._refuse_ended()
        return self._connection

    @property
    def is_committed(self) -> bool:
        """Whether ``commit`` has returned: what was written is durable. Of one whose outcome is unknown it is not."""
        return self._committed

    def session(self, **options: Any) -> Session:
        """An ORM session in the batch's transaction, the same at each call; ``options`` are the first call's.

        It joins by savepoint, so its own ``commit()`` and ``rollback()`` end only the savepoint, and what it holds is
        flushed before the offsets advance. It ends with the batch: whatever is done with it then raises.

        Raises:
            TransactionEscaped: the batch is over.
        """
        self._refuse_ended()
        if self._session is None:
            self._session = BatchSession(bind=self._connection, join_transaction_mode="create_savepoint", **options)
        return self._session

    def tell(self, error: BaseException) -> str | None:
        """What a database's error says, on one line, without any value of a row; ``None`` if it is not one.

        The values go out of the error itself as well, and out of its causes, since its traceback will be logged.
        """
        return tell(error)

    def gave_up(self, error: BaseException) -> bool:
        """Whether an error means that this batch's connection, and not another one, gave its transaction up.

        A driver may raise anything when its connection breaks: then that it came out of this one is enough.
        """
        connection, verdict = self._connection, self._database.verdict(error)
        if verdict not in TRANSIENT and not self._is_lost():
            return False
        found = connection_at_work(error, self._database)
        if found is None:  # a driver without frames of its own: has the transaction ended by an error?
            return verdict in TRANSIENT and not (self._over or connection.closed or self._still_open())
        return found is connection or found is self._driver

    def _is_lost(self) -> bool:
        if not self._lost and not self._connection.closed:
            # What prepare raises is looked at on its own thread, while the loop's may give the connection back.
            with suppress(exc.ResourceClosedError):
                self._lost = self._connection.invalidated or self._database.is_lost(self._connection)
        return self._lost

    def advance(self) -> None:
        """Do what comes last; see ``StoreTransaction``."""
        if self._advanced:
            self._escape = "the handler called advance() on the batch's transaction"
        self._refuse_escape()
        if self._session is not None:
            self._flush(self._session)
            self._refuse_escape()
        try:
            self._database.before_advance(self._connection)
            self._move()
        except KafkaStreamError:
            raise
        except Exception as error:
            raise self._mapped(error, "advancing the offsets") from error
        self._advanced = True

    def commit(self) -> None:
        """Make results and offsets durable; see ``StoreTransaction``."""
        if not self._advanced or self._committed:
            self._escape = "the handler called commit() on the batch's transaction"
        self._refuse_escape()
        assert self._root is not None
        try:
            if not self._database.in_transaction(self._connection):
                raise StoreUnavailable(f"the transaction in {self._where} ended before its commit; nothing was stored")
            self._root.commit()
        except KafkaStreamError:
            raise
        except Exception as error:
            raise self._commit_failure(error) from error
        if (said := self._database.servers.unreplicated(self._connection)) is not None:
            raise CommitOutcomeUnknown(
                f"a commit in {self._where} is on the primary alone ({said}): the next one, waiting for the replica "
                "in its turn, will tell"
            )
        self._committed = True

    def close(self, after: BaseException | None = None) -> None:
        """Roll back what was not committed, and give the connection back clean. Never raises an ``Exception``.

        After an error of its server it is not given back.
        """
        self._over = True
        try:
            self._is_lost()  # as long as it can be seen
            if self._session is not None and not self._database.is_busy(self._connection):
                self._session.discard()
        except Exception as error:  # noqa: BLE001 - on the way out, after the error that counts
            logger.debug("closing the batch's ORM session failed: %s", type(error).__name__)
        clean(self._connection, self._database, keep=self._committed, after=after)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(error)

    @property
    def _where(self) -> str:
        return self._access.where

    def _refuse_ended(self) -> None:
        if self._over:
            raise TransactionEscaped(KEPT)

    def _refuse_escape(self) -> None:
        """What SQLAlchemy knows about its own transaction; what went round it is found by the advance."""
        connection = self._connection
        if connection.invalidated:
            raise StoreUnavailable(f"the connection to {self._where} broke inside the batch's transaction")
        if connection.closed:
            self._escape = "the handler closed the batch's connection"
        elif connection.get_transaction() is not self._root or self._root is None or not self._root.is_active:
            self._escape = "the handler committed the batch's transaction, or rolled it back"
        if self._escape is not None:
            raise TransactionEscaped(
                f"{self._escape} before its offsets advanced; write through transaction.connection or "
                "transaction.session() and leave the commit to the stream"
            )

    def _flush(self, session: BatchSession) -> None:
        try:
            session.commit()  # flushes, and releases its savepoint
        except Exception as error:
            told = tell(error) or f"{type(error).__name__}: {error}"
            if isinstance(error, KafkaStreamError):  # of an event handler
                raise
            if self._database.verdict(error) in TRANSIENT:
                raise self._mapped(error, "flushing the handler's ORM session") from error
            text = f"the handler's ORM session could not be flushed: {told}; nothing of the batch was committed"
            raise self._refused(error, text) from error

    def _mapped(self, error: Exception, doing: str) -> KafkaStreamError:
        return mapped(error, self._database.verdict(error) or Verdict.OTHER, doing, self._where)

    def _commit_failure(self, error: Exception) -> KafkaStreamError:
        """Unknown is the answer unless the server has said no, or the driver knows that nothing was sent."""
        told = tell(error)
        verdict = self._database.verdict(error)
        rolled_back = verdict in {Verdict.GAVE_UP, Verdict.DATA, Verdict.LOCKED} or self._still_open()
        if not rolled_back:
            return CommitOutcomeUnknown(
                f"the outcome of a commit in {self._where} is unknown: {reason_of(error)}; the stored offsets will tell"
            )
        if verdict in TRANSIENT:
            return self._mapped(error, "committing")
        return self._refused(
            error,
            f"{self._where} refused the commit and rolled the batch back: {told or reason_of(error)} (a deferred "
            "constraint?)",
        )

    def _refused(self, error: Exception, text: str) -> ProcessingError:
        """Results were refused: for what is in them, or because they could not be written whatever they are."""
        about_rows = self._database.verdict(error) not in ABOUT_NO_ROW
        return ProcessingError(text) if about_rows else StatementRefused(text)

    def _still_open(self) -> bool:
        try:
            return self._database.in_transaction(self._connection)
        except exc.SQLAlchemyError:
            return False


__all__ = ["OpenTransaction"]
