"""``SqlOffsetStore`` on MariaDB: owners that freeze while they hold locks, and everybody else's locks."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, text

from integration_tests.frozen_owners import frozen_owners, take_over_past
from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from kafka_stream.errors import OwnershipLost, StoreUnavailable
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    STREAM,
    TOPIC,
    at_once,
    claim_of,
    commit,
    epochs_of,
)
from kafka_stream.types import Owner, TopicPartition
from tests.sql_backend import SqlBackend

WAIT_S = 60.0


@pytest.fixture
def backend(mariadb_backend: SqlBackend) -> SqlBackend:
    return mariadb_backend


@pytest.fixture
def store(mariadb_store: SqlOffsetStore) -> SqlOffsetStore:
    return mariadb_store


@pytest.fixture
def frozen(mariadb: MariadbDatabase, backend: SqlBackend) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts an owner that freezes inside its transaction, and waits until it has."""
    with frozen_owners(mariadb.url) as start:
        yield start


@pytest.mark.parametrize("where", ["after the claim", "mid-INSERT", "after the advance"])
def test_a_takeover_past_a_frozen_owner(
    where: str, frozen: Callable[[str], subprocess.Popen[str]], store: SqlOffsetStore, backend: SqlBackend
) -> None:
    take_over_past(frozen(where), store, backend)


def test_a_takeover_past_a_frozen_owner_needs_no_second_connection_of_the_users_engine(
    frozen: Callable[[str], subprocess.Popen[str]], store: SqlOffsetStore, backend: SqlBackend
) -> None:
    frozen("after the claim")
    engine = create_engine(backend.url, pool_size=1, max_overflow=0)
    users = SqlOffsetStore(engine)
    users.open()
    assert users.take_over(STREAM, NEWER, [P0, P1], {})[P0].owner == NEWER
    with engine.connect() as connection:
        lock_wait_timeout, isolation = connection.exec_driver_sql(
            "SELECT @@innodb_lock_wait_timeout, @@tx_isolation"
        ).one()
    assert lock_wait_timeout > 10, "what a takeover sets for its session does not come back to the pool"
    assert isolation == "REPEATABLE-READ"
    engine.dispose()


@pytest.mark.parametrize("new_partition", [False, True])
def test_a_takeover_past_a_takeover_that_was_frozen_itself(
    store: SqlOffsetStore, backend: SqlBackend, new_partition: bool
) -> None:
    """What it has written is not committed; the row of a new partition is not even there yet."""
    if not new_partition:
        store.take_over(STREAM, OLDER, [P0], {})
    another = Owner("another", "elsewhere")
    reached, let_go = threading.Event(), threading.Event()
    outcome: list[BaseException] = []

    def freeze(connection: sa.Connection, *_: Any) -> None:
        reached.set()
        assert let_go.wait(WAIT_S)

    engine = create_engine(backend.url)
    sa.event.listen(engine, "commit", freeze)

    def take() -> None:
        try:
            SqlOffsetStore(engine, tables="verify").take_over(STREAM, another, [P0], {})
        except StoreUnavailable as error:
            outcome.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        assert reached.wait(WAIT_S)
        assert store.take_over(STREAM, NEWER, [P0], {})[P0].owner == NEWER
    finally:
        let_go.set()
        thread.join(WAIT_S)
    assert len(outcome) == 1
    assert store.positions(STREAM)[P0].owner == NEWER
    engine.dispose()


def test_a_session_that_is_nobodys_owner_is_left_alone(store: SqlOffsetStore, backend: SqlBackend) -> None:
    store.take_over(STREAM, OLDER, [P0], {})
    with backend.engine.connect() as other:
        other.execute(text("SELECT * FROM kafka_stream_offsets FOR UPDATE"))
        with pytest.raises(StoreUnavailable, match=rf"locked by another process.*stored owner is {OLDER.id}"):
            store.take_over(STREAM, NEWER, [P0], {})
        other.rollback()
    with backend.engine.connect() as other:
        other.execute(text("LOCK TABLES kafka_stream_offsets WRITE, kafka_stream_topics WRITE"))
        with pytest.raises(StoreUnavailable, match="lock"):
            store.take_over(STREAM, NEWER, [P0], {})
        other.execute(text("UNLOCK TABLES"))
    assert store.take_over(STREAM, NEWER, [P0], {})[P0].owner == NEWER


def test_another_users_session_cannot_be_ended_and_is_named(
    store: SqlOffsetStore, backend: SqlBackend, mariadb: MariadbDatabase, mariadb_server: MariadbServer
) -> None:
    other = f"{mariadb.name}_2"
    mariadb_server.execute(f"CREATE USER {other}@'%%' IDENTIFIED BY %s", (other,))
    try:
        mariadb_server.execute(f"GRANT ALL ON {mariadb.name}.* TO {other}@'%'")
        weak = SqlOffsetStore(sa.make_url(mariadb.url).set(username=other, password=other))
        taken = store.take_over(STREAM, OLDER, [P0], {})
        with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
            with pytest.raises(StoreUnavailable, match=rf"session \d+ of {OLDER.id}, which this user may not end"):
                weak.take_over(STREAM, NEWER, [P0], {})
            transaction.advance()
            transaction.commit()
        with store.begin(claim_of(OLDER, {P0: (5, 9)}, taken)):
            mariadb_server.execute(f"GRANT CONNECTION ADMIN ON *.* TO {other}@'%'")
            weak.close()
            assert weak.take_over(STREAM, NEWER, [P0], {})[P0].owner == NEWER
        weak.close()
    finally:
        mariadb_server.execute(f"DROP USER {other}@'%'")


def test_a_claim_does_not_wait_for_a_row_that_another_session_holds(backend: SqlBackend) -> None:
    would_wait = {"init_command": "SET innodb_lock_wait_timeout = 100000"}  # in seconds: longer than any test
    engine = sa.create_engine(backend.url, connect_args=would_wait)
    store = SqlOffsetStore(engine)
    store.open()
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    with backend.engine.connect() as other:
        other.execute(
            text(
                "SELECT 1 FROM kafka_stream_offsets "
                "WHERE stream = :stream AND topic = :topic AND `partition` = 1 FOR UPDATE"
            ),
            {"stream": STREAM, "topic": TOPIC},
        )
        with pytest.raises(StoreUnavailable), store.begin(claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, taken)):
            pytest.fail("a row that another session holds was claimed")
        commit(store, OLDER, {P0: (0, 5)}, epochs_of(taken))
    commit(store, OLDER, {P0: (5, 6), P1: (0, 5)}, epochs_of(taken))
    engine.dispose()


def test_many_partitions_are_taken_over_by_four_owners_without_a_deadlock(
    store: SqlOffsetStore, backend: SqlBackend
) -> None:
    stores = [SqlOffsetStore(backend.url) for _ in range(4)]
    partitions = [TopicPartition(TOPIC, number) for number in range(50)]

    def take(number: int) -> None:
        for _ in range(10):
            stores[number].take_over(STREAM, Owner(f"owner-{number}", "here"), partitions[:: 1 - 2 * (number % 2)], {})

    at_once([lambda: take(0), lambda: take(1), lambda: take(2), lambda: take(3)])
    assert {position.owner_epoch for position in store.positions(STREAM).values()} == {40}
    stale = claim_of(Owner("owner-0", "here"), {P0: (0, 1)}, {P0: store.positions(STREAM)[P0]})
    store.take_over(STREAM, NEWER, [P0], {})
    with pytest.raises(OwnershipLost), store.begin(stale):
        pytest.fail("a stale owner was let in")
    for each in stores:
        each.close()


def test_a_batchs_session_can_be_found_while_it_lasts_and_the_pools_next_user_cannot(
    backend: SqlBackend, mariadb: MariadbDatabase
) -> None:
    strange = Owner("Ü" * 200, "h" * 300, "v" * 300)
    engine = create_engine(backend.url, pool_size=1, max_overflow=0)
    store = SqlOffsetStore(engine)
    store.open()
    looking = SqlOffsetStore(backend.url)
    for owner in (OLDER, strange):
        taken = store.take_over(STREAM, owner, [P0], {})
        with store.begin(claim_of(owner, {P0: (0, 1)}, taken)) as transaction:
            transaction.connection.execute(text("USE information_schema"))
        with engine.connect() as application:
            application.execute(text(f"USE {mariadb.name}"))
            application.execute(text("SELECT * FROM kafka_stream_offsets FOR UPDATE"))
            with pytest.raises(StoreUnavailable, match="locked"):
                looking.take_over(STREAM, NEWER, [P0], {})
            assert application.execute(text("SELECT 1")).scalar_one() == 1, "it was nobody's session any more"
    looking.close()
    engine.dispose()
