"""Trying parts of a batch inside its transaction: each behind a savepoint, with all asked for that a commit would.

A savepoint does not outlive its transaction: one that is gone when an attempt ends tells that the transaction is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, NestedTransaction

from kafka_stream.errors import (
    KafkaStreamError,
    SpoiledTransaction,
    StoreUnavailable,
    TransactionEscaped,
)
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.errors import TRANSIENT, Verdict, reason_of
from kafka_stream.offset_stores.sql.transactions.open_transaction import OpenTransaction
from kafka_stream.offset_stores.sql.users_errors import tell
from kafka_stream.protocols.causes import causes

logger = logging.getLogger("kafka_stream")

_SAVEPOINT = "kafka_stream_attempt"


class Attempts(OpenTransaction):
    """A transaction with attempts in it."""

    def __init__(self, access: Access, connection: Connection) -> None:
        super().__init__(access, connection)
        self._attempts_well = 0
        self._violated_before: object | None = None
        self._has_attempted = False
        self._in_attempt = False

    @property
    def in_attempt(self) -> bool:
        """Whether what is written now may be undone although the transaction commits."""
        return self._in_attempt

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        outer, before = self._begin_attempt(), self._in_attempt
        self._in_attempt = True
        try:
            yield
            self._end_attempt(outer)
        except BaseException as error:
            self._undo_attempt(outer, error)
            raise
        finally:
            self._in_attempt = before
        self._attempts_well += 1

    def _begin_attempt(self) -> NestedTransaction | None:
        """Returns the handler's own savepoint that is open, if it has left one open."""
        self._refuse_escape()
        try:
            if not self._database.in_transaction(self._connection):
                raise StoreUnavailable(f"the transaction in {self._where} ended before an attempt; nothing was stored")
            if not self._has_attempted:
                self._violated_before = self._database.violated(self._connection)
                self._has_attempted = True
            self._connection.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}")
        except KafkaStreamError:
            raise
        except Exception as error:
            raise self._mapped(error, "beginning an attempt") from error
        return self._connection.get_nested_transaction()

    def _end_attempt(self, outer: NestedTransaction | None) -> None:
        """All that could still be refused before the commit is asked for now."""
        if self._session is not None:
            self._flush(self._session)
        self._refuse_escape()
        try:
            self._database.before_end(self._connection)
            while (nested := self._connection.get_nested_transaction()) is not None and nested is not outer:
                nested.commit()
            self._database.refuse_violations(self._connection, self._violated_before)
            self._connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        except KafkaStreamError:
            raise
        except Exception as error:
            raise self._why_refused(error) from error

    def _why_refused(self, error: Exception) -> KafkaStreamError:
        if self._database.verdict(error) in TRANSIENT:
            return self._mapped(error, "asking for deferred constraints")
        if self._database.has_no_savepoint(error):
            return self._escaped()
        told = tell(error) or reason_of(error)
        return self._refused(error, f"{self._where} would refuse the commit: {told} (a deferred constraint?)")

    def _undo_attempt(self, outer: NestedTransaction | None, error: BaseException) -> None:
        """Back to where it began. Nothing is undone where the transaction is lost, or was left by the handler."""
        if isinstance(error, TransactionEscaped) or self._is_given_up(error):
            return
        self._drop_session()
        try:
            self._refuse_escape()
            if self._database.is_busy(self._connection):
                raise self._escaped()
            while (nested := self._connection.get_nested_transaction()) is not None and nested is not outer:
                nested.rollback()
            for undoing in ("ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT"):
                self._connection.exec_driver_sql(f"{undoing} {_SAVEPOINT}")
        except Exception as failure:  # noqa: BLE001 - raised as what it means for the attempt
            raise self._why_not_undone(error, failure) from error

    def _is_given_up(self, error: BaseException) -> bool:
        return any(isinstance(cause, StoreUnavailable) or self.gave_up(cause) for cause in causes(error))

    def _drop_session(self) -> None:
        """The next attempt is given a new one."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            if not self._database.is_busy(self._connection):
                session.discard()
        except Exception as error:  # noqa: BLE001 - the savepoint's rollback drops its work all the same
            logger.debug("closing an attempt's ORM session failed: %s", type(error).__name__)

    def _why_not_undone(self, error: BaseException, failure: Exception) -> KafkaStreamError:
        if isinstance(failure, KafkaStreamError):
            return failure
        if not self._database.has_no_savepoint(failure):
            return self._mapped(failure, "undoing an attempt")
        refused = any(self._database.verdict(cause) is Verdict.DATA for cause in causes(error))
        if refused and not self._database.in_transaction(self._connection):
            return self._spoiled(error)
        return self._escaped()

    def _spoiled(self, error: BaseException) -> SpoiledTransaction:
        """SQLite, for one, can be told to roll everything back where a row is refused (``ON CONFLICT ROLLBACK``)."""
        return SpoiledTransaction(
            f"{self._where} refused results and rolled the whole transaction back: {tell(error) or error}",
            attempt=self._attempts_well,
        )

    def _escaped(self) -> TransactionEscaped:
        return TransactionEscaped(
            "the batch's transaction ended inside an attempt: the handler committed it or rolled it back (on some "
            "databases DDL commits), left a COPY open, or swallowed a deadlock, at which the database rolls "
            "everything back; write through transaction.connection, let errors out, and leave the commit to the stream"
        )


__all__ = ["Attempts"]
