"""What is stored beside what the brokers have: lag in offsets and in time, and what an operator should know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kafka_stream.admin.describe import (
    Log,
    Mark,
    Observation,
    PartitionDescription,
    RecordTimes,
    described,
    duration,
    not_stored,
    total_lag,
)
from kafka_stream.protocols import TopicInfo
from kafka_stream.types import PlanKind, PositionState, StoredPosition, TopicPartition

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
ORDERS = {"orders": TopicInfo(2, "id-1")}


def one(
    stored: StoredPosition, log: Log | None = None, *, topic_id: str | None = "id-1", times: RecordTimes | None = None
) -> PartitionDescription:
    observation = Observation({"orders": TopicInfo(2, topic_id)}, {A: log} if log else {}, times)
    (found,) = described({A: stored}, observation, NOW)
    return found


def marks(found: PartitionDescription) -> list[Mark]:
    return [finding.mark for finding in found.findings]


def explained(found: PartitionDescription) -> str:
    (finding,) = found.findings
    return finding.explanation


def test_the_lag_ends_at_what_can_be_read() -> None:
    found = one(StoredPosition(40, 1, topic_id="id-1"), Log(0, 100, 100))
    assert (found.lag, found.lag_s, marks(found)) == (60, None, [])


def test_without_brokers_only_what_is_stored_is_told() -> None:
    (found,) = described({A: StoredPosition(40, 1)}, None, NOW)
    assert (found.log, found.lag, found.lag_s, marks(found)) == (None, None, None, [])


@pytest.mark.parametrize(
    ("stored", "times", "lag_s"),
    [
        (40, RecordTimes({A: NOW - timedelta(seconds=90)}), 90.0),
        (40, RecordTimes({A: NOW + timedelta(seconds=90)}), 0.0),  # another machine's clock
        (40, RecordTimes({A: None}), 0.0),  # only markers up to the end
        (40, RecordTimes(), None),  # nothing came in time
        (100, RecordTimes(), 0.0),
        (100, None, None),
    ],
)
def test_the_lag_in_time_is_the_age_of_the_next_record(
    stored: int, times: RecordTimes | None, lag_s: float | None
) -> None:
    assert one(StoredPosition(stored, 1), Log(0, 100, 100), times=times).lag_s == lag_s


def test_a_topic_that_is_gone() -> None:
    (found,) = described({A: StoredPosition(40, 1)}, Observation({}, {}), NOW)
    assert explained(found) == "topic 'orders' does not exist on these brokers"
    assert (found.lag, marks(found)) == (None, [Mark.TOPIC_MISSING])


def test_a_partition_that_is_gone() -> None:
    beyond = TopicPartition("orders", 2)
    (found,) = described({beyond: StoredPosition(40, 1)}, Observation(ORDERS, {}), NOW)
    assert explained(found) == "topic 'orders' has only 2 partition(s)"


def test_a_recreated_topic_has_no_lag_that_means_anything() -> None:
    found = one(StoredPosition(40, 1, topic_id="id-0"), Log(0, 100, 100), times=RecordTimes({A: NOW}))
    assert (found.lag, found.lag_s, marks(found)) == (None, None, [Mark.TOPIC_RECREATED])
    assert "(id id-0 before, id-1 now): offset 40 is of the old one" in explained(found)


@pytest.mark.parametrize(("stored_id", "topic_id"), [(None, "id-1"), ("id-1", None), (None, None), ("id-1", "id-1")])
def test_a_topic_is_not_called_recreated_unless_both_ids_are_known(stored_id: str | None, topic_id: str | None) -> None:
    assert marks(one(StoredPosition(4, 1, topic_id=stored_id), Log(0, 9, 9), topic_id=topic_id)) == []


def test_an_offset_that_retention_has_passed() -> None:
    found = one(StoredPosition(40, 1), Log(55, 100, 100))
    assert (found.lag, marks(found)) == (60, [Mark.RETAINED_AWAY])
    assert "the log begins at 55, so up to 15 record(s) were deleted before they were read" in explained(found)


@pytest.mark.parametrize("stored", [55, 56, 100])
def test_an_offset_that_the_log_has_is_not_marked(stored: int) -> None:
    assert marks(one(StoredPosition(stored, 1), Log(55, 100, 100))) == []


def test_an_offset_beyond_the_end() -> None:
    found = one(StoredPosition(120, 1), Log(0, 100, 100))
    assert (found.lag, marks(found)) == (0, [Mark.BEYOND_THE_END])


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (None, "an open transaction keeps the end at 60; 40 offset(s) behind it cannot be read yet"),
        (timedelta(seconds=90), "cannot be read yet; its first record is 1 min 30 s old"),
        (timedelta(minutes=15), "its first record is 15 min old"),
        (timedelta(hours=26), "its first record is 1 d 2 h old, longer than brokers let a transaction run: it hangs"),
    ],
)
def test_an_open_transaction_is_told_by_the_age_of_its_first_record(age: timedelta | None, words: str) -> None:
    times = None if age is None else RecordTimes(pinning={A: NOW - age})
    found = one(StoredPosition(60, 1), Log(0, 60, 100), times=times)
    assert (found.lag, marks(found)) == (0, [Mark.END_PINNED])
    assert explained(found).endswith(words) or words in explained(found)
    assert ("hangs" in explained(found)) is (age is not None and age > timedelta(minutes=15))


def test_an_offset_that_is_gone_and_an_end_that_is_pinned_are_both_told() -> None:
    assert marks(one(StoredPosition(1, 1), Log(5, 60, 100))) == [Mark.RETAINED_AWAY, Mark.END_PINNED]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(PlanKind.RANGE, "the next start repeats it"), (PlanKind.TRANSACTION, "a handler has committed by itself")],
)
def test_a_plan_that_was_left_behind(kind: PlanKind, words: str) -> None:
    (found,) = described({A: StoredPosition(40, 1, planned_until=50, plan_kind=kind)}, None, NOW)
    assert marks(found) == [Mark.PLAN_OUTSTANDING]
    assert "[40, 50) was planned and has not been committed" in explained(found)
    assert words in explained(found)


@pytest.mark.parametrize(
    ("reason", "words"), [("migrated to x", "migrated to x"), (None, "it was deleted; a new start begins")]
)
def test_a_closed_partition(reason: str | None, words: str) -> None:
    (found,) = described({A: StoredPosition(1, 1, state=PositionState.CLOSED, state_reason=reason)}, None, NOW)
    assert marks(found) == [Mark.CLOSED]
    assert words in explained(found)


def test_partitions_are_sorted_and_their_lags_added_up() -> None:
    positions = {B: StoredPosition(1, 1), A: StoredPosition(2, 1), TopicPartition("gone", 0): StoredPosition(3, 1)}
    found = described(positions, Observation(ORDERS, {A: Log(0, 10, 10), B: Log(0, 10, 10)}), NOW)
    assert [str(each.topic_partition) for each in found] == ["gone[0]", "orders[0]", "orders[1]"]
    assert total_lag(found) == 17
    assert total_lag(found[:1]) is None


def test_what_lies_beyond_the_end_takes_nothing_from_the_lag_of_the_others() -> None:
    positions = {A: StoredPosition(310, 1), B: StoredPosition(0, 1)}
    found = described(positions, Observation(ORDERS, {A: Log(0, 100, 100), B: Log(0, 10, 10)}), NOW)
    assert ([each.lag for each in found], total_lag(found)) == ([0, 10], 10)
    assert [marks(each) for each in found] == [[Mark.BEYOND_THE_END], []]


def test_partitions_that_nobody_took_over_yet() -> None:
    observation = Observation({"orders": TopicInfo(3, None)}, {})
    assert not_stored({A: StoredPosition(1, 1)}, observation) == [B, TopicPartition("orders", 2)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.85, "850 ms"),
        (1, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (3600, "1 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
