"""The sources' contract on a real broker, and what only a real one can show."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, OpenTransaction
from kafka_stream.inbox import SourceLimits
from kafka_stream.protocols import Source
from kafka_stream.source import KafkaSource
from kafka_stream.testing.source_contract import SourceContract


class KafkaHarness:
    def __init__(self, server: KafkaServer) -> None:
        self._server = server

    def create_topic(self, partitions: int) -> str:
        return self._server.create_topic(partitions=partitions)

    def recreate_topic(self, topic: str) -> None:
        partitions = len(self._server.end_offsets(topic))
        self._server.delete_topic(topic)
        self._server.create_topic(topic, partitions=partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        self._server.add_partitions(topic, total)

    def produce(self, topic: str, partition: int, values: Sequence[str]) -> None:
        self._server.produce(topic, values, partition)

    def abort(self, topic: str, partition: int, values: Sequence[str]) -> None:
        self._server.transaction(topic, values, partition, outcome="abort")
        # The broker answers before it writes the marker: what is produced next could take the marker's offset.
        assert wait_until(lambda: self._stable_end(topic, partition) == self._end(topic, partition), 30)

    def _stable_end(self, topic: str, partition: int) -> int:
        return self._server.end_offsets(topic)[partition]

    def _end(self, topic: str, partition: int) -> int:
        return self._server.end_offsets(topic, committed=False)[partition]

    def open_transaction(self, topic: str, partition: int, values: Sequence[str]) -> OpenTransaction:
        return self._server.open_transaction(topic, values, partition)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        self._server.delete_records(topic, partition, before_offset)

    def source(self, group_id: str, topics: Sequence[str], limits: SourceLimits) -> Source:
        config = {"bootstrap.servers": self._server.bootstrap_servers, "session.timeout.ms": 6000}
        return KafkaSource(config, group_id, topics, limits)


@pytest.fixture
def harness(kafka: KafkaServer) -> KafkaHarness:
    return KafkaHarness(kafka)


class TestKafkaSource(SourceContract):
    @pytest.fixture
    def harness(self, kafka: KafkaServer) -> KafkaHarness:
        return KafkaHarness(kafka)
