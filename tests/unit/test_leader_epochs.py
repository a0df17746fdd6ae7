"""The leader epoch beside an offset is that of what was read up to it, or unknown: a wrong one looks like a loss."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_stream.errors import LogTruncated, StoreUnavailable
from kafka_stream.source.buffer import leader_epochs_of
from kafka_stream.testing import MemoryKafka, message
from kafka_stream.types import OffsetRange, Phase, StoredPosition, TopicPartition
from tests.property.worlds import FilesWorld
from tests.simulation import ResultsStore, Simulation

ORDERS_0 = TopicPartition("orders", 0)


@pytest.fixture
def kafka() -> MemoryKafka:
    return MemoryKafka({"orders": 1})


def _stored(store: ResultsStore) -> StoredPosition:
    return store.positions("s")[ORDERS_0]


def _records(epoch: int | None, *offsets: int) -> dict[TopicPartition, list[Any]]:
    return {ORDERS_0: [message("x", topic="orders", offset=offset, leader_epoch=epoch) for offset in offsets]}


@pytest.mark.parametrize(
    ("epoch", "offsets", "until", "known"),
    [
        (3, (4, 5), 6, {ORDERS_0: 3}),
        (0, (5,), 6, {ORDERS_0: 0}),
        (3, (4, 5), 7, {}),
        (3, (4,), 6, {}),
        (None, (4, 5), 6, {}),
        (3, (), 6, {}),
    ],
    ids=["right after", "epoch 0", "past a marker", "before a gap", "not told", "no record"],
)
def test_an_epoch_is_known_where_the_range_ends_right_after_a_record(
    epoch: int | None, offsets: tuple[int, ...], until: int, known: dict[TopicPartition, int]
) -> None:
    assert leader_epochs_of([OffsetRange(ORDERS_0, 2, until)], _records(epoch, *offsets)) == known


def _transaction_whose_marker_is_of_a_newer_leader(kafka: MemoryKafka, *, commit: bool) -> None:
    transaction = kafka.open_transaction("orders", ["x"] * 3)
    kafka.elect_leader("orders", 0)
    if commit:
        transaction.commit()
    else:
        transaction.abort()


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("records_before", [0, 2])
def test_a_marker_of_a_newer_leader_is_no_truncation_at_the_next_start(
    kafka: MemoryKafka, store: ResultsStore, commit: bool, records_before: int
) -> None:
    for _ in range(records_before):
        kafka.produce("orders", "x")
    Simulation(kafka, store).run("latest")  # what is stored now has the epoch of the last record
    _transaction_whose_marker_is_of_a_newer_leader(kafka, commit=commit)
    Simulation(kafka, store).run("latest")
    assert (_stored(store).next_offset, _stored(store).leader_epoch) == (records_before + 4, None)
    for _ in range(2):
        kafka.produce("orders", "x")
        Simulation(kafka, store).run("latest")
    assert len(store.rows) == records_before + (3 if commit else 0) + 2
    assert _stored(store).leader_epoch == 1


def test_a_rewind_past_a_marker_of_a_newer_leader_is_no_truncation(kafka: MemoryKafka, store: ResultsStore) -> None:
    kafka.produce("orders", "x")
    _transaction_whose_marker_is_of_a_newer_leader(kafka, commit=True)
    run = Simulation(kafka, store)

    def another_batch_that_fails_once() -> None:
        if len(run.story.batches) < 2:
            kafka.produce("orders", "x")
            store.failures["advance"] = [StoreUnavailable("away")]

    run.story.on[Phase.AFTER_COMMIT] = another_batch_that_fails_once
    run.at(10, run.stop)
    run.run()
    assert run.story.retries
    assert len(store.rows) == 6


def test_a_member_that_gets_a_partition_reads_on_past_a_marker_of_a_newer_leader(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    _transaction_whose_marker_is_of_a_newer_leader(kafka, commit=True)
    for _ in range(2):
        member = Simulation(kafka, store, assignment="group")
        member.at(2, member.stop)
        member.run()
        kafka.produce("orders", "x")
    assert len(store.rows) == 4


def test_a_planned_range_is_repeated_past_a_marker_of_a_newer_leader(kafka: MemoryKafka) -> None:
    world = FilesWorld()
    _transaction_whose_marker_is_of_a_newer_leader(kafka, commit=True)
    store = ResultsStore(world.process())
    store.failures["begin"] = [KeyboardInterrupt()]  # as good as a crash, once it is planned
    with pytest.raises(KeyboardInterrupt):
        Simulation(kafka, store, sink=world.sink(lambda records: None)).run("latest")
    for _ in range(2):
        Simulation(kafka, store, sink=world.sink(lambda records: None)).run("latest")
    assert world.rows() == [("orders", 0, offset) for offset in range(3)]


@pytest.mark.parametrize("elections", [0, 2])
def test_a_tail_that_was_replaced_is_still_told_where_the_epoch_is_known(
    kafka: MemoryKafka, store: ResultsStore, elections: int
) -> None:
    for _ in range(elections):
        kafka.elect_leader("orders", 0)
    for _ in range(5):
        kafka.produce("orders", "x")
    Simulation(kafka, store).run("latest")
    assert _stored(store).leader_epoch == elections
    kafka.truncate("orders", 0, 3)
    for _ in range(5):
        kafka.produce("orders", "replaced")
    with pytest.raises(LogTruncated):
        Simulation(kafka, store).run()


def test_a_log_that_ends_before_an_offset_without_an_epoch_is_told(kafka: MemoryKafka, store: ResultsStore) -> None:
    _transaction_whose_marker_is_of_a_newer_leader(kafka, commit=True)
    Simulation(kafka, store).run("latest")
    kafka.truncate("orders", 0, 2)
    with pytest.raises(LogTruncated):
        Simulation(kafka, store).run()
