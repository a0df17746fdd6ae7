"""What fences the members of a group whose offsets are in Kafka, by either of its two protocols."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace

import pytest

from integration_tests.group_protocols import shorten_sessions
from integration_tests.kafka_store import Place
from integration_tests.servers import KafkaServer, random_name
from kafka_stream.errors import OwnershipLost, StoreUnavailable, TransientError
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.protocols import StreamBinding
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.source.kafka_source import KafkaSource
from kafka_stream.testing.source_reader import Reader
from kafka_stream.testing.store_backend import NEWER, OLDER
from kafka_stream.types import PlanKind


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(params=["classic", "consumer"])
def place(kafka: KafkaServer, stack: ExitStack, request: pytest.FixtureRequest) -> Place:
    return Place(kafka, stack, request.param)


def test_a_static_owner_is_refused_while_the_group_has_members(place: Place) -> None:
    consumer = place.member("the-member")
    with pytest.raises(OwnershipLost, match="the-member") as raised:
        place.take_over(place.store(), OLDER, 0)
    assert raised.value.other is not None
    assert raised.value.other.id == "the-member"
    consumer.close()
    assert place.take_over(place.store(), OLDER, 0)


def test_a_member_fences_the_static_owner_before_it(place: Place) -> None:
    static, member = place.store(), place.store(None)
    claim = place.claim(OLDER, place.take_over(static, OLDER, 0, 1), {0: (0, 5)})
    consumer = place.member("the-member")
    with pytest.raises((OwnershipLost, StoreUnavailable)), static.begin(claim) as transaction:
        transaction.produce(place.results_topic, value="1")
        taken = place.take_over(member, NEWER, 0, 1)
        transaction.advance()
    with pytest.raises(OwnershipLost, match="the-member"), static.begin(claim):
        pytest.fail("the group has a member")
    metadata = consumer.consumer_group_metadata()
    place.commit(member, place.claim(NEWER, taken, {0: (0, 3)}, metadata), 2)
    assert (place.results(), place.stored()) == ([2], {0: 3, 1: 0})
    consumer.close()
    with pytest.raises(OwnershipLost) as raised, static.begin(claim):
        pytest.fail("another owner has committed since")
    assert raised.value.other == NEWER


def test_a_member_takes_over_by_reading_and_signs_with_its_first_batch(place: Place) -> None:
    place.store().initialise(place.stream, place.topic, dict.fromkeys(range(6), 7), "id-1")
    before = place.store().positions(place.stream)
    consumer, member = place.member(), place.store(None)
    taken = place.take_over(member, OLDER, 0, 1)
    assert place.store().positions(place.stream) == before
    assert {(p.next_offset, p.owner, p.topic_id) for p in taken.values()} == {(7, OLDER, "id-1")}
    place.commit(member, place.claim(OLDER, taken, {0: (7, 9)}, consumer.consumer_group_metadata()))
    after = place.store().positions(place.stream)
    tp = place.partitions[0]
    assert (after[tp].next_offset, after[tp].owner, after[tp].owner_epoch) == (9, OLDER, taken[tp].owner_epoch)
    assert after[tp].owner_epoch > before[tp].owner_epoch


def test_a_batch_of_an_older_generation_is_refused_and_may_be_planned_again(place: Place) -> None:
    """By the consumer protocol (KIP-1251) the batch of what a member has kept goes through, by the classic one none."""
    first, member = place.member("first"), place.store(None)
    taken = place.take_over(member, OLDER, *range(6))
    stale = first.consumer_group_metadata()
    second = place.member("second", beside=first)
    assert first.consumer_group_metadata() != stale
    kept, moved = ([tp.partition for tp in each.assignment()] for each in (first, second))
    for refused in ({moved[0]: (0, 5)}, {kept[0]: (0, 5), moved[0]: (0, 5)}):
        with pytest.raises(TransientError, match="rebalanced"):
            place.commit(member, place.claim(OLDER, taken, refused, stale), 1)
    assert (place.results(), place.stored()) == ([], {})
    of_kept = place.claim(OLDER, taken, {kept[0]: (0, 5)}, stale)
    with nullcontext() if place.protocol == "consumer" else pytest.raises(TransientError, match="rebalanced"):
        place.commit(member, of_kept, 2)
    place.commit(member, place.claim(OLDER, taken, {kept[1]: (0, 5)}, first.consumer_group_metadata()), 2)
    assert {number: place.stored().get(number) for number in (kept[1], moved[0])} == {kept[1]: 5, moved[0]: None}
    assert set(place.results()) == {2}
    second.close()


def test_a_member_that_has_left_commits_nothing(place: Place) -> None:
    consumer, member = place.member(), place.store(None)
    taken = place.take_over(member, OLDER, 0)
    metadata = consumer.consumer_group_metadata()
    consumer.close()
    with pytest.raises(TransientError):
        place.commit(member, place.claim(OLDER, taken, {0: (0, 5)}, metadata), 1)
    assert place.results() == []


def test_a_membership_is_given_only_for_what_is_a_members_own(place: Place, stack: ExitStack) -> None:
    first, second = (source_of(place, stack) for _ in range(2))
    assert first.source.group_metadata(place.partitions) is None, "outside the group"
    first.source.subscribe()
    first.until(lambda: first.assigned == set(place.partitions))
    alone = first.source.group_metadata(place.partitions)
    assert alone is not None
    second.source.subscribe()
    first.until(lambda: first.revoked)
    revoked = sorted(first.revoked)
    with pytest.raises(OwnershipLost):
        first.source.group_metadata(place.partitions)
    kept = [tp for tp in place.partitions if tp not in revoked]
    newer = first.source.group_metadata(kept)  # while the rebalance waits for us
    member = place.store(None)
    taken = member.take_over(place.stream, OLDER, place.partitions, {})
    numbers = {tp.partition: (0, 5) for tp in kept}
    if place.protocol == "classic":
        with pytest.raises(TransientError, match="rebalanced"):
            place.commit(member, place.claim(OLDER, taken, numbers, alone), 1)
    place.commit(member, place.claim(OLDER, taken, numbers, newer), 2)
    first.source.release(revoked)
    second.until(lambda: second.assigned == set(revoked))
    assert second.source.group_metadata(revoked) is not None
    with pytest.raises(OwnershipLost):
        first.source.group_metadata(revoked)
    stale = place.claim(OLDER, taken, {tp.partition: (0, 5) for tp in revoked}, newer)
    with pytest.raises(TransientError, match="rebalanced"):
        place.commit(member, stale, 3)
    assert place.results() == [2]
    assert first.source.cluster_id() == second.source.cluster_id()


def test_a_member_whose_session_has_ended_has_no_membership(place: Place, stack: ExitStack) -> None:
    reader = source_of(place, stack)
    reader.source.subscribe()
    reader.until(lambda: reader.assigned == set(place.partitions))
    reader.source.rejoin()
    with pytest.raises(OwnershipLost):
        reader.source.group_metadata(place.partitions)
    reader.events.clear()
    reader.until(lambda: reader.assigned == set(place.partitions))
    assert reader.source.group_metadata(place.partitions) is not None


def source_of(place: Place, stack: ExitStack) -> Reader:
    """One more member's source, open."""
    config = {"bootstrap.servers": place.server.bootstrap_servers}
    source = KafkaSource(config, place.stream, [place.topic], SourceLimits(), place.protocol)
    source.open(30)
    stack.callback(source.close)
    return Reader(source)


def test_plans_of_a_member_are_durable(place: Place) -> None:
    consumer, member = place.member(), place.store(None)
    taken = place.take_over(member, OLDER, 0)
    claim = place.claim(OLDER, taken, {0: (0, 5)}, consumer.consumer_group_metadata())
    planned = replace(claim, plan_kind=PlanKind.RANGE)
    member.plan(planned)
    successor = place.store(None)
    found = place.take_over(successor, NEWER, 0)[place.partitions[0]]
    assert (found.next_offset, found.planned_until, found.plan_kind) == (0, 5, PlanKind.RANGE)
    with member.begin(planned) as transaction:
        transaction.advance()
        transaction.commit()
    assert place.stored() == {0: 5}


def test_a_member_that_is_killed_keeps_its_offsets_for_no_longer_than_its_session_lasts(kafka: KafkaServer) -> None:
    """By the consumer protocol that is what the group's own setting says, and no setting of the stream."""
    stream = random_name("orders")
    shorten_sessions(kafka.bootstrap_servers, stream, 3_000)
    store = KafkaOffsetStore(f"kafka://{kafka.bootstrap_servers}")
    for of_stream, expected_s in (({}, 3.0), ({"session.timeout.ms": 7_000}, 7.0)):
        settings = {"bootstrap.servers": kafka.bootstrap_servers, **of_stream}
        store.bind(StreamBinding(stream, stream, settings, shard=None))
        store.open()
        assert store._opened().producer(random_name("member")).timeout_s == expected_s
    store.close()
