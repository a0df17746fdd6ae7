"""Operators' commands on Kafka's own group offsets: under running owners, and where only Kafka is as it is."""

from __future__ import annotations

import json
import logging
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from integration_tests.command_line import CommandLine, sentence
from integration_tests.engine import wait_until
from integration_tests.kafka_proxy import KafkaProxy
from integration_tests.kafka_store import WAIT_S, Place
from integration_tests.running_service import RunningService, Services, wait_while_running
from integration_tests.servers import KafkaServer, free_port, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import wait_for_stable_end
from integration_tests.test_administration import Topic, implied, some_target
from kafka_stream.admin.history import undo
from kafka_stream.admin.reset import execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ResetPlan, ToEarliest, ToOffset
from kafka_stream.admin.transfer import delete, fence_and_migrate, migrate
from kafka_stream.cluster import Cluster
from kafka_stream.errors import CommandRefused, StoreUnavailable, StreamClosed, TopicNotFound
from kafka_stream.protocols import Action, ActionKind, Change, TopicState
from kafka_stream.testing.store_backend import NEWER, OLDER
from kafka_stream.types import PlanKind, StoredPosition, TopicPartition
from offset_stores.kafka import KafkaOffsetStore, group, producer
from offset_stores.sql import SqlOffsetStore

RECORDS = 8_000
RESETS = 10
RESET = Action("reset-1", ActionKind.RESET, "operator@here")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def place(kafka: KafkaServer, stack: ExitStack) -> Place:
    return Place(kafka, stack)


# Under a running service ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> Topic:
    """Four partitions of committed and aborted records."""
    name = kafka.create_topic(partitions=4)
    for part in range(4):
        kafka.transaction(name, [(f"key-{n % 97}", f"committed {part} {n}") for n in range(RECORDS // 4)], part)
        kafka.transaction(name, [(f"key-{n % 97}", f"aborted {part} {n}") for n in range(200)], part, outcome="abort")
    wait_for_stable_end(kafka, name)
    return Topic(kafka, name)


@pytest.fixture(scope="module")
def cluster(kafka: KafkaServer) -> Cluster:
    found = Cluster({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}, logging.getLogger("test"))
    found.connect(WAIT_S)
    return found


class Live:
    """A service that copies the topic into another one, its store as a command opens it, and what it has copied."""

    def __init__(self, kafka: KafkaServer, topic: Topic, services: Services) -> None:
        self.kafka = kafka
        self.topic = topic
        self.services = services
        self.store = KafkaOffsetStore(f"kafka://{kafka.bootstrap_servers}")
        self.settings = ServiceSettings(
            bootstrap_servers=kafka.bootstrap_servers,
            store=f"kafka://{kafka.bootstrap_servers}?transaction.timeout.ms=6000",
            topic=topic.name,
            stream=random_name("stream"),
            handler="kafka sink",
            target=kafka.create_topic(partitions=2),
            max_records_per_batch=60,
            kafka={"session.timeout.ms": 6000},
        )
        self.stream = self.settings.stream

    def start(self, assignment: str = "static", **environment: str) -> RunningService:
        return self.services.start(replace(self.settings, assignment=assignment), **environment)

    def offsets(self) -> dict[TopicPartition, int]:
        return {tp: position.next_offset for tp, position in self.store.positions(self.stream).items()}

    def written(self) -> int:
        """How much the copy's log holds, markers and what was aborted included."""
        return sum(self.kafka.end_offsets(self.settings.target, committed=False).values())

    def wait_for_more(self, records: int, *running: RunningService) -> None:
        """Wait until so much more is written, or all that is left is."""
        wanted, ends = self.written() + records, self.topic.ends()
        wait_while_running(lambda: self.written() >= wanted or self.offsets() == ends, WAIT_S, *running)

    def wait_for_ends(self, *running: RunningService) -> None:
        """As long as they come nearer."""
        ends = self.topic.ends()
        while (reached := self.offsets()) != ends:
            moves = partial(lambda before: self.offsets() != before, reached)
            wait_while_running(moves, WAIT_S, *running)

    def copied(self) -> Counter[tuple[int, int]]:
        """How often read-committed readers find each record in the copy."""
        wait_for_stable_end(self.kafka, self.settings.target)
        rows = (json.loads(value or b"") for *_, value in self.kafka.read_committed(self.settings.target))
        return Counter((row["partition"], row["record_offset"]) for row in rows)


@pytest.fixture
def live(kafka: KafkaServer, topic: Topic, services: Services) -> Iterator[Live]:
    found = Live(kafka, topic, services)
    yield found
    found.store.close()


def stop(*services: RunningService) -> None:
    for service in services:
        service.signal(signal.SIGTERM)
        assert service.wait() == 0, service.report()


@pytest.mark.parametrize("assignments", [["static"], ["static:0/2", "static:1/2"]], ids=["one owner", "two shards"])
def test_ten_resets_at_random_moments_leave_what_they_imply(
    cluster: Cluster, live: Live, assignments: list[str]
) -> None:
    rng = random.Random()
    running = [live.start(assignment) for assignment in assignments]
    done: list[ResetPlan] = []
    for _ in range(RESETS):
        live.wait_for_more(rng.randrange(1, 400), *running)
        assert wait_until(lambda: len(live.offsets()) == 4, WAIT_S)
        target = some_target(rng, live.topic, live.offsets())
        done.append(execute_reset(live.store, prepare_reset(live.store, live.stream, cluster, target)))
    live.wait_for_ends(*running)
    stop(*running)
    assert live.copied() == implied(live.topic, done)


def test_an_idle_service_begins_again_when_it_is_reset(cluster: Cluster, live: Live) -> None:
    service = live.start()
    live.wait_for_ends(service)
    plan = execute_reset(live.store, prepare_reset(live.store, live.stream, cluster, ToEarliest()))
    live.wait_for_more(RECORDS, service)
    live.wait_for_ends(service)
    stop(service)
    assert live.copied() == implied(live.topic, [plan])


@pytest.mark.parametrize("phase", ["after_claim", "after_write", "after_advance", "after_commit"])
def test_a_reset_passes_a_service_that_is_frozen_within_its_transaction(
    cluster: Cluster, live: Live, phase: str
) -> None:
    service = live.start(KAFKA_STREAM_TEST_PAUSE_AT=f"{phase}:3")
    service.wait_until_stopped()
    plan = execute_reset(live.store, prepare_reset(live.store, live.stream, cluster, ToOffset(20)))
    assert live.offsets() == plan.offsets()
    service.signal(signal.SIGCONT)
    live.wait_for_ends(service)
    assert not service.said("failed"), service.report()
    stop(service)
    assert live.copied() == implied(live.topic, [plan])


def test_a_service_whose_stream_is_deleted_stops_and_commits_nothing_after(live: Live) -> None:
    service = live.start()
    live.wait_for_more(300, service)
    assert delete(live.store, live.stream) == (live.topic.name,)
    stored, copied = live.store.positions(live.stream), live.copied()
    assert service.wait() == 1, service.report()
    assert service.said("failed")[0]["type"] == "StreamClosed"
    assert (live.store.positions(live.stream), live.copied()) == (stored, copied)
    assert set(copied.values()) == {1}
    again = live.services.start(replace(live.settings, until="latest"))
    assert again.wait() == 0, again.report()
    assert live.copied() - copied == implied(live.topic, [])


def test_a_live_group_is_left_as_it_is_and_its_member_is_named(cluster: Cluster, live: Live) -> None:
    service = live.start("group")
    live.wait_for_ends(service)
    before = live.store.positions(live.stream)
    prepared = prepare_reset(live.store, live.stream, cluster, ToEarliest())
    with pytest.raises(CommandRefused, match="1 live member") as raised:
        execute_reset(live.store, prepared)
    assert "(rdkafka on " in str(raised.value)
    with pytest.raises(CommandRefused, match="1 live member"):
        delete(live.store, live.stream)
    assert live.store.positions(live.stream) == before
    assert len(live.store.live_owners(live.stream)) == 1
    assert service.is_running()
    stop(service)
    assert live.store.live_owners(live.stream) == []
    assert set(execute_reset(live.store, prepared).offsets().values()) == {0}


# Plain consumer groups ------------------------------------------------------------------------------------------------


def plain_offset(place: Place, number: int, offset: int) -> None:
    with Consumer({"bootstrap.servers": place.server.bootstrap_servers, "group.id": place.stream}) as plain:
        plain.commit(offsets=[ClientTopicPartition(place.topic, number, offset)], asynchronous=False)


def test_a_plain_groups_offsets_are_moved_as_well_and_it_is_a_stream_from_then_on(place: Place) -> None:
    plain_offset(place, 0, 42)
    store = place.store()
    assert place.stream not in store.streams()
    assert store.topics(place.stream)[place.topic].state is TopicState.OPEN
    seen: list[StoredPosition] = []

    def back(stored: dict[TopicPartition, StoredPosition]) -> list[Change]:
        seen.extend(stored.values())
        return [Change(tp, each.next_offset - 2) for tp, each in stored.items()]

    after = store.change(place.stream, place.partitions, RESET, back)  # type: ignore[arg-type]
    assert seen == [StoredPosition(42, 0)]
    assert {tp.partition: (p.next_offset, p.owner_epoch) for tp, p in after.items()} == {0: (40, 1)}
    assert place.stream in store.streams()
    with Consumer({"bootstrap.servers": place.server.bootstrap_servers, "group.id": place.stream}) as plain:
        (found,) = plain.committed([ClientTopicPartition(place.topic, 0)], WAIT_S)
    assert found.offset == 40, "and a plain consumer goes on from there"


def test_a_plain_member_keeps_its_group_as_it_is(place: Place) -> None:
    plain_offset(place, 0, 42)
    consumer = place.member("somebody's console")
    store = place.store()
    with pytest.raises(CommandRefused, match="somebody's console"):
        store.change(place.stream, place.partitions, RESET, lambda _: pytest.fail("it was asked"))
    assert place.stored() == {0: 42}
    consumer.close()
    store.change(place.stream, place.partitions, RESET, lambda _: [Change(place.partitions[0], 1)])
    assert place.stored() == {0: 1}


def test_offsets_that_kafkas_own_tools_move_under_an_idle_owner_are_noticed(place: Place) -> None:
    store = place.store()
    taken = place.take_over(store, OLDER, 0, 1)
    plain_offset(place, 0, 9)
    with pytest.raises(Exception, match="fenced by an admin command") as raised:
        store.refresh(place.claim(OLDER, taken, {0: (0, 0), 1: (0, 0)}))
    assert getattr(raised.value, "other", ...) is None
    assert place.take_over(store, OLDER, 0, 1)[place.partitions[0]].next_offset == 9


# What only one command at a time does ---------------------------------------------------------------------------------


def test_a_sibling_shard_that_is_not_moved_is_not_disturbed(place: Place) -> None:
    halves = {shard: place.store(shard) for shard in ("static:0/2", "static:1/2")}
    first = place.take_over(halves["static:0/2"], OLDER, 0, 2)
    second = place.take_over(halves["static:1/2"], NEWER, 1, 3)
    with halves["static:1/2"].begin(place.claim(NEWER, second, {1: (0, 5)})) as transaction:
        transaction.produce(place.results_topic, value="2")
        place.store().change(place.stream, [place.partitions[0]], RESET, lambda _: [Change(place.partitions[0], 3)])
        transaction.advance()
        transaction.commit()
    with pytest.raises(Exception, match="fenced by an admin command"):
        place.commit(halves["static:0/2"], place.claim(OLDER, first, {0: (0, 5)}), 1)
    assert (place.results(), place.stored()) == ([2], {0: 3, 1: 5, 2: 0, 3: 0})


def test_an_owner_that_comes_back_while_it_is_decided_commits_nothing(place: Place) -> None:
    owner = place.store()
    claim = place.claim(OLDER, place.take_over(owner, OLDER, 0), {0: (0, 5)})

    def decide(_: object) -> list[Change]:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                place.commit(owner, claim, 1)
        return [Change(place.partitions[0], 3)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "UNSTABLE_FOR_S", 0.5)
        place.store().change(place.stream, [place.partitions[0]], RESET, decide)
    assert (place.results(), place.stored()) == ([], {0: 3})


def test_an_owner_of_a_partition_without_an_offset_is_fenced_too(place: Place) -> None:
    """It came after the command had looked."""
    owner, command = place.store(), place.store()
    decided: list[int] = []

    def decide(stored: object) -> list[Change]:
        decided.append(len(stored))  # type: ignore[arg-type]
        if len(decided) == 1:
            place.take_over(owner, OLDER, 0)
        return [Change(place.partitions[0], 3)]

    after = command.change(place.stream, [place.partitions[0]], RESET, decide)
    assert decided == [0, 1]
    assert (after[place.partitions[0]].next_offset, after[place.partitions[0]].owner_epoch) == (3, 2)


def test_what_a_sink_wrote_ahead_is_discarded_while_nobody_can_commit_it(place: Place) -> None:
    owner = place.store()
    taken = place.take_over(owner, OLDER, 0)
    planned = replace(place.claim(OLDER, taken, {0: (0, 5)}), plan_kind=PlanKind.RANGE)
    owner.plan(planned)

    def decide(stored: dict[TopicPartition, StoredPosition]) -> list[Change]:
        assert stored[place.partitions[0]].planned_until == 5
        with pytest.raises(StoreUnavailable), owner.begin(planned) as transaction:
            transaction.advance()
            transaction.commit()
        return [Change(place.partitions[0], 2)]

    after = place.store().change(place.stream, [place.partitions[0]], RESET, decide)  # type: ignore[arg-type]
    assert (after[place.partitions[0]].next_offset, after[place.partitions[0]].planned_until) == (2, None)


@pytest.mark.parametrize("reached", [False, True], ids=["before the broker saw it", "after the broker did it"])
def test_a_change_that_is_cut_off_is_done_once(
    place: Place, kafka_proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    place.store().initialise(place.stream, place.topic, {0: 50, 1: 50}, None)
    monkeypatch.setattr(producer, "_TIMEOUT_S", 10.0)
    config = {"bootstrap.servers": kafka_proxy.bootstrap_servers, "reconnect.backoff.max.ms": 200}
    store = KafkaOffsetStore(config)
    (kafka_proxy.cut_after_end if reached else kafka_proxy.cut_before_end)()
    decided: list[int] = []

    def back(stored: dict[TopicPartition, StoredPosition]) -> list[Change]:
        decided.append(len(stored))
        return [Change(tp, each.next_offset - 10) for tp, each in stored.items()]

    try:
        store.change(place.stream, place.partitions, RESET, back)  # type: ignore[arg-type]
    except StoreUnavailable:
        assert kafka_proxy.was_cut.wait(WAIT_S)
    store.close()
    assert kafka_proxy.was_cut.wait(WAIT_S)
    place.store().change(place.stream, place.partitions, RESET, lambda _: [])  # the next command ends what is left open
    assert place.stored() == (dict.fromkeys((0, 1), 40) if reached else dict.fromkeys((0, 1), 50))
    assert decided == [2]


def test_a_partition_that_does_not_exist_is_named(place: Place) -> None:
    for tp in (TopicPartition(place.topic, 99), TopicPartition(random_name(), 0)):
        with pytest.raises(TopicNotFound, match=str(tp.partition)):
            place.store().change(place.stream, [tp], RESET, lambda _, tp=tp: [Change(tp, 1)])  # type: ignore[misc]
    assert place.stored() == {}


# From store to store --------------------------------------------------------------------------------------------------


def test_offsets_survive_the_way_into_kafka_and_back(place: Place, tmp_path: object) -> None:
    sql = [SqlOffsetStore(f"sqlite:///{tmp_path}/{name}.db") for name in ("first", "last")]
    sql[0].open()
    sql[0].initialise(place.stream, place.topic, dict(enumerate((5, 0, 7, 2**62, 3, 9))), "id-1")
    before = sql[0].positions(place.stream)
    kafka = KafkaOffsetStore(f"kafka://{place.server.bootstrap_servers}")
    moved = migrate(sql[0], kafka, place.stream)
    assert len(moved.changed) == 6
    assert migrate(sql[0], kafka, place.stream).changed == (), "done twice it changes nothing"
    migrate(kafka, sql[1], place.stream)
    after = sql[1].positions(place.stream)
    for tp, position in before.items():
        assert (after[tp].next_offset, after[tp].topic_id) == (position.next_offset, "id-1")
        assert after[tp].owner_epoch >= kafka.positions(place.stream)[tp].owner_epoch > 0
    with pytest.raises(CommandRefused, match="no history"):
        undo(kafka, place.stream)
    kafka.close()
    for store in sql:
        store.close()


def test_an_owner_whose_stream_is_migrated_away_stops_and_names_the_target(place: Place, tmp_path: object) -> None:
    owner = place.store()
    taken = place.take_over(owner, OLDER, *range(6))
    target = SqlOffsetStore(f"sqlite:///{tmp_path}/there.db")
    command = place.store(None)
    with pytest.raises(CommandRefused, match="is owned by"):
        migrate(command, target, place.stream)
    fence_and_migrate(command, target, place.stream)
    with pytest.raises(StreamClosed, match="migrated to sqlite"):
        place.commit(owner, place.claim(OLDER, taken, {0: (0, 5)}))
    with pytest.raises(StreamClosed, match="migrated to sqlite"):
        place.take_over(place.store(), NEWER, 0)
    assert fence_and_migrate(command, target, place.stream).changed == ()
    fence_and_migrate(target, command, place.stream)
    assert set(place.stored().values()) == {0}
    assert place.take_over(place.store(), NEWER, 0)
    target.close()


# By command -----------------------------------------------------------------------------------------------------------

COMMANDS = {
    "describe": [],
    "reset": ["--all-topics", "--to-offset", "1", "--execute"],
    "delete": ["--yes"],
    "export": [],
    "import": ["offsets.csv", "--yes"],
    "migrate": ["--to", "sqlite:///other.db", "--fence", "--yes"],
    "history": [],
    "undo": ["--yes"],
}


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[CommandLine]:
    (tmp_path / "offsets.csv").write_text("orders,0,1\n")
    found = CommandLine(tmp_path, {})
    yield found
    found.end()


def test_a_missing_stream_and_brokers_that_do_not_answer(commands: CommandLine, kafka: KafkaServer) -> None:
    missing = random_name()
    for command in COMMANDS.keys() - {"import"}:  # which begins a stream
        store = ("--store", f"kafka://{kafka.bootstrap_servers}", "--stream", missing)
        found = commands("offsets", command, *store, *COMMANDS[command])
        assert found.status == 1, (command, found.err)
        assert f"there is no stream '{missing}'" in sentence(found)
    for command, arguments in (("describe", []), ("reset", COMMANDS["reset"]), ("streams", [])):
        name = () if command == "streams" else ("--stream", missing)
        store = ("--store", f"kafka://127.0.0.1:{free_port()}", *name)
        found = commands("offsets", command, *store, *arguments)
        assert found.status == 1, (command, found.err)
        assert "127.0.0.1" in sentence(found)


def test_every_command_on_offsets_in_kafka(commands: CommandLine, place: Place) -> None:
    place.store().initialise(place.stream, place.topic, dict.fromkeys(range(6), 0), None)
    place.server.produce(place.topic, ["a", "b"], 0)
    url = f"kafka://{place.server.bootstrap_servers}"
    store = ("--store", url, "--stream", place.stream)
    listed = commands("offsets", "streams", "--store", url, "--output", "json")
    assert place.stream in {row["stream"] for row in json.loads(listed.out)}, listed.err
    reset = commands("offsets", "reset", *store, "--topic", f"{place.topic}:0", "--to-latest", "--execute")
    assert (reset.status, place.stored()[0]) == (0, 2), reset.err
    described = json.loads(commands("offsets", "describe", *store, "--output", "json").out)
    assert [row["lag"] for row in described] == [0] * 6
    (commands.directory / "saved.json").write_text(commands("offsets", "export", *store).out)
    assert commands("offsets", "reset", *store, "--all-topics", "--to-earliest", "--execute").status == 0
    assert set(place.stored().values()) == {0}
    assert commands("offsets", "import", *store, "saved.json", "--yes").status == 0
    assert place.stored()[0] == 2
    history = commands("offsets", "history", *store)
    assert (history.status, "keeps no history" in history.err) == (0, True)
    assert commands("offsets", "undo", *store, "--yes").status == 3
    mirrored = commands("offsets", "mirror", *store)
    assert (mirrored.status, "nothing to mirror" in sentence(mirrored)) == (2, True)
    away = ("--to", f"sqlite:///{commands.directory}/other.db", "--yes")
    assert commands("offsets", "migrate", *store, *away, "--fence").status == 0
    refused = commands("offsets", "reset", *store, "--all-topics", "--to-earliest", "--execute")
    assert (refused.status, "migrated to sqlite" in sentence(refused)) == (3, True)
    assert commands("offsets", "delete", *store, "--yes").status == 0
    assert place.store().topics(place.stream)[place.topic].state is TopicState.DELETED
