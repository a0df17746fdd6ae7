"""The stores' contract on Kafka's own group offsets, where it holds without compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from integration_tests.kafka_store import KafkaBackend
from integration_tests.servers import KafkaServer, random_name
from kafka_stream.errors import CommandRefused, TransientError
from kafka_stream.protocols import AdministeredStore, Change, OffsetStore
from kafka_stream.testing.administration_contract import RESET, AdministeredStoreContract, moving
from kafka_stream.testing.plan_contract import DurablePlanContract
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, TOPIC, commit, epochs_of, next_offsets
from kafka_stream.types import TopicPartition

_WIDE = (random_name(), random_name())
_WIDE_PARTITIONS = 40


@pytest.fixture(scope="module", autouse=True)
def topics(kafka: KafkaServer, contract_topic: str) -> None:
    """All topics that the contract names."""
    kafka.create_topic("payments", partitions=1)
    for name in _WIDE:
        kafka.create_topic(name, partitions=_WIDE_PARTITIONS)


class TestKafkaOffsetStore(DurablePlanContract, AdministeredStoreContract):
    @pytest.fixture
    def backend(self, kafka: KafkaServer) -> KafkaBackend:
        return KafkaBackend(kafka)

    def test_a_start_never_overwrites_a_position(self, store: OffsetStore) -> None:
        """In Kafka a topic is started once some partition has an offset."""
        store.take_over(STREAM, OLDER, [P0], {})
        commit(store, OLDER, {P0: (0, 5)})
        assert store.is_started(STREAM, TOPIC)
        store.initialise(STREAM, TOPIC, {0: 99, 1: 3}, None)
        assert next_offsets(store) == {P0: 5}

    def test_a_refusal_leaves_everything_as_it_was(self, administered: AdministeredStore) -> None:
        """But the owner was fenced to find out: it takes its transactional id back, and repeats the batch in hand."""
        administered.initialise(STREAM, TOPIC, {0: 7}, None)
        taken = administered.take_over(STREAM, OLDER, [P0], {})

        def refuse(_: object) -> Sequence[Change]:
            raise CommandRefused("not now")

        with pytest.raises(CommandRefused, match="not now"):
            administered.change(STREAM, [P0, P1], RESET, refuse)
        administered.change(STREAM, [P0, P1], RESET, lambda _: [])
        assert administered.positions(STREAM) == taken
        with pytest.raises(TransientError):
            commit(administered, OLDER, {P0: (7, 8)}, epochs_of(taken))
        commit(administered, OLDER, {P0: (7, 8)}, epochs_of(taken))
        assert next_offsets(administered) == {P0: 8}

    def test_it_keeps_no_history(self, administered: AdministeredStore) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7}, None)
        moving(administered, {P0: 3})
        assert not administered.keeps_history
        assert list(administered.history(STREAM, 10)) == []

    def test_many_partitions_move_at_once(self, store: OffsetStore) -> None:
        """Of topics with names that Kafka takes."""
        partitions = [TopicPartition(topic, number) for topic in _WIDE for number in range(_WIDE_PARTITIONS)]
        taken = store.take_over(STREAM, OLDER, partitions, {})
        commit(store, OLDER, dict.fromkeys(partitions, (0, 3)), epochs_of(taken))
        assert next_offsets(store) == dict.fromkeys(partitions, 3)
