"""What brokers limit: how much of a group's offsets they take at once, and for how long they keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource

from integration_tests.engine import wait_until
from integration_tests.kafka_store import Place
from integration_tests.secured_kafka import STREAM, SecuredKafka
from integration_tests.servers import KafkaServer, PrivateKafka, random_name
from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change, StreamBinding
from kafka_stream.testing.store_backend import OLDER, claim_of
from kafka_stream.types import TopicPartition

PARTITIONS = 400
BATCH_BYTES = 20_000
"""What the broker takes at once here: a fraction of what so many offsets need, as with 3,600 of them by default."""
WAIT_S = 60.0

T = TypeVar("T")


def set_largest_batch(kafka: KafkaServer, size: int | None) -> None:
    """Of the topic that keeps groups' offsets."""
    kind = AlterConfigOpType.DELETE if size is None else AlterConfigOpType.SET
    entry = ConfigEntry("max.message.bytes", None if size is None else str(size), incremental_operation=kind)
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        "__consumer_offsets",
        incremental_configs=[entry],
    )
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(WAIT_S)


def insisting(action: Callable[[], T]) -> T:
    """As a stream, which tries again after a backoff."""
    found: list[T] = []

    def is_done() -> bool:
        with suppress(StoreUnavailable):
            found.append(action())
        return bool(found)

    assert wait_until(is_done, WAIT_S)
    return found[0]


@pytest.fixture
def place(private_kafka: PrivateKafka) -> Iterator[Place]:
    """A broker that takes little at once."""
    with ExitStack() as stack:
        found = Place(private_kafka, stack)
        private_kafka.add_partitions(found.topic, PARTITIONS)
        store = found.store()
        insisting(lambda: store.is_started(found.stream, found.topic))  # the topic of offsets is there from now on
        set_largest_batch(private_kafka, BATCH_BYTES)
        stack.callback(set_largest_batch, private_kafka, None)
        yield found


def test_the_offsets_of_more_partitions_than_fit_one_request_are_committed_as_one(place: Place) -> None:
    partitions = [TopicPartition(place.topic, number) for number in range(PARTITIONS)]
    store = place.store()
    starts = dict.fromkeys(range(PARTITIONS), 7)
    insisting(lambda: store.initialise(place.stream, place.topic, starts, "t" * 22))
    taken = insisting(lambda: store.take_over(place.stream, OLDER, partitions, {}))
    assert {position.next_offset for position in taken.values()} == {7}
    claim = claim_of(OLDER, dict.fromkeys(partitions, (7, 9)), taken, place.stream)
    with store.begin(claim) as transaction:
        transaction.advance()
        transaction.commit()
    assert set(place.stored().values()) == {9}
    store.close()
    action = Action(random_name("reset"), ActionKind.RESET, "operator")
    other = place.store()
    insisting(lambda: other.change(place.stream, partitions, action, lambda _: [Change(tp, 3) for tp in partitions]))
    assert set(place.stored().values()) == {3}


@pytest.mark.parametrize(
    ("may_ask", "after"), [(True, timedelta(hours=1)), (False, timedelta(minutes=10))], ids=["told", "not told"]
)
def test_an_idle_static_stream_keeps_its_offsets_however_soon_the_broker_forgets(
    secured_kafka: SecuredKafka, may_ask: bool, after: timedelta
) -> None:
    """This one forgets after four hours; a quarter of that is soon enough."""
    topic, stream, clock = secured_kafka.create_topic(partitions=1), random_name("stream"), [datetime.now(UTC)]
    secured_kafka.grant(STREAM, "topic", topic, "describe", "read")
    secured_kafka.grant(STREAM, "group", stream, "read", "describe")
    secured_kafka.grant(STREAM, "transactional id", f"{stream}:", "write", "describe", by_prefix=True)
    if may_ask:
        secured_kafka.grant(STREAM, "cluster", "", "describe_configs")
    store = KafkaOffsetStore(now=lambda: clock[0])
    store.bind(StreamBinding(stream, stream, secured_kafka.credentials(STREAM), "static"))
    tp = TopicPartition(topic, 0)
    still = claim_of(OLDER, {tp: (0, 0)}, store.take_over(stream, OLDER, [tp], {}), stream)

    def age() -> timedelta:
        changed_at = store.positions(stream)[tp].changed_at
        assert changed_at is not None
        return clock[0] - changed_at

    clock[0] += after - timedelta(seconds=1)
    store.refresh(still)
    assert age() == after - timedelta(seconds=1)
    clock[0] += timedelta(seconds=1)
    store.refresh(still)
    assert age() == timedelta(0)
    store.close()
