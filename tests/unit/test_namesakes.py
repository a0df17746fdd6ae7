"""Two streams of one name: with their offsets in two stores, or in two groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.engine.retry import Rejoin, Stop, decide
from kafka_stream.errors import ConfigurationError, OwnershipLost
from kafka_stream.namesakes import Namesakes, mark_of, members_elsewhere
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change, HistoryEntry, OffsetStore, Source
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import Owner, TopicPartition

_LONG = timedelta(days=30)
ORDERS_0 = TopicPartition("orders", 0)
OURS = Owner.member("a1", "host-a", None, "one")
THEIRS = Owner.member("b2", "host-b", "v1", "two")


class Group:
    """A source, as far as it is asked."""

    def __init__(self, members: Sequence[str] = ()) -> None:
        self.members = list(members)
        self.mark: str | None = None

    def introduce(self, mark: str) -> None:
        self.mark = mark

    def group_members(self) -> Sequence[str]:
        return self.members


def _store(*topics: str) -> MemoryOffsetStore:
    found = MemoryOffsetStore()
    for topic in topics:
        found.initialise("s", topic, {0: 0}, None)
    return found


def _namesakes(store: OffsetStore, group: Group, owner: Owner = OURS) -> Namesakes:
    return Namesakes("s", "one", owner, store, cast("Source", group))


def _mark(store: OffsetStore, *topics: str) -> str:
    found = mark_of(store, "s", topics)
    assert found is not None
    return found


# Two stores -----------------------------------------------------------------------------------------------------------


@given(
    common=st.sets(st.sampled_from("abcdefgh"), min_size=1),
    ours=st.sets(st.sampled_from("ijkl")),
    theirs=st.sets(st.sampled_from("mnop")),
)
def test_who_shares_a_topic_of_one_store_is_never_taken_for_another(
    common: set[str], ours: set[str], theirs: set[str]
) -> None:
    store, other = _store(*common, *ours, *theirs), _store(*common, *ours, *theirs)
    kept = (common | ours, common | theirs)
    mine, colleague = (_mark(store, *sorted(topics)[:8]) for topics in kept)
    assert members_elsewhere(mine, [f"{colleague} on h"]) == []
    assert members_elsewhere(mine, [f"{_mark(other, *common)} on h"]) == [f"{_mark(other, *common)} on h"]


def test_a_member_shows_the_same_after_a_restart_and_under_another_address() -> None:
    store = _store("orders")
    assert _mark(store, "orders") == _mark(store, "orders", "not started")


@pytest.mark.parametrize(
    "member",
    [
        "rdkafka on h",
        "orders-7 on h",
        "kafka-stream on h",
        "kafka-stream-offsets- on h",
        "kafka-stream-offsets-xyz on h",
    ],
)
def test_who_shows_no_mark_is_let_be(member: str) -> None:
    assert members_elsewhere(_mark(_store("orders"), "orders"), [member]) == []


def test_a_member_with_its_offsets_in_kafka_is_another() -> None:
    in_kafka = KafkaOffsetStore()
    assert mark_of(in_kafka, "s", ["orders"]) == "kafka-stream-offsets-kafka"
    ours = _mark(_store("orders"), "orders")
    assert members_elsewhere(ours, ["kafka-stream-offsets-kafka on h"])
    assert members_elsewhere("kafka-stream-offsets-kafka", [f"{ours} on h", "kafka-stream-offsets-kafka on h"]) == [
        f"{ours} on h"
    ]


def test_before_it_joins_it_shows_who_it_is_and_refuses_a_member_of_another_store() -> None:
    store, group = _store("orders"), Group([f"{_mark(_store('orders'), 'orders')} on 10.0.0.7"])
    with pytest.raises(ConfigurationError, match=r"^group 'one' has members that keep .*10\.0\.0\.7.* another name"):
        _namesakes(store, group).refuse(["orders"])
    assert group.mark == _mark(store, "orders")


def test_a_store_that_cannot_tell_is_not_looked_at() -> None:
    group = Group(["kafka-stream-offsets-kafka on h"])
    namesakes = _namesakes(cast("OffsetStore", SimpleNamespace()), group, Owner("x", "h"))
    namesakes.refuse(["orders"])
    namesakes.look_again()
    assert group.mark is None


def test_one_that_joined_at_the_same_moment_is_found_after_the_first_takeover_and_not_later() -> None:
    group = Group()
    namesakes = _namesakes(_store("orders"), group)
    namesakes.refuse(["orders"])
    group.members = [f"{_mark(_store('orders'), 'orders')} on h"]
    with pytest.raises(ConfigurationError, match="keep their offsets elsewhere"):
        namesakes.look_again()
    namesakes.look_again()


# Two groups -----------------------------------------------------------------------------------------------------------


def _owned_by(owner: Owner) -> MemoryOffsetStore:
    store = _store("orders")
    store.take_over("s", owner, [ORDERS_0], {})
    return store


def test_a_live_owner_of_another_group_is_not_taken_over_from() -> None:
    with pytest.raises(ConfigurationError, match=r"owned by b2 on host-b in group two, version v1, and .*'one'.*reset"):
        _namesakes(_owned_by(THEIRS), Group()).refuse(["orders"])


def _stop(store: MemoryOffsetStore) -> None:
    stop = Action(THEIRS.id, ActionKind.STOP, "b2")
    store.record("s", [HistoryEntry(datetime.now(UTC), stop, ORDERS_0, from_offset=0, until_offset=0)], _LONG)


def _reset(store: MemoryOffsetStore) -> None:
    action = Action("r", ActionKind.RESET, "operator")
    store.change("s", [ORDERS_0], action, lambda found: [Change(ORDERS_0, found[ORDERS_0].next_offset)])


@pytest.mark.parametrize("end", [_stop, _reset])
def test_a_group_can_be_changed_when_the_other_has_stopped_or_was_reset(end: Any) -> None:
    store = _owned_by(THEIRS)
    end(store)
    _namesakes(store, Group()).refuse(["orders"])


@pytest.mark.parametrize("owner", [replace(OURS, id="c3"), Owner("static", "host-c"), Owner("older", "h", "v0")])
def test_owners_of_the_same_group_and_those_that_do_not_say_are_taken_over_from(owner: Owner) -> None:
    _namesakes(_owned_by(owner), Group()).refuse(["orders"])


def test_a_static_stream_takes_over_as_ever() -> None:
    _namesakes(_owned_by(THEIRS), Group(), Owner("static", "host-c")).refuse(["orders"])


@pytest.mark.parametrize(
    ("other", "answer"),
    [
        (THEIRS, Stop()),
        (replace(OURS, id="c3"), Rejoin(0.1)),
        (Owner("older", "h"), Rejoin(0.1)),
    ],
)
def test_who_is_fenced_by_another_group_does_not_join_again(other: Owner, answer: Any) -> None:
    lost = OwnershipLost("x", other=other)
    assert decide(lost, owner=OURS, in_group=True, failures=1, jitter=0.0, pause_s=0.1) == answer


def test_a_group_that_no_store_could_keep_with_the_host_is_not_said() -> None:
    assert Owner.member("x", "h", None, "g" * 300).group is None
    assert Owner.member("x", "h", None, "g in group g").group == "g in group g"
