"""What is looked at every few seconds: new partitions, recreated topics, the ends, whether all is still ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from kafka_stream.engine.assignment import GroupAssignment, StaticAssignment
from kafka_stream.engine.ownership import Ownership
from kafka_stream.engine.reporter import Reporter
from kafka_stream.errors import KafkaStreamError, TopicNotFound, TransientError
from kafka_stream.protocols import OffsetAt, Source, TopicInfo
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream")

LOOK_INTERVAL_S = 5.0
PINNED_S = 60.0
"""A transaction that keeps a partition's end for longer is told of: by default clients let theirs run for a minute."""


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
        self._pins = Pins(clock)

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
        if now - self._looked_at < LOOK_INTERVAL_S or not self._ownership.positions:
            return
        try:
            topics = self._source.topics()
        except TransientError as error:
            self._later(now, error)
            return
        self._ownership.check_topics(topics)  # what fails here is tried again after the backoff, before a batch
        try:
            self._look_at_ends()
        except (TransientError, TopicNotFound) as error:  # the latter has changed just now, or does so
            self._later(now, error)
            return
        self._looked_at = now
        if not isinstance(assignment, GroupAssignment):
            self._ownership.refresh()
        self._ownership.look()
        if isinstance(assignment, StaticAssignment):
            self._assign(assignment, topics, coming)
        self._reporter.positions_changed()

    def _later(self, now: float, error: KafkaStreamError) -> None:
        self._looked_at = now
        logger.warning("the topics could not be looked at, and will be again in %g s: %s", LOOK_INTERVAL_S, error)

    def _look_at_ends(self) -> None:
        positions = self._ownership.next_offsets()
        stable = self._source.offsets(sorted(positions), OffsetAt.LATEST)
        self._reporter.ends_are(stable)
        waiting = [tp for tp in sorted(positions) if positions[tp] >= stable[tp]]
        ends = self._source.offsets(waiting, OffsetAt.HIGH_WATERMARK) if waiting else {}
        self._reporter.set(pinned=self._pins.seen({tp: stable[tp] for tp in waiting if ends[tp] > stable[tp]}))

    def _assign(
        self, assignment: StaticAssignment, topics: Mapping[str, TopicInfo], coming: Collection[TopicPartition]
    ) -> None:
        partitions = assignment.partitions(topics)
        if self._ownership.vanished or set(partitions) - self._ownership.positions.keys() - set(coming):
            self._source.assign(partitions)
            self._ownership.vanished.clear()


class Pins:
    """The partitions that are read up to an open transaction, and for how long it has kept what is behind it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_seen: dict[TopicPartition, tuple[int, float, datetime]] = {}
        self._told: set[TopicPartition] = set()

    def seen(self, ends: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        """Where an end is held now. Returns since when, for those that have been for too long; they are logged once."""
        now = self._clock()
        kept = {tp: seen for tp, seen in self._first_seen.items() if ends.get(tp) == seen[0]}
        for tp in sorted(self._told - kept.keys()):
            logger.info("the end of %s is not pinned any more", tp)
        self._told &= kept.keys()
        self._first_seen = {tp: kept.get(tp, (end, now, datetime.now(UTC))) for tp, end in ends.items()}
        pinned = {tp: since for tp, (_, at, since) in self._first_seen.items() if now - at >= PINNED_S}
        for tp in sorted(pinned.keys() - self._told):
            logger.warning(
                "the end of %s is pinned at %d by an open transaction, for %g s at least: what is behind it is not "
                "read before that ends (kafka-transactions.sh find-hanging, or abort)",
                tp,
                ends[tp],
                now - self._first_seen[tp][1],
            )
        self._told |= pinned.keys()
        return pinned


__all__ = ["LOOK_INTERVAL_S", "PINNED_S", "Pins", "TopicLook"]
