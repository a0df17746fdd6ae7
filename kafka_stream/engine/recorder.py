"""What a stream tells its store's history about itself: takeovers, batches and its stop, a little behind them."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from kafka_stream.protocols import Action, ActionKind, AdministeredStore, BatchProgress, HistoryEntry, OffsetStore
from kafka_stream.types import Owner, TopicPartition

logger = logging.getLogger("kafka_stream")

SHORTEST_INTERVAL_S = 1.0
LONGEST_INTERVAL_S = 60.0
"""A stream that never rests is told about ever less often, or its history would outgrow its results."""

_MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class _Sums:
    """What batches in a row come to."""

    records: int
    duration_s: float
    attempt: int
    dead_letters: int

    def with_batch(self, progress: BatchProgress) -> _Sums:
        """And one more."""
        return _Sums(
            self.records + progress.records,
            self.duration_s + progress.duration_s,
            max(self.attempt, progress.attempt),
            self.dead_letters + progress.dead_letters,
        )


_NOTHING = _Sums(0, 0.0, 1, 0)


class Recorder:
    """Used by the loop's thread, between batches; what goes wrong here is logged and reaches nobody.

    A batch after a pause is recorded at once; those that follow within the interval wait and are told as one: from the
    first one's start to the last one's end, with what they come to. Where the store keeps no history, or
    ``keep_for`` is zero, nothing is done.
    """

    def __init__(
        self,
        store: OffsetStore,
        stream: str,
        owner: Owner,
        keep_for: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keeps = isinstance(store, AdministeredStore) and store.keeps_history and keep_for > timedelta(0)
        self._store = store if keeps and isinstance(store, AdministeredStore) else None
        self._stream = stream
        self._owner = owner
        self._keep_for = keep_for
        self._clock = clock
        self._waiting: list[HistoryEntry] = []
        self._begun: dict[TopicPartition, int] = {}  # where the batches that wait began; they end where was reached
        self._reached: dict[TopicPartition, int] = {}
        self._sums, self._committed_at = _NOTHING, datetime.now(UTC)
        self._interval_s = SHORTEST_INTERVAL_S
        self._due_at = clock()
        self._has_failed = False

    def took_over(self, positions: Mapping[TopicPartition, int]) -> None:
        """Partitions were taken over, to be read from these offsets."""
        if self._store is None:
            return
        self._close_batches()
        self._reached.update(positions)
        self._tell(ActionKind.TAKEOVER, datetime.now(UTC), ((tp, o, o) for tp, o in positions.items()))
        self.write_due()

    def moved(self, topic_partition: TopicPartition, from_offset: int, until_offset: int) -> None:
        """Records are gone unread: the stream goes on elsewhere, as its ``on_data_loss`` says."""
        if self._store is None:
            return
        self._close_batches()
        self._reached[topic_partition] = until_offset
        if from_offset == until_offset:
            return  # the consumer has told of a position that was left already
        self._tell(ActionKind.DATA_LOSS, datetime.now(UTC), [(topic_partition, from_offset, until_offset)])

    def committed(self, progress: BatchProgress) -> None:
        """A batch was committed."""
        if self._store is None:
            return
        for r in progress.ranges:
            if r.topic_partition in self._begun and self._reached[r.topic_partition] != r.from_offset:
                self._close_batches()
        rested = not self._begun and not self._waiting
        for r in progress.ranges:
            self._reached[r.topic_partition] = r.until_offset
            self._begun.setdefault(r.topic_partition, r.from_offset)
        self._sums = self._sums.with_batch(progress)
        self._committed_at = progress.committed_at
        if rested and self._clock() >= self._due_at:
            self._interval_s = SHORTEST_INTERVAL_S / 2
        self.write_due()

    def write_due(self) -> None:
        """Write what waits, if it is time to."""
        if (self._begun or self._waiting) and self._clock() >= self._due_at:
            self._interval_s = min(2 * self._interval_s, LONGEST_INTERVAL_S)
            self._write()

    def stopped(self) -> None:
        """The stream ends here: write all that waits, and that its owner is at work no more."""
        if self._store is None or not self._reached:
            return
        self._close_batches()
        stays = ((tp, offset, offset) for tp, offset in self._reached.items())
        self._tell(ActionKind.STOP, datetime.now(UTC), stays, action_id=self._owner.id)
        self._write()

    def _close_batches(self) -> None:
        if self._begun:
            moves = [(tp, begun, self._reached[tp]) for tp, begun in self._begun.items()]
            self._begun = {}
            self._tell(ActionKind.BATCH, self._committed_at, moves, sums=self._sums)
        self._sums = _NOTHING

    def _tell(
        self,
        kind: ActionKind,
        at: datetime,
        moves: Iterable[tuple[TopicPartition, int, int]],
        *,
        action_id: str | None = None,
        sums: _Sums | None = None,
    ) -> None:
        action = Action(action_id or uuid.uuid4().hex, kind, str(self._owner))
        self._waiting += [
            HistoryEntry(
                at=at,
                action=action,
                topic_partition=tp,
                from_offset=from_offset,
                until_offset=until_offset,
                code_version=self._owner.code_version,
                **(asdict(sums) if sums is not None else {}),
            )
            for tp, from_offset, until_offset in moves
        ]

    def _write(self) -> None:
        assert self._store is not None
        self._close_batches()
        try:
            self._store.record(self._stream, self._waiting, self._keep_for)
        except Exception as error:  # noqa: BLE001 - the history is never in the way of the stream
            if not self._has_failed:
                logger.warning("The history of stream %r is not recorded for now: %s", self._stream, error)
            self._has_failed, self._interval_s = True, LONGEST_INTERVAL_S
            del self._waiting[:-_MOST_WAITING]
        else:
            self._has_failed = False
            self._waiting.clear()
        self._due_at = self._clock() + self._interval_s


__all__ = ["LONGEST_INTERVAL_S", "SHORTEST_INTERVAL_S", "Recorder"]
