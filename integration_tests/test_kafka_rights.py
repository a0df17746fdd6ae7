"""A principal that cannot log in, or may not do something, is told so in the same words whatever the offset store."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from integration_tests.secured_kafka import STREAM, SecuredKafka
from integration_tests.servers import random_name
from kafka_stream import DirectStream
from kafka_stream.cli.exit_status import ExitStatus, exit_status
from kafka_stream.errors import KafkaStreamError, NotAuthorized
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.protocols import OffsetStore

CREDENTIALS = r"refused the credentials \(.*\); check security\.protocol"
TOPIC = r"refused access to topics \S+ \(.*\); grant this principal READ and DESCRIBE on the topic"
GROUP = r"refused access to the consumer group or its topics \(.*\); grant this principal READ on the consumer group"
TRANSACTIONAL_ID = r"refused taking over the transactional id .*\(.*\); grant this principal "


class Rights:
    """A stream, and what it may do."""

    def __init__(self, kafka: SecuredKafka, directory: Path) -> None:
        self.kafka = kafka
        self.name = random_name("stream")
        self.topic = kafka.create_topic(partitions=2)
        self._directory = directory
        kafka.produce(self.topic, ["a", "b"])

    def grant_all_but(self, missing: str) -> None:
        if missing != "topic":
            self.kafka.grant(STREAM, "topic", self.topic, "describe", "read")
        if missing != "group":
            self.kafka.grant(STREAM, "group", self.name, "read")
        if missing != "transactional id":
            self.kafka.grant(STREAM, "transactional id", f"{self.name}:", "write", "describe", by_prefix=True)

    def failure_of_run(self, store: str, password: str | None) -> KafkaStreamError:
        """How a run ends that keeps its offsets there."""
        stores: Mapping[str, Callable[[], str | OffsetStore]] = {
            "sqlite": lambda: f"sqlite:///{self._directory}/offsets.db",
            "kafka": KafkaOffsetStore,
        }
        stream = DirectStream(
            name=self.name,
            topics=[self.topic],
            kafka=self.kafka.credentials(STREAM, password=password),
            store=stores[store](),
            sink=lambda batch, transaction: None,
            assignment="static",
        )
        with pytest.raises(KafkaStreamError) as failed:
            stream.run(until="latest")
        return failed.value


@pytest.fixture
def rights(secured_kafka: SecuredKafka, tmp_path: Path) -> Rights:
    return Rights(secured_kafka, tmp_path)


@pytest.mark.parametrize(
    ("missing", "password", "stores", "sentence"),
    [
        ("nothing", "wrong", ("sqlite", "kafka"), CREDENTIALS),
        ("topic", None, ("sqlite", "kafka"), TOPIC),
        ("group", None, ("kafka",), GROUP),
        ("transactional id", None, ("kafka",), TRANSACTIONAL_ID),
    ],
    ids=["wrong password", "no right on the topic", "no right on the group", "no right on the transactional ids"],
)
def test_a_stream_says_what_it_may_not_do(
    rights: Rights, missing: str, password: str | None, stores: tuple[str, ...], sentence: str
) -> None:
    rights.grant_all_but(missing)
    for store in stores:
        error = rights.failure_of_run(store, password)
        assert isinstance(error, NotAuthorized), (store, error)
        assert re.search(sentence, str(error)), (store, error)
        assert exit_status(error) is ExitStatus.USAGE


@pytest.mark.parametrize(
    ("missing", "password", "sentence"),
    [("nothing", "wrong", CREDENTIALS), ("group", None, GROUP)],
    ids=["wrong password", "no right on the group"],
)
def test_a_command_says_what_it_may_not_do(rights: Rights, missing: str, password: str | None, sentence: str) -> None:
    rights.grant_all_but(missing)
    commands: Sequence[Callable[[KafkaOffsetStore], object]] = (
        lambda store: store.positions(rights.name),
        lambda store: store.topics(rights.name),
        lambda store: store.live_owners(rights.name),
        lambda store: store.is_started(rights.name, rights.topic),
    )
    for command in commands:
        store = KafkaOffsetStore(rights.kafka.credentials(STREAM, password=password))
        with pytest.raises(NotAuthorized, match=sentence):
            command(store)
        store.close()
