"""Operators' commands while a service runs: afterwards the table holds what they imply, no more and no less."""

from __future__ import annotations

import logging
import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from integration_tests.engine import wait_until
from integration_tests.mariadb_server import MariadbDatabase
from integration_tests.results import ResultTable
from integration_tests.running_service import RunningService, Services, wait_while_running
from integration_tests.servers import KafkaServer, PostgresDatabase
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import WAIT_S, settings_of, wait_for_rows, wait_for_stable_end
from kafka_stream import Batch, DirectStream
from kafka_stream.admin.history import undo
from kafka_stream.admin.migration import fence_and_migrate, migrate
from kafka_stream.admin.reset import execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ResetPlan, ShiftBy, Target, ToCurrent, ToEarliest, ToOffsets
from kafka_stream.admin.transfer import delete
from kafka_stream.errors import CommandRefused
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.protocols import ActionKind
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import Phase, TopicPartition

RECORDS = 20_000
RESETS = 10
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    """Four partitions of committed and aborted records."""
    name = kafka.create_topic(partitions=4)
    for part in range(4):
        kafka.transaction(name, [(f"key-{n % 97}", f"committed {part} {n}") for n in range(RECORDS // 4)])
        kafka.transaction(name, [(f"key-{n % 97}", f"aborted {part} {n}") for n in range(200)], outcome="abort")
    wait_for_stable_end(kafka, name)
    return name


@pytest.fixture(scope="module")
def cluster(kafka: KafkaServer) -> Cluster:
    found = Cluster({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}, logging.getLogger("test"))
    found.connect(TIMEOUT_S)
    return found


@pytest.fixture
def settings(kafka: KafkaServer, postgres: PostgresDatabase, topic: str) -> ServiceSettings:
    return settings_of(kafka, postgres, topic, max_records_per_batch=300, linger_s=0.02)


@pytest.fixture
def store(postgres: PostgresDatabase) -> Iterator[SqlOffsetStore]:
    """The service's store, as a command opens it."""
    found = SqlOffsetStore(postgres.url)
    yield found
    found.close()


@dataclass(frozen=True)
class Topic:
    """What a plain consumer reads of it."""

    kafka: KafkaServer
    name: str

    def committed(self) -> set[tuple[int, int]]:
        """Partition and offset of every committed record."""
        return {(partition, offset) for partition, offset, _, _ in self.kafka.read_committed(self.name)}

    def ends(self) -> dict[TopicPartition, int]:
        """The end of each partition."""
        return {TopicPartition(self.name, number): end for number, end in self.kafka.end_offsets(self.name).items()}


RESULTS = sa.Table(
    "results", sa.MetaData(), sa.Column("partition", sa.Integer), sa.Column("record_offset", sa.BigInteger)
)


def write_rows(batch: Batch, transaction: SqlTransaction) -> None:
    """In any database's words."""
    rows = [{"partition": message.partition(), "record_offset": message.offset()} for message in batch]
    transaction.connection.execute(sa.insert(RESULTS), rows)


def implied(topic: Topic, resets: Sequence[ResetPlan]) -> Counter[tuple[int, int]]:
    """How often each record is to be in the table: once for each stretch that was read up to a reset, or to the end."""
    times: Counter[tuple[int, int]] = Counter()
    committed = topic.committed()
    for tp, end in topic.ends().items():
        start = 0
        moves = [(p.from_offset, p.to_offset) for plan in resets for p in plan.partitions if p.topic_partition == tp]
        for until, to in [*moves, (end, None)]:
            assert until is not None
            times.update((tp.partition, o) for o in range(start, until) if (tp.partition, o) in committed)
            start = until if to is None else to
    return times


def in_the_table(table: ResultTable) -> Counter[tuple[int, int]]:
    """How often each record is there."""
    rows = table.database.execute("SELECT partition, record_offset, count(*) FROM results GROUP BY 1, 2")
    return Counter({(partition, offset): times for partition, offset, times in rows})


def offsets_in(store: SqlOffsetStore, stream: str) -> dict[TopicPartition, int]:
    return {tp: position.next_offset for tp, position in store.positions(stream).items()}


def wait_for_ends(store: SqlOffsetStore, stream: str, topic: Topic, *services: RunningService) -> None:
    """Wait until everything is read that is there."""
    ends = topic.ends()
    wait_while_running(lambda: offsets_in(store, stream) == ends, WAIT_S, *services)


def wait_for_work(
    store: SqlOffsetStore, table: ResultTable, rows: int, topic: Topic, *services: RunningService
) -> None:
    """Wait for some more rows, or for all that are left to come: near the end there may be fewer."""
    wanted, ends, stream = table.count() + rows, topic.ends(), services[0].settings.stream
    wait_while_running(lambda: table.count() >= wanted or offsets_in(store, stream) == ends, WAIT_S, *services)


def stop(*services: RunningService) -> None:
    for service in services:
        service.signal(signal.SIGTERM)
        assert service.wait() == 0, service.report()


def some_target(rng: random.Random, topic: Topic, stored: Mapping[TopicPartition, int]) -> Target:
    """Some of the partitions anywhere, or all of them back."""
    if rng.random() < 0.3:
        return ShiftBy(-rng.randrange(1_000))
    chosen = rng.sample(sorted(stored), rng.randrange(1, len(stored) + 1))
    return ToOffsets({tp: rng.randrange(topic.ends()[tp]) for tp in chosen})


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_ten_resets_at_random_moments_leave_what_they_imply(
    kafka: KafkaServer,
    cluster: Cluster,
    table: ResultTable,
    settings: ServiceSettings,
    store: SqlOffsetStore,
    services: Services,
    assignment: str,
) -> None:
    rng = random.Random()
    topic = Topic(kafka, settings.topic)
    service = services.start(replace(settings, assignment=assignment))
    done: list[ResetPlan] = []
    for _ in range(RESETS):
        wait_for_work(store, table, rng.randrange(1, 600), topic, service)
        target = some_target(rng, topic, offsets_in(store, settings.stream))
        done.append(execute_reset(store, prepare_reset(store, settings.stream, cluster, target)))
    wait_for_ends(store, settings.stream, topic, service)
    stop(service)
    assert in_the_table(table) == implied(topic, done)
    assert not service.said("failed"), service.report()
    resets = store.history(settings.stream, 100, [ActionKind.RESET])
    assert len({entry.action.id for entry in resets}) == RESETS


def test_resets_of_a_group_of_three_leave_what_they_imply(
    kafka: KafkaServer,
    cluster: Cluster,
    table: ResultTable,
    settings: ServiceSettings,
    store: SqlOffsetStore,
    services: Services,
) -> None:
    rng = random.Random()
    topic = Topic(kafka, settings.topic)
    members = [services.start(replace(settings, assignment="group")) for _ in range(3)]
    done: list[ResetPlan] = []
    for _ in range(4):
        wait_for_work(store, table, rng.randrange(1, 900), topic, *members)
        reset = prepare_reset(store, settings.stream, cluster, ShiftBy(-rng.randrange(1_000)))
        done.append(execute_reset(store, reset))
    wait_for_ends(store, settings.stream, topic, *members)
    stop(*members)
    assert in_the_table(table) == implied(topic, done)


@pytest.mark.parametrize("database", ["sqlite", "mariadb"])
def test_ten_resets_under_a_stream_into_another_database_leave_what_they_imply(
    kafka: KafkaServer,
    cluster: Cluster,
    settings: ServiceSettings,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database: str,
) -> None:
    rng = random.Random()
    topic = Topic(kafka, settings.topic)
    of_mariadb: MariadbDatabase | None = request.getfixturevalue("mariadb") if database == "mariadb" else None
    url = f"sqlite:///{tmp_path}/shop.db" if of_mariadb is None else of_mariadb.url
    engine = sa.create_engine(url)
    RESULTS.create(engine)
    counted = sa.select(sa.func.count()).select_from(RESULTS)
    stream = DirectStream(
        name=settings.stream,
        topics=[topic.name],
        kafka={"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0},
        store=url,
        sink=write_rows,
        assignment="static",
        max_records_per_batch=150,
    )
    store = SqlOffsetStore(url)
    done: list[ResetPlan] = []

    def rows() -> int:
        with engine.connect() as connection:
            return int(connection.execute(counted).scalar_one())

    def has_worked(wanted: int) -> bool:  # after a reset to near the end, fewer rows are left to come
        return rows() >= wanted or offsets_in(store, settings.stream) == topic.ends()

    with stream:
        for _ in range(RESETS):
            assert wait_until(partial(has_worked, rows() + rng.randrange(1, 600)), WAIT_S), stream.status()
            target = some_target(rng, topic, offsets_in(store, settings.stream))
            done.append(execute_reset(store, prepare_reset(store, settings.stream, cluster, target)))
        wait_for_ends(store, settings.stream, topic)
    with engine.connect() as connection:
        found = connection.execute(sa.select(*RESULTS.c)).all()
    assert Counter((row.partition, row.record_offset) for row in found) == implied(topic, done)
    store.close()
    engine.dispose()


def test_a_service_that_has_read_everything_begins_again_when_it_is_reset(
    kafka: KafkaServer,
    cluster: Cluster,
    table: ResultTable,
    settings: ServiceSettings,
    store: SqlOffsetStore,
    services: Services,
) -> None:
    topic = Topic(kafka, settings.topic)
    service = services.start(replace(settings, max_records_per_batch=5_000, linger_s=0.0))
    wait_for_rows(table, RECORDS, service)
    wait_for_ends(store, settings.stream, topic, service)
    plan = execute_reset(store, prepare_reset(store, settings.stream, cluster, ToEarliest()))
    wait_for_rows(table, 2 * RECORDS, service)
    wait_for_ends(store, settings.stream, topic, service)
    with pytest.raises(CommandRefused, match="batches have committed"):
        undo(store, settings.stream)
    stop(service)
    assert in_the_table(table) == implied(topic, [plan])


@pytest.mark.parametrize("phase", [Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE, Phase.AFTER_COMMIT])
def test_a_reset_passes_a_service_that_is_frozen_within_its_transaction(
    kafka: KafkaServer,
    cluster: Cluster,
    table: ResultTable,
    settings: ServiceSettings,
    store: SqlOffsetStore,
    services: Services,
    phase: Phase,
) -> None:
    topic = Topic(kafka, settings.topic)
    service = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{phase}:3")
    service.wait_until_stopped()
    plan = execute_reset(store, prepare_reset(store, settings.stream, cluster, ShiftBy(-100)))
    assert offsets_in(store, settings.stream) == plan.offsets()
    rows = table.count()
    undone = undo(store, settings.stream)
    again = execute_reset(store, prepare_reset(store, settings.stream, cluster, ToCurrent()))
    assert {e.topic_partition: e.from_offset for e in undone.entries} == again.offsets()
    assert table.count() == rows
    service.signal(signal.SIGCONT)
    wait_for_ends(store, settings.stream, topic, service)
    stop(service)
    assert in_the_table(table) == implied(topic, [])


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_a_service_whose_stream_is_deleted_stops_and_commits_nothing_after(
    table: ResultTable,
    settings: ServiceSettings,
    store: SqlOffsetStore,
    services: Services,
    assignment: str,
) -> None:
    service = services.start(replace(settings, assignment=assignment))
    wait_for_rows(table, 1_000, service)
    assert delete(store, settings.stream) == (settings.topic,)
    rows, stored = in_the_table(table), store.positions(settings.stream)
    assert service.wait() == 1, service.report()
    assert service.said("failed")[0]["type"] == "StreamClosed"
    assert (in_the_table(table), store.positions(settings.stream)) == (rows, stored)
    assert_is_what_was_committed(table, offsets_in(store, settings.stream))

    again = services.start(replace(settings, until="latest"))
    assert again.wait() == 0, again.report()
    assert table.count() == rows.total() + RECORDS


def assert_is_what_was_committed(table: ResultTable, offsets: Mapping[TopicPartition, int]) -> None:
    """Nothing beyond the stored offsets is there, and nothing before them is missing or repeated."""
    found = table.database.execute(
        "SELECT partition, max(record_offset), count(*), count(DISTINCT record_offset) FROM results GROUP BY 1"
    )
    for partition, last, rows, distinct in found:
        (end,) = (offset for tp, offset in offsets.items() if tp.partition == partition)
        assert last < end
        assert rows == distinct
    below = " OR ".join(f"(partition = {tp.partition} AND record_offset < {end})" for tp, end in offsets.items())
    assert table.count(below) == table.count()


def test_a_service_whose_stream_is_migrated_stops_and_goes_on_in_the_other_store(
    kafka: KafkaServer,
    table: ResultTable,
    settings: ServiceSettings,
    store: SqlOffsetStore,
    services: Services,
) -> None:
    topic = Topic(kafka, settings.topic)
    service = services.start(settings)
    wait_for_rows(table, 1_000, service)
    target = SqlOffsetStore(settings.store, table_prefix="elsewhere_")
    with pytest.raises(CommandRefused, match="is owned by"):
        migrate(store, target, settings.stream)
    fence_and_migrate(store, target, settings.stream)
    rows, stored = in_the_table(table), store.positions(settings.stream)
    assert service.wait() == 1, service.report()
    failure = service.said("failed")[0]
    assert failure["type"] == "StreamClosed"
    assert "migrated to" in failure["message"]
    assert settings.store not in failure["message"], "its password is not shown"
    assert (in_the_table(table), store.positions(settings.stream)) == (rows, stored)

    refused = services.start(settings)
    assert refused.wait() == 1
    assert refused.said("failed")[0]["type"] == "StreamClosed"
    before = target.positions(settings.stream)
    assert fence_and_migrate(store, target, settings.stream).changed == ()
    assert target.positions(settings.stream) == before

    fence_and_migrate(target, store, settings.stream)
    target.close()
    back = services.start(replace(settings, until="latest"))
    assert back.wait() == 0, back.report()
    assert in_the_table(table) == implied(topic, [])


def test_a_service_that_has_stopped_has_left_and_one_that_was_killed_has_not(
    table: ResultTable, settings: ServiceSettings, store: SqlOffsetStore, services: Services
) -> None:
    service = services.start(settings)
    wait_for_rows(table, 1_000, service)
    (owner,) = store.live_owners(settings.stream)
    stop(service)
    assert store.live_owners(settings.stream) == []
    told = store.history(settings.stream, 1_000)
    assert [e.action.kind for e in told[:4]] == [ActionKind.STOP] * 4
    assert {e.topic_partition: e.until_offset for e in told[:4]} == offsets_in(store, settings.stream)
    assert {e.action.actor for e in told} == {owner}
    batches = {e.action.id: e.records for e in told if e.action.kind is ActionKind.BATCH}
    assert sum(records or 0 for records in batches.values()) == table.count()

    killed = services.start(settings)
    killed.wait_until_said("batch")
    killed.signal(signal.SIGKILL)
    killed.wait()
    (other,) = store.live_owners(settings.stream)
    assert other != owner
