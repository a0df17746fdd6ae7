"""A topic that is deleted and created again while it is ours, or after it was."""

from __future__ import annotations

import pytest

from kafka_stream.errors import BrokerUnavailable, StoreUnavailable, TopicRecreated
from kafka_stream.protocols import PositionLost, TopicInfo
from kafka_stream.types import TopicPartition
from tests.fakes import ORDERS_0, ORDERS_1
from tests.owning import World, running


def test_unchanged_topics_are_not_taken_over_again() -> None:
    world = running()
    world.store.calls.clear()
    world.ownership.check_topics(world.source.topics())
    world.ownership.check_topics({"orders": TopicInfo(2, None)})
    assert world.store.calls == []


def test_a_topic_recreated_while_running_stops() -> None:
    world = running()
    world.recreate(200)
    with pytest.raises(TopicRecreated, match=r"\(id id-1\), and the new one \(id id-2\) holds \[0, 200\)"):
        world.ownership.check_topics(world.source.topics())


def test_a_topic_recreated_while_running_goes_on_where_the_user_says() -> None:
    world = running("earliest")
    world.recreate(200)
    world.ownership.check_topics(world.source.topics())
    assert world.ownership.next_offsets() == {ORDERS_0: 0, ORDERS_1: 0}
    assert {p.topic_id for p in world.store.stored.values()} == {"id-2"}
    world.store.calls.clear()
    world.ownership.check_topics(world.source.topics())
    assert world.store.calls == []


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest"])
@pytest.mark.parametrize("failing", ["store.reclaim", "store.reposition", "source.offsets"])
def test_a_recreated_topic_is_found_again_after_a_check_that_failed(failing: str, on_data_loss: str) -> None:
    world = running(on_data_loss)
    world.recreate(200)
    part, call = failing.split(".")
    failures = world.store.failures if part == "store" else world.source.failures
    failures[call] = [StoreUnavailable("x") if part == "store" else BrokerUnavailable("x")]
    if (failing, on_data_loss) != ("store.reposition", "stop"):  # which is not reached
        with pytest.raises((StoreUnavailable, BrokerUnavailable)):
            world.ownership.check_topics(world.source.topics())
    if on_data_loss == "stop":
        with pytest.raises(TopicRecreated):
            world.ownership.check_topics(world.source.topics())
    else:
        world.ownership.check_topics(world.source.topics())
        assert world.ownership.next_offsets() == {ORDERS_0: 0, ORDERS_1: 0}


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest"])
def test_one_partition_that_tells_of_a_recreated_topic_tells_of_all(on_data_loss: str) -> None:
    world = running(on_data_loss)
    world.recreate(200)
    event = PositionLost(ORDERS_0, 42, truncated=False, reason="out of range")
    if on_data_loss == "stop":
        with pytest.raises(TopicRecreated):
            world.ownership.position_lost(event)
        return
    world.ownership.position_lost(event)
    assert world.ownership.next_offsets() == {ORDERS_0: 0, ORDERS_1: 0}
    assert world.source.reading == {ORDERS_0: (0, None), ORDERS_1: (0, None)}


def _taken_away_and_created_again(world: World, partitions: int = 2) -> None:
    """Kafka deletes a group's offsets with their topic, and takes the partitions away."""
    world.ownership.drop([ORDERS_0, ORDERS_1])
    world.store.stored.clear()
    world.recreate(200)
    world.source.infos["orders"] = TopicInfo(partitions, "id-2")


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest", "latest"])
def test_a_recreated_topic_that_comes_back_by_a_rebalance_is_no_new_one(on_data_loss: str) -> None:
    world = running(on_data_loss)
    _taken_away_and_created_again(world)
    if on_data_loss == "stop":
        with pytest.raises(TopicRecreated, match=r"orders\[0\] was read up to offset 42 of the old topic"):
            world.ownership.take_over([ORDERS_0, ORDERS_1])
        assert world.store.stored == {}, "nobody who comes after us takes it for a new one that was taken over"
        return
    for tp in (ORDERS_1, ORDERS_0):  # they need not come at once
        world.ownership.take_over([tp])
    first = 0 if on_data_loss == "earliest" else 200
    assert world.ownership.next_offsets() == {ORDERS_0: first, ORDERS_1: first}
    assert {p.topic_id for p in world.store.stored.values()} == {"id-2"}


@pytest.mark.parametrize("failing", ["store.take_over", "store.reposition", "source.offsets"])
def test_one_that_came_back_is_found_again_after_a_takeover_that_failed(failing: str) -> None:
    world = running("latest")
    _taken_away_and_created_again(world)
    part, call = failing.split(".")
    failures = world.store.failures if part == "store" else world.source.failures
    failures[call] = [StoreUnavailable("x") if part == "store" else BrokerUnavailable("x")]
    with pytest.raises((StoreUnavailable, BrokerUnavailable)):
        world.ownership.take_over([ORDERS_0])
    world.ownership.take_over([ORDERS_0])
    assert world.ownership.next_offsets() == {ORDERS_0: 200}


def test_a_partition_that_another_member_has_read_is_no_new_one_either() -> None:
    world = World("stop")
    world.stored(ORDERS_0, 42)
    world.ownership.take_over([ORDERS_0])
    _taken_away_and_created_again(world)
    with pytest.raises(TopicRecreated, match=r"orders\[1\]"):
        world.ownership.take_over([ORDERS_1])


def test_a_partition_that_the_old_topic_did_not_have_begins_at_0() -> None:
    world = running("latest")
    _taken_away_and_created_again(world, partitions=3)
    more = TopicPartition("orders", 2)
    world.source.log_of(more, 0, 200)
    world.ownership.take_over([ORDERS_0, more])
    assert world.ownership.next_offsets() == {ORDERS_0: 200, more: 0}


def test_what_somebody_has_stored_of_the_new_topic_meanwhile_is_gone_on_with() -> None:
    world = running("latest")
    _taken_away_and_created_again(world)
    world.stored(ORDERS_0, 7, topic_id="id-2")
    world.ownership.take_over([ORDERS_0])
    assert world.ownership.next_offsets() == {ORDERS_0: 7}


def test_a_partition_that_comes_back_with_the_same_topic_was_not_lost() -> None:
    world = running("latest")
    world.ownership.drop([ORDERS_0, ORDERS_1])
    world.store.stored.clear()  # an operator did
    world.source.log_of(ORDERS_0, 0, 100)
    world.ownership.take_over([ORDERS_0])
    assert world.ownership.next_offsets() == {ORDERS_0: 0}
