"""A session that nobody may end holds one partition's position: the store names it, and the others are read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from integration_tests.engine import wait_until
from integration_tests.results import ResultTable
from integration_tests.servers import KafkaServer, PostgresDatabase
from integration_tests.streams import WAIT_S, stream_of, wait_for_rows
from kafka_stream.errors import PartitionsHeld
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.progress import StreamState
from kafka_stream.testing.store_backend import NEWER, OLDER, P0, P1, P2, STREAM, commit, epochs_of
from kafka_stream.types import TopicPartition

_HOLD = sa.text(
    'SELECT 1 FROM kafka_stream_offsets WHERE stream = :stream AND topic = :topic AND "partition" = :number FOR UPDATE'
)
_HOLD_MARIADB = sa.text(_HOLD.text.replace('"', "`"))


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[tuple[SqlOffsetStore, sa.Engine]]:
    """A store with short patience, and a way into its database for somebody else."""
    url = request.getfixturevalue(request.param).url
    engine, store = (
        sa.create_engine(url, isolation_level="READ COMMITTED"),
        SqlOffsetStore(url, takeover_lock_timeout_s=0.2),
    )
    store.open()
    yield store, engine
    store.close()
    engine.dispose()


def hold(connection: sa.Connection, stream: str, partition: TopicPartition) -> None:
    statement = _HOLD if connection.dialect.name == "postgresql" else _HOLD_MARIADB
    row = {"stream": stream, "topic": partition.topic, "number": partition.partition}
    assert connection.execute(statement, row).all() == [(1,)]


def test_a_takeover_names_the_positions_that_are_held_and_changes_nothing(
    database: tuple[SqlOffsetStore, sa.Engine],
) -> None:
    store, engine = database
    before = store.take_over(STREAM, OLDER, [P0, P1, P2], {})
    with engine.connect() as somebody:
        hold(somebody, STREAM, P1)
        with pytest.raises(PartitionsHeld, match=r"orders\[1\] in .* is locked by") as caught:
            store.take_over(STREAM, NEWER, [P0, P1, P2], {})
        assert caught.value.partitions == (P1,)
        assert epochs_of(store.positions(STREAM)) == epochs_of(before), "all or nothing"
        taken = store.take_over(STREAM, NEWER, [P0, P2], {})
        commit(store, NEWER, {P0: (0, 5), P2: (0, 5)}, epochs_of(taken))
    taken = store.take_over(STREAM, NEWER, [P1], {})
    commit(store, NEWER, {P1: (0, 5)}, epochs_of(taken))


def test_who_tries_again_waits_for_one_lock_timeout(
    database: tuple[SqlOffsetStore, sa.Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, engine = database
    store.take_over(STREAM, OLDER, [P0, P1, P2], {})
    begun, writing = list[str](), Access.writing

    def counted(access: Access, session: str, timeout_s: float) -> Any:
        begun.append(session)
        return writing(access, session, timeout_s)

    def transactions_of(partitions: Sequence[TopicPartition]) -> int:
        begun.clear()
        with contextlib.suppress(PartitionsHeld):
            store.take_over(STREAM, NEWER, partitions, {})
        return len(begun)

    monkeypatch.setattr(Access, "writing", counted)
    with engine.connect() as somebody:
        hold(somebody, STREAM, P1)
        assert transactions_of([P0, P1, P2]) == 3 + 1, "and one that looks who is held, without waiting"
        assert transactions_of([P0, P2]) == 1
        assert transactions_of([P1]) == 1 + 1
        assert transactions_of([P1]) == 1 + 1
    assert transactions_of([P1]) == 1
    with engine.connect() as somebody:
        hold(somebody, STREAM, P1)
        assert transactions_of([P1]) == 3 + 1, "it was free in between"


def test_a_stream_reads_its_other_partitions_meanwhile(
    kafka: KafkaServer, postgres: PostgresDatabase, table: ResultTable
) -> None:
    topic = kafka.create_topic(partitions=3)
    for number in range(3):
        kafka.produce(topic, [f"committed {10 * number + n}" for n in range(5)], partition=number)
    stream = stream_of(kafka, postgres, topic)
    assert stream.run(until="latest").records == 15
    held, engine = TopicPartition(topic, 1), sa.create_engine(postgres.url)
    with engine.connect() as frozen:
        hold(frozen, stream.name, held)
        with stream:
            for number in range(3):
                kafka.produce(topic, [f"committed {100 + 10 * number + n}" for n in range(5)], partition=number)
            wait_for_rows(table, 25, stream)
            status = stream.status()
            assert isinstance(status.error, PartitionsHeld) and status.error.partitions == (held,)
            assert status.state is StreamState.RUNNING
            assert status.positions.keys() == {TopicPartition(topic, number) for number in (0, 2)}
            frozen.rollback()
            wait_for_rows(table, 30, stream)
            assert wait_until(lambda: stream.status().error is None, WAIT_S)
    engine.dispose()
