"""``GroupOffsetMirror``: the lag of a stream whose truth is in a database, for tools that look at consumer groups."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from kafka_stream.admin.observation import visible
from kafka_stream.errors import CommandRefused, ConfigurationError
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress, OffsetStore
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import PositionState, TopicPartition

logger = logging.getLogger("kafka_stream")


class GroupOffsetMirror(StreamListener):
    """A listener that writes a stream's stored offsets to its consumer group, as the group's committed offsets.

    So KEDA, Burrow, AKHQ and ``kafka-consumer-groups.sh`` show the lag of a stream whose truth is in SQL or ZooKeeper.
    It is advice: never read back, and never in the way of a commit; it follows within about a second, also at a stop,
    and what the broker refuses is logged once. The consumer itself commits them, since a live group takes offsets from
    its members only. One mirror serves one stream; a Kafka offset store needs none, and is refused.

    Example::

        DirectStream(name="orders", …, listeners=[GroupOffsetMirror()])
    """

    def __init__(self) -> None:
        self._publish: Callable[[Mapping[TopicPartition, int]], None] = _nowhere

    def mirror_through(self, publish: Callable[[Mapping[TopicPartition, int]], None]) -> None:
        """See ``protocols.OffsetMirror``."""
        self._publish = publish

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Publish where reading begins."""
        self._publish(positions)

    def on_batch(self, progress: BatchProgress) -> None:
        """Publish what was committed."""
        self._publish({r.topic_partition: r.until_offset for r in progress.ranges})


def mirror_offsets(store: OffsetStore, stream: str, cluster: Cluster, group_id: str) -> Mapping[TopicPartition, int]:
    """Write the stored offsets of a stream that does not run to its consumer group, once; return them.

    Closed partitions are left out, and so are those whose topic does not exist, or may not be looked at (it is logged).

    Raises:
        CommandRefused: nothing is stored for the stream, or the group has members (which mirror for themselves).
        ConfigurationError: the store is the consumer group itself.
        BrokerUnavailable, NotAuthorized, StoreUnavailable.
    """
    offsets = mirrored_offsets(store, stream, cluster)
    cluster.commit_group_offsets(group_id, offsets)
    return offsets


def mirrored_offsets(store: OffsetStore, stream: str, cluster: Cluster) -> Mapping[TopicPartition, int]:
    """What ``mirror_offsets`` would write to a group; reads only, and raises the same but for members."""
    if store.capabilities.transaction == "kafka":
        raise ConfigurationError(
            f"there is nothing to mirror: the offsets in {store.describe()} are the consumer group's own"
        )
    positions = store.positions(stream)
    topics, hidden = visible(cluster, sorted({tp.topic for tp in positions}))
    for topic, why in sorted(hidden.items()):
        logger.warning("the offsets of topic %r are not mirrored: %s", topic, why)
    offsets = {
        tp: stored.next_offset
        for tp, stored in sorted(positions.items())
        if stored.state is PositionState.OPEN and tp.topic in topics and tp.partition < topics[tp.topic].partitions
    }
    if not offsets:
        raise CommandRefused(
            f"there is nothing to mirror: stream {stream!r} has no open partition in {store.describe()} whose topic "
            f"exists on {cluster.servers}; look at the name and the store"
        )
    return offsets


def _nowhere(offsets: Mapping[TopicPartition, int]) -> None:
    """Outside a run there is nowhere to publish to."""


__all__ = ["GroupOffsetMirror", "mirror_offsets", "mirrored_offsets"]
