"""A reset of a stream whose sinks keep state: it is said, or cleared in the same transaction, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.admin.history import undo
from kafka_stream.admin.reset import execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ToEarliest, ToOffset
from kafka_stream.admin.state.resetting import execute_state_reset, plan_state_reset
from kafka_stream.admin.targets import Selection
from kafka_stream.errors import CommandRefused, OwnershipLost, StoreUnavailable
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import ActionKind
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.testing.store_backend import claim_of
from kafka_stream.types import Owner, TopicPartition
from tests.admin_fakes import Brokers
from tests.fakes import ORDERS_0, ORDERS_1
from tests.keeping_state import COUNTS, TOTALS, Counting
from tests.unit.state.conftest import RECORDS, Reading, Running

ONE_OF_THEM = [Selection("orders", (0,))]
PAGES = "abcde"
BY_PARTITION = {("orders", number, page): 2 for number in (0, 1) for page in PAGES}


def _epochs(store: SqlOffsetStore) -> Mapping[TopicPartition, int]:
    return {tp: position.owner_epoch for tp, position in store.positions("s").items()}


def _all(times: int) -> dict[tuple[Any, ...], int]:
    return {(page,): 2 * times for page in PAGES}


def test_a_reset_alone_counts_what_is_read_again_twice(
    opened: SqlOffsetStore, prepared: Any, run: Running, rows: Reading
) -> None:
    execute_reset(opened, prepared())
    run()
    assert rows(TOTALS) == _all(2 * 2)


@pytest.mark.parametrize("with_code", [True, False], ids=["by the sinks", "by the register"])
def test_state_is_cleared_with_the_offsets(
    with_code: bool, opened: SqlOffsetStore, prepared: Any, run: Running, rows: Reading
) -> None:
    sinks = [Counting(), Counting(COUNTS)] if with_code else []
    plan, cleared = execute_state_reset(opened, prepared(), sinks=sinks)
    assert plan.offsets() == {ORDERS_0: 0, ORDERS_1: 0}
    assert cleared == {"totals": 5, "counts": 10}
    assert (rows(TOTALS), rows(COUNTS)) == ({}, {})
    run()
    assert (rows(TOTALS), rows(COUNTS)) == (_all(2), BY_PARTITION)


@pytest.mark.parametrize("with_code", [True, False], ids=["by the sinks", "by the register"])
def test_state_of_single_partitions_is_cleared_of_those_that_move(
    with_code: bool, opened: SqlOffsetStore, run: Running, fake_brokers: Brokers, rows: Reading
) -> None:
    counting = Counting(COUNTS)
    run(counting)
    before = _epochs(opened)
    reset = prepare_reset(opened, "s", fake_brokers, ToEarliest(), ONE_OF_THEM)
    _, cleared = execute_state_reset(opened, reset, sinks=[counting] if with_code else [])
    assert cleared == {"counts": 5}
    assert rows(COUNTS) == {key: total for key, total in BY_PARTITION.items() if key[1] == 1}
    after = _epochs(opened)
    assert (after[ORDERS_0] > before[ORDERS_0], after[ORDERS_1] == before[ORDERS_1]) == (True, True)
    run(counting)
    assert rows(COUNTS) == BY_PARTITION


def test_state_of_all_partitions_is_not_cleared_for_some_of_them_unless_that_is_meant(
    opened: SqlOffsetStore, prepared: Any, rows: Reading
) -> None:
    reset = prepared(None, ONE_OF_THEM)
    before = opened.positions("s")
    with pytest.raises(
        CommandRefused,
        match=r"'totals' in table totals is made of all partitions' records, and 1 of 2 stay where they are "
        r"\(orders\[1\]\).* or say --clear-shared-state",
    ):
        execute_state_reset(opened, reset)
    assert opened.positions("s") == before
    assert rows(TOTALS) == _all(2)
    assert plan_state_reset(opened, reset).refusals
    assert plan_state_reset(opened, reset, clears_shared=True).refusals == []


def test_owners_of_the_partitions_that_stay_are_fenced_where_shared_state_is_cleared(
    opened: SqlOffsetStore, prepared: Any, rows: Reading
) -> None:
    owner = Owner("1", "here")
    taken = opened.take_over("s", owner, [ORDERS_1], {})
    plan, cleared = execute_state_reset(opened, prepared(None, ONE_OF_THEM), clears_shared=True)
    assert plan.offsets() == {ORDERS_0: 0}
    assert cleared == {"totals": 5, "counts": 5}
    assert {tp: position.next_offset for tp, position in opened.positions("s").items()} == {
        ORDERS_0: 0,
        ORDERS_1: RECORDS,
    }
    claim = claim_of(owner, {ORDERS_1: (RECORDS, RECORDS)}, taken, stream="s")
    with pytest.raises(OwnershipLost), opened.begin(claim):
        pytest.fail("whoever remembers state that was cleared has committed")


def test_nothing_is_cleared_where_a_partition_must_not_move(
    opened: SqlOffsetStore, prepared: Any, rows: Reading
) -> None:
    reset = prepared()
    opened.close_topics("s", ["orders"], _action(), "elsewhere")
    with pytest.raises(CommandRefused, match="is closed"):
        execute_state_reset(opened, reset)
    assert rows(TOTALS) == _all(2)


def _action() -> Any:
    from kafka_stream.admin.actions import new_action

    return new_action(ActionKind.CLOSE)


def test_a_sink_that_fails_at_it_leaves_everything_as_it_was(
    opened: SqlOffsetStore, prepared: Any, rows: Reading
) -> None:
    class Failing(Counting):
        def clear(self, transaction: StatefulTransaction, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
            super().clear(transaction, partitions)
            raise KeyError("no")

    reset, before = prepared(), opened.positions("s")
    with pytest.raises(KeyError):
        execute_state_reset(opened, reset, sinks=[Counting(COUNTS), Failing()])
    assert (rows(TOTALS), rows(COUNTS)) == (_all(2), BY_PARTITION)
    assert opened.positions("s") == before


def test_what_a_sink_is_given_says_where_the_stream_is_now(opened: SqlOffsetStore, prepared: Any) -> None:
    seen: list[Any] = []

    class Looking(Counting):
        def clear(self, transaction: StatefulTransaction, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
            assert isinstance(transaction, StatefulTransaction)
            seen.append((transaction.claimed.stream, list(transaction.partitions()), list(partitions)))
            seen.append([str(r) for r in transaction.claimed.ranges])
            seen.append((transaction.in_attempt, transaction.is_committed))
            return super().clear(transaction, partitions)

    execute_state_reset(opened, prepared(ToOffset(3)), sinks=[Looking()])
    both = [ORDERS_0, ORDERS_1]
    assert seen == [("s", both, both), ["orders[0] [3, 3)", "orders[1] [3, 3)"], (True, False)]


def test_the_history_says_what_was_cleared_and_that_is_not_undone(opened: SqlOffsetStore, prepared: Any) -> None:
    execute_state_reset(opened, prepared(), actor="op@here")
    (entry, *_) = opened.history("s", 1)
    assert (entry.action.kind, entry.action.actor) == (ActionKind.RESET, "op@here")
    assert entry.cleared == {"totals": 5, "counts": 10}
    with pytest.raises(
        CommandRefused,
        match=r"has cleared what sinks had kept, counts \(10 rows\) and totals \(5 rows\), which cannot be put back: "
        r"reset orders\[0\] to 10 if that is meant",
    ):
        undo(opened, "s")


def test_a_reset_without_it_is_undone_as_before(
    opened: SqlOffsetStore, prepared: Any, run: Running, rows: Reading
) -> None:
    execute_reset(opened, prepared())
    undo(opened, "s")
    run()
    assert rows(TOTALS) == _all(2)


def test_an_action_whose_answer_was_lost_is_not_done_again(
    opened: SqlOffsetStore, prepared: Any, monkeypatch: pytest.MonkeyPatch, rows: Reading
) -> None:
    monkeypatch.setattr("kafka_stream.admin.actions.time.sleep", lambda _: None)
    real = opened.change_and_clear
    answers = [StoreUnavailable("the answer was lost")]

    def losing(*args: Any) -> Any:
        done = real(*args)
        if answers:
            raise answers.pop()
        return done

    monkeypatch.setattr(opened, "change_and_clear", losing)
    _, cleared = execute_state_reset(opened, prepared())
    assert cleared == {"totals": 5, "counts": 10}
    assert rows(TOTALS) == {}


def test_a_table_that_another_stream_keeps_state_in_is_left_alone(
    opened: SqlOffsetStore, prepared: Any, run: Running, rows: Reading
) -> None:
    run(Counting(), name="other")
    reset, before = prepared(), rows(TOTALS)
    with pytest.raises(
        CommandRefused, match=r"table totals is not of this stream alone: 'other' keeps state in it, too"
    ):
        execute_state_reset(opened, reset)
    assert rows(TOTALS) == before


def test_a_partition_that_comes_in_between_is_cleared_with_the_others_or_nothing_is(
    opened: SqlOffsetStore, prepared: Any, monkeypatch: pytest.MonkeyPatch, rows: Reading
) -> None:
    """Its owner might write into what is being cleared."""
    monkeypatch.setattr("kafka_stream.admin.actions.time.sleep", lambda _: None)
    reset, real = prepared(), opened.change_and_clear
    calls: list[Any] = []

    def overtaken(*args: Any) -> Any:
        if not calls:
            opened.initialise("s", "payments", {0: 0}, None)
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(opened, "change_and_clear", overtaken)
    with pytest.raises(CommandRefused, match=r"1 of 3 stay where they are \(payments\[0\]\)"):
        execute_state_reset(opened, reset)
    assert len(calls) == 2
    assert rows(TOTALS) == _all(2)


def test_what_is_planned_of_a_partition_that_stays_is_not_forgotten(
    opened: SqlOffsetStore, prepared: Any, url: str
) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE kafka_stream_offsets SET planned_until = 12, plan_kind = 'transaction' WHERE partition = 1")
        )
    engine.dispose()
    with pytest.raises(CommandRefused, match=r"orders\[1\] \[10, 12\) is planned and not committed, and is to stay"):
        execute_state_reset(opened, prepared(None, ONE_OF_THEM), clears_shared=True)
