"""What was assigned and is not taken over yet: all that is free at once, and what somebody holds when it is free."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence

from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.engine.patience import jitter
from kafka_stream.engine.recorder import Recorder
from kafka_stream.engine.reporter import Reporter
from kafka_stream.engine.retry import held_backoff_s
from kafka_stream.errors import PartitionsHeld
from kafka_stream.progress import Listeners
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream")


class Acquisition:
    """The partitions that are to be taken over. Used by the loop's thread only, between batches."""

    def __init__(
        self,
        ownership: Ownership,
        recorder: Recorder,
        listeners: Listeners,
        reporter: Reporter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ownership = ownership
        self._recorder = recorder
        self._listeners = listeners
        self._reporter = reporter
        self._clock = clock
        self._due_at: dict[TopicPartition, float] = {}
        self._held: dict[TopicPartition, int] = {}  # how often they were found so, in a row

    @property
    def waiting(self) -> Collection[TopicPartition]:
        """The partitions that are not taken over yet."""
        return self._due_at.keys()

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """These are assigned to us."""
        for tp in partitions:
            self._due_at.setdefault(tp, self._clock())

    def discard(self, partitions: Iterable[TopicPartition]) -> None:
        """These are not, any more."""
        for tp in list(partitions):
            self._due_at.pop(tp, None)
            self._held.pop(tp, None)
        if not self._held and isinstance(self._reporter.status.error, PartitionsHeld):
            self._reporter.set(error=None)

    def take_over_due(self) -> bool:
        """Take over what may be free; return whether there was any. What fails stays, and is tried again.

        Raises:
            PartitionsHeld: somebody holds all of them, and there is nothing else to go on with.
            KafkaStreamError: as ``Ownership.take_over`` does.
        """
        now = self._clock()
        due = sorted(tp for tp, at in self._due_at.items() if at <= now)
        taken = self._take_over(due) if due else due
        if not taken:
            return False
        self.discard(taken)
        positions = self._ownership.next_offsets()
        reached = {tp: positions[tp] for tp in taken if tp in positions}
        if reached:
            self._recorder.took_over(reached)
            self._listeners.on_positions(reached)
        self._reporter.positions_changed()
        return True

    def _take_over(self, due: Sequence[TopicPartition]) -> Sequence[TopicPartition]:
        """All of these, or those of them that nobody holds."""
        try:
            self._ownership.take_over(due)
        except PartitionsHeld as error:
            held = [tp for tp in due if tp in error.partitions]
            free = [tp for tp in due if tp not in error.partitions]
            if not held or not (free or self._ownership.positions):
                raise
            self._put_off(held, error)
            return self._take_over(free) if free else free
        return due

    def _put_off(self, held: Sequence[TopicPartition], error: PartitionsHeld) -> None:
        """Each attempt holds the others up for as long as the store waits for a lock: it is not made often."""
        self._held |= {tp: self._held.get(tp, 0) + 1 for tp in held}
        delay_s = held_backoff_s(min(self._held[tp] for tp in held), jitter())
        self._due_at |= dict.fromkeys(held, self._clock() + delay_s)
        self._reporter.set(error=error)
        logger.warning(
            "%s; the others go on, and %s will be tried again in %.0f s",
            error,
            ", ".join(map(str, held[:5])),
            delay_s,
            extra={"event": "held", "partitions": [str(tp) for tp in held], "delay_s": round(delay_s, 3)},
        )


__all__ = ["Acquisition"]
