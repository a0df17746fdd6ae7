"""Kafka deletes a group's offsets with their topic: whose they were still owns what has taken that topic's place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from integration_tests.engine import wait_until
from integration_tests.java_offsets import forget_offset
from integration_tests.kafka_store import WAIT_S, Place
from integration_tests.servers import KafkaServer
from kafka_stream.errors import StreamClosed
from kafka_stream.testing.store_backend import OLDER


@pytest.fixture
def place(kafka: KafkaServer) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(kafka, stack)


def test_an_owner_whose_topic_was_created_again_keeps_its_positions_until_it_is_said_where_to_go_on(
    place: Place,
) -> None:
    store, tp, old = place.store(), place.partitions[0], place.server.topic_id(place.topic)
    taken = store.take_over(place.stream, OLDER, [tp], {place.topic: old})
    place.commit(store, place.claim(OLDER, taken, {0: (0, 50)}))
    still = place.claim(OLDER, taken, {0: (50, 50)})
    place.server.delete_topic(place.topic)
    place.server.create_topic(place.topic, partitions=1)
    assert wait_until(lambda: not place.stored(), WAIT_S), "the broker forgets them a moment later"
    store.refresh(still)
    (found,) = place.reclaim(store, still).values()
    assert (found.next_offset, found.topic_id) == (50, old)
    assert place.stored() == {0: 50}


def test_an_owner_whose_offsets_were_deleted_under_it_has_lost_them(place: Place) -> None:
    store, tp = place.store(), place.partitions[0]
    topic_id = place.server.topic_id(place.topic)
    taken = store.take_over(place.stream, OLDER, [tp], {place.topic: topic_id})
    forget_offset(place.server, place.stream, tp)
    with pytest.raises(StreamClosed, match="its committed offset was removed, or has expired"):
        store.refresh(place.claim(OLDER, taken, {0: (0, 0)}))
