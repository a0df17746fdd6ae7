"""What the cluster is asked again, and what it is not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientTopicPartition
from confluent_kafka.admin import AdminClient

from kafka_stream.errors import BrokerUnavailable
from kafka_stream.offset_stores.kafka.settings import producer_settings
from kafka_stream.protocols import OffsetAt
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.connection import soon_again
from kafka_stream.source.kafka_source import consumer_settings
from tests.fakes import ORDERS_0, ORDERS_1

NOT_LEADER = KafkaError.NOT_LEADER_FOR_PARTITION


class Admin:
    """Answers with what is prepared, per request: an offset or an error for each partition that is asked."""

    def __init__(self, *prepared: Mapping[int, int | KafkaError]) -> None:
        self._prepared: Iterator[Mapping[int, int | KafkaError]] = iter(prepared)

    def poll(self, timeout: float) -> None:
        pass

    def list_offsets(self, wanted: Mapping[ClientTopicPartition, Any], **_: Any) -> dict[ClientTopicPartition, Any]:
        prepared = next(self._prepared)
        assert sorted(prepared) == sorted(each.partition for each in wanted)
        answers: dict[ClientTopicPartition, Any] = {each: Future() for each in wanted}
        for each, answer in answers.items():
            match prepared[each.partition]:
                case int(offset):
                    answer.set_result(SimpleNamespace(offset=offset))
                case error:
                    answer.set_exception(KafkaException(error))
        return answers


def cluster_of(admin: Admin) -> Cluster:
    cluster = Cluster({"bootstrap.servers": "127.0.0.1:1"}, logging.getLogger("test"))
    cluster._connection.client = cast(AdminClient, admin)
    return cluster


def test_offsets_of_a_partition_whose_leader_does_not_know_it_yet_are_asked_again() -> None:
    cluster = cluster_of(Admin({0: 7, 1: KafkaError(NOT_LEADER)}, {1: KafkaError(KafkaError._NOENT)}, {1: 9}))
    assert cluster.offsets([ORDERS_0, ORDERS_1], OffsetAt.LATEST) == {ORDERS_0: 7, ORDERS_1: 9}


def test_an_answer_without_an_offset_is_none() -> None:
    """Of a partition whose leader has just gone the client gives -1001, and no error."""
    cluster = cluster_of(Admin({0: OFFSET_INVALID, 1: 3}, {0: 7}))
    assert cluster.offsets([ORDERS_0, ORDERS_1], OffsetAt.EARLIEST) == {ORDERS_0: 7, ORDERS_1: 3}


@pytest.mark.parametrize("code", [NOT_LEADER, KafkaError._TIMED_OUT], ids=["for some time", "where it would not help"])
def test_they_are_not_asked_for_ever(code: int) -> None:
    cluster = cluster_of(Admin({0: KafkaError(code)}))
    with pytest.raises(BrokerUnavailable, match=r"did not answer about orders\[0\]"):
        cluster.offsets([ORDERS_0], OffsetAt.LATEST, patience_s=0 if code == NOT_LEADER else 60)


def test_a_broker_that_is_away_is_tried_again_every_second_unless_the_user_says_otherwise() -> None:
    assert soon_again({}) == {"reconnect.backoff.max.ms": 1_000}
    assert soon_again({"reconnect.backoff.ms": 5_000}) == {}, "librdkafka refuses a maximum below it"
    users = {"bootstrap.servers": "b1", "reconnect.backoff.max.ms": 7}
    for settings in (consumer_settings, lambda config, _: producer_settings(config)):
        assert settings(users, "group")["reconnect.backoff.max.ms"] == 7
        assert settings({"bootstrap.servers": "b1"}, "group")["reconnect.backoff.max.ms"] == 1_000
