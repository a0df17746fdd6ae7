"""The batch that is next, and the one behind it: which may be taken, and when what was taken is void."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from kafka_stream.batch import Batch
from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.engine.planner import Plan, Planner
from kafka_stream.engine.preparing import BatchInHand, Preparing
from kafka_stream.errors import OwnershipLost
from kafka_stream.progress import Listeners
from kafka_stream.protocols import Source
from kafka_stream.types import Phase, TopicPartition


class BatchesInHand:
    """What is taken from the source and not committed yet: one batch, and those that are prepared behind it, in order.

    Whatever happens to one of them, or to its partitions, drops both: they are read again from the committed offsets.
    Used by the loop's thread only.
    """

    def __init__(
        self,
        planner: Planner,
        preparing: Preparing,
        ownership: Ownership,
        source: Source,
        listeners: Listeners,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._planner = planner
        self._preparing = preparing
        self._ownership = ownership
        self._source = source
        self._listeners = listeners
        self._clock = clock
        self._batches: deque[BatchInHand] = deque()
        self._committed: BatchInHand | None = None  # the batch before them, to be let go of

    def next(self) -> BatchInHand | None:
        """The batch that was taken ahead, if nothing has happened to its partitions; else a new one, if any.

        Raises:
            OwnershipLost: a partition is being, or was, revoked.
        """
        if self._batches and self._is_void(self._batches[0]):
            self.read_again()
        if not self._batches:
            plan = self._planner.next()
            if plan is None:
                return None
            self._take(plan)
        if self._preparing.begins_at_once:
            self._preparing.begin(self._batches[0])
            while self.take_behind():
                pass
        return self._batches[0]

    def empty(self) -> BatchInHand | None:
        """Progress over ranges without a record, if there is any; nothing else is in hand."""
        plan = self._planner.empty()
        return None if plan is None else self._take(plan)

    def take_behind(self) -> bool:
        """Take one batch more and begin to prepare it, if there is anything to prepare; whether there was."""
        if not 0 < len(self._batches) <= self._preparing.most_ahead:
            return False
        plan = self._planner.behind([each.plan for each in self._batches])
        if plan is None or self._source.is_revoking(plan.partitions):
            return False
        try:
            behind = self._take(plan)
        except OwnershipLost:
            return False  # it is void: in its turn it is dropped, and what was taken of it is read again
        committed, self._committed = self._committed, None
        self._preparing.begin(behind, committed)
        return True

    def committed(self) -> None:
        """The batch in hand is committed: the one behind it is next."""
        batch = self._batches.popleft()
        self._committed = batch if self._batches else None

    def drop(self) -> list[TopicPartition]:
        """Forget what is not committed; return the partitions that it was taken from, which are to be read again."""
        partitions = {tp for dropped in self._batches for tp in dropped.plan.partitions}
        for dropped in self._batches:
            dropped.drop()
        self._batches.clear()
        return sorted(partitions)

    def read_again(self) -> None:
        """Drop what is in hand, and read it again."""
        self._ownership.rewind(self.drop())

    def _take(self, plan: Plan) -> BatchInHand:
        """Take the records of a plan."""
        taken = BatchInHand(plan)
        self._batches.append(taken)
        began = self._clock()
        taken.batch = Batch(plan.ranges, self._source.take(plan.ranges))
        taken.fetch_s = self._clock() - began
        taken.starts = self._ownership.starts
        self._listeners.on_phase(Phase.AFTER_FETCH, plan.ranges)
        return taken

    def _is_void(self, taken: BatchInHand) -> bool:
        """Whether its records may come again, or are not ours any more, or were not all taken; or it was dropped."""
        return (
            taken.prepared.cancelled()
            or taken.starts != self._ownership.starts
            or not self._ownership.positions.keys() >= set(taken.plan.partitions)
        )


__all__ = ["BatchesInHand"]
