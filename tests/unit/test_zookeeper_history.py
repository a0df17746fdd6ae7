"""What the ZooKeeper store remembers: its znodes, their names, and that they do not become too many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.errors import SchemaMismatch, StoreUnavailable
from kafka_stream.offset_stores.zookeeper import history_znodes
from kafka_stream.offset_stores.zookeeper.history_znodes import (
    MOST_PARTITIONS,
    MOST_ZNODES,
    Name,
    decoded,
    encoded,
    in_order,
    superfluous,
)
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.protocols import Action, ActionKind, Change, HistoryEntry
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, TOPIC
from kafka_stream.types import MAX_OFFSET, TopicPartition
from tests.zookeeper_ensemble import Ensemble, Znode

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FOLDER = f"/kafka_stream/{STREAM}/+history"
LONG = timedelta(days=30)


@pytest.fixture
def ensemble() -> Ensemble:
    return Ensemble()


def name(kind: ActionKind, age_s: float, partitions: int = 1, part: int = 0) -> Name:
    return Name(NOW - timedelta(seconds=age_s), kind, partitions, part, f"{kind}-{age_s}")


def told(kind: ActionKind, number: int, partitions: int = 1) -> list[HistoryEntry]:
    action = Action(f"{kind}-{number}", kind, str(OLDER))
    at = datetime.now(UTC) - timedelta(seconds=number)
    return [HistoryEntry(at, action, TopicPartition(TOPIC, n), 0, 5) for n in range(partitions)]


def names_in(ensemble: Ensemble) -> list[str]:
    return [path.removeprefix(f"{FOLDER}/") for path in ensemble.znodes if path.startswith(f"{FOLDER}/")]


# Names and values -----------------------------------------------------------------------------------------------------


@given(
    st.builds(
        Name,
        st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
        st.sampled_from(ActionKind),
        st.integers(0, 10**6),
        st.integers(0, 1_000),
        st.text(),
    )
)
def test_a_name_comes_back_as_it_was(written: Name) -> None:
    assert Name.parsed(str(written)) == written
    assert "/" not in str(written)


@pytest.mark.parametrize("text", ["", "x", "1-2-3-4-5", "0-reset-1-0", "9" * 30 + "-reset-1-0-a", "0-dance-1-0-a"])
def test_what_is_no_name_of_ours_is_passed_over(text: str, ensemble: Ensemble) -> None:
    assert Name.parsed(text) is None
    store = ensemble.store()
    store.record(STREAM, told(ActionKind.BATCH, 1), LONG)
    ensemble.znodes[f"{FOLDER}/{text or '_'}"] = Znode(b"something else")
    assert len(store.history(STREAM, 10)) == 1


ENTRIES = st.builds(
    HistoryEntry,
    at=st.just(NOW),
    action=st.just(Action("a", ActionKind.RESET, "somebody")),
    topic_partition=st.builds(TopicPartition, st.text(min_size=1), st.integers(0, 2**31 - 1)),
    from_offset=st.none() | st.integers(0, MAX_OFFSET),
    until_offset=st.integers(0, MAX_OFFSET),
    leader_epoch=st.none() | st.integers(0, 2**31 - 1),
    topic_id=st.none() | st.text(),
)


@given(st.lists(ENTRIES, min_size=1, unique_by=lambda entry: entry.topic_partition))
def test_entries_come_back_as_they_were(entries: list[HistoryEntry]) -> None:
    found = [entry for _, data in encoded(entries) for entry in decoded(data, "/path")]
    assert found == sorted(entries, key=lambda entry: entry.topic_partition)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": 2}', b'{"format": 1, "at": "now"}'])
def test_a_znode_that_holds_something_else_is_named(data: bytes, ensemble: Ensemble) -> None:
    store = ensemble.store()
    ensemble.znodes |= {"/kafka_stream": Znode(b""), f"{FOLDER}/{name(ActionKind.RESET, 0)}": Znode(data)}
    with pytest.raises(SchemaMismatch, match=r"\+history/\d+-reset-1-0-reset"):
        store.history(STREAM, 10)


def test_an_action_with_many_partitions_is_several_znodes_and_one_action(ensemble: Ensemble) -> None:
    store = ensemble.store()
    entries = told(ActionKind.TAKEOVER, 2, partitions=10_000)
    store.record(STREAM, [*entries, *told(ActionKind.BATCH, 1)], LONG)
    parts = [each for each in names_in(ensemble) if "takeover" in each]
    assert len(parts) > 5
    assert all(len(ensemble.znodes[f"{FOLDER}/{each}"].data) < 64 * 1024 for each in parts)
    assert store.history(STREAM, 1, [ActionKind.TAKEOVER]) == entries
    assert {entry.action.kind for entry in store.history(STREAM, 2)} == {ActionKind.BATCH, ActionKind.TAKEOVER}


def test_what_was_recorded_although_nobody_was_told_is_not_recorded_again(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ensemble.store()
    store.record(STREAM, told(ActionKind.TAKEOVER, 5), LONG)
    multi, batch = store._connection.multi, told(ActionKind.BATCH, 1)

    def cut_off(operations: Sequence[Operation]) -> list[object]:
        multi(operations)
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(store._connection, "multi", cut_off)
    with pytest.raises(StoreUnavailable):
        store.record(STREAM, batch, LONG)
    monkeypatch.undo()
    assert store.history(STREAM, 1) == batch
    stop = told(ActionKind.STOP, 0)
    store.record(STREAM, [*batch, *stop], LONG)
    assert store.history(STREAM, 2) == [*stop, *batch]
    assert len(store.history(STREAM, 10)) == 3


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_the_newest_of_each_sort_stay_and_batches_drive_no_command_out() -> None:
    commands = [name(ActionKind.RESET, 10**6), name(ActionKind.UNDO, 10**5)]
    batches = [name(ActionKind.BATCH, age) for age in range(MOST_ZNODES + 7)]
    assert superfluous([*commands, *batches]) == batches[MOST_ZNODES:]
    assert superfluous([*commands, *batches], NOW - timedelta(seconds=10)) == [*batches[11:], *reversed(commands)]


def test_large_actions_are_fewer_and_the_latest_stays_whatever_its_size() -> None:
    owners = [name(ActionKind.TAKEOVER, age, MOST_PARTITIONS // 10) for age in range(12)]
    assert superfluous(owners) == owners[10:]
    huge = [name(ActionKind.RESET, 0, MOST_PARTITIONS, part) for part in range(3)]
    older = name(ActionKind.RESET, 1)
    assert superfluous([older, *huge]) == [older]


@given(st.lists(st.builds(name, st.sampled_from(ActionKind), st.integers(0, 50), st.just(1), st.integers(0, 3))))
def test_an_action_goes_as_a_whole(names: list[Name]) -> None:
    going = set(superfluous(names, NOW - timedelta(seconds=25)))
    for parts in in_order(names):
        assert len({part in going for part in parts}) == 1


def test_a_stream_that_records_for_ever_and_an_operator_who_resets_for_ever_fill_no_ensemble(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_znodes, "MOST_ZNODES", 20)
    store = ensemble.store()
    for number in range(30):
        action = Action(f"reset-{number}", ActionKind.RESET, "operator")
        store.change(STREAM, [P0, P1], action, lambda _: [Change(P0, 1)])
    store.record(STREAM, [e for n in range(30) for e in told(ActionKind.BATCH, n)], LONG)
    assert len(names_in(ensemble)) == 2 * 20
    assert store.history(STREAM, 1, [ActionKind.RESET])[0].action.id == "reset-29"
    assert store.history(STREAM, 1, [ActionKind.BATCH])[0].action.id == "batch-0"
