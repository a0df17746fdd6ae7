"""A stream's dead letters: kept with a batch's offsets, listed by the page, and changed by versioned writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from kazoo.protocol.serialization import Create, Delete, SetData

from kafka_stream.errors import CommandRefused, StoreUnavailable
from kafka_stream.offset_stores.zookeeper.letter_znodes import (
    STATE,
    State,
    decoded,
    decoded_replay,
    encoded,
    encoded_replay,
    ids_in,
    name_of,
    state_of,
)
from kafka_stream.offset_stores.zookeeper.operations import ANY_VERSION, Operation
from kafka_stream.offset_stores.zookeeper.positions import ATTEMPTS, Positions
from kafka_stream.offset_stores.zookeeper.requests import size_of
from kafka_stream.protocols import IN_FLIGHT, DeadLetter, Key, LetterFilter, LetterId, LetterStatus, Replay
from kafka_stream.types import Claim

_PAGE = 256


class _Found(NamedTuple):
    state: State
    version: int


class Letters:
    """The dead letters of one stream. What is read is as it is now: a ``sync`` comes first."""

    def __init__(self, positions: Positions, stream: str) -> None:
        self._positions = positions
        self._connection = positions.connection
        self._stream = stream
        self._folder = positions.layout.letters(stream)
        self._plan = positions.layout.replay(stream)

    # In a batch's transaction ---------------------------------------------------------------------------------------

    def keeping(self, letters: Sequence[DeadLetter]) -> list[Operation]:
        """What keeps these, if their znodes are still as they are now."""
        self._connection.create_missing(self._folder, self._positions.layout.stream(self._stream))
        self._connection.sync()
        acl, known = self._connection.acl_like(self._folder), self._states([letter.id for letter in letters])
        operations: list[Operation] = []
        for letter in letters:
            path, before = self._path(letter.id), known.get(letter.id)
            state = state_of(letter, None if before is None else before.state).encoded()
            if before is None:
                operations += [Create(path, encoded(letter), acl, 0), Create(f"{path}/{STATE}", state, acl, 0)]
            else:
                operations += [
                    SetData(path, encoded(letter), ANY_VERSION),
                    SetData(f"{path}/{STATE}", state, before.version),
                ]
        return operations

    def waiting_keys(self, claim: Claim) -> Mapping[Key, int]:
        """See ``RescuingTransaction``."""
        claimed = {r.topic_partition for r in claim.ranges}
        self._connection.sync()
        wanted = [one for one in self._ids() if one.topic_partition in claimed]
        return Counter(
            (one.topic_partition, state.key)
            for one, (state, _) in self._states(wanted).items()
            if state.waits and state.key is not None
        )

    def waiting_letters(self, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """See ``RescuingTransaction``."""
        found: dict[Key, dict[LetterId, LetterStatus]] = {key: {} for key in keys}
        claimed = {tp for tp, _ in keys}
        for one, (state, _) in self._states([one for one in self._ids() if one.topic_partition in claimed]).items():
            if state.waits and state.key is not None and (key := (one.topic_partition, state.key)) in found:
                found[key][one] = state.status
        return found

    def replaying(self, letters: Collection[LetterId]) -> list[Operation]:
        """What makes these replayed, as far as they are in flight, if their znodes are still as they are now."""
        self._connection.sync()
        found = {one: each for one, each in self._states(sorted(letters)).items() if each.state.status in IN_FLIGHT}
        return self._moves(found, LetterStatus.REPLAYED, None)

    # Reading --------------------------------------------------------------------------------------------------------

    def find(self, wanted: LetterFilter, *, payloads: bool) -> Iterator[DeadLetter]:
        """See ``DeadLetterStore.letters``."""
        with self._connection.mapping("looking for dead letters"):
            self._connection.sync()
            ids = self._ids()
        for begin in range(0, len(ids), _PAGE):
            with self._connection.mapping("reading dead letters"):
                page = self._page(ids[begin : begin + _PAGE])
            for letter in page:
                if not wanted.includes(letter):
                    continue
                yield letter if payloads else replace(letter, payload=replace(letter.payload, value=None, headers=()))

    def _page(self, ids: Sequence[LetterId]) -> list[DeadLetter]:
        states = self._states(ids)
        paths = {one: self._path(one) for one in ids if one in states}
        znodes = zip(paths.items(), self._connection.read(paths.values()), strict=True)
        return [
            decoded(found[0], path, self._stream, one, states[one].state)
            for (one, path), found in znodes
            if found is not None
        ]

    def under_way(self) -> Replay | None:
        """See ``DeadLetterStore.replay_under_way``."""
        self._connection.sync()
        return self._replay()[0]

    def _replay(self) -> tuple[Replay | None, int]:
        (found,) = self._connection.read([self._plan])
        return (None, 0) if found is None else (decoded_replay(found[0], self._plan), found[1].version)

    def _ids(self) -> list[LetterId]:
        (names,) = self._connection.children([self._folder])
        return ids_in(names)

    def _states(self, ids: Sequence[LetterId]) -> dict[LetterId, _Found]:
        paths = [f"{self._path(one)}/{STATE}" for one in ids]
        znodes = zip(ids, paths, self._connection.read(paths), strict=True)
        return {one: _Found(State.decoded(found[0], path), found[1].version) for one, path, found in znodes if found}

    def _path(self, letter_id: LetterId) -> str:
        return f"{self._folder}/{name_of(letter_id)}"

    # Commands -------------------------------------------------------------------------------------------------------

    def mark(
        self, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None
    ) -> Sequence[LetterId]:
        """See ``DeadLetterStore.mark_letters``."""
        wanted, marked = sorted(set(ids)), list[LetterId]()

        def decide() -> list[Operation]:
            found = {one: each for one, each in self._states(wanted).items() if each.state.status is was}
            marked[:] = found
            return self._moves(found, now, note)

        self._change(decide)
        return marked

    def begin(self, replay: Replay) -> None:
        """See ``DeadLetterStore.begin_replay``."""

        def decide() -> list[Operation]:
            under_way, _ = self._replay()
            if under_way == replay:
                return []
            if under_way is not None:
                raise CommandRefused(
                    f"replay {under_way.id} of stream {self._stream!r} has begun and not ended; finish it first"
                )
            found = self._states(replay.letters)
            for one in replay.letters:
                if one not in found or found[one].state.status is not LetterStatus.WAITING:
                    raise CommandRefused(f"the dead letter {one} of stream {self._stream!r} is not waiting; look again")
            acl = self._connection.acl_like(self._folder)
            return [
                Create(self._plan, encoded_replay(replay), acl, 0),
                *self._moves(found, LetterStatus.REPLAYING, None),
            ]

        self._change(decide)

    def end(self, replay: Replay, sent: int, sent_are: LetterStatus) -> None:
        """See ``DeadLetterStore.end_replay``."""
        was_sent = set(replay.letters[:sent])

        def decide() -> list[Operation]:
            under_way, version = self._replay()
            if under_way != replay:
                return []
            states = self._states(replay.letters)
            found = {one: each for one, each in states.items() if each.state.status is LetterStatus.REPLAYING}
            keyed = {one: each for one, each in found.items() if one in was_sent and each.state.key is not None}
            keyless = {one: each for one, each in found.items() if one in was_sent and one not in keyed}
            others = {one: each for one, each in found.items() if one not in was_sent}
            return [
                Delete(self._plan, version),
                *self._moves(keyed, sent_are, None),
                *self._moves(keyless, LetterStatus.REPLAYED, None),
                *self._moves(others, LetterStatus.WAITING, None),
            ]

        self._change(decide)

    def _moves(self, found: Mapping[LetterId, _Found], now: LetterStatus, note: str | None) -> list[Operation]:
        at = datetime.now(UTC)
        return [
            SetData(f"{self._path(one)}/{STATE}", each.state.moved(now, at, note).encoded(), each.version)
            for one, each in found.items()
        ]

    def _change(self, decide: Callable[[], Sequence[Operation]]) -> None:
        """All of what is decided on what is there now, or nothing; tried again where somebody came in between."""
        for _ in range(ATTEMPTS):
            self._connection.sync()
            operations = decide()
            if not operations:
                return
            self._refuse_too_many(operations)
            if self._positions.try_multi(operations):
                return
        raise StoreUnavailable(
            f"the dead letters of stream {self._stream!r} in {self._connection.where} were changed by others each of "
            f"{ATTEMPTS} times that they were to be changed"
        )

    def _refuse_too_many(self, operations: Sequence[Operation]) -> None:
        size, most = size_of(operations), self._connection.max_request_bytes
        if size > most:
            raise CommandRefused(
                f"the change of {len(operations):,} dead letters of stream {self._stream!r} takes a request of "
                f"{size:,} bytes, more than the {most:,} that {self._connection.where} takes at once; nothing was "
                f"changed: take about {len(operations) * most // size:,} of them at a time"
            )


__all__ = ["Letters"]
