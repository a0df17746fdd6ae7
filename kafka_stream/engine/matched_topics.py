"""Which topics a stream's patterns match: new ones are stored before they are read, deleted ones are given up."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from kafka_stream.engine.assignment import StaticAssignment
from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.protocols import Source, TopicInfo, WantedTopics
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream")


class MatchedTopics:
    """Those that are followed now. Used by the loop's thread only, between batches; without patterns it does nothing.

    A topic is followed, and its partitions are assigned, once its start is stored. One that is not there in two looks
    is given up: what is stored of it stays, and is what it goes on from if it comes back.
    """

    def __init__(self, topics: tuple[str, ...], ownership: Ownership, source: Source) -> None:
        self._wanted = WantedTopics.of(topics)
        self._ownership = ownership
        self._source = source
        self._followed: AbstractSet[str] = frozenset()
        self._absent: AbstractSet[str] = frozenset()

    @property
    def come_and_go(self) -> bool:
        """Whether a stream may have nothing to read, as long as no topic matches."""
        return bool(self._wanted.patterns)

    def share(self, assignment: StaticAssignment, topics: Mapping[str, TopicInfo]) -> Sequence[TopicPartition]:
        """What an owner has of these: perhaps nothing, where they come and go. Raises as ``partitions`` elsewhere."""
        return assignment.share(topics) if self.come_and_go else assignment.partitions(topics)

    def begin(self, topics: Mapping[str, TopicInfo], start: Any) -> None:
        """Store where these begin, and follow them. Raises as ``Ownership.initialise``."""
        self._ownership.initialise(topics, start, topics.keys() - set(self._wanted.named))
        if self.come_and_go:
            self._follow(topics.keys())
            if not topics:
                logger.warning("no topic matches %s yet", ", ".join(map(repr, self._wanted.patterns)))

    def take_up_new(self, topics: Mapping[str, TopicInfo]) -> None:
        """Of what there is now. Raises as ``Ownership.initialise``; it is called again then."""
        new = {name: info for name, info in topics.items() if name not in self._followed} if self.come_and_go else {}
        if new:
            self._ownership.initialise(new, "earliest")
            logger.info("new topics match, and are read: %s", ", ".join(sorted(new)))
            self._follow(self._followed | new.keys())

    def give_up_deleted(self, topics: Mapping[str, TopicInfo]) -> None:
        """What is not there now, and was not the last time."""
        absent = self._followed - topics.keys()
        gone, self._absent = absent & self._absent, absent
        if gone:
            self._give_up(gone)
            self._follow(self._followed - gone)

    def _give_up(self, gone: AbstractSet[str]) -> None:
        partitions = {tp for tp in self._ownership.positions if tp.topic in gone}
        self._ownership.drop(sorted(partitions))
        self._ownership.vanished |= partitions
        logger.warning(
            "%s: deleted, and not read any more; what is stored of it stays (`kafka-stream offsets describe` shows it)",
            ", ".join(f"topic {name!r}" for name in sorted(gone)),
        )

    def _follow(self, topics: AbstractSet[str]) -> None:
        self._source.follow(sorted(topics))
        self._followed = frozenset(topics)


__all__ = ["MatchedTopics"]
