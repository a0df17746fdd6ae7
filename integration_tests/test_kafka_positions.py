"""A group's committed offsets as positions: what is read, what is kept, what is unknown, what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as ClientTopicPartition

from integration_tests.engine import wait_until
from integration_tests.kafka_proxy import KafkaProxy
from integration_tests.kafka_store import WAIT_S, Place
from integration_tests.servers import KafkaServer
from kafka_stream.errors import CommitOutcomeUnknown, ConfigurationError, OwnershipLost, StoreUnavailable, StreamClosed
from kafka_stream.offset_stores.kafka import KafkaOffsetStore, group, producer
from kafka_stream.offset_stores.kafka.metadata import Stored, decode, encode
from kafka_stream.protocols import StreamBinding
from kafka_stream.testing.store_backend import NEWER, OLDER
from kafka_stream.types import OffsetRange, Owner, PlanKind, PositionState, StoredPosition


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def place(kafka: KafkaServer, stack: ExitStack) -> Place:
    return Place(kafka, stack)


class OutsideTransaction:
    """Offsets of a stream in a transaction of somebody else's, open until it is ended."""

    def __init__(self, place: Place, offsets: Mapping[int, tuple[int, str]]) -> None:
        config: dict[str, Any] = {"bootstrap.servers": place.server.bootstrap_servers}
        with Consumer({**config, "group.id": place.stream}) as consumer:
            nobody = consumer.consumer_group_metadata()
        self._producer = Producer({**config, "transactional.id": f"outside-{place.stream}"})
        self._producer.init_transactions(WAIT_S)
        self._producer.begin_transaction()
        positions = [ClientTopicPartition(place.topic, number, *each) for number, each in offsets.items()]
        self._producer.send_offsets_to_transaction(positions, nobody, WAIT_S)

    def commit(self) -> None:
        self._producer.commit_transaction(WAIT_S)


def put(place: Place, offsets: Mapping[int, tuple[int, str]]) -> None:
    """Commit offsets with that metadata, and wait until everybody sees them."""
    OutsideTransaction(place, offsets).commit()
    store = place.store(None)
    assert wait_until(lambda: len(store.positions(place.stream)) >= len(offsets), WAIT_S)


# What counts as a position --------------------------------------------------------------------------------------------


def test_an_offset_in_an_open_transaction_is_not_absent(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.store().initialise(place.stream, place.topic, {0: 3}, None)
    pending = OutsideTransaction(place, {1: (9, "")})
    store = place.store(None)
    with monkeypatch.context() as impatient, pytest.raises(StoreUnavailable, match="open transaction"):
        impatient.setattr(group, "UNSTABLE_FOR_S", 0.5)
        place.take_over(store, OLDER, 0, 1)
    assert place.take_over(store, OLDER, 0)[place.partitions[0]].next_offset == 3
    pending.commit()
    taken = place.take_over(store, OLDER, 0, 1)
    assert {tp.partition: p.next_offset for tp, p in taken.items()} == {0: 3, 1: 9}


def test_an_offset_that_has_expired_is_not_a_new_partition(place: Place) -> None:
    first = Stored(StoredPosition(5, 0), started_with=3)
    put(place, {0: (5, encode(first)), 1: (5, encode(first))})
    store = place.store()
    with pytest.raises(StreamClosed, match="expired"):
        place.take_over(store, OLDER, 0, 1, 2)
    taken = place.take_over(store, OLDER, 0, 1, 3)
    assert taken[place.partitions[3]].next_offset == 0, "this one was added after the start"


def test_metadata_that_is_as_large_as_it_gets_is_stored(place: Place) -> None:
    wide = Owner("o" * 32, "\N{GRINNING FACE}" * 1_000, "v" * 1_000)
    store = place.store()
    taken = place.take_over(store, wide, 0)
    claim = place.claim(wide, taken, {0: (0, 2**62)})
    store.plan(replace(claim, plan_kind=PlanKind.RANGE, topic_ids={place.topic: "t" * 22}))
    found = place.store().positions(place.stream)[place.partitions[0]]
    assert found.owner == Owner(wide.id, wide.host[:255], "v" * 255)
    assert found.planned_until == 2**62


# Closed and deleted ---------------------------------------------------------------------------------------------------


def test_a_closed_topic_is_refused_with_its_reason(place: Place) -> None:
    closed = Stored(StoredPosition(5, 3, state=PositionState.CLOSED, state_reason="migrated to zookeeper://x"))
    put(place, {0: (5, encode(closed))})
    for shard in (None, "static"):
        store = place.store(shard)
        assert store.is_started(place.stream, place.topic)
        with pytest.raises(StreamClosed, match="migrated to zookeeper"):
            place.take_over(store, OLDER, 0)


def test_a_deleted_topic_starts_again_at_higher_epochs(place: Place) -> None:
    deleted = Stored(StoredPosition(5, 3, state=PositionState.CLOSED), deleted=True)
    put(place, {0: (5, encode(deleted))})
    store = place.store()
    assert not store.is_started(place.stream, place.topic)
    with pytest.raises(StreamClosed, match="deleted"):
        place.take_over(store, OLDER, 0)
    store.initialise(place.stream, place.topic, {0: 1, 1: 2}, "id-2")
    assert store.is_started(place.stream, place.topic)
    positions = store.positions(place.stream)
    assert {tp.partition: (p.next_offset, p.owner_epoch) for tp, p in positions.items()} == {0: (1, 4), 1: (2, 0)}
    assert place.take_over(store, OLDER, 0)[place.partitions[0]].owner_epoch == 5


# Kept from expiring ---------------------------------------------------------------------------------------------------


def test_a_static_owner_commits_its_positions_anew_once_a_day(place: Place) -> None:
    clock = [datetime(2026, 5, 1, tzinfo=UTC)]
    store = KafkaOffsetStore(now=lambda: clock[0])
    store.bind(
        StreamBinding(place.stream, place.stream, {"bootstrap.servers": place.server.bootstrap_servers}, "static")
    )
    taken = place.take_over(store, OLDER, 0, 1)
    still = place.claim(OLDER, taken, {0: (0, 0), 1: (0, 0)})

    def ages() -> list[timedelta]:
        found = store.positions(place.stream).values()
        return [clock[0] - p.changed_at for p in found if p.changed_at is not None]

    clock[0] += timedelta(hours=23)
    store.refresh(still)
    assert ages() == [timedelta(hours=23)] * 2
    place.commit(store, place.claim(OLDER, taken, {1: (0, 4)}))
    clock[0] += timedelta(hours=1)
    store.refresh(place.claim(OLDER, taken, {0: (0, 0), 1: (4, 4)}))
    assert ages() == [timedelta(0), timedelta(hours=1)]
    assert place.stored() == {0: 0, 1: 4}
    place.take_over(place.store(), NEWER, 0, 1)
    clock[0] += timedelta(days=2)
    with pytest.raises(OwnershipLost):
        store.refresh(place.claim(OLDER, taken, {0: (0, 0), 1: (4, 4)}))
    store.close()


# Commits whose outcome is unknown -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reached", [False, True], ids=["before the broker saw it", "after the broker did it"])
def test_a_commit_that_is_cut_off_is_settled(
    place: Place, kafka_proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    store = KafkaOffsetStore({"reconnect.backoff.max.ms": 200})
    store.bind(
        StreamBinding(place.stream, place.stream, {"bootstrap.servers": kafka_proxy.bootstrap_servers}, "static")
    )
    claim = place.claim(OLDER, place.take_over(store, OLDER, 0), {0: (0, 5)})
    monkeypatch.setattr(producer, "_TIMEOUT_S", 2.0)
    monkeypatch.setattr(group, "REQUEST_TIMEOUT_S", 2.0)
    (kafka_proxy.cut_after_end if reached else kafka_proxy.cut_before_end)()
    with pytest.raises(CommitOutcomeUnknown), store.begin(claim) as transaction:
        transaction.produce(place.results_topic, value="1")
        transaction.advance()
        transaction.commit()
    assert kafka_proxy.was_cut.wait(WAIT_S)
    with pytest.raises(StoreUnavailable):
        store.reclaim(claim)
    kafka_proxy.admit()
    kafka_proxy.cut_after_end(of_new_producer=True)  # the answer to what settles it gets lost, too
    with pytest.raises(StoreUnavailable):
        store.reclaim(claim)
    assert kafka_proxy.was_cut.wait(WAIT_S)
    monkeypatch.undo()
    kafka_proxy.admit()
    found = store.reclaim(claim)[place.partitions[0]]
    # Until it is fenced, the producer that was thrown away may still get through with what it had asked for.
    assert found.next_offset in ({5} if reached else {0, 5})
    if found.next_offset == 0:
        place.commit(store, place.claim(OLDER, {place.partitions[0]: found}, {0: (0, 5)}), 1)
    assert (place.results(), place.stored()) == ([1], {0: 5})
    store.close()


@pytest.mark.parametrize("reached", [False, True], ids=["before the broker saw it", "after the broker did it"])
def test_a_plan_that_is_cut_off_may_be_made_again(
    place: Place, kafka_proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    store = KafkaOffsetStore({"reconnect.backoff.max.ms": 200})
    store.bind(
        StreamBinding(place.stream, place.stream, {"bootstrap.servers": kafka_proxy.bootstrap_servers}, "static")
    )
    claim = place.claim(OLDER, place.take_over(store, OLDER, 0), {0: (0, 5)})
    planned = replace(claim, plan_kind=PlanKind.RANGE)
    (kafka_proxy.cut_after_end if reached else kafka_proxy.cut_before_end)()
    with monkeypatch.context() as impatient, pytest.raises(StoreUnavailable):
        impatient.setattr(producer, "_TIMEOUT_S", 2.0)
        store.plan(planned)
    kafka_proxy.admit()
    store.plan(planned)
    place.commit(store, planned, 1)
    assert (place.results(), place.stored()) == ([1], {0: 5})
    store.close()


def test_offsets_that_somebody_else_has_moved_are_noticed_with_the_next_producer(place: Place) -> None:
    store = place.store()
    taken = place.take_over(store, OLDER, 0)
    claim = place.claim(OLDER, taken, {0: (0, 5)})
    put(place, {0: (3, "")})
    with pytest.raises(OwnershipLost) as raised:
        store.reclaim(claim)
    assert (raised.value.stored_offset, raised.value.other) == (3, None), "nobody's: taken over again"
    assert place.take_over(store, OLDER, 0)[place.partitions[0]].next_offset == 3


# What is refused ------------------------------------------------------------------------------------------------------


def test_another_cluster_is_refused(place: Place) -> None:
    store = place.store()
    store.check_cluster(None)
    store.check_cluster(store._opened().brokers.cluster_id())
    with pytest.raises(ConfigurationError, match="another-cluster"):
        store.check_cluster("another-cluster")


def test_a_transaction_timeout_beyond_the_brokers_is_refused(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="imeout"):
        place.take_over(place.store(transaction_timeout_ms=2_000_000_000), OLDER, 0)


def test_metadata_survives_the_broker(place: Place) -> None:
    position = StoredPosition(
        7,
        9,
        OLDER,
        12,
        PlanKind.RANGE,
        leader_epoch=3,
        topic_id="id-1",
        changed_at=datetime(2026, 5, 1, 2, 3, 4, 5006, tzinfo=UTC),
    )
    text = encode(Stored(position, "x:static:0/1", 4))
    put(place, {0: (7, text)})
    tp = place.partitions[0]
    assert place.store().positions(place.stream)[tp] == replace(position, leader_epoch=None)
    assert decode(tp, 7, 3, text) == Stored(position, "x:static:0/1", 4)
    assert OffsetRange(tp, 7, 12)
