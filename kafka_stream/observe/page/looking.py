"""Looking at a store again and again, so that nobody who opens a page waits for it; nothing is changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

from kafka_stream.admin.dead_letters.counting import LetterCount, count_letters
from kafka_stream.admin.describe import Observation, described, not_stored
from kafka_stream.admin.observation import observe
from kafka_stream.errors import KafkaStreamError
from kafka_stream.observe.health import told
from kafka_stream.observe.page.model import Note, StreamView, Tone
from kafka_stream.observe.page.of_store import TOLD, StoredStream, stored_view
from kafka_stream.observe.page.samples import OffsetsMoved, Samples, sample
from kafka_stream.protocols import AdministeredStore, DeadLetterStore
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import StoredPosition, TopicPartition

ACTIONS_SHOWN = 20
LETTERS_COUNTED = 10_000
SELDOM = timedelta(seconds=60)
"""History and dead letters are read anew after that."""

T = TypeVar("T")
Positions = Mapping[TopicPartition, StoredPosition]


@dataclass(slots=True)
class _Kept:
    seldom: StoredStream
    seldom_at: datetime | None = None
    samples: Samples = field(default_factory=Samples)
    moved: OffsetsMoved = field(default_factory=OffsetsMoved)


class StoreLooks:
    """What a store knows of its streams (or of those that are named), as of the last look, with the hour before it.

    ``look`` is for one thread at a time, ``views`` and ``notes`` for any. ``cluster`` gives brokers that have answered;
    without it there is no lag. A look at what does not answer leaves what is known, and a note.
    """

    def __init__(
        self,
        store: AdministeredStore,
        cluster: Callable[[], Cluster] | None = None,
        names: Collection[str] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._connect = cluster
        self._cluster: Cluster | None = None
        self._names = frozenset(names)
        self._now = now
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._views: tuple[StreamView, ...] = ()
        self._notes: tuple[Note, ...] = (Note("store", "it has not answered yet", Tone.QUIET),)

    def look(self) -> None:
        """Ask store and brokers anew."""
        notes: list[Note] = []
        try:
            found = dict(self._readable(notes))
            observation = self._observed({tp for positions in found.values() for tp in positions}, notes)
            views = tuple(self._view(name, positions, observation) for name, positions in found.items())
        except KafkaStreamError as error:
            notes.append(_note("store", error, Tone.BAD, self._now()))
            views = self._views
        with self._lock:
            self._views, self._notes = views, tuple(notes)

    def views(self) -> tuple[StreamView, ...]:
        """All streams, by name."""
        with self._lock:
            return self._views

    def notes(self) -> tuple[Note, ...]:
        """What went wrong in the last look."""
        with self._lock:
            return self._notes

    def _readable(self, notes: list[Note]) -> Iterator[tuple[str, Positions]]:
        known = self._store.streams()
        absent = sorted(self._names - set(known))
        notes.extend(Note(name, "there is no such stream in the store", Tone.QUIET) for name in absent)
        for name in known:
            if self._names and name not in self._names:
                continue
            try:
                yield name, self._store.positions(name)
            except KafkaStreamError as error:
                notes.append(_note(name, error, Tone.WARNING, self._now()))

    def _observed(self, partitions: Collection[TopicPartition], notes: list[Note]) -> Observation | None:
        if self._connect is None or not partitions:
            return None
        try:
            if self._cluster is None:
                self._cluster = self._connect()
            return observe(self._cluster, partitions)
        except KafkaStreamError as error:
            notes.append(_note("brokers", error, Tone.BAD, self._now()))
            return None

    def _view(self, name: str, positions: Positions, observation: Observation | None) -> StreamView:
        now, kept = self._now(), self._kept.setdefault(name, _Kept(StoredStream(name, ())))
        partitions = described(positions, observation, now)
        offsets = {tp: stored.next_offset for tp, stored in positions.items()}
        lag = {each.topic_partition: each.lag for each in partitions}
        kept.samples.add(sample(now, kept.moved.by_now(offsets), offsets, lag))
        if kept.seldom_at is None or now - kept.seldom_at >= SELDOM:
            kept.seldom, kept.seldom_at = self._seldom(name), now
        stream = replace(kept.seldom, partitions=partitions, not_stored=_new(positions, observation))
        return stored_view(stream, kept.samples.all())

    def _seldom(self, name: str) -> StoredStream:
        """What a store may have to read much for."""
        store, notes = self._store, list[Note]()
        live = self._asked(notes, "owners", lambda: store.live_owners(name))
        history, letters = None, None
        if store.keeps_history:
            history = self._asked(notes, "history", lambda: store.history(name, ACTIONS_SHOWN, TOLD))
        if isinstance(store, DeadLetterStore):
            letters = self._asked(notes, "dead letters", lambda: _counted(store, name))
        counts, more = letters or (None, False)
        return StoredStream(name, (), live, history, counts, more, notes=notes)

    def _asked(self, notes: list[Note], what: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except KafkaStreamError as error:
            notes.append(_note(what, error, Tone.WARNING, self._now()))
            return None


def _counted(store: DeadLetterStore, name: str) -> tuple[Sequence[LetterCount], bool]:
    """By kind, and whether there are more than were counted."""
    found = store.letters(name, payloads=False)
    counts = count_letters(islice(found, LETTERS_COUNTED))
    return counts, next(found, None) is not None


def _new(positions: Positions, observation: Observation | None) -> Sequence[TopicPartition]:
    """Partitions of the stream's own topics; the brokers were asked about those of all streams."""
    if observation is None:
        return ()
    own = {tp.topic for tp in positions}
    topics = {name: info for name, info in observation.topics.items() if name in own}
    return not_stored(positions, replace(observation, topics=topics))


def _note(about: str, error: KafkaStreamError, tone: Tone, at: datetime) -> Note:
    kind, message = told(error)
    return Note(about, message or kind, tone, at)


__all__ = ["ACTIONS_SHOWN", "LETTERS_COUNTED", "StoreLooks"]
