"""A connection that breaks at each message of what a SQL store does: errors are typed, and the pool loses no place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from integration_tests.message_proxy import MessageProxy
from integration_tests.servers import PostgresDatabase, PostgresServer
from kafka_stream.errors import KafkaStreamError, StoreUnavailable
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, TOPIC, claim_of
from tests.sql_backend import RESULTS, Result, write

FEWEST, MOST = 3, 100
"""Of messages that a client sends in one of the operations below."""
LOGIN = 6
"""Of messages until a client is certainly let in: TLS or not, who it is, what it answers when it is asked for proof."""


@pytest.fixture(params=["postgres", "mariadb"])
def broken(request: pytest.FixtureRequest) -> Iterator[tuple[MessageProxy, str, str]]:
    """A proxy before a server, a database of the test's own through it, and its URL without it."""
    server: PostgresServer | MariadbServer = request.getfixturevalue(f"{request.param}_server")
    database: PostgresDatabase | MariadbDatabase = request.getfixturevalue(request.param)
    with MessageProxy(*server.address) as proxy:
        yield proxy, database.at(proxy.host, proxy.port).url, database.url


@pytest.fixture(params=["READ COMMITTED", "REPEATABLE READ of its connections"])
def users_engine(request: pytest.FixtureRequest, broken: tuple[MessageProxy, str, str]) -> Iterator[Engine]:
    """An application's, with one place in its pool; at levels that the store has to leave and to come back to."""
    level, _, of_connections = str(request.param).partition(" of ")
    _, url, _ = broken
    if of_connections:
        made = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=5.0)
        yield made.execution_options(isolation_level=level)
    else:
        made = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=5.0, isolation_level=level)
        yield made
    made.dispose()


@contextmanager
def handled(store: SqlOffsetStore) -> Iterator[None]:
    """User code, of whose errors the loop asks the store."""
    try:
        yield
    except SQLAlchemyError as error:
        raise store.classify(error) or error from error


def batch(store: SqlOffsetStore) -> None:
    """One, with statements, an attempt, and the handler's session."""
    taken = store.take_over(STREAM, OLDER, [P0], {})
    first = taken[P0].next_offset
    with store.begin(claim_of(OLDER, {P0: (first, first + 1)}, taken)) as transaction:
        with handled(store):
            write(transaction.connection, 1)
        with transaction.attempt(), handled(store):
            transaction.session().add(Result(value=2))
            transaction.session().flush()
        transaction.advance()
        transaction.commit()


def look(store: SqlOffsetStore) -> None:
    """What status and commands ask for."""
    store.positions(STREAM)
    store.history(STREAM, 10)


def start(store: SqlOffsetStore) -> None:
    """Of a process that finds the tables."""
    store.open()


@pytest.mark.parametrize(
    ("operation", "answered"), [(batch, False), (batch, True), (look, False), (look, True), (start, False)]
)
def test_wherever_a_connection_breaks_the_error_is_typed_and_the_next_one_is_there(
    operation: Callable[[SqlOffsetStore], None],
    answered: bool,
    broken: tuple[MessageProxy, str, str],
    users_engine: Engine,
) -> None:
    proxy, _, direct_url = broken
    RESULTS.create(users_engine)
    store = SqlOffsetStore(users_engine)
    store.open()
    store.initialise(STREAM, TOPIC, {0: 0}, None)
    number = 0
    while number < MOST:
        number += 1
        proxy.cut_at(number, answered=answered)
        try:
            operation(store)
        except KafkaStreamError:
            pass  # whatever it is, it is not the driver's
        finally:
            was_cut = proxy.was_cut()
        assert users_engine.pool.checkedout() == 0, f"after a cut at message {number}"  # type: ignore[attr-defined]  # of QueuePool
        if not was_cut:
            break
    assert FEWEST < number < MOST
    operation(store)
    stored = store.positions(STREAM)[P0].next_offset
    direct = create_engine(direct_url, poolclass=sa.NullPool)
    with direct.connect() as connection:
        results = connection.execute(sa.select(RESULTS.c.value)).scalars().all()
    assert sorted(results) == [1] * stored + [2] * stored


def test_an_attempt_whose_handler_hides_that_its_connection_broke_is_repeated(
    broken: tuple[MessageProxy, str, str], users_engine: Engine
) -> None:
    proxy, _, _ = broken
    RESULTS.create(users_engine)
    store = SqlOffsetStore(users_engine)
    store.open()
    store.initialise(STREAM, TOPIC, {0: 0}, None)
    claim = claim_of(OLDER, {P0: (0, 1)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(StoreUnavailable), store.begin(claim) as transaction, transaction.attempt():
        transaction.session().add(Result(value=1))
        transaction.session().flush()
        proxy.cut()
        with suppress(SQLAlchemyError):
            write(transaction.connection, 2)
        raise ValueError("about something else")
    batch(store)


@pytest.mark.parametrize("answered", [False, True])
def test_a_first_login_that_breaks_is_no_refusal(broken: tuple[MessageProxy, str, str], answered: bool) -> None:
    """At whatever message, also after the password was asked for: a process that starts just then tries again."""
    proxy, url, _ = broken
    break_first_logins(proxy, url, answered=answered)


def break_first_logins(proxy: MessageProxy, url: str, *, answered: bool) -> None:
    """Open a store as a new process does, again and again, cut at one message of the login after the other."""
    for number in range(1, LOGIN + 1):
        store = SqlOffsetStore(url)
        proxy.cut_at(number, answered=answered)
        with pytest.raises(StoreUnavailable):
            store.open()
        store.close()
        assert proxy.was_cut()
