"""``SqlOffsetStore`` on SQLite: the stores' contract, and what only SQLite does."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from kafka_stream.errors import (
    ConfigurationError,
    NotAuthorized,
    OutstandingPlan,
    ProcessingError,
    SchemaMismatch,
    StoreUnavailable,
    TransactionEscaped,
    UnknownStore,
)
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.testing.administration_contract import HistoryContract
from kafka_stream.testing.compare_and_set_contract import CompareAndSetContract
from kafka_stream.testing.escape_contract import EscapableTransactionContract
from kafka_stream.testing.plan_contract import DurablePlanContract
from kafka_stream.testing.store_backend import NEWER, OLDER, P0, STREAM, claim_of, commit, next_offsets
from tests.sql_backend import RESULTS, Result, SqlBackend, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/orders.db"


@pytest.fixture
def backend(url: str) -> Iterator[SqlBackend]:
    found = SqlBackend(url)
    yield found
    found.engine.dispose()


@pytest.fixture
def store(backend: SqlBackend) -> Iterator[SqlOffsetStore]:
    found = backend.store()
    found.open()
    yield found
    found.close()


class TestSqlOffsetStoreOnSqlite(
    CompareAndSetContract, DurablePlanContract, EscapableTransactionContract, HistoryContract
):
    @pytest.fixture
    def backend(self, url: str) -> Iterator[SqlBackend]:
        found = SqlBackend(url)
        yield found
        found.engine.dispose()


class TestUsersEngineOnSqlite(
    CompareAndSetContract, DurablePlanContract, EscapableTransactionContract, HistoryContract
):
    """An engine that begins its transactions itself, as SQLAlchemy's documentation shows, and a long name."""

    @pytest.fixture
    def backend(self, url: str) -> Iterator[SqlBackend]:
        found = SqlBackend(url)
        engines: list[Engine] = []

        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        def connect(driver: Any, record: object) -> None:
            driver.isolation_level = None

        def store() -> SqlOffsetStore:
            engine = create_engine(url)
            event.listen(engine, "connect", connect)
            event.listen(engine, "begin", begin)
            engines.append(engine)
            return SqlOffsetStore(engine)

        found.store = store  # type: ignore[method-assign]
        yield found
        for engine in (found.engine, *engines):
            engine.dispose()


# Handlers that leave their transaction --------------------------------------------------------------------------------


def _raw(transaction: SqlTransaction) -> sqlite3.Connection:
    driver = transaction.connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


COMMITS: dict[str, Callable[[SqlTransaction], object]] = {
    "connection.commit()": lambda t: t.connection.commit(),
    "text COMMIT": lambda t: t.connection.execute(text("COMMIT")),
    "text END": lambda t: t.connection.exec_driver_sql("END TRANSACTION"),
    "driver commit": lambda t: _raw(t).commit(),
    "executescript": lambda t: _raw(t).executescript("CREATE TABLE more (x)"),
    "with driver": lambda t: _raw(t).__exit__(None, None, None),
}
ROLLBACKS: dict[str, Callable[[SqlTransaction], object]] = {
    "connection.rollback()": lambda t: t.connection.rollback(),
    "connection.close()": lambda t: t.connection.close(),
    "text ROLLBACK": lambda t: t.connection.execute(text("ROLLBACK")),
    "driver rollback": lambda t: _raw(t).rollback(),
    "root transaction": lambda t: t.connection.get_transaction().rollback(),  # type: ignore[union-attr]
}


@pytest.mark.parametrize("then_writes", [False, True])
@pytest.mark.parametrize("how", COMMITS)
def test_a_handler_that_commits(store: SqlOffsetStore, backend: SqlBackend, how: str, then_writes: bool) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(TransactionEscaped, match="commit"), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        COMMITS[how](transaction)
        if then_writes:
            write(transaction.connection, 2)
        transaction.advance()
    assert backend.results() == [1], "what came after it is not committed by us"
    with pytest.raises(OutstandingPlan), store.begin(claim):
        pytest.fail("the plan was overlooked")


@pytest.mark.parametrize("how", ROLLBACKS)
def test_a_handler_that_rolls_back(store: SqlOffsetStore, backend: SqlBackend, how: str) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(TransactionEscaped), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        ROLLBACKS[how](transaction)
        if not transaction.connection.closed:
            write(transaction.connection, 2)
        transaction.advance()
    assert backend.results() == []
    commit(store, OLDER, {P0: (0, 5)})


def test_sqlite_rolls_back_behind_a_handler_that_swallows_the_error(store: SqlOffsetStore, backend: SqlBackend) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(TransactionEscaped), store.begin(claim) as transaction:
        transaction.connection.execute(text("INSERT INTO results VALUES (1, 1)"))
        with pytest.raises(sa.exc.IntegrityError):
            transaction.connection.execute(text("INSERT OR ROLLBACK INTO results VALUES (1, 2)"))
        write(transaction.connection, 3)
        transaction.advance()
    assert backend.results() == []


def test_savepoints_are_the_handlers_own(store: SqlOffsetStore, backend: SqlBackend) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with store.begin(claim) as transaction:
        with transaction.connection.begin_nested():
            write(transaction.connection, 1)
        nested = transaction.connection.begin_nested()
        write(transaction.connection, 2)
        nested.rollback()
        transaction.connection.begin_nested()  # and one that is never ended
        write(transaction.connection, 3)
        transaction.advance()
        transaction.commit()
    assert backend.results() == [1, 3]


def test_a_commit_that_an_event_handler_stops_leaves_nothing_for_the_pools_next_user(
    backend: SqlBackend, url: str
) -> None:
    engine = create_engine(url, pool_reset_on_return=None)
    store = SqlOffsetStore(engine)
    store.open()
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))

    def refuse(connection: sa.Connection) -> None:
        raise ZeroDivisionError

    event.listen(engine, "commit", refuse)
    with pytest.raises(ProcessingError), store.begin(claim) as transaction:
        write(transaction.connection, 1)
        transaction.advance()
        transaction.commit()
    event.remove(engine, "commit", refuse)
    with engine.begin() as connection:
        write(connection, 2)
    assert backend.results() == [2]
    assert next_offsets(store) == {P0: 0}
    engine.dispose()


def test_a_connection_that_breaks_on_its_way_back_costs_neither_the_commit_nor_a_place_in_the_pool(
    backend: SqlBackend, url: str
) -> None:
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=1.0)
    store = SqlOffsetStore(engine)
    store.open()
    broken: list[object] = []

    def breaks(driver: object, record: object) -> None:
        if driver is not None and driver not in broken:
            broken.append(driver)
            raise sqlite3.OperationalError("disk I/O error")

    event.listen(engine, "checkin", breaks)
    for offset in range(3):
        claim = claim_of(OLDER, {P0: (offset, offset + 1)}, store.take_over(STREAM, OLDER, [P0], {}))
        with store.begin(claim) as transaction:
            write(transaction.connection, offset)
            transaction.advance()
            transaction.commit()
    assert next_offsets(store) == {P0: 3}
    assert backend.results() == [0, 1, 2]
    assert len(broken) > 3
    engine.dispose()


def test_a_deferred_constraint_fails_at_the_commit(store: SqlOffsetStore, backend: SqlBackend) -> None:
    with backend.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE child (id REFERENCES results (id) DEFERRABLE INITIALLY DEFERRED)")
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    engine = create_engine(backend.url)
    event.listen(engine, "connect", lambda driver, _: driver.execute("PRAGMA foreign_keys = ON"))
    users = SqlOffsetStore(engine)
    with pytest.raises(ProcessingError, match="constraint"), users.begin(claim) as transaction:
        transaction.connection.exec_driver_sql("INSERT INTO child VALUES (99)")
        transaction.advance()
        transaction.commit()
    engine.dispose()
    assert next_offsets(store) == {P0: 0}


# ORM sessions ---------------------------------------------------------------------------------------------------------


def _in_a_batch(store: SqlOffsetStore, handler: Callable[[SqlTransaction], object]) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with store.begin(claim) as transaction:
        handler(transaction)
        transaction.advance()
        transaction.commit()


def _two_sessions(transaction: SqlTransaction) -> None:
    transaction.session().add(Result(value=1))
    assert transaction.session() is transaction.session()
    transaction.session().add(Result(value=2))


def _rollback(transaction: SqlTransaction) -> None:
    write(transaction.connection, 1)
    transaction.session().add(Result(value=9))
    transaction.session().flush()
    transaction.session().rollback()
    transaction.session().add(Result(value=2))


def _as_a_context(transaction: SqlTransaction) -> None:
    with transaction.session(expire_on_commit=False) as session:
        session.add(Result(value=1))
    with transaction.session() as session, session.begin():
        session.add(Result(value=2))


def _failed_context(transaction: SqlTransaction) -> None:
    transaction.session().add_all([Result(value=1), Result(value=2)])
    transaction.session().commit()
    with pytest.raises(ZeroDivisionError), transaction.session() as session:
        session.add(Result(value=9))
        session.flush()
        raise ZeroDivisionError


def _closed(transaction: SqlTransaction) -> None:
    transaction.session().add(Result(value=1))
    transaction.session().close()
    transaction.session().execute(sa.insert(RESULTS).values(value=2))
    transaction.session().close()


@pytest.mark.parametrize("handler", [_two_sessions, _rollback, _as_a_context, _failed_context, _closed])
def test_what_an_orm_session_holds_is_flushed(
    store: SqlOffsetStore, backend: SqlBackend, handler: Callable[[SqlTransaction], object]
) -> None:
    _in_a_batch(store, handler)
    assert backend.results() == [1, 2]
    assert next_offsets(store) == {P0: 5}


def test_a_flush_that_fails_is_the_handlers_error(store: SqlOffsetStore, backend: SqlBackend) -> None:
    def twice(transaction: SqlTransaction) -> None:
        transaction.session().add_all([Result(id=1, value=1), Result(id=1, value=2)])

    with pytest.raises(ProcessingError, match="session could not be flushed"):
        _in_a_batch(store, twice)
    assert backend.results() == []
    assert next_offsets(store) == {P0: 0}


def test_a_failed_flush_that_the_handler_swallowed_is_an_error_all_the_same(
    store: SqlOffsetStore, backend: SqlBackend
) -> None:
    def swallow(transaction: SqlTransaction) -> None:
        session: Session = transaction.session()
        session.execute(sa.insert(RESULTS).values(id=1, value=1))
        session.add(Result(id=1, value=2))
        with pytest.raises(sa.exc.IntegrityError):
            session.flush()

    with pytest.raises(ProcessingError):
        _in_a_batch(store, swallow)
    assert backend.results() == []


# A frozen owner -------------------------------------------------------------------------------------------------------

FROZEN = """
import os, signal, sys
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of
from kafka_stream.offset_stores.sql import SqlOffsetStore
store = SqlOffsetStore(sys.argv[1])
store.open()
claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
with store.begin(claim) as transaction:
    os.kill(os.getpid(), signal.SIGSTOP)
    transaction.advance()
    transaction.commit()
print("committed")
"""


def test_a_takeover_past_a_frozen_owner_ends_and_names_it(backend: SqlBackend, url: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", FROZEN, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        successor = SqlOffsetStore(url, takeover_lock_timeout_s=0.2)
        successor.open()
        assert successor.positions(STREAM)[P0].owner == OLDER
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=f"locked by .*stored owner is {OLDER.id} on {OLDER.host}"):
                successor.take_over(STREAM, NEWER, [P0], {})
        os.kill(process.pid, signal.SIGCONT)
        output, _ = process.communicate(timeout=30)
        assert output == "committed\n"
        assert successor.take_over(STREAM, NEWER, [P0], {})[P0].next_offset == 5
        successor.close()
    finally:
        process.kill()
        process.communicate()


def test_a_batch_waits_for_another_writer_no_longer_than_its_connection_says(backend: SqlBackend, url: str) -> None:
    store = SqlOffsetStore(f"{url}?timeout=0.1")
    store.open()
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with backend.engine.begin() as connection:
        write(connection, 1)
        with pytest.raises(StoreUnavailable), store.begin(claim):
            pytest.fail("there are two writers")
    commit(store, OLDER, {P0: (0, 5)})
    store.close()


# Engines and URLs -----------------------------------------------------------------------------------------------------


def test_the_database_has_its_write_ahead_log(store: SqlOffsetStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "orders.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_in_memory_all_threads_share_one_database() -> None:
    store = SqlOffsetStore("sqlite://")
    store.open()
    store.take_over(STREAM, OLDER, [P0], {})
    commit(store, OLDER, {P0: (0, 5)})
    store.take_over(STREAM, NEWER, [P0], {})
    assert next_offsets(store) == {P0: 5}
    store.close()


@pytest.mark.parametrize("execution_option", [False, True])
def test_an_autocommit_engine_is_refused(url: str, execution_option: bool) -> None:
    engine = create_engine(url) if execution_option else create_engine(url, isolation_level="AUTOCOMMIT")
    if execution_option:
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        SqlOffsetStore(engine).open()
    engine.dispose()


def test_an_engine_whose_threads_see_different_databases_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="StaticPool"):
        SqlOffsetStore(create_engine("sqlite://"))
    engine = create_engine("sqlite://", poolclass=StaticPool)
    SqlOffsetStore(engine).open()
    engine.dispose()


def test_the_users_engine_is_not_disposed(url: str) -> None:
    engine = create_engine(url)
    store = SqlOffsetStore(engine)
    store.open()
    pool = engine.pool
    store.close()
    assert engine.pool is pool
    assert store.positions(STREAM) == {}
    engine.dispose()


def test_building_a_store_and_reading_from_it_create_no_file(tmp_path: Path) -> None:
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/none.db")
    assert store.positions(STREAM) == {}
    with pytest.raises(SchemaMismatch, match="lacks the tables"):
        store.check_schema()
    assert "CREATE TABLE" in store.schema_sql()
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_missing_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no/orders\.db"):
        SqlOffsetStore(f"sqlite:///{tmp_path}/no/orders.db").open()


def test_a_file_that_is_no_database_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "orders.db").write_text("once upon a time, there was a file that was no database at all" * 100)
    with pytest.raises(ConfigurationError, match=r"orders\.db"):
        SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db").open()


def test_a_read_only_database_is_refused(store: SqlOffsetStore, tmp_path: Path) -> None:
    read_only = SqlOffsetStore(f"sqlite:///file:{tmp_path}/orders.db?mode=ro&uri=true")
    read_only.open()
    assert read_only.positions(STREAM) == {}
    with pytest.raises(NotAuthorized):
        read_only.take_over(STREAM, OLDER, [P0], {})
    read_only.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_means_psycopg_and_no_secret_is_shown(scheme: str) -> None:
    store = SqlOffsetStore(f"{scheme}://app:hush@db.example/shop?sslpassword=hush&application_name=x")
    assert store.describe() == "postgresql+psycopg://app:***@db.example/shop (table kafka_stream_offsets)"
    assert "hush" not in repr(store)


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("hush", ConfigurationError, "cannot be read"),
        ("postgresql://app:hush@host:po-hush-rt/shop", ConfigurationError, "cannot be read"),
        ("postgresql://app:hush@host", ConfigurationError, "names no database"),
        ("postgresql+psycopg2://app:hush@host/shop", ConfigurationError, "uses postgresql+psycopg://"),
        ("postgresql+asyncpg://app:hush@host/shop", ConfigurationError, "async def"),
        ("sqlite+aiosqlite:///hush.db", ConfigurationError, "async def"),
        ("oracle://app:hush@host/shop", UnknownStore, "supported: mariadb, mysql, postgresql, sqlite"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as raised:
        SqlOffsetStore(url)
    assert words in str(raised.value)
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_an_async_engine_is_refused_with_where_async_belongs() -> None:
    class AsyncEngine:
        sync_engine = None

    with pytest.raises(ConfigurationError, match="async def"):
        SqlOffsetStore(AsyncEngine())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not int"):
        SqlOffsetStore(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"tables": "drop"}, {"table_prefix": "a-b"}, {"table_prefix": "x" * 41}, {"takeover_lock_timeout_s": 0}],
)
def test_a_wrong_argument_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SqlOffsetStore("sqlite://", **wrong)
