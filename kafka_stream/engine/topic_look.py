"""What is looked at every few seconds: new partitions, recreated topics, the ends, whether all is still ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from kafka_stream.engine.assignment import GroupAssignment, StaticAssignment
from kafka_stream.engine.ownership import Ownership
from kafka_stream.engine.reporter import Reporter
from kafka_stream.errors import TransientError
from kafka_stream.protocols import OffsetAt, Source
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream")

LOOK_INTERVAL_S = 5.0


class TopicLook:
    """Used by the loop's thread only, between batches."""

    def __init__(
        self, source: Source, ownership: Ownership, reporter: Reporter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._ownership = ownership
        self._reporter = reporter
        self._clock = clock
        self._looked_at = clock() - LOOK_INTERVAL_S

    def if_due(self, assignment: StaticAssignment | GroupAssignment | None, coming: Collection[TopicPartition]) -> None:
        """Look, if it is time to.

        ``assignment`` is what new partitions are assigned by, ``None`` where none are taken; ``coming`` are assigned
        and not taken over yet. A broker that does not answer is asked again the next time.

        Raises:
            TopicRecreated: unless ``on_data_loss`` chooses where to go on.
            OwnershipLost: an admin command, or another owner, has fenced us.
            TransientError: what is tried again after the backoff, before a batch.
        """
        now = self._clock()
        positions = self._ownership.positions
        if now - self._looked_at < LOOK_INTERVAL_S or not positions:
            return
        try:
            topics = self._source.topics()
            ends = self._source.offsets(sorted(positions), OffsetAt.LATEST)
        except TransientError as error:
            self._looked_at = now
            logger.warning("the topics could not be looked at, and will be again in %g s: %s", LOOK_INTERVAL_S, error)
            return
        self._reporter.ends_are(ends)
        self._ownership.check_topics(topics)  # what fails here is tried again after the backoff, before a batch
        self._looked_at = now
        if not isinstance(assignment, GroupAssignment):
            self._ownership.refresh()
        self._ownership.look()
        if isinstance(assignment, StaticAssignment):
            partitions = assignment.partitions(topics)
            if set(partitions) - positions.keys() - set(coming):
                self._source.assign(partitions)
        self._reporter.positions_changed()


__all__ = ["LOOK_INTERVAL_S", "TopicLook"]
