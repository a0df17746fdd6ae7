"""What the cluster is asked again, and what it is not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
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
from kafka_stream.source.consumer.creation import consumer_settings
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


class Coordinator:
    """Of a group with an offset and no members; refuses some requests first, as a whole or of a single partition."""

    def __init__(self, *refusals: int, by_partition: bool = False) -> None:
        self._refusals = list(refusals)
        self._by_partition = by_partition
        self.asked = 0

    def poll(self, timeout: float) -> None:
        pass

    def _answer(self, group: str, **attributes: Any) -> dict[str, Any]:
        self.asked += 1
        answer: Future[Any] = Future()
        if not self._refusals:
            answer.set_result(SimpleNamespace(**attributes))
            return {group: answer}
        error = KafkaError(self._refusals.pop(0))
        if self._by_partition:
            answer.set_result(SimpleNamespace(topic_partitions=[SimpleNamespace(topic="orders", error=error)]))
        else:
            answer.set_exception(KafkaException(error))
        return {group: answer}

    def alter_consumer_group_offsets(self, requests: list[Any], **_: Any) -> dict[str, Any]:
        return self._answer(requests[0].group_id, topic_partitions=[SimpleNamespace(topic="orders", error=None)])

    def list_consumer_group_offsets(self, requests: list[Any], **_: Any) -> dict[str, Any]:
        offset = SimpleNamespace(topic="orders", partition=0, offset=7, error=None)
        return self._answer(requests[0].group_id, topic_partitions=[offset])

    def describe_consumer_groups(self, groups: list[str], **_: Any) -> dict[str, Any]:
        return self._answer(groups[0], members=[])


def cluster_of(admin: Admin | Coordinator) -> Cluster:
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


TO_COORDINATOR: dict[str, Callable[[Cluster], object]] = {
    "alter": lambda cluster: cluster.commit_group_offsets("g", {ORDERS_0: 7}),
    "list": lambda cluster: cluster.group_offsets("g", [ORDERS_0]),
    "describe": lambda cluster: cluster.group_members("g"),
}


@pytest.mark.parametrize("by_partition", [False, True])
@pytest.mark.parametrize("what", TO_COORDINATOR)
def test_a_coordinator_that_moves_is_asked_again(what: str, by_partition: bool) -> None:
    """As where the topic of the groups has just been created, for the first of them."""
    moves = KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS
    coordinator = Coordinator(*moves, by_partition=by_partition and what == "alter")
    TO_COORDINATOR[what](cluster_of(coordinator))
    assert coordinator.asked == 1 + len(moves)


@pytest.mark.parametrize("what", TO_COORDINATOR)
@pytest.mark.parametrize("ends", ["in time", "when given up", "where it would not help"])
def test_nor_is_a_coordinator_asked_for_ever(what: str, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = KafkaError.NOT_COORDINATOR
    coordinator = Coordinator(*[KafkaError._TIMED_OUT if ends == "where it would not help" else moves] * 2)
    cluster = cluster_of(coordinator)
    if ends == "in time":
        monkeypatch.setattr("kafka_stream.source.asking.questions.COORDINATOR_TIMEOUT_S", -1.0)
    elif ends == "when given up":
        monkeypatch.setattr(cluster, "_is_given_up", lambda: True)
    with pytest.raises(BrokerUnavailable, match="did not answer about group g"):
        TO_COORDINATOR[what](cluster)
    assert coordinator.asked == 1


def test_a_broker_that_is_away_is_tried_again_every_second_unless_the_user_says_otherwise() -> None:
    assert soon_again({}) == {"reconnect.backoff.max.ms": 1_000}
    assert soon_again({"reconnect.backoff.ms": 5_000}) == {}, "librdkafka refuses a maximum below it"
    users = {"bootstrap.servers": "b1", "reconnect.backoff.max.ms": 7}
    for settings in (consumer_settings, lambda config, _: producer_settings(config)):
        assert settings(users, "group")["reconnect.backoff.max.ms"] == 7
        assert settings({"bootstrap.servers": "b1"}, "group")["reconnect.backoff.max.ms"] == 1_000
