"""What a stream says about an open transaction that holds it up, and times that lie before all records."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NoReturn

import pytest

from kafka_stream.engine.bounds import NO_PROGRESS_S
from kafka_stream.engine.topic_look import LOOK_INTERVAL_S, PINNED_S, Pins
from kafka_stream.errors import BrokerUnavailable, HangingTransaction, KafkaStreamError, TopicNotFound
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.memory.kafka import MemoryTransaction
from kafka_stream.types import TopicPartition
from tests.simulation import Clock, ResultsStore, Simulation

ORDERS_0, ORDERS_1 = (TopicPartition("orders", number) for number in range(2))
NOW = datetime.now(UTC)
HANGS = timedelta(minutes=20)
LONG_AGO = [
    datetime(1970, 1, 1, tzinfo=UTC) - timedelta(milliseconds=1),
    datetime.min.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
]


@pytest.fixture
def kafka() -> MemoryKafka:
    """Two partitions of three records."""
    kafka = MemoryKafka({"orders": 2})
    for number in range(6):
        kafka.produce("orders", "x", partition=number % 2)
    return kafka


def _pinned(kafka: MemoryKafka, age: timedelta = timedelta()) -> MemoryTransaction:
    """Records that nobody can read behind an open transaction's, the first of which is so old."""
    transaction = kafka.open_transaction()
    for number in range(2):
        made = datetime.now(UTC) - age + number * timedelta(seconds=1)
        transaction.produce("orders", "open", partition=0, timestamp_ms=int(made.timestamp() * 1000))
    for _ in range(5):
        kafka.produce("orders", "x", partition=0)
    return transaction


# -------------------------------------------------------------------------------------------------------- bounded runs


@pytest.mark.parametrize("until", [NOW + timedelta(days=1), {ORDERS_0: 10}], ids=["by time", "by offset"])
def test_an_end_behind_an_open_transaction_is_not_reached(kafka: MemoryKafka, store: ResultsStore, until: Any) -> None:
    _pinned(kafka)
    said = r"orders\[0\] is pinned at 3 by an open transaction, whose first record is \d+ s old; end it"
    with pytest.raises(HangingTransaction, match=said) as caught:
        Simulation(kafka, store).run(until)
    assert caught.value.partitions == (ORDERS_0,)
    assert (caught.value.partition, caught.value.offset) == (ORDERS_0, 3)
    assert caught.value.age_s is not None
    assert 0 <= caught.value.age_s < 60, "of the record, not of the wait"
    assert len([row for row in store.rows if row[1] == 0]) == 3


def test_a_transaction_that_ends_in_time_lets_a_run_by_time_come_to_its_end(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    transaction = _pinned(kafka)
    run = Simulation(kafka, store)
    run.at(10, transaction.commit)
    run.run(NOW + timedelta(days=1))
    assert [row[2] for row in store.rows if row[1] == 0] == list(range(10))


def test_a_transaction_that_began_after_the_time_is_not_waited_for(kafka: MemoryKafka, store: ResultsStore) -> None:
    later = NOW + timedelta(days=2)
    kafka.produce("orders", "x", partition=0, timestamp_ms=int(later.timestamp() * 1_000))
    _pinned(kafka)
    Simulation(kafka, store).run(NOW + timedelta(days=1))
    assert [row[2] for row in store.rows if row[1] == 0] == [0, 1, 2]


def test_latest_is_where_the_open_transaction_begins(kafka: MemoryKafka, store: ResultsStore) -> None:
    _pinned(kafka)
    assert Simulation(kafka, store).run("latest").records == 6


def test_latest_that_a_transaction_pins_which_hangs_is_said_when_all_before_it_is_committed(
    kafka: MemoryKafka, store: ResultsStore, caplog: pytest.LogCaptureFixture
) -> None:
    _pinned(kafka, HANGS)
    run = Simulation(kafka, store)
    with pytest.raises(HangingTransaction, match=r"orders\[0\] is pinned at 3 .* 1200 s old") as caught:
        run.run("latest")
    assert len(store.rows) == 6
    assert run.next_offsets() == {ORDERS_0: 3, ORDERS_1: 3}
    assert (caught.value.partitions, caught.value.partition, caught.value.offset) == ((ORDERS_0,), ORDERS_0, 3)
    assert caught.value.age_s == pytest.approx(HANGS.total_seconds(), abs=60)
    assert run.clock.now >= 1_000 + NO_PROGRESS_S
    assert caplog.text.count("looking again in 60 s") == 1


def test_records_of_long_ago_in_a_transaction_that_ends_are_no_reason_to_fail(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    transaction = _pinned(kafka, HANGS)
    run = Simulation(kafka, store)
    run.at(NO_PROGRESS_S / 2, transaction.commit)
    assert run.run("latest").records == 6


def test_nobody_waits_for_it_who_wants_to_stop(kafka: MemoryKafka, store: ResultsStore) -> None:
    _pinned(kafka, HANGS)
    run = Simulation(kafka, store)
    run.at(NO_PROGRESS_S / 2, run.stop)
    assert run.run("latest").records == 6
    assert run.clock.now < 1_000 + NO_PROGRESS_S


@pytest.mark.parametrize("error", [BrokerUnavailable("nobody answered"), TopicNotFound("it is gone")], ids=repr)
def test_whether_one_hangs_is_no_reason_to_fail_where_nobody_can_tell(
    kafka: MemoryKafka, store: ResultsStore, error: KafkaStreamError
) -> None:
    _pinned(kafka, HANGS)
    run = Simulation(kafka, store)

    def away(partitions: object) -> NoReturn:
        raise error

    run.source.open_transactions = away  # type: ignore[attr-defined]
    assert run.run("latest").records == 6


@pytest.mark.parametrize("until", [NOW + timedelta(days=1), {ORDERS_0: 10}], ids=["by time", "by offset"])
def test_of_several_that_hang_all_are_named(kafka: MemoryKafka, store: ResultsStore, until: Any) -> None:
    _pinned(kafka, HANGS)
    kafka.open_transaction("orders", ["open"], partition=1)
    if isinstance(until, dict):
        until = {**until, ORDERS_1: 4}
    with pytest.raises(HangingTransaction) as caught:
        Simulation(kafka, store).run(until)
    assert caught.value.partitions == (ORDERS_0, ORDERS_1)


@pytest.mark.parametrize("at", LONG_AGO, ids=str)
def test_a_time_before_all_records(kafka: MemoryKafka, store: ResultsStore, at: datetime) -> None:
    kafka.delete_records("orders", 0, 1)
    assert Simulation(kafka, store, start=at).run(at).records == 0
    assert Simulation(kafka, store).next_offsets() == {ORDERS_0: 1, ORDERS_1: 0}
    assert Simulation(kafka, store).run("latest").records == 5


# ---------------------------------------------------------------------------------------------------- running streams


def test_a_running_stream_says_that_it_is_pinned_once_and_when_it_is_not_any_more(
    kafka: MemoryKafka, store: ResultsStore, caplog: pytest.LogCaptureFixture
) -> None:
    transaction = _pinned(kafka)
    run = Simulation(kafka, store)
    seen: dict[str, Any] = {}
    run.at(PINNED_S - LOOK_INTERVAL_S, lambda: seen.update(early=run.loop.status.pinned))
    run.at(PINNED_S + 4 * LOOK_INTERVAL_S, lambda: seen.update(late=run.loop.status.pinned))
    run.at(PINNED_S + 10 * LOOK_INTERVAL_S, transaction.abort)
    run.at(PINNED_S + 14 * LOOK_INTERVAL_S, run.stop)
    with caplog.at_level(logging.INFO, "kafka_stream"):
        run.run()
    assert seen["early"] == {}
    assert seen["late"].keys() == {ORDERS_0}
    assert seen["late"][ORDERS_0] <= datetime.now(UTC)
    assert run.loop.status.pinned == {}
    assert caplog.text.count("the end of orders[0] is pinned at 3 by an open transaction, for 6") == 1
    assert caplog.text.count("the end of orders[0] is not pinned any more") == 1
    assert len([row for row in store.rows if row[1] == 0]) == 8
    assert [told.keys() for told in run.story.pinned] == [{ORDERS_0}, set()]
    assert run.story.pinned[0] == seen["late"]


def test_transactions_that_follow_each_other_pin_nothing() -> None:
    clock = Clock()
    pins = Pins(clock)
    for end in range(20):
        clock.sleep(PINNED_S / 2)
        assert pins.seen({ORDERS_0: end}) == {}, "each is another one"
    clock.sleep(PINNED_S)
    assert pins.seen({ORDERS_0: 19}).keys() == {ORDERS_0}
    assert pins.seen({ORDERS_0: 20}) == {}
