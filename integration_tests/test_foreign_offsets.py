"""Groups of other clients beside the streams': what they keep beside their offsets ends no command and no start."""

from __future__ import annotations

from integration_tests.java_offsets import commit_as_java
from integration_tests.kafka_store import bound
from integration_tests.secured_kafka import STREAM, SecuredKafka
from integration_tests.servers import KafkaServer, random_name
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.testing.store_backend import OLDER
from kafka_stream.types import TopicPartition

LENGTHS = range(100)


def java_group(kafka: KafkaServer) -> tuple[str, dict[TopicPartition, int]]:
    """A group with metadata of every length, as Kafka Streams would have it."""
    topic, group = kafka.create_topic(partitions=len(LENGTHS)), random_name("java")
    offsets = {TopicPartition(topic, length): 1000 + length for length in LENGTHS}
    commit_as_java(kafka, group, {tp: (offset, "A" * tp.partition) for tp, offset in offsets.items()})
    return group, offsets


def test_offsets_beside_which_a_java_client_keeps_something_are_those_of_a_plain_group(kafka: KafkaServer) -> None:
    group, offsets = java_group(kafka)
    store = bound(kafka, group)
    store.open()
    for tp, offset in offsets.items():  # by themselves, and together
        assert store._opened().group(group).stable([tp])[tp].position.next_offset == offset
    assert {tp: stored.next_offset for tp, stored in store.positions(group).items()} == offsets
    taken = store.take_over(group, OLDER, list(offsets), {})
    assert {tp: stored.next_offset for tp, stored in taken.items()} == offsets
    assert group in store.streams(), "it is a stream by now"
    store.close()


def test_a_group_that_one_may_not_look_at_ends_no_list(secured_kafka: SecuredKafka) -> None:
    topic, visible, hidden = secured_kafka.create_topic(partitions=1), random_name("seen"), random_name("hidden")
    for name in (visible, hidden):
        store = bound(secured_kafka, name)
        store.take_over(name, OLDER, [TopicPartition(topic, 0)], {})
        store.close()
    secured_kafka.grant(STREAM, "topic", topic, "describe")
    secured_kafka.grant(STREAM, "group", visible, "describe")
    secured_kafka.grant(STREAM, "cluster", "", "describe")  # lists all groups
    assert KafkaOffsetStore(secured_kafka.credentials(STREAM)).streams() == [visible]
