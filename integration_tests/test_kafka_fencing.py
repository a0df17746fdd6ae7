"""What stands in for compare-and-set in Kafka: who is fenced by what, and what an owner makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from integration_tests.engine import wait_until
from integration_tests.kafka_store import WAIT_S, Place
from integration_tests.servers import KafkaServer
from kafka_stream.errors import CommitOutcomeUnknown, OwnershipLost, StoreUnavailable, TransientError
from kafka_stream.offset_stores.kafka import KafkaTransaction, deliveries
from kafka_stream.offset_stores.kafka.deliveries import Deliveries
from kafka_stream.offset_stores.kafka.producer import TransactionalProducer
from kafka_stream.offset_stores.kafka.tenure import Tenure
from kafka_stream.protocols import Action, ActionKind, Change
from kafka_stream.testing.store_backend import NEWER, OLDER
from kafka_stream.types import OffsetRange, Owner

OTHER = Owner("other-77aa", "host-c", "v3")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def place(kafka: KafkaServer, stack: ExitStack) -> Place:
    return Place(kafka, stack)


# Static owners --------------------------------------------------------------------------------------------------------


def test_an_older_owner_that_wakes_before_its_first_record_commits_nothing(place: Place) -> None:
    older, newer = place.store(), place.store()
    claim = place.claim(OLDER, place.take_over(older, OLDER, 0, 1), {0: (0, 5)})
    with pytest.raises(OwnershipLost) as raised, older.begin(claim) as transaction:
        taken = place.take_over(newer, NEWER, 0, 1)
        transaction.produce(place.results_topic, value="1")
        transaction.advance()
        transaction.commit()
    assert raised.value.other == NEWER
    with pytest.raises(OwnershipLost) as raised, older.begin(claim):
        pytest.fail("it was let in again")
    assert raised.value.other == NEWER
    place.commit(newer, place.claim(NEWER, taken, {0: (0, 3)}), 2)
    assert (place.results(), place.stored()) == ([2], {0: 3, 1: 0})


def test_an_older_owner_whose_records_are_written_already_commits_nothing(place: Place) -> None:
    older, newer = place.store(), place.store()
    claim = place.claim(OLDER, place.take_over(older, OLDER, 0), {0: (0, 5)})
    with pytest.raises(OwnershipLost) as raised, older.begin(claim) as transaction:
        transaction.produce(place.results_topic, value="1")
        assert wait_until(lambda: place.written() > 0, WAIT_S)
        place.take_over(newer, NEWER, 0)
        transaction.advance()
    assert raised.value.other == NEWER
    assert (place.results(), place.stored()) == ([], {0: 0})


def test_a_fatal_error_that_a_callback_loses_is_learned_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hears = Deliveries.__call__

    def loses(self: Deliveries, error: Any, message: Any) -> None:
        repr(contextlib)  # clears whatever error is set; under load the client's calls of the logger do, too
        hears(self, error, message)

    monkeypatch.setattr(Deliveries, "__call__", loses)
    monkeypatch.setattr(deliveries, "LOOK_S", WAIT_S)  # one call hears of the error and of the record's delivery
    caplog.set_level("INFO", "kafka_stream.librdkafka")
    older, newer = place.store(), place.store()
    for _ in range(20):
        claim = place.claim(OLDER, place.take_over(older, OLDER, 0), {0: (0, 5)})
        before = place.written()
        with pytest.raises(OwnershipLost) as raised, older.begin(claim) as transaction:
            transaction.produce(place.results_topic, value="1")
            assert wait_until(lambda: place.written() > before, WAIT_S)  # noqa: B023 - called here only
            place.take_over(newer, NEWER, 0)
            transaction.produce(place.results_topic, value="2")
            transaction.advance()
        assert raised.value.other == NEWER
        if any("error was lost" in record.message for record in caplog.records):
            break
    else:
        pytest.fail("no error was lost in 20 attempts")
    assert (place.results(), place.stored()) == ([], {0: 0})


def test_an_older_owner_at_its_commit_learns_that_it_did_not_happen(place: Place) -> None:
    older, newer = place.store(), place.store()
    claim = place.claim(OLDER, place.take_over(older, OLDER, 0), {0: (0, 5)})
    with pytest.raises(CommitOutcomeUnknown), older.begin(claim) as transaction:
        transaction.produce(place.results_topic, value="1")
        transaction.advance()
        taken = place.take_over(newer, NEWER, 0)
        transaction.commit()
    assert taken[place.partitions[0]].next_offset == 0
    with pytest.raises(OwnershipLost) as raised:
        older.reclaim(claim)
    assert raised.value.other == NEWER
    place.commit(newer, place.claim(NEWER, taken, {0: (0, 5)}), 2)
    assert place.results() == [2]


def test_a_stale_owner_never_fences_its_successor(place: Place) -> None:
    older, newer = place.store(), place.store()
    claim = place.claim(OLDER, place.take_over(older, OLDER, 0), {0: (0, 5)})
    taken = place.take_over(newer, NEWER, 0)
    with newer.begin(place.claim(NEWER, taken, {0: (0, 3)})) as transaction:
        transaction.produce(place.results_topic, value="2")
        for _ in range(3):
            with pytest.raises(OwnershipLost), older.begin(claim) as late:
                late.produce(place.results_topic, value="1")
                late.advance()
            with pytest.raises(OwnershipLost):
                older.reclaim(claim)
            with pytest.raises(OwnershipLost):
                older.reposition(replace(claim, ranges=(OffsetRange(place.partitions[0], 9, 9),)))
        transaction.advance()
        transaction.commit()
    assert (place.results(), place.stored()) == ([2], {0: 3})


@pytest.mark.parametrize("fenced_at", ["its offsets", "its commit"])
def test_a_reset_of_partitions_that_the_fenced_batch_has_not_is_not_overwritten(place: Place, fenced_at: str) -> None:
    store, command = place.store(), place.store()
    taken = place.take_over(store, OLDER, 0, 1)
    place.commit(store, place.claim(OLDER, taken, {0: (0, 3), 1: (0, 4)}), 1)
    claim = place.claim(OLDER, taken, {0: (3, 5)})
    reset = Action("reset", ActionKind.RESET, "operator@here")
    moved = place.partitions[1]
    with pytest.raises((TransientError, CommitOutcomeUnknown)), store.begin(claim) as transaction:
        transaction.produce(place.results_topic, value="2")
        if fenced_at == "its commit":
            transaction.advance()
        command.change(place.stream, [moved], reset, lambda _: [Change(moved, 1)])
        if fenced_at == "its offsets":
            transaction.advance()
        transaction.commit()
    assert store.reclaim(claim)[place.partitions[0]].next_offset == 3
    with pytest.raises(OwnershipLost, match="fenced by an admin command"):
        place.commit(store, place.claim(OLDER, taken, {1: (4, 6)}), 3)
    taken = place.take_over(store, OLDER, 0, 1)
    place.commit(store, place.claim(OLDER, taken, {0: (3, 5), 1: (1, 4)}), 4)
    assert (place.results(), place.stored()) == ([1, 4], {0: 5, 1: 4})


def test_after_a_change_of_the_number_of_shards_no_older_shard_commits(place: Place) -> None:
    halves = {"static:0/2": (0, 2, 4), "static:1/2": (1, 3, 5)}
    thirds = {"static:0/3": (0, 3), "static:1/3": (1, 4), "static:2/3": (2, 5)}
    older = {shard: place.store(shard) for shard in halves}
    claims = {
        shard: place.claim(OLDER, place.take_over(older[shard], OLDER, *numbers), dict.fromkeys(numbers, (0, 5)))
        for shard, numbers in halves.items()
    }
    open_ones: dict[str, KafkaTransaction] = {}
    with ExitStack() as batches:
        for number, (shard, store) in enumerate(older.items()):
            open_ones[shard] = batches.enter_context(store.begin(claims[shard]))
            open_ones[shard].produce(place.results_topic, value=str(number))
        newer = place.store("static:0/3")
        taken = place.take_over(newer, NEWER, *thirds["static:0/3"])
        for transaction in open_ones.values():
            with pytest.raises(OwnershipLost) as raised:
                transaction.advance()
            assert raised.value.other == NEWER
    place.commit(newer, place.claim(NEWER, taken, {0: (0, 3), 3: (0, 3)}), 7)
    assert (place.results(), place.stored()) == ([7], {0: 3, 3: 3, 1: 0, 2: 0, 4: 0, 5: 0})


def test_a_starting_shard_leaves_its_siblings_alone(place: Place) -> None:
    first = place.store("static:0/2")
    taken = place.take_over(first, OLDER, 0, 2)
    with first.begin(place.claim(OLDER, taken, {0: (0, 5), 2: (0, 5)})) as transaction:
        transaction.produce(place.results_topic, value="1")
        second = place.store("static:1/2")
        for owner in (NEWER, OTHER):
            place.commit(second, place.claim(owner, place.take_over(second, owner, 1), {1: (0, 0)}), 2)
        transaction.advance()
        transaction.commit()
    assert sorted(place.results()) == [1, 2, 2]
    assert place.stored() == {0: 5, 1: 0, 2: 5}


def test_owners_of_two_numbers_of_shards_that_take_over_at_once_are_not_both_let_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one comes back when it was fenced already, and reads before the new one's offsets are pending."""
    place.take_over(place.store("static"), OLDER, 0)
    back, new = place.store("static"), place.store("static:0/2")
    has_read, may_sign, has_signed = Event(), Event(), Event()
    sign, commit_offsets, commit = Tenure._sign, Tenure._commit_offsets, TransactionalProducer.commit
    coming_back: list[Future[object]] = []

    def sign_late(self: Tenure, *values: Any) -> None:
        if not coming_back:
            coming_back.append(threads.submit(place.take_over, back, OLDER, 0))
            assert has_read.wait(WAIT_S)
        else:
            has_read.set()
            assert may_sign.wait(WAIT_S)
        sign(self, *values)

    def tell(self: Tenure, *values: Any) -> None:
        try:
            commit_offsets(self, *values)
        finally:
            has_signed.set()

    def commit_late(self: TransactionalProducer) -> None:
        if not may_sign.is_set():  # the new one has looked, and commits when the old one has
            may_sign.set()
            assert has_signed.wait(WAIT_S)
        commit(self)

    monkeypatch.setattr(Tenure, "_sign", sign_late)
    monkeypatch.setattr(Tenure, "_commit_offsets", tell)
    monkeypatch.setattr(TransactionalProducer, "commit", commit_late)
    with ThreadPoolExecutor() as threads:
        taken = place.take_over(new, NEWER, 0)
        with pytest.raises(StoreUnavailable):
            coming_back[0].result(WAIT_S)
    place.commit(new, place.claim(NEWER, taken, {0: (0, 5)}), 1)
    assert (place.results(), place.stored()) == ([1], {0: 5})


# Transactions that take too long --------------------------------------------------------------------------------------


def outlive(place: Place) -> None:
    """Wait until the broker has aborted what is open in the results' topic."""
    assert wait_until(lambda: place.written() > 0, WAIT_S)

    def is_aborted() -> bool:
        ends = [place.server.end_offsets(place.results_topic, committed=each)[0] for each in (True, False)]
        return ends[0] == ends[1]

    assert wait_until(is_aborted, WAIT_S)


@pytest.mark.parametrize("offsets_are_sent", [False, True])
def test_a_transaction_that_outlives_its_timeout_is_reported_as_such_and_repeated(
    place: Place, offsets_are_sent: bool
) -> None:
    store = place.store(transaction_timeout_ms=5000)
    claim = place.claim(OLDER, place.take_over(store, OLDER, 0), {0: (0, 5)})
    with (
        pytest.raises((StoreUnavailable, CommitOutcomeUnknown), match=r"outlived transaction\.timeout\.ms"),
        store.begin(claim) as transaction,
    ):
        transaction.produce(place.results_topic, value="1")
        if offsets_are_sent:
            transaction.advance()
        outlive(place)
        if not offsets_are_sent:
            transaction.advance()
        transaction.commit()
    if offsets_are_sent:
        found = place.reclaim(store, claim)
        assert found[place.partitions[0]].next_offset == 0
        claim = place.claim(OLDER, found, {0: (0, 5)})
    place.commit(store, claim, 2)
    assert (place.results(), place.stored()) == ([2], {0: 5})


def test_an_owner_that_has_outlived_its_transaction_gives_way_to_its_successor(place: Place) -> None:
    older, newer = place.store(transaction_timeout_ms=5000), place.store()
    claim = place.claim(OLDER, place.take_over(older, OLDER, 0), {0: (0, 5)})
    with pytest.raises(OwnershipLost) as raised, older.begin(claim) as transaction:
        transaction.produce(place.results_topic, value="1")
        outlive(place)
        taken = place.take_over(newer, NEWER, 0)
        with newer.begin(place.claim(NEWER, taken, {0: (0, 3)})) as current:
            current.produce(place.results_topic, value="2")
            with pytest.raises(OwnershipLost):
                transaction.advance()
            with pytest.raises(OwnershipLost):
                older.reclaim(claim)
            current.advance()
            current.commit()
        transaction.advance()
    assert raised.value.other == NEWER
    assert (place.results(), place.stored()) == ([2], {0: 3})
