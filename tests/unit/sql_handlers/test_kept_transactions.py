"""What a handler has kept from the transaction of an earlier batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from kafka_stream.errors import ProcessingError, TransactionEscaped
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from tests.sql_backend import Result, SqlBackend, write
from tests.sql_batches import failure_of, run

KEPT: dict[str, tuple[Callable[[SqlTransaction], Any], Callable[[Any], object]]] = {
    "session, add": (SqlTransaction.session, lambda session: session.add(Result(value=2))),
    "session, add_all": (SqlTransaction.session, lambda session: session.add_all([Result(value=2)])),
    "session, execute": (SqlTransaction.session, lambda session: session.execute(text("SELECT 1"))),
    "session, query": (SqlTransaction.session, lambda session: session.query(Result).all()),
    "session, commit": (SqlTransaction.session, lambda session: session.commit()),
    "session, with": (SqlTransaction.session, lambda session: session.__enter__().merge(Result(value=2))),
    "connection": (lambda t: t.connection, lambda connection: write(connection, 2)),
    "connection, driver": (lambda t: t.connection, lambda connection: connection.exec_driver_sql("SELECT 1")),
    "connection, savepoint": (lambda t: t.connection, lambda connection: connection.begin_nested()),
    "transaction": (lambda t: t, lambda transaction: write(transaction.connection, 2)),
    "transaction, session": (lambda t: t, lambda transaction: transaction.session().add(Result(value=2))),
}


@pytest.mark.parametrize("how", KEPT)
def test_what_was_kept_from_an_earlier_batch_raises(store: SqlOffsetStore, backend: SqlBackend, how: str) -> None:
    keep, use = KEPT[how]
    kept: list[Any] = []

    def first(prepared: Any, transaction: SqlTransaction) -> None:
        kept.append(keep(transaction))

    def second(prepared: Any, transaction: SqlTransaction) -> None:
        write(transaction.connection, 1)
        use(kept[0])

    failure = failure_of(store, first, second)
    assert isinstance(failure, TransactionEscaped)
    assert "after the batch was over" in str(failure)
    assert backend.results() == []


def test_a_session_that_was_kept_can_be_closed(store: SqlOffsetStore, backend: SqlBackend) -> None:
    kept: list[Session] = []

    def first(prepared: Any, transaction: SqlTransaction) -> None:
        kept.append(transaction.session())

    def second(prepared: Any, transaction: SqlTransaction) -> None:
        kept[0].close()
        transaction.session().add(Result(value=1))

    run(store, first, second)
    assert backend.results() == [1]


def test_a_connection_of_ones_own_that_is_closed_is_an_ordinary_mistake(
    store: SqlOffsetStore, backend: SqlBackend
) -> None:
    connection = backend.engine.connect()
    connection.close()
    failure = failure_of(store, lambda prepared, transaction: write(connection, 1))
    assert type(failure) is ProcessingError
