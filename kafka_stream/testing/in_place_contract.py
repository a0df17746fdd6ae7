"""The promise of ``protocols.InPlaceStore`` as tests, beside ``DeadLetterContract`` (needs pytest)."""
# ruff: noqa: D102, PT012 - a test's name says what it shows; a transaction is several statements

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from kafka_stream.errors import CommandRefused, TransactionEscaped
from kafka_stream.protocols import DeadLetter, DeadLetterStore, InPlaceStore, LetterError, LetterStatus
from kafka_stream.testing.dead_letter_contract import AT, DeadLetterContract
from kafka_stream.testing.store_backend import STREAM, EscapingBackend, StoreBackend, at_once, next_offsets


class InPlaceContract(DeadLetterContract):
    """Subclass it, and define the fixture ``backend`` as for ``OffsetStoreContract``."""

    @pytest.fixture
    def in_place(self, store: DeadLetterStore) -> InPlaceStore:
        assert isinstance(store, InPlaceStore)
        return store

    def status_of(self, store: DeadLetterStore, letter: DeadLetter) -> LetterStatus:
        """As it is stored now."""
        (found,) = [one for one in store.letters(STREAM) if one.id == letter.id]
        return found.status

    def test_a_result_and_the_letters_new_status_are_one(
        self, backend: StoreBackend, in_place: InPlaceStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        before = next_offsets(in_place)
        with in_place.begin_letter(kept[0]) as transaction:
            backend.write(transaction, 7)
            transaction.advance()
            transaction.commit()
        assert list(backend.results()) == [7]
        assert [one.status for one in in_place.letters(STREAM)] == [
            LetterStatus.REPLAYED,
            LetterStatus.WAITING,
            LetterStatus.WAITING,
        ]
        assert next_offsets(in_place) == before

    @pytest.mark.parametrize("until", ["written", "advanced"])
    def test_without_its_commit_nothing_has_happened(
        self, backend: StoreBackend, in_place: InPlaceStore, kept: tuple[DeadLetter, ...], until: str
    ) -> None:
        with in_place.begin_letter(kept[0]) as transaction:
            backend.write(transaction, 7)
            if until == "advanced":
                transaction.advance()
        assert list(backend.results()) == []
        assert self.status_of(in_place, kept[0]) is LetterStatus.WAITING

    @pytest.mark.parametrize("now", [LetterStatus.DISCARDED, LetterStatus.REPLAYING, LetterStatus.REPLAYED])
    def test_what_does_not_wait_is_refused(
        self, in_place: InPlaceStore, kept: tuple[DeadLetter, ...], now: LetterStatus
    ) -> None:
        in_place.mark_letters(STREAM, [kept[0].id], LetterStatus.WAITING, now)
        with pytest.raises(CommandRefused), in_place.begin_letter(kept[0]):
            pytest.fail("it was begun")
        assert self.status_of(in_place, kept[0]) is now

    def test_of_two_at_once_one_comes_too_late(
        self, backend: StoreBackend, opened: Callable[[], DeadLetterStore], kept: tuple[DeadLetter, ...]
    ) -> None:
        outcomes: list[str] = []

        def process() -> None:
            store = opened()
            assert isinstance(store, InPlaceStore)
            try:
                with store.begin_letter(kept[0]) as transaction:
                    backend.write(transaction, 7)
                    transaction.advance()
                    transaction.commit()
            except CommandRefused:
                outcomes.append("refused")
            else:
                outcomes.append("done")

        at_once([process, process])
        assert sorted(outcomes) == ["done", "refused"]
        assert list(backend.results()) == [7]

    def test_a_failure_once_more_is_noted_and_it_still_waits(
        self, in_place: InPlaceStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        later = AT + timedelta(days=2)
        in_place.letter_failed(kept[0], LetterError("app.Worse", "worse", "where"), later)
        found = next(in_place.letters(STREAM))
        assert found.error == LetterError("app.Worse", "worse", "where")
        assert (found.attempts, found.first_failed_at, found.last_failed_at) == (2, AT, later)
        assert found.status is LetterStatus.WAITING

    def test_who_leaves_its_transaction_is_found(
        self, backend: EscapingBackend, in_place: InPlaceStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        with pytest.raises(TransactionEscaped), in_place.begin_letter(kept[0]) as transaction:
            backend.write(transaction, 7)
            backend.escape(transaction)
            transaction.advance()
        assert self.status_of(in_place, kept[0]) is LetterStatus.WAITING


__all__ = ["InPlaceContract"]
