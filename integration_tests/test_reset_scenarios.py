"""Every scenario of a reset, on every store, against logs with gaps: planned as Kafka's own tool plans it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from integration_tests.engine import DockerEngine, wait_until
from integration_tests.kafka_group_tool import GroupTool
from integration_tests.kafka_store import RenamedStreams
from integration_tests.mariadb_server import MariadbDatabase
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from kafka_stream.admin.history import undo
from kafka_stream.admin.migration import fence_and_migrate, migrate
from kafka_stream.admin.offsets_file import parse_offsets, to_csv
from kafka_stream.admin.reset import execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ShiftBy, Target, ToCurrent, ToEarliest, ToLatest, ToOffset, ToOffsets, ToTime
from kafka_stream.admin.targets import Selection, parse_time, time_before
from kafka_stream.admin.transfer import export_offsets, import_offsets
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.protocols import AdministeredStore
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import TopicPartition

STREAM = "shop"
TIMEOUT_S = 30.0
COMPACTED_WITHIN_S = 120.0
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=1)


@dataclass(frozen=True)
class Logs:
    """Two topics. Of "orders" partition 0 has a record a minute from ``START`` and has lost its first ten to retention,
    1 has aborted records between committed ones and ends in an open transaction, 2 is empty, 3 never had an offset
    stored; "prices" is compacted.
    """

    orders: str
    prices: str

    def partitions(self) -> list[TopicPartition]:
        """All of them."""
        return [*(TopicPartition(self.orders, number) for number in range(4)), TopicPartition(self.prices, 0)]

    def stored(self) -> dict[TopicPartition, int]:
        """Where the stream is before each reset."""
        return dict(zip([*self.partitions()[:3], self.partitions()[4]], (25, 7, 0, 30), strict=True))


def _produce(kafka: KafkaServer, topic: str, numbers: Iterable[int], partition: int = 0) -> None:
    """A record for each number, that many minutes after ``START``."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    for number in numbers:
        at = int((START + number * STEP).timestamp() * 1000)
        producer.produce(topic, f"{number}", f"key-{number % 5}", partition=partition, timestamp=at)
    assert producer.flush(TIMEOUT_S) == 0


def _compacted_topic(kafka: KafkaServer) -> str:
    topic = kafka.create_topic(
        partitions=1, cleanup_policy="compact", segment_ms=100, min_cleanable_dirty_ratio=0.01, retention_ms=-1
    )
    _produce(kafka, topic, range(40))
    later = count(1_000)

    def is_compacted() -> bool:
        # Only what lies before the segment that is written to is compacted, and a later record begins a new one.
        _produce(kafka, topic, [next(later)])
        return len(kafka.read_committed(topic)) < kafka.end_offsets(topic)[0] - 20

    assert wait_until(is_compacted, COMPACTED_WITHIN_S), "the broker's cleaner does not run"
    _stop_compaction(kafka, topic)
    return topic


def _stop_compaction(kafka: KafkaServer, topic: str) -> None:
    """So that both who plan find the same records."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)


@pytest.fixture(scope="module")
def logs(kafka: KafkaServer) -> Iterator[Logs]:
    orders = kafka.create_topic(partitions=4, retention_ms=-1)
    _produce(kafka, orders, range(60))
    kafka.delete_records(orders, 0, 10)
    kafka.transaction(orders, ["a"] * 5, 1)
    kafka.transaction(orders, ["b"] * 5, 1, outcome="abort")
    kafka.transaction(orders, ["c"] * 5, 1)
    opened = kafka.open_transaction(orders, ["d"] * 5, 1)
    _produce(kafka, orders, range(5), partition=3)
    yield Logs(orders, _compacted_topic(kafka))
    opened.abort()


@pytest.fixture(scope="module")
def cluster(kafka: KafkaServer) -> Cluster:
    found = Cluster({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}, logging.getLogger("test"))
    found.connect(TIMEOUT_S)
    return found


@pytest.fixture(scope="module")
def tool(engine: DockerEngine, kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> GroupTool:
    return GroupTool.of(engine, kafka, tmp_path_factory.mktemp("plans"))


NewStore = Callable[[str], AdministeredStore]


@pytest.fixture
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewStore]:
    """A function from the kind of a store to an empty one, opened."""
    with ExitStack() as stack:

        def make(kind: str) -> AdministeredStore:
            if kind == "zookeeper":
                in_zookeeper = ZooKeeperOffsetStore(f"{request.getfixturevalue('zookeeper')}/{random_name('s')}")
                in_zookeeper.open()
                stack.callback(in_zookeeper.close)
                return in_zookeeper
            if kind == "kafka":
                in_kafka = RenamedStreams(request.getfixturevalue("kafka"), random_name("s"))
                stack.callback(in_kafka.close)
                return in_kafka
            url = f"sqlite:///{tmp_path}/offsets.db"
            if kind == "postgresql":
                database: PostgresDatabase = request.getfixturevalue("postgres")
                url = database.url
            elif kind == "mariadb":
                of_mariadb: MariadbDatabase = request.getfixturevalue("mariadb")
                url = of_mariadb.url
            store = SqlOffsetStore(url, table_prefix=random_name("s") + "_")
            store.open()
            stack.callback(store.close)
            return store

        yield make


def _started(store: AdministeredStore, offsets: Mapping[TopicPartition, int]) -> AdministeredStore:
    for topic in {tp.topic for tp in offsets}:
        starts = {tp.partition: offset for tp, offset in offsets.items() if tp.topic == topic}
        store.initialise(STREAM, topic, starts, None)
    return store


def _offsets(store: AdministeredStore) -> dict[TopicPartition, int]:
    return {tp: position.next_offset for tp, position in store.positions(STREAM).items()}


Names = Callable[[Logs], Sequence[str]]


def _all(logs: Logs) -> Sequence[str]:
    return [logs.orders, logs.prices]


def _stored(logs: Logs) -> Sequence[str]:
    return [f"{logs.orders}:0,1,2", logs.prices]


def _time(minutes: float) -> str:
    """As Kafka's tool takes it; without a zone it is UTC."""
    return (START + minutes * STEP).replace(tzinfo=None).isoformat(timespec="milliseconds")


SCENARIOS: Mapping[str, tuple[Target, Names | None, Sequence[str]]] = {
    "earliest": (ToEarliest(), _all, ["--to-earliest"]),
    "latest, past an open transaction": (ToLatest(), _all, ["--to-latest"]),
    "latest, of all topics": (ToLatest(), None, ["--to-latest"]),
    "an offset that some logs have": (ToOffset(12), _all, ["--to-offset", "12"]),
    "an offset beyond all": (ToOffset(10**9), _all, ["--to-offset", str(10**9)]),
    "a few forward": (ShiftBy(3), _stored, ["--shift-by", "3"]),
    "far back": (ShiftBy(-(10**9)), _stored, ["--shift-by", str(-(10**9))]),
    "far forward, of all topics": (ShiftBy(10**9), None, ["--shift-by", str(10**9)]),
    "a time, to the millisecond": (ToTime(parse_time(_time(30))), _all, ["--to-datetime", _time(30)]),
    "a time between two records": (ToTime(parse_time(_time(30.5))), _all, ["--to-datetime", _time(30.5)]),
    "a time after all": (
        ToTime(parse_time("2100-01-01T00:00:00.000")),
        _all,
        ["--to-datetime", "2100-01-01T00:00:00.000"],
    ),
    "a duration": (ToTime(time_before("P7300D", datetime.now(UTC))), _all, ["--by-duration", "P7300D"]),
    "where it is": (ToCurrent(), _all, ["--to-current"]),
}


@pytest.fixture(scope="module")
def by_the_tool(tool: GroupTool, logs: Logs) -> Callable[[str], str]:
    """What Kafka's tool plans for a group that is where the stream is; asked once per scenario."""
    group = tool.group_at(logs.stored())
    planned: dict[str, str] = {}

    def plan(scenario: str) -> str:
        _, names, arguments = SCENARIOS[scenario]
        if scenario not in planned:
            scope = ["--all-topics"] if names is None else [a for name in names(logs) for a in ("--topic", name)]
            planned[scenario] = tool.planned(group, *arguments, *scope)
        return planned[scenario]

    return plan


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb", "zookeeper", "kafka"])
def test_a_reset_goes_where_kafkas_own_tool_would(
    new_store: NewStore, cluster: Cluster, logs: Logs, by_the_tool: Callable[[str], str], scenario: str, kind: str
) -> None:
    store = _started(new_store(kind), logs.stored())
    target, names, _ = SCENARIOS[scenario]
    selections = None if names is None else [Selection.parsed(name) for name in names(logs)]
    plan = execute_reset(store, prepare_reset(store, STREAM, cluster, target, selections))
    planned = {tp: position.next_offset for tp, position in parse_offsets(by_the_tool(scenario), STREAM).items()}
    assert plan.offsets() == planned
    assert _offsets(store) == logs.stored() | planned
    if store.keeps_history and planned.keys() <= logs.stored().keys():
        undo(store, STREAM)
        assert _offsets(store) == logs.stored()


def test_files_go_both_ways(new_store: NewStore, cluster: Cluster, logs: Logs, tool: GroupTool) -> None:
    store = _started(new_store("sqlite"), logs.stored())
    asked = dict(zip(logs.stored(), (12, 10**9, 5, 3), strict=True))
    theirs = tool.planned(tool.group_at(logs.stored()), "--all-topics", file=to_csv(asked))
    read = {tp: position.next_offset for tp, position in parse_offsets(to_csv(asked), STREAM).items()}
    plan = execute_reset(store, prepare_reset(store, STREAM, cluster, ToOffsets(read)))
    assert sorted(to_csv(plan.offsets()).splitlines()) == sorted(theirs.splitlines())
    grouped = "".join(f"{STREAM},{line}\n" for line in theirs.splitlines())
    assert parse_offsets(grouped, STREAM) == parse_offsets(theirs, STREAM)


@pytest.mark.parametrize("move", [migrate, fence_and_migrate])
def test_offsets_come_through_all_stores_as_they_were(
    new_store: NewStore, logs: Logs, move: Callable[..., object]
) -> None:
    offsets = logs.stored() | {logs.partitions()[3]: 2**63 - 1}
    stores = [new_store(kind) for kind in ("sqlite", "kafka", "postgresql", "zookeeper", "kafka", "mariadb", "sqlite")]
    _started(stores[0], offsets)
    for source, target in pairwise(stores):
        move(source, target, STREAM)
        assert _offsets(target) == offsets
    exported = export_offsets(stores[-1], STREAM)
    another = new_store("postgresql")
    import_offsets(another, STREAM, exported)
    assert _offsets(another) == offsets
