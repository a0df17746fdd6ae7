"""Operators' commands on offsets in ZooKeeper: each by its URL, under a running service, and to and from SQL."""

from __future__ import annotations

import json
import logging
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import ACL, OPEN_ACL_UNSAFE, Id, make_digest_acl

from integration_tests.engine import wait_until
from integration_tests.running_service import RunningService, Services
from integration_tests.servers import KafkaServer, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import WAIT_S, wait_for_stable_end
from integration_tests.test_administration import Topic, implied, some_target, stop
from kafka_stream.admin.actions import new_action
from kafka_stream.admin.reset import execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ResetPlan, ShiftBy
from kafka_stream.admin.transfer import delete
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.protocols import ActionKind, Change
from kafka_stream.sinks.files import FileSink
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import PositionState, TopicPartition
from tests.command_line import Ended, in_directory, one_sentence

RECORDS = 8_000
RESETS = 10
TIMEOUT_S = 30.0
STREAM = "orders"
SECRET = "s3cret-word"
STARTS = {0: 50, 1: 50, 2: 50, 3: 50}
COMMANDS: Mapping[str, Sequence[str]] = {
    "streams": (),
    "describe": (),
    "reset": ("--all-topics", "--to-offset", "1", "--execute", "--yes"),
    "delete": ("--yes",),
    "export": (),
    "import": ("offsets.csv", "--yes"),
    "migrate": ("--to", "sqlite:///other.db", "--fence", "--yes"),
    "mirror": (),
    "history": (),
    "undo": ("--yes",),
}
READING = ("streams", "describe", "export", "history", "mirror")


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> Topic:
    """Four partitions of committed and aborted records."""
    name = kafka.create_topic(partitions=4)
    for part in range(4):
        kafka.transaction(name, [(f"key-{n % 97}", f"committed {part} {n}") for n in range(RECORDS // 4)])
        kafka.transaction(name, [(f"key-{n % 97}", f"aborted {part} {n}") for n in range(200)], outcome="abort")
    wait_for_stable_end(kafka, name)
    return Topic(kafka, name)


@pytest.fixture
def store(zookeeper: str) -> Iterator[ZooKeeperOffsetStore]:
    """As a command opens it."""
    found = ZooKeeperOffsetStore(zookeeper)
    found.open()
    yield found
    found.close()


@contextmanager
def client_of(zookeeper: str, **options: Any) -> Iterator[KazooClient]:
    """A client that uses nothing of the library."""
    client = KazooClient(zookeeper, **options)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


def offsets_in(store: ZooKeeperOffsetStore, stream: str = STREAM) -> dict[TopicPartition, int]:
    return {tp: position.next_offset for tp, position in store.positions(stream).items()}


# ----------------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def run(
    zookeeper: str,
    topic: Topic,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Callable[..., Ended]]:
    """Run ``offsets …`` on the test's chroot, with brokers that have the topic, and a file to import."""
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", topic.kafka.bootstrap_servers)
    monkeypatch.setenv("KAFKA_STREAM_STORE", f"zookeeper://{zookeeper}")
    monkeypatch.setenv("KAFKA_STREAM_NAME", STREAM)
    (tmp_path / "offsets.csv").write_text(f"{topic.name},0,7\n{topic.name},1,8\n")
    with in_directory(tmp_path, capsys, monkeypatch) as invoke:
        yield lambda command, *arguments: invoke("offsets", command, *arguments)


@pytest.fixture
def started(store: ZooKeeperOffsetStore, topic: Topic) -> ZooKeeperOffsetStore:
    """A stream at offset 50 in each of four partitions, which nobody owns."""
    store.initialise(STREAM, topic.name, STARTS, topic.kafka.topic_id(topic.name))
    return store


def rows(ended: Ended) -> list[dict[str, Any]]:
    assert ended.status == 0, ended.err
    return list(json.loads(ended.out))


def test_a_stream_is_seen_reset_and_put_back(
    run: Callable[..., Ended], started: ZooKeeperOffsetStore, topic: Topic
) -> None:
    (stream,) = rows(run("streams", "--output", "json"))
    assert (stream["stream"], stream["topics"], stream["partitions"]) == (STREAM, [topic.name], 4)
    found = rows(run("describe", "--output", "json"))
    assert [(row["next_offset"], row["marks"]) for row in found] == [(50, [])] * 4
    planned = run("reset", "--topic", f"{topic.name}:0,2-3", "--to-offset", "10", "--export")
    assert planned.out.splitlines() == [f"{topic.name},{number},10" for number in (0, 2, 3)]
    assert set(offsets_in(started).values()) == {50}, "a plan changes nothing"
    assert run("reset", "--topic", f"{topic.name}:0,2-3", "--to-offset", "10", "--execute", "--yes").status == 0
    assert list(offsets_in(started).values()) == [10, 50, 10, 10]
    assert run("undo", "--yes").status == 0
    assert set(offsets_in(started).values()) == {50}
    kinds = [row["action"] for row in rows(run("history", "--output", "json"))]
    assert list(dict.fromkeys(kinds)) == ["undo", "reset"]


def test_a_deleted_stream_comes_back_from_an_export_at_higher_epochs(
    run: Callable[..., Ended], started: ZooKeeperOffsetStore, topic: Topic, tmp_path: Path
) -> None:
    before = started.positions(STREAM)
    (tmp_path / "orders.json").write_text(run("export").out)
    assert run("delete", "--yes").status == 0
    assert not started.is_started(STREAM, topic.name)
    assert {position.state for position in started.positions(STREAM).values()} == {PositionState.CLOSED}
    (stream,) = rows(run("streams", "--output", "json"))
    assert stream["marks"] == ["closed"]
    assert run("import", "orders.json", "--yes").status == 0
    after = started.positions(STREAM)
    assert started.is_started(STREAM, topic.name)
    for tp, position in before.items():
        assert (after[tp].next_offset, after[tp].topic_id) == (position.next_offset, position.topic_id)
        assert after[tp].owner_epoch > position.owner_epoch


def test_offsets_come_from_sql_and_go_back_as_they_were(
    run: Callable[..., Ended], store: ZooKeeperOffsetStore, zookeeper: str, topic: Topic, tmp_path: Path
) -> None:
    largest = 2**63 - 1
    (tmp_path / "offsets.csv").write_text("".join(f"{topic.name},{n},{o}\n" for n, o in enumerate((0, 7, largest))))
    first, last = "sqlite:///first.db", "sqlite:///last.db"
    assert run("import", "offsets.csv", "--yes", "--store", first).status == 0
    exported = json.loads(run("export", "--store", first).out)["positions"]
    for source, target in ((first, f"zookeeper://{zookeeper}"), (f"zookeeper://{zookeeper}", last)):
        moved = run("migrate", "--from", source, "--to", target, "--fence", "--yes")
        assert moved.status == 0, moved.err
        assert rows(run("migrate", "--from", source, "--to", target, "--fence", "--yes", "--output", "json")) == []
        epochs = [position["owner_epoch"] for position in exported]
        exported_there = json.loads(run("export", "--store", target).out)["positions"]
        assert [p["next_offset"] for p in exported_there] == [0, 7, largest]
        assert all(p["owner_epoch"] >= epoch for p, epoch in zip(exported_there, epochs, strict=True))
    assert "last.db" in str(store.topics(STREAM)[topic.name].reason)


def test_a_missing_stream_is_named_and_leaves_nothing(run: Callable[..., Ended], zookeeper: str) -> None:
    for command in sorted(COMMANDS.keys() - {"streams", "import"}):
        found = run(command, *COMMANDS[command])
        assert found.status == 1, (command, found.err)
        assert f"there is no stream '{STREAM}' in zookeeper://{zookeeper}" in one_sentence(found)
    with client_of(zookeeper) as client:
        assert client.get_children("/") == []


def test_an_ensemble_that_does_not_answer_is_named_without_the_password(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ZooKeeperOffsetStore.__init__, "__kwdefaults__", _with_short_sessions())
    monkeypatch.setenv("KAFKA_STREAM_STORE", f"zookeeper://ops:{SECRET}@127.0.0.1:1/shop")
    for command, arguments in COMMANDS.items():
        found = run(command, *arguments)
        assert found.status == 1, (command, found.err)
        assert "no server of zookeeper://127.0.0.1:1/shop let us in" in one_sentence(found)
        assert SECRET not in found.out + found.err


def _with_short_sessions() -> dict[str, Any]:
    defaults = ZooKeeperOffsetStore.__init__.__kwdefaults__
    assert defaults is not None
    return {**defaults, "session_timeout_s": 0.5}


@pytest.fixture
def protected(zookeeper: str, topic: Topic) -> Iterator[ZooKeeperOffsetStore]:
    """A stream whose znodes others may look at, and not change."""
    acl = [make_digest_acl("ops", SECRET, all=True), ACL(1, Id("world", "anyone"))]
    found = ZooKeeperOffsetStore(zookeeper, auth=("digest", f"ops:{SECRET}"), acl=acl)
    found.open()
    found.initialise(STREAM, topic.name, STARTS, None)
    yield found
    found.close()
    with client_of(zookeeper, auth_data=[("digest", f"ops:{SECRET}")]) as client:
        client.delete("/kafka_stream", recursive=True)


def test_who_may_only_read_can_look_and_change_nothing(
    run: Callable[..., Ended], protected: ZooKeeperOffsetStore, zookeeper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = protected.change(
        STREAM,
        protected.positions(STREAM),
        new_action(ActionKind.RESET),
        lambda found: [Change(tp, 40) for tp in found],
    )
    for command, arguments in COMMANDS.items():
        found = run(command, *arguments)
        assert found.status == (0 if command in READING else 2), (command, found.err)
        if command not in READING:
            assert "NoAuthError" in one_sentence(found), command
    assert protected.positions(STREAM) == before
    monkeypatch.setenv("KAFKA_STREAM_STORE", f"zookeeper://ops:{SECRET}@{zookeeper}")
    assert run("undo", "--yes").status == 0


def test_a_command_with_other_credentials_leaves_what_the_stream_can_read(
    run: Callable[..., Ended], zookeeper: str, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ZooKeeperOffsetStore(zookeeper)
    stream.open()
    stream.initialise(STREAM, topic.name, {0: 7}, None)
    monkeypatch.setenv("KAFKA_STREAM_STORE", f"zookeeper://somebody:{SECRET}@{zookeeper}")
    assert run("reset", "--topic", f"{topic.name}:0-1", "--to-offset", "1", "--execute").status == 0
    assert run("history").status == 0
    assert [e.action.kind for e in stream.history(STREAM, 5)] == [ActionKind.RESET] * 2
    assert {p.next_offset for p in stream.positions(STREAM).values()} == {1}
    stream.close()


def test_what_others_have_hidden_of_the_history_does_not_hide_the_rest(
    run: Callable[..., Ended], zookeeper: str, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ZooKeeperOffsetStore(zookeeper)
    stream.open()
    stream.initialise(STREAM, topic.name, {0: 7}, None)
    actions = [new_action(ActionKind.RESET) for _ in range(2)]
    for action in actions:
        stream.change(STREAM, stream.positions(STREAM), action, lambda found: [Change(tp, 3) for tp in found])
    with client_of(zookeeper, auth_data=[("digest", f"ops:{SECRET}")]) as client:
        (hidden,) = [name for name in client.get_children(f"/kafka_stream/{STREAM}/+history") if actions[0].id in name]
        client.set_acls(f"/kafka_stream/{STREAM}/+history/{hidden}", [make_digest_acl("ops", SECRET, all=True)])
        assert [entry.action.id for entry in stream.history(STREAM, 5)] == [actions[1].id]
        monkeypatch.setenv("KAFKA_STREAM_STORE", f"zookeeper://{zookeeper}")
        assert run("history").status == 0
        client.set_acls(f"/kafka_stream/{STREAM}/+history/{hidden}", OPEN_ACL_UNSAFE)
    stream.close()


def test_a_thousand_partitions_are_described_with_a_request_each_and_few_others(
    run: Callable[..., Ended], store: ZooKeeperOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.initialise(STREAM, "wide", dict.fromkeys(range(1_000), 7), None)
    monkeypatch.delenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS")
    asked: list[str] = []
    ask = KazooClient._call  # type: ignore[attr-defined]

    def counted(client: KazooClient, request: object, result: object) -> object:
        asked.append(type(request).__name__)
        return ask(client, request, result)

    monkeypatch.setattr(KazooClient, "_call", counted)
    assert len(rows(run("describe", "--no-time", "--output", "json"))) == 1_000
    requests = Counter(asked)
    assert requests["GetData"] <= 1_001, "each position, and the topic's marker"
    assert requests.total() - requests["GetData"] <= 10


# --------------------------------------------------------------------------------------------- under a running service


@pytest.fixture(scope="module")
def cluster(kafka: KafkaServer) -> Cluster:
    found = Cluster({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}, logging.getLogger("test"))
    found.connect(TIMEOUT_S)
    return found


@pytest.fixture
def settings(topic: Topic, zookeeper: str, tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(
        bootstrap_servers=topic.kafka.bootstrap_servers,
        store=f"zookeeper://{zookeeper}",
        topic=topic.name,
        stream=random_name("stream"),
        handler="znode per batch",
        target=str(tmp_path / "results"),
        max_records_per_batch=100,
    )


def in_the_znodes(zookeeper: str) -> Counter[tuple[int, int]]:
    """How often each record is there."""
    with client_of(zookeeper) as client:
        names = [name for name in client.get_children("/") if name.startswith("batch-")]
        pending = [client.get_async(f"/{name}") for name in names]
        return Counter((partition, offset) for one in pending for partition, offset in json.loads(one.get()[0]))


def wait_for_batches(service: RunningService, more: int) -> None:
    service.wait_until_said("batch", times=len(service.said("batch")) + more)


def wait_for_work(store: ZooKeeperOffsetStore, service: RunningService, topic: Topic, most: int) -> None:
    """Some batches, or all that is left: after a reset to the end nothing is."""
    enough = len(service.said("batch")) + most

    def has_worked() -> bool:
        return len(service.said("batch")) >= enough or offsets_in(store, service.settings.stream) == topic.ends()

    assert wait_until(has_worked, WAIT_S), service.report()


def wait_for_ends(store: ZooKeeperOffsetStore, service: RunningService, topic: Topic) -> None:
    stream = service.settings.stream
    assert wait_until(lambda: offsets_in(store, stream) == topic.ends(), WAIT_S), service.report()


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_ten_resets_at_random_moments_leave_what_they_imply(
    settings: ServiceSettings,
    store: ZooKeeperOffsetStore,
    topic: Topic,
    cluster: Cluster,
    zookeeper: str,
    services: Services,
    assignment: str,
) -> None:
    rng = random.Random()
    service = services.start(replace(settings, assignment=assignment))
    done: list[ResetPlan] = []
    for _ in range(RESETS):
        wait_for_work(store, service, topic, rng.randrange(1, 5))
        target = some_target(rng, topic, offsets_in(store, settings.stream))
        done.append(execute_reset(store, prepare_reset(store, settings.stream, cluster, target)))
    wait_for_ends(store, service, topic)
    stop(service)
    assert in_the_znodes(zookeeper) == implied(topic, done)
    resets = store.history(settings.stream, 100, [ActionKind.RESET])
    assert len({entry.action.id for entry in resets}) == RESETS
    assert store.live_owners(settings.stream) == []


def test_resets_that_discard_what_is_being_written_lose_nothing(
    settings: ServiceSettings, store: ZooKeeperOffsetStore, topic: Topic, cluster: Cluster, services: Services
) -> None:
    rng = random.Random()
    service = services.start(replace(settings, handler="jsonl files", guarantee="effectively-once"))
    sink = FileSink(settings.target, lambda batch: ())
    for _ in range(RESETS):
        wait_for_work(store, service, topic, rng.randrange(1, 5))
        reset = prepare_reset(store, settings.stream, cluster, ShiftBy(-rng.randrange(300)))
        execute_reset(store, reset, range_sinks=[sink])
    wait_for_ends(store, service, topic)
    stop(service)
    lines = (line for file in Path(settings.target).glob("*.jsonl") for line in file.read_text().splitlines())
    assert {(row["partition"], row["record_offset"]) for row in map(json.loads, lines)} == topic.committed()
    assert all(position.planned_until is None for position in store.positions(settings.stream).values())


def test_a_service_whose_stream_is_deleted_stops_and_commits_nothing_after(
    settings: ServiceSettings, store: ZooKeeperOffsetStore, zookeeper: str, topic: Topic, services: Services
) -> None:
    service = services.start(settings)
    wait_for_batches(service, 3)
    assert delete(store, settings.stream) == (topic.name,)
    found, stored = in_the_znodes(zookeeper), store.positions(settings.stream)
    assert service.wait() == 1, service.report()
    assert service.said("failed")[0]["type"] == "StreamClosed"
    assert (in_the_znodes(zookeeper), store.positions(settings.stream)) == (found, stored)
    again = services.start(replace(settings, until="latest"))
    assert again.wait() == 0, again.report()
    after = store.positions(settings.stream)
    assert all(after[tp].owner_epoch > stored[tp].owner_epoch for tp in stored)
    assert in_the_znodes(zookeeper) == found + Counter(topic.committed())


def test_a_reset_passes_a_service_that_is_frozen(
    settings: ServiceSettings, store: ZooKeeperOffsetStore, zookeeper: str, topic: Topic, cluster: Cluster,
    services: Services,
) -> None:  # fmt: skip
    service = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT="after_advance:3")
    service.wait_until_stopped()
    plan = execute_reset(store, prepare_reset(store, settings.stream, cluster, ShiftBy(-50)))
    service.signal(signal.SIGCONT)
    wait_for_ends(store, service, topic)
    stop(service)
    assert in_the_znodes(zookeeper) == implied(topic, [plan])
