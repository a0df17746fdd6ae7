"""When sinks for which time passes are called although no record came, and which partitions have nothing unread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.protocols import Source, TickingSink
from kafka_stream.types import TopicPartition


class Ticks:
    """Used by the loop's thread only, between batches."""

    def __init__(
        self,
        sinks: Sequence[TickingSink],
        ownership: Ownership,
        source: Source,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = min((sink.tick_interval_s for sink in sinks), default=None)
        self._ownership = ownership
        self._source = source
        self._clock = clock
        self._ticked_at = clock()
        self._caught_up: dict[TopicPartition, tuple[int, float]] = {}

    def due(self, lag: Mapping[TopicPartition, int | None]) -> Mapping[TopicPartition, float] | None:
        """For how long nothing was unread of which partitions, in seconds; ``None`` where it is not time for a tick.

        ``lag`` is what is known of it now. It stays time until ``done``.
        """
        if self._interval_s is None or not self._ownership.positions or self._ownership.planned():
            return None
        now = self._clock()
        if now - self._ticked_at < self._interval_s:
            return None
        self._look(lag, now)
        return {tp: now - since for tp, (_, since) in self._caught_up.items()}

    def done(self) -> None:
        """The sinks were called."""
        self._ticked_at = self._clock()

    def taken_over(self) -> None:
        """Partitions are ours now: the next tick is due before a batch, so that sinks hear of it, and tells anew.

        Somebody else may have had them in between.
        """
        self._ticked_at = float("-inf")
        self._caught_up.clear()

    def _look(self, lag: Mapping[TopicPartition, int | None], now: float) -> None:
        """A partition that has moved since was not caught up all the while."""
        offsets, buffered = self._ownership.next_offsets(), self._source.buffered()
        known, self._caught_up = self._caught_up, {}
        for tp, offset in offsets.items():
            if lag.get(tp) != 0 or (tp in buffered and buffered[tp].records):
                continue
            before = known.get(tp)
            self._caught_up[tp] = before if before is not None and before[0] == offset else (offset, now)


__all__ = ["Ticks"]
