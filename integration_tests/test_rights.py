"""What rights a stream and each command need of Kafka: run with exactly those that docs/operating.md names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from integration_tests.engine import wait_until
from integration_tests.secured_kafka import ADMIN, STREAM, SecuredKafka
from integration_tests.servers import random_name
from kafka_stream import Batch, DeadLetters, RecordError
from kafka_stream.admin import GroupOffsetMirror
from kafka_stream.errors import NotAuthorized
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change, LetterId
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.stream import DirectStream
from kafka_stream.testing.dead_letter_contract import letter
from kafka_stream.testing.store_backend import OLDER, claim_of
from kafka_stream.types import TopicPartition
from tests.command_line import Ended, Invoke, in_directory, one_sentence

PAGE = Path(__file__).parents[1] / "docs" / "operating.md"
RECORDS = 10
WAIT_S = 60.0
RESET = Action("reset-1", ActionKind.RESET, "operator@here")
Grant = tuple[str, str, Sequence[str]]
"""A kind of resource, which of them, and operations."""
KINDS = (
    "topics",
    "output topics",
    "letters' topic",
    "group",
    "groups",
    "transactional ids",
    "replay's group",
    "replay's id",
    "cluster",
)


def table() -> Mapping[str, list[Grant]]:
    """The page's table: what needs rights, and which."""
    page = PAGE.read_text()
    found: dict[str, list[Grant]] = {}
    for line in page[page.index("## Rights in Kafka") :].split("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for what in re.findall(r"`([^`]+)`", cells[0]) if line.startswith("|") else ():
            rights = re.findall(rf"({'|'.join(KINDS)}) ([A-Z, ]+)", cells[1])
            found[what] = [(kind, kind, [each.strip().lower() for each in names.split(",")]) for kind, names in rights]
    return found


class Shop:
    """A stream on a broker that refuses what is not granted: a topic with records, and one for results."""

    def __init__(self, kafka: SecuredKafka, directory: Path) -> None:
        self.kafka = kafka
        self.name = random_name("stream")
        self.topic = kafka.create_topic(partitions=2)
        self.results = kafka.create_topic(partitions=1)
        self.database = f"sqlite:///{directory}/orders.db"
        kafka.produce(self.topic, [str(number) for number in range(RECORDS)])

    def grant(self, what: str, but: str | None = None, without: str | None = None) -> None:
        """Exactly what the page says, or all but what is of one kind, or one operation."""
        resources = {
            "topics": ("topic", self.topic, False),
            "output topics": ("topic", self.results, False),
            "letters' topic": ("topic", f"{self.name}.dead-letters", False),
            "group": ("group", self.name, False),
            "groups": ("group", "*", False),
            "transactional ids": ("transactional id", f"{self.name}:", True),
            "replay's group": ("group", f"{self.name}.replay", False),
            "replay's id": ("transactional id", f"{self.name}.replay", False),
            "cluster": ("cluster", "", False),
        }
        for kind, _, operations in table()[what]:
            if kind == but:
                continue
            resource, name, by_prefix = resources[kind]
            wanted = [each for each in operations if each != without]
            self.kafka.grant(STREAM, resource, name, *wanted, by_prefix=by_prefix)

    def stream(self, *, in_kafka: bool, **settings: Any) -> DirectStream:
        """A stream that logs in as the user with those rights."""

        def write(prepared: Any, transaction: Any) -> None:
            pass

        into_kafka = KafkaSink(self.results, lambda batch: [message.value() for message in batch])
        store: Any = KafkaOffsetStore() if in_kafka else SqlOffsetStore(self.database)
        sink: Any = into_kafka if in_kafka else write
        return DirectStream(
            name=self.name,
            topics=[self.topic],
            kafka=self.kafka.credentials(STREAM),
            store=store,
            sink=sink,
            **settings,
        )

    def run(self, stream: DirectStream) -> None:
        """Until all records are committed."""
        with stream:
            assert wait_until(lambda: sum(stream.status().positions.values()) >= RECORDS or stream.wait(0), WAIT_S)
            assert sum(stream.status().positions.values()) >= RECORDS, stream.status()


@pytest.fixture
def shop(secured_kafka: SecuredKafka, tmp_path: Path) -> Shop:
    return Shop(secured_kafka, tmp_path)


@pytest.mark.parametrize("in_kafka", [False, True], ids=["database", "kafka"])
@pytest.mark.parametrize("assignment", ["static", "group"])
def test_a_stream_runs_with_exactly_the_rights_of_the_page(shop: Shop, assignment: str, in_kafka: bool) -> None:
    shop.grant(f"{assignment} stream, offsets in {'Kafka' if in_kafka else 'a database'}")
    shop.run(shop.stream(in_kafka=in_kafka, assignment=assignment))


def test_the_mirror_of_a_stream_needs_what_a_member_does(shop: Shop) -> None:
    shop.grant("mirror")
    stream = shop.stream(in_kafka=False, assignment="group", listeners=[GroupOffsetMirror()])
    shop.run(stream)
    wanted = [ClientTopicPartition(shop.topic, number) for number in range(2)]
    with Consumer({**shop.kafka.credentials(STREAM), "group.id": shop.name}) as consumer:
        assert sum(each.offset for each in consumer.committed(wanted, WAIT_S)) == RECORDS


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    with in_directory(tmp_path, capsys, monkeypatch) as invoke:
        yield invoke


COMMANDS: Mapping[str, Sequence[str]] = {
    "describe": (),
    "export": (),
    "history": (),
    "reset": ("--all-topics", "--to-earliest", "--execute", "--yes"),
    "import": ("offsets.csv", "--yes"),
    "delete": ("--yes",),
    "migrate": ("--to", "sqlite:///other.db", "--fence", "--yes"),
}


def store_in_kafka(shop: Shop) -> None:
    """The stream has offsets there."""
    store = KafkaOffsetStore(shop.kafka.credentials(ADMIN))
    store.open()
    partitions = [TopicPartition(shop.topic, number) for number in range(2)]
    store.change(shop.name, partitions, RESET, lambda _: [Change(tp, 3) for tp in partitions])
    store.close()


def store_in_database(shop: Shop) -> None:
    """The stream has offsets there."""
    store = SqlOffsetStore(shop.database)
    store.open()
    store.initialise(shop.name, shop.topic, {0: 1, 1: 1}, None)
    store.close()


def as_the_user(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands log in as the one whose rights are granted."""
    for key, value in shop.kafka.credentials(STREAM).items():
        monkeypatch.setenv(f"KAFKA_STREAM_KAFKA__{key.upper().replace('.', '_')}", str(value))


@pytest.mark.parametrize("command", ["streams", *COMMANDS])
def test_a_command_on_offsets_in_kafka_needs_no_more_than_the_page_says(
    shop: Shop, run: Invoke, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store_in_kafka(shop)
    shop.grant(f"{command}, offsets in Kafka")
    (tmp_path / "offsets.csv").write_text(f"{shop.topic},0,1\n")
    as_the_user(shop, monkeypatch)
    monkeypatch.setenv("KAFKA_STREAM_STORE", f"kafka://{shop.kafka.client_address}")
    if command == "streams":
        ended = run("offsets", "streams", "--output", "json")
        assert (ended.status, shop.name in ended.out) == (0, True), ended.err
        return
    ended = run("offsets", command, "--stream", shop.name, *COMMANDS[command])
    assert ended.status == 0, ended.err


@pytest.mark.parametrize("command", ["describe", "describe --no-time", "streams", "reset", "mirror"])
def test_a_command_on_offsets_in_a_database_needs_no_more_than_the_page_says(
    shop: Shop, run: Invoke, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_in_database(shop)
    shop.grant("mirror" if command == "mirror" else f"{command}, offsets in a database")
    as_the_user(shop, monkeypatch)
    name, *options = command.split()
    stream = [] if name == "streams" else ["--stream", shop.name]
    arguments = COMMANDS["reset"] if name == "reset" else ()
    ended = run("offsets", name, "--store", shop.database, *stream, *options, *arguments)
    assert ended.status == 0, ended.err


REPLAY = "dead-letters replay --through-topic"


def replayed(shop: Shop, run: Invoke, monkeypatch: pytest.MonkeyPatch) -> Ended:
    """One letter of a stream in a database, sent to the topic for results."""
    store_in_database(shop)
    store, tp = SqlOffsetStore(shop.database), TopicPartition(shop.topic, 0)
    positions = store.take_over(shop.name, OLDER, [tp], {})
    where = LetterId(shop.topic, "", 0, 1)
    with store.begin(claim_of(OLDER, {tp: (1, 2)}, positions, stream=shop.name)) as transaction:
        transaction.set_aside([replace(letter(1), stream=shop.name, id=where)])
        transaction.advance()
        transaction.commit()
    store.close()
    as_the_user(shop, monkeypatch)
    where_to = ("--store", shop.database, "--stream", shop.name, "--execute", "--yes")
    return run(*REPLAY.split(), shop.results, *where_to)


def test_a_replay_needs_no_more_than_the_page_says(shop: Shop, run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.grant(REPLAY)
    ended = replayed(shop, run, monkeypatch)
    assert (ended.status, ended.out.splitlines()[-1]) == (0, "1 letter(s) were sent."), ended.err


@pytest.mark.parametrize("missing", [kind for kind, _, _ in table().get(REPLAY, ())])
def test_a_replay_without_one_of_them_is_refused(
    shop: Shop, run: Invoke, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    shop.grant(REPLAY, but=missing)
    ended = replayed(shop, run, monkeypatch)
    assert ended.status != 0
    words = {"output topics": "topic", "replay's group": "group", "replay's id": "transactional id"}
    assert words[missing] in one_sentence(ended)


SETTING_ASIDE, IN_ORDER = 'on_error="dead-letter"', "keep_key_order=True"
LOOKING = ("list", "show", "stats", "export")
MORE_OF_LETTERS = {"export": ["letters.jsonl"], "discard": ["--execute", "--yes"]}


def poisoned(shop: Shop, **limits: Any) -> DirectStream:
    """A stream whose first record but one fails."""

    def results(batch: Batch) -> list[bytes | None]:
        for message in batch:
            if message.value() == b"3":
                raise RecordError.of(message, "it cannot be")
        return [message.value() for message in batch]

    stream = shop.stream(in_kafka=True, assignment="static", on_error="dead-letter")
    return stream.replace(sink=KafkaSink(shop.results, results), dead_letters=DeadLetters(max_ratio=1.0, **limits))


@pytest.mark.parametrize("keeps_order", [False, True])
def test_a_stream_sets_records_aside_in_kafka_with_exactly_the_rights_of_the_page(
    shop: Shop, keeps_order: bool
) -> None:
    shop.grant("static stream, offsets in Kafka")
    shop.grant(IN_ORDER if keeps_order else SETTING_ASIDE)
    shop.run(poisoned(shop, keep_key_order=keeps_order))
    assert [value for *_, value in shop.kafka.read_committed(f"{shop.name}.dead-letters")] == [b"3"]


@pytest.mark.parametrize("missing", ["create", "write", "read"])
def test_a_stream_without_one_of_them_says_so(shop: Shop, missing: str) -> None:
    shop.grant("static stream, offsets in Kafka")
    if missing == "read":  # what is needed once there is a letter to read
        shop.grant(IN_ORDER)
        shop.run(poisoned(shop, keep_key_order=True))
        shop.kafka.revoke_all()
        shop.grant("static stream, offsets in Kafka")
        shop.kafka.produce(shop.topic, ["3"])
    shop.grant(IN_ORDER, without=missing)
    with pytest.raises(NotAuthorized, match=re.escape(f"{shop.name}.dead-letters")):
        poisoned(shop, keep_key_order=True).run(until="latest")


@pytest.mark.parametrize("command", [*LOOKING, "discard"])
def test_a_command_on_letters_in_kafka_needs_no_more_than_the_page_says(
    shop: Shop, run: Invoke, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.grant("static stream, offsets in Kafka")
    shop.grant(SETTING_ASIDE)
    shop.run(poisoned(shop))
    shop.kafka.revoke_all()
    shop.grant(f"dead-letters {command}, offsets in Kafka")
    as_the_user(shop, monkeypatch)
    where = ("--store", f"kafka://{shop.kafka.client_address}", "--stream", shop.name)
    ended = run("dead-letters", command, *MORE_OF_LETTERS.get(command, ()), *where)
    assert ended.status == 0, ended.err
