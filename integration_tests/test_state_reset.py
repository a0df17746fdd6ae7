"""A reset with state on PostgreSQL and MariaDB: killed at each of its points, and under a stream that runs."""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, random_name
from integration_tests.state_resets import PARTITIONS, POINTS, RECORDS, STREAM, reset
from integration_tests.streams import WAIT_S, wait_for_stable_end
from kafka_stream import DirectStream
from kafka_stream.admin.reset import prepare_reset
from kafka_stream.admin.reset_plan import ToEarliest
from kafka_stream.admin.state.resetting import execute_state_reset
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import ActionKind
from kafka_stream.sinks.sql import StateSink
from kafka_stream.source.cluster import Cluster
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import TopicPartition
from tests.keeping_state import COUNTS, METADATA, TOTALS, Counting

ROOT = Path(__file__).parents[1]
KEYS = "abcde"


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture
def store(url: str) -> Iterator[SqlOffsetStore]:
    found = SqlOffsetStore(url)
    found.open()
    yield found
    found.close()


@pytest.fixture
def database(url: str) -> Iterator[sa.Engine]:
    found = sa.create_engine(url)
    METADATA.create_all(found)
    yield found
    found.dispose()


def _sums(database: sa.Engine) -> tuple[dict[str, int], dict[int, int]]:
    """The totals by key, and the counts by partition."""
    with database.connect() as connection:
        totals = connection.execute(sa.select(TOTALS.c.page, TOTALS.c.total))
        by_key = {key: int(total) for key, total in totals}
        counts = connection.execute(
            sa.select(COUNTS.c.partition, sa.func.sum(COUNTS.c.total)).group_by(COUNTS.c.partition)
        )
        return by_key, {partition: int(total) for partition, total in counts}


def _offsets(store: SqlOffsetStore, stream: str = STREAM) -> dict[TopicPartition, int]:
    return {tp: position.next_offset for tp, position in store.positions(stream).items()}


def _read_all(store: SqlOffsetStore) -> None:
    kafka = MemoryKafka({"orders": PARTITIONS})
    for partition in range(PARTITIONS):
        for number in range(RECORDS):
            kafka.produce("orders", b"x", partition=partition, key=KEYS[number % len(KEYS)].encode())
    sinks = [Counting(), Counting(COUNTS)]
    DirectStream(name=STREAM, topics=["orders"], kafka=kafka, store=store, sink=sinks, assignment="static").run(
        until="latest"
    )


ALL_READ = (dict.fromkeys(KEYS, PARTITIONS * RECORDS // len(KEYS)), dict.fromkeys(range(PARTITIONS), RECORDS))


@pytest.mark.parametrize("point", POINTS)
def test_a_reset_that_was_killed_has_moved_offsets_and_cleared_state_or_neither(
    store: SqlOffsetStore, database: sa.Engine, url: str, point: str
) -> None:
    _read_all(store)
    command = [sys.executable, "-m", "integration_tests.state_resets", url, point]
    ended = subprocess.run(command, cwd=ROOT, timeout=WAIT_S, check=False)
    assert ended.returncode == -signal.SIGKILL
    is_done = point == "committed"
    assert wait_until(lambda: _is_settled(store), WAIT_S)
    assert set(_offsets(store).values()) == {0 if is_done else RECORDS}
    assert _sums(database) == (({}, {}) if is_done else ALL_READ)
    assert len({entry.action.id for entry in store.history(STREAM, 9, [ActionKind.RESET])}) == int(is_done)
    execute_state_reset(store, reset())
    assert _sums(database) == ({}, {})
    _read_all(store)
    assert _sums(database) == ALL_READ


def _is_settled(store: SqlOffsetStore) -> bool:
    """Whether nobody holds the stream's rows any more: the server has noticed that the process is gone."""
    tables = store._access.tables
    with store._access.engine.connect() as connection:
        query = sa.select(tables.offsets.c.partition).where(tables.offsets.c.stream == STREAM)
        return len(connection.execute(query.with_for_update(skip_locked=True)).all()) == PARTITIONS


def _page(message: Any) -> str:
    return str(message.key().decode())


def _add(key: str, records: Sequence[Any], row: Any) -> dict[str, int]:
    return {"total": len(records) + (row["total"] if row else 0)}


def _sums_of_ours() -> Sequence[Any]:
    return [Counting(), Counting(COUNTS)]


def _state() -> Sequence[Any]:
    """Which keeps the rows of partitions in memory."""
    return [StateSink(TOTALS, _page, _add), StateSink(COUNTS, _page, _add, scope="partition")]


@pytest.mark.parametrize("by", [_sums_of_ours, _state])
def test_resets_with_state_under_a_stream_that_runs_leave_what_was_read_since_the_last_one(
    kafka: KafkaServer, store: SqlOffsetStore, database: sa.Engine, by: Callable[[], Sequence[Any]]
) -> None:
    rng = random.Random()
    topic = kafka.create_topic(partitions=PARTITIONS)
    keys: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        produced = [(rng.choice(KEYS), f"{partition} {number}") for number in range(2_000)]
        keys.update(key for key, _ in produced)
        kafka.transaction(topic, produced)
    ends = {TopicPartition(topic, number): end for number, end in wait_for_stable_end(kafka, topic).items()}
    cluster = Cluster({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}, logging.getLogger("test"))
    cluster.connect(WAIT_S)
    sinks = by()
    stream = DirectStream(
        name=random_name("stream"),
        topics=[topic],
        kafka={"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0},
        store=SqlOffsetStore(database),
        sink=sinks,
        assignment="static",
        max_records_per_batch=100,
    )

    def has_read(records: int) -> bool:
        return sum(_offsets(store, stream.name).values()) >= records

    with stream:
        for _ in range(4):
            assert wait_until(lambda: has_read(rng.randrange(200, 2_000)), WAIT_S), stream.status()
            prepared = prepare_reset(store, stream.name, cluster, ToEarliest())
            execute_state_reset(store, prepared, sinks=rng.choice([sinks, []]))
        assert wait_until(lambda: _offsets(store, stream.name) == ends, WAIT_S), stream.status()
    totals, counts = _sums(database)
    assert totals == keys
    assert sum(counts.values()) == keys.total()
