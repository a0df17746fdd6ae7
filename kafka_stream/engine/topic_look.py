"""What is looked at every few seconds: new partitions, recreated topics, the ends, whether all is still ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from kafka_stream.engine.assignment import GroupAssignment, StaticAssignment
from kafka_stream.engine.matched_topics import MatchedTopics
from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.engine.reporter import Reporter
from kafka_stream.errors import TransientError
from kafka_stream.progress import Listeners
from kafka_stream.protocols import Look, Source, TopicInfo
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream")

LOOK_INTERVAL_S = 5.0
PINNED_S = 60.0
"""A transaction that keeps a partition's end for longer is told of: by default clients let theirs run for a minute."""


class TopicLook:
    """Used by the loop's thread only, between batches."""

    def __init__(
        self,
        source: Source,
        ownership: Ownership,
        matched: MatchedTopics,
        reporter: Reporter,
        listeners: Listeners,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._matched = matched
        self._ownership = ownership
        self._reporter = reporter
        self._listeners = listeners
        self._clock = clock
        self._looked_at = clock() - LOOK_INTERVAL_S
        self._seen: Look | None = None  # and not dealt with
        self._pins = Pins(clock)

    def if_due(self, assignment: StaticAssignment | GroupAssignment | None, coming: Collection[TopicPartition]) -> None:
        """Have the topics looked at if it is time to, and deal with what was seen: the brokers hold up no batch.

        ``assignment`` is what new partitions are assigned by, ``None`` where none are taken; ``coming`` are assigned
        and not taken over yet. A broker that does not answer is asked again the next time.

        Raises:
            TopicRecreated: unless ``on_data_loss`` chooses where to go on.
            OwnershipLost: an admin command, or another owner, has fenced us.
            TransientError: what is tried again after the backoff, before a batch.
        """
        now = self._clock()
        if now - self._looked_at >= LOOK_INTERVAL_S:
            self._looked_at = now
            self._source.begin_look(self._ownership.next_offsets())
        try:
            self._seen = self._source.look() or self._seen
        except TransientError as error:
            self._reporter.ends_are({})  # what is old says nothing about the lag
            logger.warning("the topics could not be looked at, and will be again: %s", error)
        self._reporter.trouble_is(self._source.trouble())
        if self._seen is not None:
            self._reporter.ends_are(self._seen.ends)
            if self._seen.ends:
                self._tell_pinned(self._pins.seen(self._seen.pinned))
            self._deal_with(self._seen.topics, assignment, coming)
            self._seen = None  # only now: what failed is tried again after the backoff, before a batch

    def _tell_pinned(self, pinned: Mapping[TopicPartition, datetime]) -> None:
        if pinned != self._reporter.status.pinned:
            self._reporter.set(pinned=pinned)
            self._listeners.on_pinned(pinned)

    def _deal_with(
        self,
        topics: Mapping[str, TopicInfo],
        assignment: StaticAssignment | GroupAssignment | None,
        coming: Collection[TopicPartition],
    ) -> None:
        self._matched.give_up_deleted(topics)
        if assignment is not None:
            self._matched.take_up_new(topics)
        self._ownership.check_topics(topics)
        if not isinstance(assignment, GroupAssignment):
            self._ownership.refresh()
        self._ownership.look()
        if isinstance(assignment, StaticAssignment):
            self._assign(assignment, topics, coming)

    def _assign(
        self, assignment: StaticAssignment, topics: Mapping[str, TopicInfo], coming: Collection[TopicPartition]
    ) -> None:
        partitions = self._matched.share(assignment, topics)
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
            fields = {"event": "unpinned", "partition": str(tp)}
            logger.info("the end of %s is not pinned any more", tp, extra=fields)
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
                extra={"event": "pinned", "partition": str(tp), "offset": ends[tp]},
            )
        self._told |= pinned.keys()
        return pinned


__all__ = ["LOOK_INTERVAL_S", "PINNED_S", "Pins", "TopicLook"]
