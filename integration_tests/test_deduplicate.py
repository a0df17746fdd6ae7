"""``Deduplicate`` on PostgreSQL and MariaDB: members that meet on the same keys, beside a plain program."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration_tests.engine import wait_until
from kafka_stream.errors import StoreUnavailable
from kafka_stream.sinks.sql.deduplication import postgres_rows
from kafka_stream.testing.store_backend import at_once
from kafka_stream.types import TopicPartition
from tests.deduplicating import (
    PARTITIONS,
    STREAM,
    Member,
    Plain,
    Records,
    Steps,
    any_times,
    cuts,
    forgetting_soon,
    nearly_ordered_times,
    passed,
    record_of,
    rows_of,
    run,
    unforgetting,
)

FIRST, SECOND = PARTITIONS
KEYS = [f"key-{number}" for number in range(40)]
ROUNDS = 12


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture(scope="module", params=["postgres", "mariadb"])
def module_url(request: pytest.FixtureRequest) -> Iterator[str]:
    server: Any = request.getfixturevalue(f"{request.param}_server")
    found = server.create_database()
    yield found.url
    server.drop_database(found)


@contextmanager
def engine_of(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def same_keys(time_ms: Any = lambda _, __: 0) -> Records:
    """The same keys in both partitions, in opposite order, again and again."""
    return {
        FIRST: [record_of(FIRST, at, KEYS[at % 40], time_ms(at, 0)) for at in range(40 * ROUNDS)],
        SECOND: [record_of(SECOND, at, KEYS[39 - at % 40], time_ms(at, 1)) for at in range(40 * ROUNDS)],
    }


def committing(member: Member, batch: Any) -> None:
    """Until it is committed: two that hold each other up are told so by the database."""
    while True:
        try:
            return member.process(batch)
        except StoreUnavailable:
            continue
        except Exception as error:
            if not isinstance(member.store.classify(error), StoreUnavailable):
                raise


def test_two_members_that_meet_on_the_same_keys_let_each_through_once(url: str) -> None:
    """Nothing of the time is over: of each key one record goes on, of whichever member."""
    records, table = same_keys(), passed()
    with engine_of(url) as engine:
        table.create(engine)
        members = [Member(url, f"member-{tp.partition}", table, "1 hour", [tp]) for tp in PARTITIONS]

        def work(member: Member, tp: TopicPartition) -> None:
            for size in [1, 7, 40, 3, 13] * ROUNDS:
                committing(member, member.batch(records, {tp: size}))

        at_once([lambda m=m, tp=tp: work(m, tp) for m, tp in zip(members, PARTITIONS, strict=True)])  # type: ignore[misc]
        assert [m.next_offsets[tp] for m, tp in zip(members, PARTITIONS, strict=True)] == [480, 480]
        for member in members:
            member.close()
        with engine.connect() as connection:
            found = [
                str(records[PARTITIONS[partition]][offset].key()) for partition, offset in rows_of(connection, table)
            ]
    assert sorted(found) == sorted(str(key.encode()) for key in KEYS)


def test_one_waits_for_another_that_has_the_same_new_key_in_hand(url: str) -> None:
    """And then finds it noted; where the other rolls back, it is the first."""
    for commits in (True, False):
        key = f"key {commits}"
        records = {tp: [record_of(tp, at, key, 0) for at in range(9)] for tp in PARTITIONS}
        table = passed(f"passed_{commits}".lower())
        with engine_of(url) as engine:
            table.create(engine)
            first, second = (Member(url, f"{tp.partition}-{commits}", table, "1 hour", [tp]) for tp in PARTITIONS)
            batch = first.batch(records, {FIRST: 1})
            with first.begin(batch) as transaction:
                first.sink.write(first.sink.prepare(batch), transaction)
                waiting = threading.Thread(target=committing, args=(second, second.batch(records, {SECOND: 1})))
                waiting.start()
                waits_for_a_lock(engine)
                assert waiting.is_alive()
                if commits:
                    transaction.advance()
                    transaction.commit()
            waiting.join(60)
            for member in (first, second):
                member.close()
            with engine.connect() as connection:
                found = [partition for partition, _ in rows_of(connection, table)]
        assert found == [0 if commits else 1]


def test_members_that_have_other_keys_in_hand_do_not_wait_for_each_other(url: str) -> None:
    records = {tp: [record_of(tp, at, f"{tp.partition} {at % 3}", at) for at in range(12)] for tp in PARTITIONS}
    table = passed()
    with engine_of(url) as engine:
        table.create(engine)
        first, second = (Member(url, f"{tp.partition}", table, "1 s", [tp]) for tp in PARTITIONS)
        for member, tp in ((first, FIRST), (second, SECOND)):
            member.process(member.batch(records, {tp: 3}))
        batch = first.batch(records, {FIRST: 9})
        with first.begin(batch) as transaction:
            first.sink.write(first.sink.prepare(batch), transaction)
            second.process(second.batch(records, {SECOND: 9}))
            transaction.advance()
            transaction.commit()
        for member in (first, second):
            member.close()
        with engine.connect() as connection:
            assert len(rows_of(connection, table)) == 6


def waits_for_a_lock(engine: sa.Engine) -> None:
    """Return when some session does; on MariaDB, when it locks what another one has inserted and not committed."""
    query = {
        "postgresql": (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ),
        "mysql": (
            "SELECT count(*) FROM information_schema.processlist "
            "WHERE db = database() AND id <> connection_id() AND locate('FOR UPDATE', info) > 0"
        ),
    }[engine.dialect.name]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert wait_until(lambda: bool(connection.exec_driver_sql(query).scalar_one()), 30)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=any_times(), steps=cuts())
def test_what_goes_on_is_what_a_plain_program_lets_through(module_url: str, records: Records, steps: Steps) -> None:
    with unforgetting():
        found, expected = run(module_url, records, steps)
    assert found == expected


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=nearly_ordered_times(), steps=cuts(), least_step=st.integers(1, 3))
def test_nothing_that_counts_is_forgotten(module_url: str, records: Records, steps: Steps, least_step: int) -> None:
    with forgetting_soon(least_step):
        found, expected = run(module_url, records, steps)
    assert found == expected


def test_old_keys_are_forgotten_although_another_member_has_some_in_hand(url: str) -> None:
    hour_ms = 3_600_000
    records = {
        FIRST: [record_of(FIRST, at, f"key {at}", at * hour_ms) for at in range(10)],
        SECOND: [record_of(SECOND, 0, "key 0", 0), record_of(SECOND, 1, "late", 9 * hour_ms)],
    }
    table = passed()
    with engine_of(url) as engine, forgetting_soon(1):
        table.create(engine)
        first, second = (Member(url, f"{tp.partition}", table, "1 hour", [tp]) for tp in PARTITIONS)
        for member, count in ((first, 8), (second, 1), (second, 1)):
            member.process(member.batch(records, {member_partition(member): count}))
        with second.begin(second.batch(records, {SECOND: 0})) as transaction:
            seen = transaction.tables.seen
            held = sa.select(seen).where(seen.c.key_text == "key 3").with_for_update()
            assert len(transaction.connection.execute(held).all()) == 1
            first.process(first.batch(records, {FIRST: 2}))
            with engine.connect() as connection:
                left = connection.execute(sa.select(seen.c.key_text).where(seen.c.stream == STREAM)).scalars().all()
        first.close()
        second.close()
    assert sorted(left) == ["key 3", "key 7", "key 8", "key 9", "late"]


def member_partition(member: Member) -> TopicPartition:
    """The one that it owns."""
    (found,) = member.next_offsets
    return found


def test_many_keys_take_few_statements(postgres: Any) -> None:
    """However many are new, one statement notes them; those that are not are read and changed in one each."""
    table, said = passed(), []
    with engine_of(postgres.url) as engine, pytest.MonkeyPatch.context() as patch:
        table.create(engine)
        run_statement = postgres_rows.PostgresRows._run

        def counted(rows: Any, statement: str, **parameters: Any) -> Any:
            said.append(statement.split()[0])
            return run_statement(rows, statement, **parameters)

        patch.setattr(postgres_rows.PostgresRows, "_run", counted)
        records = {FIRST: [record_of(FIRST, at, str(at % 3_000), at) for at in range(6_000)]}
        member = Member(postgres.url, "one", table, "1 s", [FIRST])
        for _ in range(2):
            member.process(member.batch(records, {FIRST: 3_000}))
        member.close()
    assert said == ["WITH", "WITH", "INSERT", "WITH"]


def test_a_key_that_is_forgotten_before_it_is_locked_is_new(postgres: Any) -> None:
    """Somebody else forgets it between the statement that finds it and the one that locks it."""
    table = passed()
    records = {FIRST: [record_of(FIRST, at, key, 0) for at, key in enumerate("abab")]}
    with engine_of(postgres.url) as engine, pytest.MonkeyPatch.context() as patch:
        table.create(engine)
        run_statement = postgres_rows.PostgresRows._run

        def forgetting(rows: Any, statement: str, **parameters: Any) -> Any:
            if "keys" in parameters:
                deletion = "DELETE FROM kafka_stream_seen WHERE key_text = 'a'"
                rows._connection.exec_driver_sql(deletion)
            return run_statement(rows, statement, **parameters)

        patch.setattr(postgres_rows.PostgresRows, "_run", forgetting)
        member = Member(postgres.url, "one", table, "1 hour", [FIRST])
        for _ in range(2):
            member.process(member.batch(records, {FIRST: 2}))
        member.close()
        with engine.connect() as connection:
            assert [offset for _, offset in rows_of(connection, table)] == [0, 1, 2]
            kept = connection.exec_driver_sql('SELECT key_text, "offset", time_us FROM kafka_stream_seen ORDER BY 1')
            assert list(map(tuple, kept)) == [("a", 2, 0), ("b", 1, 0)]


def test_a_plain_program_lets_one_through_again_when_the_time_is_over() -> None:
    """The model itself."""
    plain = Plain(10)
    plain.take(record_of(FIRST, at, "a", time) for at, time in enumerate([0, 9, 10, 19, 20, 5, 31, 20, 21]))
    assert [offset for _, offset in plain.passed] == [0, 2, 4, 5, 6, 7]
