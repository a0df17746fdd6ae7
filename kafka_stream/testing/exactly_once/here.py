"""Process starts in this process: a run ends with ``SimulatedCrash``, and is looked at after each batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from kafka_stream.errors import KafkaStreamError, StoreUnavailable
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress, Listener, OffsetStore
from kafka_stream.testing.crash_points import CrashAt, SimulatedCrash
from kafka_stream.testing.exactly_once.findings import NotExactlyOnce, StreamStopped
from kafka_stream.testing.exactly_once.starts import Start
from kafka_stream.testing.exactly_once.worlds import World
from kafka_stream.types import Claim, OffsetRange, Phase

logger = logging.getLogger("kafka_stream")

_SAID = "the batch was rolled back, to see what it leaves behind"

Look = Callable[[], NotExactlyOnce | None]


class _Undone(BaseException):
    """On its way out of the batch's transaction, which it rolls back."""


class UndoOnce(StreamListener):
    """Has each batch with records run twice: the first time it is rolled back, where it comes to ``phase``.

    ``on(store)`` makes of the rollback what a stream repeats a batch for.
    """

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self._undone: set[tuple[OffsetRange, ...]] = set()

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """Roll back what is new."""
        if phase is self._phase and any(ranges) and ranges not in self._undone:
            self._undone.add(ranges)
            raise _Undone

    @contextmanager
    def on(self, store: OffsetStore) -> Iterator[None]:
        """While this lasts, of this store's transactions."""
        begin = store.begin

        @contextmanager
        def begin_undone(claim: Claim) -> Iterator[Any]:
            try:
                with begin(claim) as transaction:
                    yield transaction
            except _Undone:
                raise StoreUnavailable(_SAID) from None

        with patch.object(store, "begin", begin_undone):
            logger.addFilter(_is_not_ours)
            try:
                yield
            finally:
                logger.removeFilter(_is_not_ours)


def _is_not_ours(line: logging.LogRecord) -> bool:
    """What was done on purpose, again and again, would hide what else is logged."""
    return not line.getMessage().startswith(_SAID)


class Looking(StreamListener):
    """Looks at the results after each commit and each rollback, and ends the run where they are wrong."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self.found: NotExactlyOnce | None = None

    def on_batch(self, progress: BatchProgress) -> None:
        """A batch was committed."""
        self._check()

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """A batch was rolled back."""
        self._check()

    def _check(self) -> None:
        self.found = self._look()
        if self.found is not None:
            raise SimulatedCrash


class ProcessesHere:
    """Each start is a run of a copy of the stream, built anew; what the user's code keeps in modules it keeps."""

    anywhen = False
    random_kills = 20

    def run(self, world: World, start: Start, look: Look) -> bool:
        """Whether the crash came, before the records had come to their end.

        Raises:
            NotExactlyOnce: what ``look`` has found in the middle of the run, or what stopped the stream.
        """
        looking = Looking(look)
        listeners: list[Listener] = [looking]
        if start.kill_at is not None:
            listeners.append(CrashAt(start.kill_at, start.nth))
        with ExitStack() as stack:
            if start.undone_at is not None:
                listeners.append(undo := UndoOnce(start.undone_at))
            copy = world.copy(start.batch_records, listeners)
            if start.undone_at is not None:
                stack.enter_context(undo.on(copy.store))
            crashed = self._crashes(copy, until_of(world, start))
        if looking.found is not None:
            raise looking.found
        return crashed

    def _crashes(self, copy: Any, until: Any) -> bool:
        try:
            copy.run(until=until)
        except SimulatedCrash:
            return True
        except KafkaStreamError as error:
            raise StreamStopped(f"the stream stopped by itself: {type(error).__name__}: {error}") from error
        return False


def run_undisturbed(world: World, batch_records: int, listeners: Sequence[Listener] = ()) -> None:
    """Take all records through, and have nothing happen.

    Raises:
        StreamStopped: something has.
    """
    try:
        world.copy(batch_records, listeners).run(until="latest")
    except KafkaStreamError as error:
        said = f"the stream stops without any crash: {type(error).__name__}: {error}"
        raise StreamStopped(said, crash="an undisturbed run") from error


def until_of(world: World, start: Start) -> Any:
    """How far a process start goes: to the end, or by so many records."""
    done = world.committed()
    places = world.feed.places
    if start.records is None or done is None or done + start.records >= len(places):
        return "latest"
    offsets = {place.topic_partition: 0 for place in places}
    for place in places[: done + start.records]:
        offsets[place.topic_partition] = place.offset + 1
    return offsets


__all__ = ["Look", "Looking", "ProcessesHere", "UndoOnce", "run_undisturbed", "until_of"]
