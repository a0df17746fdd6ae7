"""``assert_exactly_once``: puts worlds, what they have to come to, and process starts together."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table

from kafka_stream.errors import ConfigurationError
from kafka_stream.loading import load_stream
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress, OffsetStore
from kafka_stream.stream import DirectStream
from kafka_stream.testing.exactly_once.elsewhere import ProcessesElsewhere
from kafka_stream.testing.exactly_once.expectations import Expectation, Rehearsed, Told
from kafka_stream.testing.exactly_once.feeds import BrokerFeed, Feed, MemoryFeed
from kafka_stream.testing.exactly_once.findings import Survived
from kafka_stream.testing.exactly_once.here import ProcessesHere, run_undisturbed
from kafka_stream.testing.exactly_once.keeps import InTables, Keep, keep_of
from kafka_stream.testing.exactly_once.records import Given, Record, records_of
from kafka_stream.testing.exactly_once.results import Results
from kafka_stream.testing.exactly_once.starts import starts
from kafka_stream.testing.exactly_once.trial import Processes, Trial
from kafka_stream.testing.exactly_once.worlds import World

Tables = Table | Sequence[Table]
_MOST_ROUNDS = 50
_MOST_SNAPSHOTS = 500


def assert_exactly_once(
    stream: DirectStream | Callable[[], DirectStream] | str,
    records: Sequence[Given],
    *,
    results: Tables | Callable[[], Iterable[Any]] | None = None,
    expected: Callable[[Sequence[Any]], Iterable[Any]] | None = None,
    kafka: Mapping[str, Any] | None = None,
    store: OffsetStore | str | None = None,
    seed: int | None = None,
    kills: int | None = None,
) -> Survived:
    """Take a stream through every crash point, others by chance, and batches that are rolled back: nothing may show.

    ``stream`` is what builds it: ``"module:name"``, as for ``kafka-stream run``, and each process start is a process
    of its own, which dies by SIGKILL; or a function, called for each start, in this process, where a crash costs
    milliseconds; or a stream, whose handlers then keep between starts what they keep in themselves. ``records`` are
    values for its first topic, or messages (``testing.message``). They are read from memory, or, with ``kafka`` (as
    a stream takes it), from topics of their own on real brokers; each has one partition.

    ``results`` is the table (or tables) that the stream writes, or a function that returns what it finds, in any order;
    it can be left out for ``SqlSink`` and for what is appended to ``MemoryOffsetStore``'s ``transaction.rows``.
    ``store`` is a URL: without it, tables are in a SQLite file of the test's own. At each moment at which anybody
    looks, the results have to be what the committed records come to once. What that is, an undisturbed run shows, or
    ``expected`` says: given the first of the ``records``, what the results have to be.

    ``seed`` repeats a run; ``kills`` is how many there are by chance, beside one at each point.

    Raises:
        NotExactlyOnce: an ``AssertionError`` that names the first record that was lost or repeated, with the crash and
            the seed: ``RecordLost``, ``RecordRepeated``, ``WrittenOutside``, ``ResultsDiffer``, ``StreamStopped``.
        ConfigurationError: it does not follow from what was given where the results are, or what they have to be.

    Example:
        ``assert_exactly_once("shop:stream", [order(n) for n in range(50)], results=shop.orders)``
    """
    test = _Test(stream, records, results, expected, kafka, store)
    processes: Processes = ProcessesElsewhere(stream) if isinstance(stream, str) else ProcessesHere()
    return test.through(processes, seed, kills)


class _Test:
    """What was given, into worlds and what they have to come to."""

    def __init__(
        self,
        stream: DirectStream | Callable[[], DirectStream] | str,
        records: Sequence[Given],
        results: Any,
        expected: Callable[[Sequence[Any]], Iterable[Any]] | None,
        kafka: Mapping[str, Any] | None,
        store: OffsetStore | str | None,
    ) -> None:
        self._make = _maker(stream)
        self._given, self._results, self._expected = records, results, expected
        self._kafka, self._store = kafka, store
        self._topics = self._make().settings.topics
        self._records = records_of(records, self._topics)

    def through(self, processes: Processes, seed: int | None, kills: int | None) -> Survived:
        """Go through world after world, until there were as many crashes by chance as are wanted."""
        chosen = secrets.randbelow(2**32) if seed is None else seed
        wanted = processes.random_kills if kills is None else kills
        trial = Trial(processes, self.expectation(), chosen)
        for number in range(_MOST_ROUNDS if self.has_many_worlds else 1):
            left = wanted - max(0, trial.crashes.total() - len(trial.crashes))
            if number and left <= 0:
                break
            chance = random.Random(f"{chosen} {number}")  # noqa: S311 - to be repeated
            with self.world() as world:
                trial.go(world, starts(chance, len(self._records), max(0, left), anywhen=processes.anywhen))
        return Survived(chosen, len(self._records), trial.starts, dict(trial.crashes))

    @property
    def has_many_worlds(self) -> bool:
        """Whether another one costs nothing, and has nothing of those before."""
        return self._kafka is None and self._store is None

    @contextmanager
    def world(self, purpose: str = "trial", records: Sequence[Record] | None = None) -> Iterator[World]:
        """One with these records, or all; its stream has a name that no other has where others may be."""
        stream = self._make()
        name = stream.name if self._store is None else f"{stream.name[:150]}-{purpose}-{secrets.token_hex(4)}"
        keep = keep_of(stream, self._results, self._store)
        feed: Feed | None = None
        world: World | None = None
        try:
            feed = self._feed(self._records if records is None else records)
            world = World(feed, keep, name, self._make)
            yield world
        finally:
            for each in (world, feed, keep):
                if each is not None:
                    each.close()

    def _feed(self, records: Sequence[Record]) -> Feed:
        if self._kafka is None:
            return MemoryFeed(records, self._topics)
        return BrokerFeed(records, self._topics, self._kafka)

    def expectation(self) -> Expectation:
        """As the user says, or by a rehearsal."""
        if self._expected is not None:
            return Told(self._expected, self._given)
        with self.world("rehearsal") as world:
            _check_rehearsal(world.keep, self._store, self._results)
            known = _rehearsed(world, max(1, len(self._records) // _MOST_SNAPSHOTS))
            world.keep.empty()
        return Rehearsed(known, self._again if self.has_many_worlds else None)

    def _again(self, numbers: Sequence[int]) -> Results:
        """What an undisturbed run of some of the records, or of some twice, leaves behind."""
        with self.world("again", [self._records[number] for number in numbers]) as world:
            run_undisturbed(world, max(1, len(numbers)))
            return world.results()


def _maker(stream: DirectStream | Callable[[], DirectStream] | str) -> Callable[[], DirectStream]:
    if isinstance(stream, str):
        loaded = load_stream(stream)
        return lambda: loaded
    if isinstance(stream, DirectStream):
        return lambda: stream
    if callable(stream):
        return stream
    raise ConfigurationError(
        f'stream is a {type(stream).__name__}: give "module:name", a function that builds a DirectStream, or one'
    )


def _check_rehearsal(keep: Keep, store: OffsetStore | str | None, results: Any) -> None:
    if isinstance(keep, InTables):
        keep.refuse_rows()
    elif store is not None or results is not None:
        raise ConfigurationError(
            "what the results have to be cannot be found out by an undisturbed run, since nobody knows how to remove "
            "its results again: say it with expected=, such as expected=lambda records: [key_of(r) for r in records]"
        )


class _Snapshots(StreamListener):
    def __init__(self, world: World) -> None:
        self._world = world
        self.known = {0: world.results()}

    def on_batch(self, progress: BatchProgress) -> None:
        committed = self._world.committed()
        if committed is not None:
            self.known[committed] = self._world.results()


def _rehearsed(world: World, batch_records: int) -> Mapping[int, Results]:
    """What is there after each batch of an undisturbed run."""
    snapshots = _Snapshots(world)
    run_undisturbed(world, batch_records, [snapshots])
    return snapshots.known


__all__ = ["assert_exactly_once"]
