"""A plain consumer group's offsets become a stream's, and a stream's a plain group's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from integration_tests.java_offsets import forget_offset
from integration_tests.kafka_store import WAIT_S, Place
from integration_tests.servers import KafkaServer
from kafka_stream.errors import StreamClosed
from kafka_stream.testing.store_backend import NEWER, OLDER
from kafka_stream.types import StoredPosition


@pytest.fixture
def place(kafka: KafkaServer) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(kafka, stack)


def plain_offsets(place: Place, offsets: Mapping[int, int]) -> None:
    with Consumer({"bootstrap.servers": place.server.bootstrap_servers, "group.id": place.stream}) as plain:
        wanted = [ClientTopicPartition(place.topic, number, offset) for number, offset in offsets.items()]
        plain.commit(offsets=wanted, asynchronous=False)


def test_the_offsets_of_a_plain_consumer_group_are_valid_positions(place: Place) -> None:
    plain_offsets(place, {0: 42})
    store = place.store()
    assert not store.is_started(place.stream, place.topic)
    assert store.positions(place.stream) == {place.partitions[0]: StoredPosition(42, 0)}
    store.initialise(place.stream, place.topic, {0: 7, 1: 8}, None)
    assert store.is_started(place.stream, place.topic)
    taken = place.take_over(store, OLDER, 0, 1)
    assert {tp.partition: p.next_offset for tp, p in taken.items()} == {0: 42, 1: 8}, "which it never committed on"
    place.commit(store, place.claim(OLDER, taken, {0: (42, 50)}))
    with Consumer({"bootstrap.servers": place.server.bootstrap_servers, "group.id": place.stream}) as plain:
        (found,) = plain.committed([ClientTopicPartition(place.topic, 0)], WAIT_S)
    assert found.offset == 50, "and a plain consumer goes on from ours"


def test_a_stream_that_began_as_a_plain_group_knows_an_expired_offset_from_a_new_partition(place: Place) -> None:
    plain_offsets(place, {0: 42, 1: 43})
    store = place.store()
    store.initialise(place.stream, place.topic, {0: 0, 1: 0, 2: 7}, None)
    place.take_over(store, OLDER, 0, 1, 2)
    forget_offset(place.server, place.stream, place.partitions[1])
    with pytest.raises(StreamClosed, match=rf"the committed offset of {place.topic}\[1\] .* has expired"):
        place.take_over(place.store(), NEWER, 0, 1, 2)
    assert place.take_over(place.store(), NEWER, 0, 3)[place.partitions[3]].next_offset == 0, "this one is new"


def test_a_stream_that_was_moved_by_kafkas_tool_knows_an_expired_offset_too(place: Place) -> None:
    store = place.store()
    store.initialise(place.stream, place.topic, {0: 1, 1: 2, 2: 3}, None)
    place.take_over(store, OLDER, 0, 1, 2)
    store.close()
    plain_offsets(place, {0: 10, 1: 20, 2: 30})  # as the tool does: without what was kept beside them
    store = place.store()
    assert not store.is_started(place.stream, place.topic)
    store.initialise(place.stream, place.topic, {0: 0, 1: 0, 2: 0}, None)
    taken = place.take_over(store, NEWER, 0, 1, 2)
    assert [taken[tp].next_offset for tp in sorted(taken)] == [10, 20, 30]
    forget_offset(place.server, place.stream, place.partitions[2])
    with pytest.raises(StreamClosed, match="has expired"):
        place.take_over(place.store(), OLDER, 0, 1, 2)


def test_a_live_plain_group_keeps_its_offsets_until_its_partitions_are_taken_over(place: Place) -> None:
    plain_offsets(place, {0: 42})
    member = place.member()
    store = place.store(None)
    store.initialise(place.stream, place.topic, {0: 0, 1: 8}, None)
    stored = store.positions(place.stream)
    assert {tp.partition: (p.next_offset, p.changed_at is None) for tp, p in stored.items()} == {
        0: (42, True),
        1: (8, False),
    }
    taken = place.take_over(store, OLDER, 0, 1)
    assert {tp.partition: p.next_offset for tp, p in taken.items()} == {0: 42, 1: 8}
    member.close()
