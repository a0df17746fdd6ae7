"""A topic that is deleted and created again under a running stream: smaller, or with its group's offsets."""

from __future__ import annotations

import logging
import re

import pytest

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, random_name
from integration_tests.streams import WAIT_S
from kafka_stream import DirectStream
from kafka_stream.errors import TopicRecreated
from kafka_stream.progress import StreamState
from kafka_stream.protocols import OffsetStore
from kafka_stream.types import TopicPartition

OLD, NEW = ([f"{kind} {number}" for number in range(10)] for kind in ("old", "new"))


class Reading:
    """A stream into a list, and what came of it."""

    def __init__(
        self, kafka: KafkaServer, topic: str, store: OffsetStore | str, assignment: str, on_data_loss: str
    ) -> None:
        self.values: list[str] = []
        self.stream = DirectStream(
            name=random_name("stream"),
            topics=[topic],
            kafka={"bootstrap.servers": kafka.bootstrap_servers},
            store=store,
            sink=lambda batch, transaction: self.values.extend((m.value() or b"").decode() for m in batch),
            assignment=assignment,
            on_data_loss=on_data_loss,
        )

    def has_read(self, *values: list[str]) -> bool:
        return sorted(self.values) == sorted(one for each in values for one in each)

    def has_failed(self) -> bool:
        return self.stream.status().state is StreamState.FAILED


def recreate(kafka: KafkaServer, topic: str, partitions: int, records: list[str]) -> None:
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=partitions)
    if records:
        kafka.produce(topic, records, partition=0)


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_a_topic_with_fewer_partitions_is_read_on_by_choice(
    kafka: KafkaServer, tmp_path: object, caplog: pytest.LogCaptureFixture, assignment: str
) -> None:
    topic = kafka.create_topic(partitions=3)
    for number in range(3):
        kafka.produce(topic, OLD, partition=number)
    reading = Reading(kafka, topic, f"sqlite:///{tmp_path}/offsets.db", assignment, "earliest")
    with reading.stream as stream:
        assert wait_until(lambda: reading.has_read(OLD, OLD, OLD), WAIT_S), stream.status()
        recreate(kafka, topic, 1, NEW)
        read_on = wait_until(lambda: reading.has_read(OLD, OLD, OLD, NEW) or reading.has_failed(), WAIT_S)
        assert read_on and reading.has_read(OLD, OLD, OLD, NEW), stream.status()
        only = {TopicPartition(topic, 0): 10}
        assert wait_until(lambda: stream.status().positions == only, WAIT_S), stream.status()


@pytest.mark.parametrize("assignment", ["static", "group"])
@pytest.mark.parametrize("on_data_loss", ["stop", "earliest", "latest"])
def test_with_offsets_in_kafka_which_go_with_the_topic(
    kafka: KafkaServer, caplog: pytest.LogCaptureFixture, assignment: str, on_data_loss: str
) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, OLD, partition=0)
    store = f"kafka://{kafka.bootstrap_servers}?transaction.timeout.ms=3000"
    reading = Reading(kafka, topic, store, assignment, on_data_loss)
    stream = reading.stream
    with caplog.at_level(logging.WARNING, "kafka_stream"):
        stream.start()
        try:
            assert wait_until(lambda: reading.has_read(OLD), WAIT_S), stream.status()
            recreate(kafka, topic, 1, NEW)

            def answered() -> bool:
                return reading.has_failed() or "deleted and created again" in caplog.text

            assert wait_until(answered, WAIT_S), stream.status()
            if on_data_loss == "stop":
                assert wait_until(reading.has_failed, WAIT_S), stream.status()
                assert isinstance(stream.status().error, TopicRecreated), stream.status().error
                assert reading.has_read(OLD)
                return
            found = re.search(r"holds \[0, (\d+)\).* Going on at offset (\d+), as", caplog.text)
            assert found is not None, caplog.text
            end, first = map(int, found.groups())  # it may have looked before the first record came, or after
            assert first == (0 if on_data_loss == "earliest" else end)
            expected = [OLD, NEW[first:]]
            later = [f"later {number}" for number in range(5)]
            at_ten = {TopicPartition(topic, 0): 10}
            assert wait_until(lambda: stream.status().positions == at_ten, WAIT_S), stream.status()
            kafka.produce(topic, later, partition=0)
            assert wait_until(lambda: reading.has_read(*expected, later) or reading.has_failed(), WAIT_S)
            assert reading.has_read(*expected, later), (reading.values, stream.status())
        finally:
            stream.stop()
