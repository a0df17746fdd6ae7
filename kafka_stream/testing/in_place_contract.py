"""What a store adds that processes a letter where it is: ``protocols.InPlaceStore`` as tests (needs pytest)."""
# ruff: noqa: D102, PT012 - a test's name says what it shows; a transaction is several statements

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import pytest

from kafka_stream.errors import CommandRefused
from kafka_stream.protocols import DeadLetter, DeadLetterStore, InPlaceStore, LetterError, LetterId, LetterStatus
from kafka_stream.testing.dead_letter_contract import AT, DeadLetterContract
from kafka_stream.testing.store_backend import STREAM, StoreBackend

_PATIENCE_S = 60.0


class _Boom(Exception):
    """What a handler raises."""


def _in_place(store: DeadLetterStore) -> InPlaceStore:
    assert isinstance(store, InPlaceStore)
    return store


def _status(store: DeadLetterStore, wanted: LetterId) -> LetterStatus:
    return next(one.status for one in store.letters(STREAM) if one.id == wanted)


class InPlaceContract(DeadLetterContract):
    """Subclass it instead of ``DeadLetterContract``, with the same fixture."""

    def test_a_letters_result_and_its_status_are_committed_together(
        self, backend: StoreBackend, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        before = store.positions(STREAM)
        with _in_place(store).begin_letter(kept[0]) as transaction:
            backend.write(transaction, 7)
            transaction.advance()
            transaction.commit()
        assert list(backend.results()) == [7]
        assert _status(store, kept[0].id) is LetterStatus.REPLAYED
        assert [one.status for one in store.letters(STREAM)].count(LetterStatus.WAITING) == len(kept) - 1
        assert store.positions(STREAM) == before

    def test_a_letter_that_is_not_committed_waits_and_has_no_result(
        self, backend: StoreBackend, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        with pytest.raises(_Boom), _in_place(store).begin_letter(kept[0]) as transaction:
            backend.write(transaction, 7)
            transaction.advance()
            raise _Boom
        with _in_place(store).begin_letter(kept[0]) as transaction:
            backend.write(transaction, 8)
        assert list(backend.results()) == []
        assert _status(store, kept[0].id) is LetterStatus.WAITING

    @pytest.mark.parametrize("status", [LetterStatus.DISCARDED, LetterStatus.REPLAYED, LetterStatus.REPLAYING])
    def test_a_letter_that_does_not_wait_is_refused(
        self, backend: StoreBackend, store: DeadLetterStore, kept: tuple[DeadLetter, ...], status: LetterStatus
    ) -> None:
        store.mark_letters(STREAM, [kept[0].id], LetterStatus.WAITING, status)
        with pytest.raises(CommandRefused), _in_place(store).begin_letter(kept[0]) as transaction:
            backend.write(transaction, 7)
        assert list(backend.results()) == []
        assert _status(store, kept[0].id) is status

    def test_of_two_who_begin_one_processes_the_letter(
        self,
        backend: StoreBackend,
        opened: Callable[[], DeadLetterStore],
        store: DeadLetterStore,
        kept: tuple[DeadLetter, ...],
    ) -> None:
        comes, found = threading.Event(), []

        def begin_too() -> None:
            with closing(backend.store()) as other:
                assert isinstance(other, InPlaceStore)
                other.open()
                comes.set()
                try:
                    with other.begin_letter(kept[0]) as transaction:
                        backend.write(transaction, 8)
                        transaction.advance()
                        transaction.commit()
                except CommandRefused as error:
                    found.append(error)

        second = threading.Thread(target=begin_too)
        with _in_place(store).begin_letter(kept[0]) as transaction:
            second.start()
            assert comes.wait(_PATIENCE_S)
            backend.write(transaction, 7)
            transaction.advance()
            transaction.commit()
        second.join(_PATIENCE_S)
        assert not second.is_alive()
        assert list(backend.results()) == [7]
        assert len(found) == 1

    def test_a_letter_that_fails_again_has_the_new_error_and_waits(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        later = AT + timedelta(days=2)
        for attempts in (2, 3):
            _in_place(store).letter_failed(kept[0], LetterError("app.Worse", f"worse {attempts}", "Traceback …"), later)
            found = next(one for one in store.letters(STREAM) if one.id == kept[0].id)
            assert (found.error.type, found.error.message) == ("app.Worse", f"worse {attempts}")
            assert (found.attempts, found.status) == (attempts, LetterStatus.WAITING)
            assert (found.first_failed_at, found.last_failed_at) == (kept[0].first_failed_at, later)
            assert found.payload == kept[0].payload

    def test_a_letter_that_somebody_has_taken_meanwhile_does_not_fail(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        store.mark_letters(STREAM, [kept[0].id], LetterStatus.WAITING, LetterStatus.DISCARDED)
        before = list(store.letters(STREAM))
        _in_place(store).letter_failed(kept[0], LetterError("app.Worse", "worse"), AT + timedelta(days=2))
        assert list(store.letters(STREAM)) == before


__all__ = ["InPlaceContract"]
