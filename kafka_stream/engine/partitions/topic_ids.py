"""Which topics the positions belong to: one that is deleted and created again has another id (KIP-516)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kafka_stream.engine.partitions.positions import Position
from kafka_stream.protocols import TopicInfo
from kafka_stream.types import StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")


class TopicIds:
    """What this process knows of the topics that it has read, also where the store knows it no more.

    Kafka deletes a group's offsets with their topic. A group takes its partitions away then, and gives those of the new
    topic to whom it likes: what is known outlives an assignment, so that the new topic is not taken for one that was
    never read.
    """

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self._partitions: dict[str, int] = {}  # of the topics that are known
        self._left: dict[TopicPartition, StoredPosition] = {}  # where we were when they were taken from us
        self._told_of_missing_ones = False

    def of(self, topics: Mapping[str, TopicInfo]) -> Mapping[str, str]:
        """Those that the broker gives; that it gives none is said once."""
        ids = {name: info.topic_id for name, info in topics.items() if info.topic_id is not None}
        if ids.keys() != topics.keys() and not self._told_of_missing_ones:
            self._told_of_missing_ones = True
            logger.info("the broker gives no topic ids: a topic that is deleted and created again is not noticed")
        return ids

    def learn(self, topics: Mapping[str, TopicInfo], taken_up: Iterable[TopicPartition]) -> None:
        """These are the topics that are read from now on."""
        ids = self.of(topics)
        self.known.update(ids)
        self._partitions.update({name: topics[name].partitions for name in ids})
        for tp in taken_up:
            self._left.pop(tp, None)

    def leave(self, partitions: Iterable[TopicPartition], held: Mapping[TopicPartition, Position]) -> None:
        """These are not ours any more, and may come again."""
        known = self.known
        self._left |= {tp: held[tp].as_stored(known[tp.topic]) for tp in partitions if tp in held and tp.topic in known}

    def changed(self, ids: Mapping[str, str]) -> set[str]:
        """The topics that were created again."""
        return {name for name, known in self.known.items() if ids.get(name, known) != known}

    def of_old_topics(
        self, partitions: Iterable[TopicPartition], held: Mapping[TopicPartition, Position], ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Where those stood whose topic was created again, as we know them: at 0 where others have read them."""
        changed = self.changed(ids)
        found: dict[TopicPartition, StoredPosition] = {}
        for tp in partitions:
            if (left := self._left.get(tp)) is not None and tp not in held:
                if ids.get(tp.topic, left.topic_id) != left.topic_id:
                    found[tp] = left
            elif tp.topic in changed and (tp in held or tp.partition < self._partitions[tp.topic]):
                known = self.known[tp.topic]
                found[tp] = held[tp].as_stored(known) if tp in held else StoredPosition(0, 0, topic_id=known)
        return found


def begun_anew(
    before: Mapping[TopicPartition, StoredPosition], stored: Mapping[TopicPartition, StoredPosition]
) -> Mapping[TopicPartition, StoredPosition]:
    """Those that were taken over after they had been forgotten, and not moved since: as they were, once more."""
    return {
        tp: replace(was, owner_epoch=stored[tp].owner_epoch)
        for tp, was in before.items()
        if tp in stored and stored[tp].topic_id == was.topic_id and stored[tp].next_offset != was.next_offset
    }


__all__ = ["TopicIds", "begun_anew"]
