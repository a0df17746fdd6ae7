"""The promise of ``protocols.DeadLetterStore`` as tests: every store that keeps letters passes it (needs pytest)."""
# ruff: noqa: D102, PT012 - a test's name says what it shows; a transaction is several statements

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kafka_stream.errors import CommandRefused
from kafka_stream.protocols import (
    DeadLetter,
    DeadLetterStore,
    LetterError,
    LetterFilter,
    LetterId,
    LetterStatus,
    Payload,
    Replay,
)
from kafka_stream.testing.store_backend import NEWER, OLDER, P0, P1, STREAM, TOPIC, StoreBackend, claim_of
from kafka_stream.types import StoredPosition, TopicPartition

AT = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
BOTH = {P0: (0, 10), P1: (0, 10)}


def letter(offset: int, partition: int = 0, key: bytes | None = b"k", at: datetime = AT) -> DeadLetter:
    """A record that could not be decoded."""
    payload = Payload(key, b"\x00\xff value", (("trace", b"\x01"), ("none", None)), 1_700_000_000_123)
    error = LetterError("app.BadOrder", "no price", "Traceback …\napp.BadOrder: no price")
    return DeadLetter(STREAM, LetterId(TOPIC, "", partition, offset), payload, error, "v7", at, at)


class _Boom(Exception):
    """What a handler raises."""


class DeadLetterContract:
    """Subclass it, and define the fixture ``backend`` as for ``OffsetStoreContract``."""

    @pytest.fixture
    def backend(self) -> StoreBackend:
        """The store under test; subclasses define it."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self, backend: StoreBackend) -> Iterator[Callable[[], DeadLetterStore]]:
        """A function that opens the store of one more process."""
        with ExitStack() as stack:

            def open_store() -> DeadLetterStore:
                store = backend.store()
                assert isinstance(store, DeadLetterStore)
                store.open()
                stack.callback(store.close)
                return store

            yield open_store

    @pytest.fixture
    def store(self, opened: Callable[[], DeadLetterStore]) -> DeadLetterStore:
        """One that is open."""
        return opened()

    @pytest.fixture
    def positions(self, store: DeadLetterStore) -> Mapping[TopicPartition, StoredPosition]:
        """Both partitions are taken over, at 0."""
        store.initialise(STREAM, TOPIC, {0: 0, 1: 0}, None)
        return store.take_over(STREAM, OLDER, [P0, P1], {})

    @pytest.fixture
    def kept(
        self, store: DeadLetterStore, positions: Mapping[TopicPartition, StoredPosition]
    ) -> tuple[DeadLetter, ...]:
        """Three letters that are stored: of two keys in one partition, and without a key in the other."""
        letters = (letter(3), letter(5, key=b"other", at=AT + timedelta(hours=1)), letter(2, partition=1, key=None))
        self.set_aside(store, positions, *letters)
        return letters

    def set_aside(
        self, store: DeadLetterStore, positions: Mapping[TopicPartition, StoredPosition], *letters: DeadLetter
    ) -> None:
        """Commit a batch with these."""
        with store.begin(claim_of(OLDER, BOTH, positions)) as transaction:
            transaction.set_aside(letters)
            transaction.advance()
            transaction.commit()

    def test_letters_are_kept_with_the_offsets_as_they_were(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        found = list(store.letters(STREAM))
        assert [replace(one, changed_at=None) for one in found] == list(kept)
        assert store.positions(STREAM)[P0].next_offset == 10

    def test_letters_of_a_batch_that_is_rolled_back_are_gone(
        self, store: DeadLetterStore, positions: Mapping[TopicPartition, StoredPosition]
    ) -> None:
        with pytest.raises(_Boom), store.begin(claim_of(OLDER, BOTH, positions)) as transaction:
            transaction.set_aside([letter(3)])
            raise _Boom
        assert list(store.letters(STREAM)) == []
        assert store.positions(STREAM)[P0].next_offset == 0

    def test_an_attempt_that_fails_is_undone_and_the_others_stay(
        self,
        backend: StoreBackend,
        store: DeadLetterStore,
        positions: Mapping[TopicPartition, StoredPosition],
    ) -> None:
        with store.begin(claim_of(OLDER, BOTH, positions)) as transaction:
            with transaction.attempt():
                backend.write(transaction, 1)
            with pytest.raises(_Boom), transaction.attempt():
                backend.write(transaction, 2)
                backend.write(transaction, 3)
                raise _Boom
            with transaction.attempt():
                backend.write(transaction, 4)
            transaction.set_aside([letter(2)])
            transaction.advance()
            transaction.commit()
        assert sorted(backend.results()) == [1, 4]
        assert [one.id.offset for one in store.letters(STREAM)] == [2]

    def test_a_record_that_fails_again_keeps_its_first_failure(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        store.mark_letters(STREAM, [kept[0].id], LetterStatus.WAITING, LetterStatus.DISCARDED)
        positions = store.take_over(STREAM, NEWER, [P0, P1], {})
        later = replace(letter(3, at=AT + timedelta(days=1)), error=LetterError("app.Worse", "worse", ""))
        with store.begin(claim_of(NEWER, {P0: (10, 11)}, positions)) as transaction:
            transaction.set_aside([later])
            transaction.advance()
            transaction.commit()
        found = next(store.letters(STREAM, LetterFilter(partition=0)))
        assert (found.first_failed_at, found.last_failed_at) == (AT, AT + timedelta(days=1))
        assert (found.attempts, found.error.type, found.status) == (2, "app.Worse", LetterStatus.WAITING)

    def test_the_keys_that_wait_are_those_of_the_claims_partitions(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        positions = store.take_over(STREAM, NEWER, [P0, P1], {})
        with store.begin(claim_of(NEWER, {P0: (10, 11)}, positions)) as transaction:
            assert dict(transaction.waiting_keys()) == {(P0, b"k"): 1, (P0, b"other"): 1}
        store.mark_letters(STREAM, [kept[0].id], LetterStatus.WAITING, LetterStatus.DISCARDED)
        with store.begin(claim_of(NEWER, {P0: (10, 11)}, positions)) as transaction:
            assert dict(transaction.waiting_keys()) == {(P0, b"other"): 1}
        with store.begin(claim_of(NEWER, {P1: (10, 11)}, positions)) as transaction:
            assert dict(transaction.waiting_keys()) == {}

    def test_the_letters_of_a_key_that_wait_are_told_one_by_one(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        first, second, _ = (one.id for one in kept)
        store.begin_replay(STREAM, Replay("r-1", None, (second,)))
        positions = store.take_over(STREAM, NEWER, [P0, P1], {})
        with store.begin(claim_of(NEWER, {P0: (10, 11)}, positions)) as transaction:
            assert transaction.waiting_keys().keys() == {(P0, b"k"), (P0, b"other")}
            found = transaction.waiting_letters({(P0, b"k"), (P0, b"other"), (P0, b"nobody's")})
        assert {key: dict(letters) for key, letters in found.items()} == {
            (P0, b"k"): {first: LetterStatus.WAITING},
            (P0, b"other"): {second: LetterStatus.REPLAYING},
            (P0, b"nobody's"): {},
        }

    @pytest.mark.parametrize("ended", ["before", "after"])
    def test_a_key_waits_for_what_was_sent_until_a_batch_says_that_it_is_processed(
        self, store: DeadLetterStore, opened: Callable[[], DeadLetterStore], kept: tuple[DeadLetter, ...], ended: str
    ) -> None:
        first, second, third = (one.id for one in kept)
        replay = Replay("r-1", None, (first, third))
        store.begin_replay(STREAM, replay)
        if ended == "before":
            store.end_replay(STREAM, replay, 2, LetterStatus.SENT)
        positions = store.take_over(STREAM, NEWER, [P0, P1], {})
        with store.begin(claim_of(NEWER, {P0: (10, 11)}, positions)) as transaction:
            assert dict(transaction.waiting_keys()) == {(P0, b"k"): 1, (P0, b"other"): 1}
            transaction.replayed([first, second])  # the second is not in flight, and waits
            transaction.advance()
            transaction.commit()
        if ended != "before":
            opened().end_replay(STREAM, replay, 2, LetterStatus.SENT)
        found = {one.id: one.status for one in store.letters(STREAM)}
        replayed = LetterStatus.REPLAYED
        assert found == {first: replayed, second: LetterStatus.WAITING, third: replayed}, "the third has no key"
        assert store.replay_under_way(STREAM) is None

    def test_what_was_sent_and_not_processed_holds_its_key(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        replay = Replay("r-1", None, (kept[0].id,))
        store.begin_replay(STREAM, replay)
        store.end_replay(STREAM, replay, 1, LetterStatus.SENT)
        positions = store.take_over(STREAM, NEWER, [P0, P1], {})
        with pytest.raises(_Boom), store.begin(claim_of(NEWER, {P0: (10, 11)}, positions)) as transaction:
            assert transaction.waiting_keys().keys() == {(P0, b"k"), (P0, b"other")}
            transaction.replayed([kept[0].id])
            raise _Boom
        assert next(store.letters(STREAM)).status is LetterStatus.SENT
        assert store.mark_letters(STREAM, [kept[0].id], LetterStatus.SENT, LetterStatus.DISCARDED) == [kept[0].id]

    @pytest.mark.parametrize("ends", ["before", "after"])
    def test_a_replayed_record_that_fails_again_is_its_letter_once_more(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...], ends: str
    ) -> None:
        replay = Replay("r-1", None, (kept[0].id, kept[1].id))
        store.begin_replay(STREAM, replay)
        if ends == "before":
            store.end_replay(STREAM, replay, 2, LetterStatus.SENT)
        positions = store.take_over(STREAM, NEWER, [P0, P1], {})
        with store.begin(claim_of(NEWER, {P0: (10, 12)}, positions)) as transaction:
            transaction.waiting_keys()
            transaction.replayed([kept[1].id])
            transaction.set_aside([letter(3, at=AT + timedelta(days=1))])
            transaction.advance()
            transaction.commit()
        if ends == "after":
            store.end_replay(STREAM, replay, 2, LetterStatus.SENT)
        found = {one.id.offset: (one.status, one.attempts) for one in store.letters(STREAM, LetterFilter(partition=0))}
        assert found == {3: (LetterStatus.WAITING, 2), 5: (LetterStatus.REPLAYED, 1)}

    @pytest.mark.parametrize(
        ("wanted", "offsets"),
        [
            (LetterFilter(), [3, 5, 2]),
            (LetterFilter(topic=TOPIC, partition=0), [3, 5]),
            (LetterFilter(topic="other"), []),
            (LetterFilter(offsets=frozenset({5, 2})), [5, 2]),
            (LetterFilter(key=b"other"), [5]),
            (LetterFilter(error_type="BadOrder"), [3, 5, 2]),
            (LetterFilter(error_type="app.BadOrder"), [3, 5, 2]),
            (LetterFilter(error_type="KeyError"), []),
            (LetterFilter(statuses=frozenset({LetterStatus.WAITING})), [3, 5, 2]),
            (LetterFilter(statuses=frozenset({LetterStatus.REPLAYED})), []),
            (LetterFilter(since=AT + timedelta(minutes=1)), [5]),
            (LetterFilter(until=AT + timedelta(minutes=1)), [3, 2]),
        ],
        ids=str,
    )
    def test_a_filter_finds_what_it_says(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...], wanted: LetterFilter, offsets: list[int]
    ) -> None:
        assert [one.id.offset for one in store.letters(STREAM, wanted)] == offsets
        assert [one for one in kept if wanted.includes(one)] == [
            replace(one, changed_at=None) for one in store.letters(STREAM, wanted)
        ]

    def test_without_payloads_there_are_keys_only(self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]) -> None:
        found = list(store.letters(STREAM, payloads=False))
        assert [one.payload.key for one in found] == [one.payload.key for one in kept]
        assert {one.payload.value for one in found} == {None}
        assert {one.payload.headers for one in found} == {()}

    def test_nothing_is_found_of_a_stream_that_is_not_there(self, store: DeadLetterStore) -> None:
        assert list(store.letters("nobody")) == []
        assert store.replay_under_way("nobody") is None

    def test_only_what_is_in_the_named_status_changes(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        first, second, third = (one.id for one in kept)
        was, now = LetterStatus.WAITING, LetterStatus.DISCARDED
        assert store.mark_letters(STREAM, [second, first], was, now, "known to be junk") == [first, second]
        assert store.mark_letters(STREAM, [first, third], was, now) == [third]
        found = {one.id: one for one in store.letters(STREAM)}
        assert {one.status for one in found.values()} == {now}
        assert [found[one].note for one in (first, second, third)] == ["known to be junk", "known to be junk", None]
        assert all(one.changed_at is not None for one in found.values())

    def test_a_replay_that_has_begun_is_found_by_another_process_and_ends_once(
        self,
        opened: Callable[[], DeadLetterStore],
        store: DeadLetterStore,
        kept: tuple[DeadLetter, ...],
    ) -> None:
        first, second, third = (one.id for one in kept)
        replay = Replay("r-1", "elsewhere", (second, first))
        store.begin_replay(STREAM, replay)
        store.begin_replay(STREAM, replay)
        other = opened()
        assert other.replay_under_way(STREAM) == replay
        with pytest.raises(CommandRefused, match="r-1"):
            other.begin_replay(STREAM, Replay("r-2", None, (third,)))
        assert other.mark_letters(STREAM, [first], LetterStatus.WAITING, LetterStatus.DISCARDED) == []
        for _ in range(2):
            other.end_replay(STREAM, replay, 1)
        assert store.replay_under_way(STREAM) is None
        found = {one.id: one.status for one in store.letters(STREAM)}
        assert found == {second: LetterStatus.REPLAYED, first: LetterStatus.WAITING, third: LetterStatus.WAITING}

    def test_a_replay_of_what_does_not_wait_changes_nothing(
        self, store: DeadLetterStore, kept: tuple[DeadLetter, ...]
    ) -> None:
        first, second, _ = (one.id for one in kept)
        store.mark_letters(STREAM, [second], LetterStatus.WAITING, LetterStatus.DISCARDED)
        with pytest.raises(CommandRefused):
            store.begin_replay(STREAM, Replay("r-1", None, (first, second)))
        assert store.replay_under_way(STREAM) is None
        assert next(store.letters(STREAM)).status is LetterStatus.WAITING


__all__ = ["DeadLetterContract", "letter"]
