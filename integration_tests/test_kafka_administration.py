"""Operators' commands on Kafka's own group offsets, where only Kafka is as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from integration_tests.command_line import CommandLine, sentence
from integration_tests.kafka_proxy import KafkaProxy
from integration_tests.kafka_store import WAIT_S, Place
from integration_tests.servers import KafkaServer, free_port, random_name
from kafka_stream.admin.history import undo
from kafka_stream.admin.migration import fence_and_migrate, migrate
from kafka_stream.errors import CommandRefused, OwnershipLost, StoreUnavailable, StreamClosed, TopicNotFound
from kafka_stream.offset_stores.kafka import KafkaOffsetStore, group, producer
from kafka_stream.offset_stores.kafka.tenure import Tenure
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change, TopicState
from kafka_stream.testing.store_backend import NEWER, OLDER
from kafka_stream.types import PlanKind, StoredPosition, TopicPartition

RESET = Action("reset-1", ActionKind.RESET, "operator@here")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def place(kafka: KafkaServer, stack: ExitStack) -> Place:
    return Place(kafka, stack)


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


def test_an_owner_that_nobody_names_yet_takes_turns_with_a_command(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read what is stored before either of them commits."""
    owner, command = place.store(), place.store()
    command.initialise(place.stream, place.topic, {0: 5}, None)
    decided, signed = Event(), Event()
    sign, commit_offsets = Tenure._sign, Tenure._commit_offsets

    def decide(_: object) -> list[Change]:
        decided.set()
        assert signed.wait(WAIT_S)
        return [Change(place.partitions[0], 3)]

    with ThreadPoolExecutor() as threads:
        changing: list[Future[object]] = []

        def sign_late(self: Tenure, *values: Any) -> None:
            changing.append(threads.submit(command.change, place.stream, [place.partitions[0]], RESET, decide))
            assert decided.wait(WAIT_S)
            sign(self, *values)

        def commit_first(self: Tenure, *values: Any) -> None:
            try:
                commit_offsets(self, *values)
            finally:
                signed.set()

        monkeypatch.setattr(Tenure, "_sign", sign_late)
        monkeypatch.setattr(Tenure, "_commit_offsets", commit_first)
        taken = place.take_over(owner, OLDER, 0)
        changing[0].result(WAIT_S)
    assert place.stored() == {0: 3}
    with pytest.raises(OwnershipLost):
        place.commit(owner, place.claim(OLDER, taken, {0: (5, 9)}), 1)
    assert (place.results(), place.stored()) == ([], {0: 3})


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
