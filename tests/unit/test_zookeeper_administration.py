"""Operators' commands on the ZooKeeper store: what nobody may change meanwhile, and what does not fit one request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from kafka_stream.errors import CommandRefused, OwnershipLost, StoreUnavailable, StreamClosed
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.protocols import Action, ActionKind, Change, TopicState
from kafka_stream.testing.plan_contract import planned_claim
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    P2,
    STREAM,
    TOPIC,
    claim_of,
    commit,
    epochs_of,
    next_offsets,
)
from kafka_stream.types import PositionState, StoredPosition, TopicPartition
from tests.zookeeper_ensemble import Ensemble, FollowerConnection

RESET = Action("reset-1", ActionKind.RESET, "operator")
DELETE = Action("delete-1", ActionKind.DELETE, "operator")
CLOSE = Action("close-1", ActionKind.CLOSE, "operator")
MANY = [TopicPartition(TOPIC, number) for number in range(600)]
Stored = Mapping[TopicPartition, StoredPosition]


@pytest.fixture
def ensemble() -> Ensemble:
    return Ensemble()


@pytest.fixture
def store(ensemble: Ensemble) -> ZooKeeperOffsetStore:
    """A running stream's."""
    return ensemble.store()


@pytest.fixture
def operator(ensemble: Ensemble) -> ZooKeeperOffsetStore:
    """An operator's."""
    return ensemble.store()


@pytest.fixture
def planned(store: ZooKeeperOffsetStore) -> Stored:
    """Two partitions, of which one has a planned range that is, or may be, written."""
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    store.plan(planned_claim(OLDER, {P0: (0, 5)}, taken))
    return taken


# Planned ranges -------------------------------------------------------------------------------------------------------


def test_while_a_planned_range_is_discarded_nobody_writes_it_again(
    ensemble: Ensemble, store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore, planned: Stored
) -> None:
    claim = planned_claim(OLDER, {P0: (0, 5)}, planned)
    successor, another = ensemble.store(), ensemble.store()
    close = replace(CLOSE, id="close-2")
    attempts: list[tuple[type[Exception], Callable[[], object]]] = [
        (OwnershipLost, lambda: store.begin(claim).__enter__()),
        (OwnershipLost, lambda: store.reclaim(claim)),
        (OwnershipLost, lambda: store.plan(claim)),
        (StoreUnavailable, lambda: store.take_over(STREAM, OLDER, [P0], {})),
        (StoreUnavailable, lambda: successor.take_over(STREAM, NEWER, [P0, P1], {})),
        (StoreUnavailable, lambda: successor.take_over(STREAM, NEWER, [P2], {})),
        (StoreUnavailable, lambda: another.change(STREAM, [P1], replace(RESET, id="reset-2"), lambda _: [])),
        (StoreUnavailable, lambda: another.close_topics(STREAM, [TOPIC], close, None)),
    ]
    tried = []

    def discard(stored: Stored) -> Sequence[Change]:
        for error, attempt in attempts:
            with pytest.raises(error) as raised:
                attempt()
            assert not isinstance(raised.value, StreamClosed), "it may take over again"
            tried.append(attempt)
        assert (stored[P0].next_offset, stored[P0].planned_until) == (0, 5)
        return [Change(P0, 3)]

    after = operator.change(STREAM, [P0], RESET, discard)
    assert tried == [attempt for _, attempt in attempts]
    assert (after[P0].next_offset, after[P0].planned_until) == (3, None)
    again = store.take_over(STREAM, OLDER, [P0, P1], {})
    commit(store, OLDER, {P0: (3, 4), P1: (0, 1)}, epochs_of(again))


def test_a_batch_that_was_being_committed_while_its_plan_is_discarded_is_not(
    store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore, planned: Stored
) -> None:
    with pytest.raises(OwnershipLost), store.begin(planned_claim(OLDER, {P0: (0, 5)}, planned)) as transaction:
        transaction.advance()

        def discard(stored: Stored) -> Sequence[Change]:
            transaction.commit()
            return [Change(P0, 3)]

        operator.change(STREAM, [P0], RESET, discard)
    assert store.positions(STREAM)[P0].planned_until == 5, "what decide raised has left the plan"


def test_what_is_refused_leaves_the_plan_for_its_owner_to_finish(
    ensemble: Ensemble, store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore, planned: Stored
) -> None:
    def refuse(_: Stored) -> Sequence[Change]:
        raise CommandRefused("not now")

    with pytest.raises(CommandRefused, match="not now"):
        operator.change(STREAM, [P0], RESET, refuse)
    assert not [path for path in ensemble.znodes if "reset" in path], "nothing is held, nothing is remembered"
    found = store.positions(STREAM)[P0]
    assert (found.next_offset, found.planned_until, found.owner) == (0, 5, OLDER)
    again = store.take_over(STREAM, OLDER, [P0, P1], {})
    with store.begin(planned_claim(OLDER, {P0: (0, 5)}, again)) as transaction:
        transaction.advance()
        transaction.commit()


def test_a_command_that_was_killed_holds_nothing_once_its_session_is_over(
    store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore, planned: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    multi = operator._connection.multi

    def killed(_: Stored) -> Sequence[Change]:
        def no_more(operations: Sequence[Operation]) -> list[object]:
            raise StoreUnavailable("this process is no more")

        monkeypatch.setattr(operator._connection, "multi", no_more)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        operator.change(STREAM, [P0], RESET, killed)
    with pytest.raises(StoreUnavailable, match="reset-1"):
        store.take_over(STREAM, OLDER, [P0], {})
    operator.close()
    assert store.take_over(STREAM, OLDER, [P0], {})[P0].planned_until == 5
    monkeypatch.setattr(operator._connection, "multi", multi)
    assert operator.change(STREAM, [P0], RESET, lambda _: [Change(P0, 3)])[P0].next_offset == 3


def test_a_command_whose_session_ends_in_between_decides_again(
    store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore, planned: Stored
) -> None:
    seen: list[int] = []

    def discard(stored: Stored) -> Sequence[Change]:
        seen.append(stored[P0].owner_epoch)
        if len(seen) == 1:
            operator._connection.close()
            store.take_over(STREAM, OLDER, [P0], {})
        return [Change(P0, 3)]

    operator.change(STREAM, [P0], RESET, discard)
    assert len(seen) == 2
    assert seen[0] < seen[1]
    assert next_offsets(store)[P0] == 3


# Busy streams ---------------------------------------------------------------------------------------------------------


def test_a_change_gets_through_to_a_stream_that_commits_all_the_time(
    store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore
) -> None:
    taken = store.take_over(STREAM, OLDER, MANY[:200], {})
    committed: list[int] = []
    lost: list[OwnershipLost] = []

    def batch_comes_first(stored: Stored) -> Sequence[Change]:
        offset = len(committed)
        try:
            commit(store, OLDER, dict.fromkeys(MANY[:200], (offset, offset + 1)), epochs_of(taken))
            committed.append(offset)
        except OwnershipLost as error:
            lost.append(error)
        return [Change(tp, position.next_offset + 100) for tp, position in stored.items()]

    operator.change(STREAM, MANY[:200], RESET, batch_comes_first)
    assert set(next_offsets(store).values()) == {len(committed) + 100}
    assert 1 <= len(committed) < 10
    assert [error.other for error in lost] == [OLDER], "fenced, but by nobody else"


def test_an_owner_that_comes_first_even_while_it_is_held_off_is_held_off_partition_by_partition(
    store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions = MANY[:8]
    taken = store.take_over(STREAM, OLDER, partitions, {})
    store.plan(planned_claim(OLDER, {P0: (0, 5)}, taken))
    offsets = dict.fromkeys(partitions[1:], 0)
    sync = operator._connection.sync

    def sync_and_commit() -> None:
        sync()
        tp = partitions[-1]
        try:
            commit(store, OLDER, {tp: (offsets[tp], offsets[tp] + 1)}, epochs_of(taken))
        except OwnershipLost:
            return
        offsets[tp] += 1
        if offsets[tp] > 12:
            monkeypatch.undo()  # slower, from now on, than a request takes

    monkeypatch.setattr(operator._connection, "sync", sync_and_commit)
    operator.change(STREAM, partitions, RESET, lambda stored: [Change(tp, 50) for tp in stored])
    assert set(next_offsets(store).values()) == {50}


# Partitions that come, and many of them -------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["moved", None])
def test_a_partition_that_is_added_while_its_topic_is_closed_is_closed_too(
    store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    store.initialise(STREAM, TOPIC, {0: 7}, None)
    multi = operator._connection.multi

    def add_first(operations: Sequence[Operation]) -> list[object]:
        if len(operations) > 1:
            monkeypatch.undo()
            store.take_over(STREAM, OLDER, [P0, P1], {})
        return multi(operations)

    monkeypatch.setattr(operator._connection, "multi", add_first)
    operator.close_topics(STREAM, [TOPIC], CLOSE, reason)
    found = store.positions(STREAM)
    assert {tp: (position.state, position.owner) for tp, position in found.items()} == dict.fromkeys(
        (P0, P1), (PositionState.CLOSED, None)
    )


def test_a_partition_that_is_added_while_its_topic_is_begun_anew_is_not_forgotten(
    ensemble: Ensemble, store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore
) -> None:
    store.initialise(STREAM, TOPIC, {0: 7, 1: 7}, None)
    store.close_topics(STREAM, [TOPIC], DELETE, None)
    called: list[bool] = []

    def another_starts(_: Stored) -> Sequence[Change]:
        if not called:
            ensemble.store().initialise(STREAM, TOPIC, {0: 1, 1: 1, 2: 1}, None)
        called.append(True)
        return [Change(P0, 5)]

    operator.change(STREAM, [P0], RESET, another_starts)
    assert len(called) == 2
    assert next_offsets(store) == {P0: 5, P1: 1, P2: 1}


def test_more_than_fits_one_request_is_refused_with_its_size(
    store: ZooKeeperOffsetStore, operator: ZooKeeperOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.initialise(STREAM, TOPIC, {tp.partition: 7 for tp in MANY}, None)
    before = store.positions(STREAM)
    monkeypatch.setattr(FollowerConnection, "max_request_bytes", 64 * 1024)
    with pytest.raises(CommandRefused, match=r"600 offset.*65,536 at once; nothing was changed: name fewer"):
        operator.change(STREAM, MANY, RESET, lambda stored: [Change(tp, 1) for tp in stored])
    assert store.positions(STREAM) == before
    assert operator.history(STREAM, 10) == []
    operator.change(STREAM, MANY[:100], RESET, lambda stored: [Change(tp, 1) for tp in stored])


@pytest.mark.parametrize("reason", ["moved", None])
def test_a_topic_of_any_size_is_closed_and_one_that_was_cut_off_is_closed_by_a_repetition(
    ensemble: Ensemble, store: ZooKeeperOffsetStore, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    store.initialise(STREAM, TOPIC, {tp.partition: 7 for tp in MANY}, None)
    taken = store.take_over(STREAM, OLDER, MANY, {})
    monkeypatch.setattr(FollowerConnection, "max_request_bytes", 64 * 1024)
    operator = ensemble.store()
    multi, sent = operator._connection.multi, []

    def cut_off(operations: Sequence[Operation]) -> list[object]:
        sent.extend([operations] if len(operations) > 1 else [])
        if len(sent) == 2:
            raise StoreUnavailable("no answer")
        return multi(operations)

    monkeypatch.setattr(operator._connection, "multi", cut_off)
    with pytest.raises(StoreUnavailable):
        operator.close_topics(STREAM, [TOPIC], CLOSE, reason)
    assert {position.state for position in store.positions(STREAM).values()} == set(PositionState)
    assert store.is_started(STREAM, TOPIC), "nobody begins anew what is not closed yet"
    for refused in (store, ensemble.store()):
        with pytest.raises(StreamClosed):
            refused.take_over(STREAM, NEWER, MANY[-1:], {})
    operator.close_topics(STREAM, [TOPIC], CLOSE, reason)
    found = store.positions(STREAM)
    assert {(p.state, p.state_reason, p.owner) for p in found.values()} == {(PositionState.CLOSED, reason, None)}
    assert store.topics(STREAM)[TOPIC].state is (TopicState.DELETED if reason is None else TopicState.CLOSED)
    with pytest.raises(StreamClosed):
        store.reclaim(claim_of(OLDER, {MANY[-1]: (7, 8)}, taken))
    closed = {entry.topic_partition for entry in operator.history(STREAM, 100, [ActionKind.CLOSE])}
    assert closed == set(MANY)


def test_a_thousand_partitions_take_a_fixed_number_of_requests_to_look_at(ensemble: Ensemble) -> None:
    requests = []
    for count in (1, 1_000):
        store = ensemble.store()
        store.initialise(STREAM, TOPIC, dict.fromkeys(range(count), 7), None)
        looking = ensemble.store()
        ensemble.requests.clear()
        assert len(looking.positions(STREAM)) == count
        assert list(looking.streams()) == [STREAM]
        assert looking.topics(STREAM)[TOPIC].state is TopicState.OPEN
        requests.append(list(ensemble.requests))
        store.close_topics(STREAM, [TOPIC], replace(DELETE, id=f"delete-{count}"), None)
    assert requests[0] == requests[1]
    assert len(requests[0]) < 15
