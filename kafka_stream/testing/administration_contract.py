"""What a store adds that operators' commands work on: ``protocols.AdministeredStore`` (needs pytest).

``HistoryContract`` is for those that keep a history. The commands themselves are shown on such a store as well.
"""
# ruff: noqa: D102, PT012 - a test's name says what it shows; a transaction is several statements

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from kafka_stream.errors import (
    CommandRefused,
    CommitOutcomeUnknown,
    OwnershipLost,
    StoreUnavailable,
    StreamClosed,
    TransientError,
)
from kafka_stream.protocols import (
    Action,
    ActionKind,
    AdministeredStore,
    Change,
    HistoryEntry,
    OffsetStore,
    TopicState,
)
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    P2,
    STREAM,
    TOPIC,
    StoreBackend,
    at_once,
    claim_of,
    commit,
    epochs_of,
    next_offsets,
)
from kafka_stream.testing.store_contract import OffsetStoreContract
from kafka_stream.types import MAX_OFFSET, PlanKind, PositionState, StoredPosition, TopicPartition

RESET = Action("reset-1", ActionKind.RESET, "operator@here")
CLOSE = Action("close-1", ActionKind.CLOSE, "operator@here")
DELETE = Action("delete-1", ActionKind.DELETE, "operator@here")


def moving(
    store: AdministeredStore, offsets: Mapping[TopicPartition, int], action: Action = RESET
) -> Mapping[TopicPartition, StoredPosition]:
    """Have the store put partitions at these offsets, whatever is stored."""
    return store.change(STREAM, offsets, action, lambda _: [Change(tp, offset) for tp, offset in offsets.items()])


class AdministeredStoreContract(OffsetStoreContract):
    """Operators move, close and look at positions, safely while a stream runs."""

    @pytest.fixture
    def administered(self, store: OffsetStore) -> AdministeredStore:
        """The store of the first process, as commands see it."""
        assert isinstance(store, AdministeredStore)
        return store

    # Looking --------------------------------------------------------------------------------------------------------

    def test_looking_stores_nothing(self, backend: StoreBackend) -> None:
        store = backend.store()
        assert isinstance(store, AdministeredStore)
        assert (list(store.streams()), dict(store.topics(STREAM)), list(store.history(STREAM, 10))) == ([], {}, [])
        store.close()

    def test_streams_are_those_that_have_positions(
        self, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7, 1: 9}, "id-1")
        assert list(opened().streams()) == [STREAM]

    def test_a_topics_marker_tells_its_state(
        self, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7}, "id-1")
        found = opened().topics(STREAM)
        assert list(found) == [TOPIC]
        assert (found[TOPIC].state, found[TOPIC].reason) == (TopicState.OPEN, None)
        assert administered.topics("other") == {}
        started_at = found[TOPIC].started_at
        assert started_at is None or abs(datetime.now(UTC) - started_at) < timedelta(hours=1)

    # Moving ---------------------------------------------------------------------------------------------------------

    def test_a_change_moves_what_it_names_and_nothing_else(
        self, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7, 1: 9}, "id-1")
        taken = administered.take_over(STREAM, OLDER, [P0, P1], {TOPIC: "id-1"})
        found = administered.change(STREAM, [P0, P1], RESET, lambda _: [Change(P0, 3, 5, "id-2")])
        stored = opened().positions(STREAM)
        assert stored == found
        moved = stored[P0]
        assert (moved.next_offset, moved.leader_epoch, moved.topic_id) == (3, 5, "id-2")
        assert (moved.owner, moved.planned_until, moved.state) == (None, None, PositionState.OPEN)
        assert moved.owner_epoch > taken[P0].owner_epoch
        assert stored[P1] == taken[P1]

    def test_what_is_changed_is_decided_from_what_is_stored(self, administered: AdministeredStore) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7, 1: 9}, None)
        seen: list[Mapping[TopicPartition, StoredPosition]] = []

        def forward(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
            seen.append(stored)
            return [Change(tp, position.next_offset + 10) for tp, position in stored.items()]

        before = administered.positions(STREAM)
        administered.change(STREAM, [P0, P1, P2], RESET, forward)
        assert seen == [before], "a partition that is not stored is left out"
        assert next_offsets(administered) == {P0: 17, P1: 19}

    def test_a_refusal_leaves_everything_as_it_was(self, administered: AdministeredStore) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7}, None)
        taken = administered.take_over(STREAM, OLDER, [P0], {})

        def refuse(_: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
            raise CommandRefused("not now")

        with pytest.raises(CommandRefused, match="not now"):
            administered.change(STREAM, [P0, P1], RESET, refuse)
        administered.change(STREAM, [P0, P1], replace(RESET, id="nothing"), lambda _: [])
        assert administered.positions(STREAM) == taken
        assert list(administered.history(STREAM, 10)) == []
        commit(administered, OLDER, {P0: (7, 8)}, epochs_of(taken))

    def test_a_rehearsal_leaves_everything_as_it_was(self, administered: AdministeredStore) -> None:
        taken = administered.take_over(STREAM, OLDER, [P0, P1], {})
        before = dict(administered.positions(STREAM))
        administered.rehearse(STREAM, [Change(P0, 3), Change(P2, 5, at_least_epoch=9)])
        assert administered.positions(STREAM) == before
        assert list(administered.history(STREAM, 10, [ActionKind.MIGRATE])) == []
        commit(administered, OLDER, {P0: (0, 7)}, epochs_of(taken))
        assert moving(administered, {P0: 3})[P0].next_offset == 3

    def test_a_store_is_the_same_for_all_who_open_it(
        self, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        assert administered.identity() == opened().identity()

    def test_a_stream_that_is_not_there_yet_is_started_where_it_is_put(self, administered: AdministeredStore) -> None:
        administered.change(STREAM, [P0, P2], RESET, lambda _: [Change(P0, 5, 1, "id-1"), Change(P2, MAX_OFFSET)])
        assert administered.is_started(STREAM, TOPIC)
        assert administered.topics(STREAM)[TOPIC].state is TopicState.OPEN
        administered.initialise(STREAM, TOPIC, {0: 99, 1: 99, 2: 99}, None)
        taken = administered.take_over(STREAM, OLDER, [P0, P1, P2], {})
        assert {tp: found.next_offset for tp, found in taken.items()} == {P0: 5, P1: 0, P2: MAX_OFFSET}
        assert (taken[P0].leader_epoch, taken[P0].topic_id) == (1, "id-1")

    def test_epochs_end_at_least_where_they_were_elsewhere(self, administered: AdministeredStore) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7, 1: 7}, None)
        before = administered.positions(STREAM)
        changes = [Change(P0, 8, at_least_epoch=1_000), Change(P1, 8, at_least_epoch=0)]
        after = administered.change(STREAM, [P0, P1], RESET, lambda _: changes)
        assert after[P0].owner_epoch >= 1_000
        assert after[P1].owner_epoch > before[P1].owner_epoch

    def test_a_plan_goes_with_the_change(self, administered: AdministeredStore) -> None:
        taken = administered.take_over(STREAM, OLDER, [P0, P1], {})
        administered.plan(replace(claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, taken), plan_kind=PlanKind.RANGE))
        seen: list[PlanKind | None] = []

        def away(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
            seen.extend(position.plan_kind for position in stored.values())
            return [Change(P0, 0)]

        after = administered.change(STREAM, [P0], RESET, away)
        assert seen == [PlanKind.RANGE]
        assert (after[P0].planned_until, after[P0].plan_kind) == (None, None)
        assert administered.positions(STREAM)[P1].planned_until == 5

    # Running streams ------------------------------------------------------------------------------------------------

    def test_an_owner_whose_partitions_were_moved_takes_over_again_and_goes_on(
        self, backend: StoreBackend, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        taken = administered.take_over(STREAM, OLDER, [P0, P1], {})
        commit(administered, OLDER, {P0: (0, 5), P1: (0, 5)}, epochs_of(taken))
        moving(opened(), {P0: 2})
        with (
            pytest.raises(OwnershipLost) as raised,
            administered.begin(claim_of(OLDER, {P0: (5, 6), P1: (5, 6)}, taken)) as transaction,
        ):
            backend.write(transaction, 1)
            transaction.advance()
            transaction.commit()
        assert not isinstance(raised.value, StreamClosed)
        assert raised.value.other is None, "no other owner: it may take over again"
        assert backend.results() == []
        again = administered.take_over(STREAM, OLDER, [P0, P1], {})
        assert {tp: found.next_offset for tp, found in again.items()} == {P0: 2, P1: 5}
        commit(administered, OLDER, {P0: (2, 3), P1: (5, 6)}, epochs_of(again))
        assert next_offsets(administered) == {P0: 3, P1: 6}

    def test_a_batch_in_flight_and_a_change_do_not_both_take_effect(
        self, backend: StoreBackend, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        taken = administered.take_over(STREAM, OLDER, [P0], {})
        moved = False
        try:
            with administered.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
                backend.write(transaction, 1)
                try:
                    moving(opened(), {P0: 3})
                    moved = True
                except StoreUnavailable:
                    moved = False
                transaction.advance()
                transaction.commit()
        except (OwnershipLost, TransientError):
            assert moved
        else:
            assert not moved
        assert (list(backend.results()), next_offsets(opened())) == (([], {P0: 3}) if moved else ([1], {P0: 5}))

    def test_changes_and_batches_at_once_each_take_effect_as_a_whole(
        self, backend: StoreBackend, opened: Callable[[], AdministeredStore]
    ) -> None:
        """Every batch writes where it began and ends 1 further; every change goes back by 1."""
        stores = [opened() for _ in range(3)]
        stores[0].initialise(STREAM, TOPIC, {0: 100, 1: 100}, None)
        committed: list[int] = []
        unknown: list[int] = []

        def work(store: AdministeredStore) -> None:
            positions: Mapping[TopicPartition, StoredPosition] = {}
            while len(committed) < 20:
                try:
                    positions = positions or store.take_over(STREAM, OLDER, [P0, P1], {})
                    starts = {tp: found.next_offset for tp, found in positions.items()}
                    claim = claim_of(OLDER, {tp: (start, start + 1) for tp, start in starts.items()}, positions)
                    with store.begin(claim) as transaction:
                        backend.write(transaction, starts[P0])
                        transaction.advance()
                        transaction.commit()
                except (OwnershipLost, StoreUnavailable):
                    positions = {}
                    continue
                except CommitOutcomeUnknown:
                    unknown.append(starts[P0])
                    positions = {}
                    continue
                committed.append(starts[P0])
                positions = {tp: replace(f, next_offset=f.next_offset + 1) for tp, f in positions.items()}

        def move_back(store: AdministeredStore, name: str) -> None:
            for number in range(5):
                action = Action(f"{name}-{number}", ActionKind.RESET, name)
                _until_done(partial(store.change, STREAM, [P0, P1], action, _back_by_1))

        at_once([partial(work, stores[0]), *(partial(move_back, s, f"op-{n}") for n, s in enumerate(stores[1:]))])
        results = Counter(backend.results())
        assert Counter(committed) <= results <= Counter(committed + unknown)
        assert set(next_offsets(stores[0]).values()) == {100 + results.total() - 10}

    # Closing --------------------------------------------------------------------------------------------------------

    def test_a_closed_topic_stops_its_owner_and_refuses_others(self, administered: AdministeredStore) -> None:
        store = administered
        store.initialise(STREAM, TOPIC, {0: 7}, None)
        taken = store.take_over(STREAM, OLDER, [P0], {})
        store.close_topics(STREAM, [TOPIC], CLOSE, "migrated to kafka://elsewhere")
        before = store.positions(STREAM)
        with pytest.raises(StreamClosed, match="migrated to kafka://elsewhere"):
            commit(store, OLDER, {P0: (7, 8)}, epochs_of(taken))
        for partition in (P0, P2):
            with pytest.raises(StreamClosed, match="migrated to kafka://elsewhere"):
                store.take_over(STREAM, NEWER, [partition], {})
        with pytest.raises(StreamClosed):
            store.reclaim(claim_of(OLDER, {P0: (7, 8)}, taken))
        assert store.is_started(STREAM, TOPIC), "it is not to be started again"
        store.initialise(STREAM, TOPIC, {0: 0}, None)
        assert store.positions(STREAM) == before
        assert (before[P0].state, before[P0].owner, before[P0].next_offset) == (PositionState.CLOSED, None, 7)
        marker = store.topics(STREAM)[TOPIC]
        assert (marker.state, marker.reason) == (TopicState.CLOSED, "migrated to kafka://elsewhere")

    def test_epochs_only_grow_also_through_a_delete(self, administered: AdministeredStore) -> None:
        store = administered
        store.initialise(STREAM, TOPIC, {0: 7, 1: 7, 2: 7}, "id-1")
        taken = store.take_over(STREAM, OLDER, [P0, P1, P2], {})
        store.close_topics(STREAM, [TOPIC], DELETE, None)
        assert not store.is_started(STREAM, TOPIC)
        assert store.topics(STREAM)[TOPIC].state is TopicState.DELETED
        with pytest.raises(StreamClosed):
            commit(store, OLDER, {P0: (7, 8)}, epochs_of(taken))
        with pytest.raises(StreamClosed):
            store.take_over(STREAM, OLDER, [P0], {})
        deleted = store.positions(STREAM)
        store.initialise(STREAM, TOPIC, {0: 3, 1: 4}, "id-2")
        reopened = store.positions(STREAM)
        assert next_offsets(store) == {P0: 3, P1: 4, P2: 0}, "a partition that is gone will be a new one"
        assert {(p.state, p.owner, p.topic_id) for p in reopened.values()} == {(PositionState.OPEN, None, "id-2")}
        with pytest.raises(OwnershipLost):
            commit(store, OLDER, {P0: (7, 8)}, epochs_of(taken))
        again = store.take_over(STREAM, NEWER, [P0, P1, P2], {})
        for earlier, later in ((taken, deleted), (deleted, reopened), (reopened, again)):
            assert all(later[tp].owner_epoch > earlier[tp].owner_epoch for tp in (P0, P1, P2))

    def test_what_is_closed_stays_closed_as_it_is_but_may_be_deleted(self, administered: AdministeredStore) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7}, None)
        administered.close_topics(STREAM, [TOPIC], CLOSE, "migrated to there")
        closed = administered.positions(STREAM)
        administered.close_topics(STREAM, [TOPIC], replace(CLOSE, id="close-2"), "migrated to elsewhere")
        assert administered.positions(STREAM) == closed
        administered.close_topics(STREAM, [TOPIC], DELETE, None)
        assert not administered.is_started(STREAM, TOPIC)
        deleted = administered.positions(STREAM)
        administered.close_topics(STREAM, [TOPIC], replace(CLOSE, id="close-3"), "migrated to there")
        assert administered.positions(STREAM) == deleted
        assert not administered.is_started(STREAM, TOPIC)

    def test_other_topics_stay_open(self, administered: AdministeredStore) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7}, None)
        administered.initialise(STREAM, "payments", {0: 3}, None)
        administered.close_topics(STREAM, [TOPIC], DELETE, None)
        assert administered.is_started(STREAM, "payments")
        taken = administered.take_over(STREAM, OLDER, [TopicPartition("payments", 0)], {})
        commit(administered, OLDER, {TopicPartition("payments", 0): (3, 4)}, epochs_of(taken))

    @pytest.mark.parametrize("reason", ["migrated to there", None])
    def test_a_change_opens_what_was_closed_and_begins_the_rest_anew(
        self, administered: AdministeredStore, reason: str | None
    ) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7, 1: 7}, "id-1")
        administered.close_topics(STREAM, [TOPIC], CLOSE, reason)
        before = administered.positions(STREAM)
        administered.change(STREAM, [P0], RESET, lambda _: [Change(P0, 5, topic_id="id-1")])
        stored = administered.positions(STREAM)
        assert {tp: (p.next_offset, p.state) for tp, p in stored.items()} == {
            P0: (5, PositionState.OPEN),
            P1: (0, PositionState.OPEN),
        }
        assert all(stored[tp].owner_epoch > before[tp].owner_epoch for tp in (P0, P1))
        assert administered.is_started(STREAM, TOPIC)
        assert administered.topics(STREAM)[TOPIC].state is TopicState.OPEN
        taken = administered.take_over(STREAM, OLDER, [P0, P1], {})
        commit(administered, OLDER, {P0: (5, 6), P1: (0, 1)}, epochs_of(taken))

    # Owners ---------------------------------------------------------------------------------------------------------

    def test_an_owner_that_was_replaced_or_fenced_is_none(self, administered: AdministeredStore) -> None:
        assert list(administered.live_owners(STREAM)) == []
        administered.take_over(STREAM, OLDER, [P0], {})
        moving(administered, {P0: 0})
        assert not any(OLDER.id in words for words in administered.live_owners(STREAM))


class HistoryContract(AdministeredStoreContract):
    """What moved offsets is remembered, and an admin action is done once."""

    def test_it_says_so(self, administered: AdministeredStore) -> None:
        assert administered.keeps_history

    def test_an_owner_lives_until_it_says_that_it_has_stopped(
        self, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        administered.take_over(STREAM, OLDER, [P0, P1], {})
        administered.take_over(STREAM, NEWER, [P1], {})
        assert list(opened().live_owners(STREAM)) == sorted([str(OLDER), str(NEWER)])
        stop = HistoryEntry(datetime.now(UTC), Action(OLDER.id, ActionKind.STOP, str(OLDER)), P0, 0, 0)
        administered.record(STREAM, [stop], timedelta(days=1))
        assert list(opened().live_owners(STREAM)) == [str(NEWER)]
        assert administered.positions(STREAM)[P0].owner == OLDER
        assert list(opened().live_owners("other")) == []

    def test_a_change_is_remembered_with_what_was_before(
        self, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7, 1: 7}, "id-1")
        administered.change(STREAM, [P0, P2], RESET, lambda _: [Change(P2, MAX_OFFSET), Change(P0, 3, 4, "id-2")])
        entries = opened().history(STREAM, 10)
        assert [(e.topic_partition, e.from_offset, e.until_offset, e.leader_epoch, e.topic_id) for e in entries] == [
            (P0, 7, 3, None, "id-1"),
            (P2, None, MAX_OFFSET, None, None),
        ]
        assert {e.action for e in entries} == {RESET}
        (at,) = {e.at for e in entries}
        assert at.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - at) < timedelta(hours=1)
        assert administered.history("other", 10) == []

    def test_an_action_is_done_once(self, administered: AdministeredStore) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7, 1: 7}, None)
        first = administered.change(STREAM, [P0, P1], RESET, _back_by_1)
        again = administered.change(STREAM, [P0, P1], RESET, _back_by_1)
        assert again == first
        assert next_offsets(administered) == {P0: 6, P1: 6}
        administered.change(STREAM, [P0, P1], replace(RESET, id="reset-2"), _back_by_1)
        assert next_offsets(administered) == {P0: 5, P1: 5}

    def test_closing_is_remembered(self, administered: AdministeredStore) -> None:
        administered.initialise(STREAM, TOPIC, {0: 7, 1: 9}, None)
        administered.close_topics(STREAM, [TOPIC], DELETE, None)
        entries = administered.history(STREAM, 10)
        assert [(e.action, e.topic_partition, e.from_offset, e.until_offset) for e in entries] == [
            (DELETE, P0, 7, 7),
            (DELETE, P1, 9, 9),
        ]

    def test_what_a_stream_tells_is_kept_as_it_is(
        self, administered: AdministeredStore, opened: Callable[[], AdministeredStore]
    ) -> None:
        entries = [
            replace(entry, records=2**40, duration_s=0.25, code_version="v1 ü'\"%", attempt=3, dead_letters=2**40)
            for entry in _batch(1, [P0, P1], "b1")
        ]
        administered.record(STREAM, entries, timedelta(days=1))
        assert opened().history(STREAM, 10) == entries

    def test_the_latest_actions_come_first_whole(self, administered: AdministeredStore) -> None:
        for age in (5, 1, 3):
            administered.record(STREAM, _batch(age, [P1, P0], f"b{age}"), timedelta(days=1))
        found = administered.history(STREAM, 2)
        assert [(e.action.id, e.topic_partition) for e in found] == [("b1", P0), ("b1", P1), ("b3", P0), ("b3", P1)]
        moving(administered, {P0: 5})
        assert {e.action for e in administered.history(STREAM, 1, [ActionKind.RESET, ActionKind.UNDO])} == {RESET}
        assert administered.history(STREAM, 10, [ActionKind.UNDO]) == []
        assert {e.action.id for e in administered.history(STREAM, 2, [ActionKind.BATCH])} == {"b1", "b3"}

    def test_what_is_old_is_dropped(self, administered: AdministeredStore) -> None:
        administered.record(STREAM, _batch(3600, [P0], "old"), timedelta(days=1))
        administered.record("other", _batch(3600, [P0], "others"), timedelta(days=1))
        administered.record(STREAM, _batch(1, [P0], "new"), timedelta(minutes=10))
        assert [e.action.id for e in administered.history(STREAM, 10)] == ["new"]
        assert [e.action.id for e in administered.history("other", 10)] == ["others"]
        administered.record(STREAM, [], timedelta(0))
        assert administered.history(STREAM, 10) == []


def _back_by_1(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
    return [Change(tp, position.next_offset - 1) for tp, position in stored.items()]


def _until_done(act: Callable[[], object]) -> None:
    for _ in range(100):
        try:
            act()
        except StoreUnavailable as error:
            busy = error
        else:
            return
    raise busy


def _batch(age_s: int, partitions: Collection[TopicPartition], name: str) -> list[HistoryEntry]:
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    action = Action(name, ActionKind.BATCH, str(OLDER))
    return [HistoryEntry(at, action, tp, 0, 5) for tp in partitions]


__all__ = ["AdministeredStoreContract", "HistoryContract"]
