"""Dead letters on an ensemble whose followers lag: the contract, what it refuses and when, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from kazoo.exceptions import ConnectionLoss, NoAuthError, NodeExistsError

from kafka_stream.errors import CommandRefused, ProcessingError, SpoiledTransaction, StatementRefused, StoreUnavailable
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore, ZooKeeperTransaction
from kafka_stream.protocols import LetterStatus
from kafka_stream.testing.dead_letter_contract import DeadLetterContract, letter
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, claim_of
from tests.unit.test_zookeeper_store import LaggingBackend
from tests.zookeeper_ensemble import Ensemble, FollowerConnection, Znode


class TestZooKeeperLettersOnLaggingFollowers(DeadLetterContract):
    @pytest.fixture
    def backend(self) -> LaggingBackend:
        return LaggingBackend()


@pytest.fixture
def ensemble() -> Ensemble:
    return Ensemble({"/taken": Znode(b"")})


@pytest.fixture
def store(ensemble: Ensemble) -> ZooKeeperOffsetStore:
    return ensemble.store()


@pytest.fixture
def transaction(store: ZooKeeperOffsetStore) -> Iterator[ZooKeeperTransaction]:
    """A batch's, of one partition, from 0 to 10."""
    positions = store.take_over(STREAM, OLDER, [P0, P1], {})
    with store.begin(claim_of(OLDER, {P0: (0, 10)}, positions)) as opened:
        yield opened


def test_what_would_be_refused_at_the_commit_is_refused_in_its_attempt(
    ensemble: Ensemble, transaction: ZooKeeperTransaction
) -> None:
    with transaction.attempt():
        transaction.create("/first")
    for _ in range(2):
        with pytest.raises(ProcessingError, match="/taken") as refused, transaction.attempt():
            transaction.create("/second")
            transaction.create("/taken")
        assert not isinstance(refused.value, SpoiledTransaction)
    with pytest.raises(ProcessingError, match="/first"), transaction.attempt():
        transaction.create("/first")
    transaction.advance()
    transaction.commit()
    assert "/first" in ensemble.znodes
    assert "/second" not in ensemble.znodes


def test_what_somebody_else_has_done_since_an_attempt_spoils_that_one(
    ensemble: Ensemble, transaction: ZooKeeperTransaction
) -> None:
    for path in ("/a", "/b", "/c"):
        with transaction.attempt():
            transaction.create(path)
    ensemble.znodes["/b"] = Znode(b"")
    with pytest.raises(SpoiledTransaction) as spoiled, transaction.attempt():
        transaction.create("/d")
    assert spoiled.value.attempt == 1
    transaction.advance()
    with pytest.raises(SpoiledTransaction) as spoiled:
        transaction.commit()
    assert spoiled.value.attempt == 1


def test_without_attempts_a_refusal_is_the_batchs(transaction: ZooKeeperTransaction) -> None:
    transaction.create("/taken")
    transaction.advance()
    with pytest.raises(ProcessingError, match="/taken") as refused:
        transaction.commit()
    assert not isinstance(refused.value, SpoiledTransaction)


def test_letters_go_without_their_tracebacks_before_they_are_refused(
    store: ZooKeeperOffsetStore, transaction: ZooKeeperTransaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [replace(letter(n), error=replace(letter(n).error, traceback="x" * 4_000)) for n in range(10)]
    monkeypatch.setattr(FollowerConnection, "max_request_bytes", 20_000)
    transaction.set_aside(long)
    transaction.advance()
    transaction.commit()
    assert {one.error.traceback for one in store.letters(STREAM)} == {""}


def test_letters_that_do_not_fit_say_how_large_they_are(
    transaction: ZooKeeperTransaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FollowerConnection, "max_request_bytes", 4_000)
    transaction.set_aside([letter(n) for n in range(10)])
    with pytest.raises(StatementRefused, match=r"10 dead letters.*4,000 at once.*max_records_per_batch"):
        transaction.advance()


def test_a_letter_that_a_command_changes_meanwhile_makes_the_batch_come_again(
    store: ZooKeeperOffsetStore, ensemble: Ensemble, transaction: ZooKeeperTransaction
) -> None:
    transaction.set_aside([letter(3)])
    transaction.advance()
    transaction.commit()
    positions = store.take_over(STREAM, OLDER, [P0, P1], {})
    with store.begin(claim_of(OLDER, {P0: (10, 20)}, positions)) as again:
        again.set_aside([letter(3)])
        again.advance()
        ensemble.store().mark_letters(STREAM, [letter(3).id], LetterStatus.WAITING, LetterStatus.DISCARDED)
        with pytest.raises(StoreUnavailable, match="dead letters"):
            again.commit()


def test_too_many_letters_for_one_request_are_refused_with_how_many_it_takes(
    store: ZooKeeperOffsetStore, transaction: ZooKeeperTransaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = [letter(n) for n in range(50)]
    transaction.set_aside(letters)
    transaction.advance()
    transaction.commit()
    monkeypatch.setattr(FollowerConnection, "max_request_bytes", 4_000)
    with pytest.raises(CommandRefused, match=r"50 dead letters.*nothing was changed.*about \d+ of them"):
        store.mark_letters(STREAM, [each.id for each in letters], LetterStatus.WAITING, LetterStatus.DISCARDED)
    assert {one.status for one in store.letters(STREAM)} == {LetterStatus.WAITING}


def test_what_a_handlers_own_client_ran_into_is_about_a_record_only_if_its_operation_did_not_apply(
    store: ZooKeeperOffsetStore,
) -> None:
    assert store.blames_records(NodeExistsError())
    assert store.blames_records(ValueError())
    for error in (ConnectionLoss(), NoAuthError()):
        assert not store.blames_records(error)
        wrapped = RuntimeError("while writing")
        wrapped.__cause__ = error
        assert not store.blames_records(wrapped)
