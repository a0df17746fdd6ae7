"""Dead letters of a stream whose offsets are in Kafka: the contract, and what a broker makes of it."""

from __future__ import annotations

import pytest

from integration_tests.kafka_store import KafkaBackend
from integration_tests.servers import KafkaServer
from kafka_stream.testing.dead_letter_contract import DeadLetterContract
from kafka_stream.testing.store_backend import TOPIC


@pytest.fixture(scope="module", autouse=True)
def topics(kafka: KafkaServer) -> None:
    """The topic that the contract names."""
    kafka.create_topic(TOPIC, partitions=8)


class TestKafkaLetters(DeadLetterContract):
    @pytest.fixture
    def backend(self, kafka: KafkaServer) -> KafkaBackend:
        return KafkaBackend(kafka, keeps_letters=True)
