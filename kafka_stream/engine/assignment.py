"""Who owns which partitions: the consumer group decides, or a fixed rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kafka_stream.errors import TopicNotFound
from kafka_stream.protocols import TopicInfo
from kafka_stream.types import TopicPartition


@dataclass(frozen=True, slots=True)
class GroupAssignment:
    """Kafka's consumer-group protocol, used for assignment and liveness only; positions come from the store."""


@dataclass(frozen=True, slots=True)
class StaticAssignment:
    """Shard ``index`` of ``count``: the partitions whose number modulo ``count`` is ``index``, of every topic."""

    index: int = 0
    count: int = 1

    def partitions(self, topics: Mapping[str, TopicInfo]) -> tuple[TopicPartition, ...]:
        """What this shard owns of the topics as they are now.

        Raises:
            TopicNotFound: nothing, since there are more shards than partitions.
        """
        owned = self.share(topics)
        if not owned:
            raise TopicNotFound(
                f"shard {self.index} of {self.count} owns no partition of {', '.join(sorted(topics))}; use at most as "
                "many shards as the largest topic has partitions"
            )
        return owned

    def share(self, topics: Mapping[str, TopicInfo]) -> tuple[TopicPartition, ...]:
        """The same where topics come and go: perhaps nothing, for now."""
        return tuple(
            TopicPartition(name, partition)
            for name, info in sorted(topics.items())
            for partition in range(self.index, info.partitions, self.count)
        )


def assignment_from(text: str) -> GroupAssignment | StaticAssignment:
    """``"group"``, ``"static"`` or ``"static:i/n"``, as the settings have checked it."""
    if text == "group":
        return GroupAssignment()
    if text == "static":
        return StaticAssignment()
    index, count = text.removeprefix("static:").split("/")
    return StaticAssignment(int(index), int(count))
