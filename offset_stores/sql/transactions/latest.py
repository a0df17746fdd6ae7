"""The transactions of a store, one after the other, and whether an error is about the one in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, exc

from kafka_stream.errors import KafkaStreamError, StoreUnavailable, TransactionEscaped
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.errors import reason_of
from kafka_stream.offset_stores.sql.transaction import SqlTransaction
from kafka_stream.offset_stores.sql.transactions.driver_log import errors_told_once
from kafka_stream.offset_stores.sql.transactions.session import KEPT
from kafka_stream.offset_stores.sql.users_errors import connection_at_work
from kafka_stream.protocols.causes import causes

_T = TypeVar("_T", bound=SqlTransaction)


class Transactions:
    """Opens them, and knows the latest one."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._latest: SqlTransaction | None = None
        self._connections: WeakSet[Connection] = WeakSet()  # of all of them, as long as somebody keeps them

    @contextmanager
    def opened(
        self, make: Callable[[Connection], _T], doing: str, why_not: Callable[[], KafkaStreamError]
    ) -> Iterator[_T]:
        """One in which the claim has succeeded; else ``why_not`` is raised, once it is rolled back."""
        access = self._access
        with access.mapping(f"opening {doing} transaction"):
            connection = access.connect()
        transaction = make(connection)
        self._latest = transaction
        self._connections.add(connection)
        with errors_told_once(), transaction:
            with access.mapping(f"claiming {doing} ranges"):
                claimed = transaction.claim()
            if claimed:
                yield transaction
                return
        raise why_not()

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        """As ``OffsetStore``, of the latest one."""
        for cause in causes(error):
            if self._latest is not None and self._latest.gave_up(cause):
                return StoreUnavailable(f"{self._access.where} gave the batch's transaction up: {reason_of(cause)}")
            is_closed = isinstance(cause, exc.ResourceClosedError)
            if is_closed and connection_at_work(cause, self._access.database) in self._connections:
                return TransactionEscaped(KEPT)
        return None


__all__ = ["Transactions"]
