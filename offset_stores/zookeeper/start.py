"""The first start of a topic: whoever comes first decides it as a whole, however many requests it takes.

One versioned write puts all starts into the topic's marker; that decides. Then each partition gets its znode, by
whoever sees the unfinished marker, and the marker is opened last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from kazoo.protocol.serialization import CheckVersion, SetData

from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.offset_stores.zookeeper.positions import ATTEMPTS, Positions, StoredMarker, busy
from kafka_stream.offset_stores.zookeeper.requests import in_requests
from kafka_stream.offset_stores.zookeeper.znodes import Marker, TopicState
from kafka_stream.types import PositionState, StoredPosition, TopicPartition


def is_started(positions: Positions, stream: str, topic: str) -> bool:
    """Whether the topic's start is finished, and was not deleted."""
    positions.connection.sync()
    found = positions.markers(stream, [topic]).get(topic)
    marker = None if found is None else found.marker
    return marker is not None and marker.state in {TopicState.OPEN, TopicState.CLOSED}


def initialise(positions: Positions, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
    """Store the start of all partitions, unless somebody else has, or is about to."""
    path = positions.layout.topic(stream, topic)
    positions.connection.create_missing(path)
    ours = Marker(TopicState.STARTING, topic_id, starts=starts, started_at=datetime.now(UTC))
    for _ in range(ATTEMPTS):
        positions.connection.sync()
        found = positions.markers(stream, [topic])[topic]
        if found.marker is None or found.marker.state is TopicState.DELETED:
            positions.try_multi([SetData(path, ours.encoded(), found.version)])
        elif found.marker.state is not TopicState.STARTING or finish(positions, stream, topic, found):
            return
    raise busy(stream, positions.connection.where)


def settled(positions: Positions, stream: str, topics: Sequence[str]) -> dict[str, StoredMarker]:
    """The topics' znodes as they are now, once each topic has one and no start is under way."""
    for _ in range(ATTEMPTS):
        positions.connection.sync()
        found = positions.markers(stream, topics)
        unsettled = False
        for topic in topics:
            if topic not in found:
                positions.connection.create_missing(
                    positions.layout.topic(stream, topic), positions.layout.stream(stream)
                )
                unsettled = True
            elif (marker := found[topic].marker) is not None and marker.state is TopicState.STARTING:
                finish(positions, stream, topic, found[topic])
                unsettled = True
        if not unsettled:
            return found
    raise busy(stream, positions.connection.where)


def finish(positions: Positions, stream: str, topic: str, found: StoredMarker) -> bool:
    """Store what an unfinished marker says; False if somebody else has changed something meanwhile."""
    assert found.marker is not None
    path, marker = positions.layout.topic(stream, topic), found.marker
    opened = SetData(path, replace(marker, state=TopicState.OPEN, starts={}).encoded(), found.version)
    changes = _changes(positions, stream, topic, marker)
    requests = list(in_requests(changes, opened, positions.connection.max_request_bytes))
    for request in requests[:-1]:
        if not positions.try_multi([*request, CheckVersion(path, found.version)]):
            return False
    return positions.try_multi([*requests[-1], opened])


def _changes(positions: Positions, stream: str, topic: str, marker: Marker) -> Iterator[Operation]:
    """A znode for each partition that has none, and a new start for each that was closed by a delete."""
    stored = positions.read(stream, positions.partitions(stream, [topic]))
    fresh = StoredPosition(0, 0, topic_id=marker.topic_id, changed_at=datetime.now(UTC))
    for tp in sorted({*stored, *(TopicPartition(topic, number) for number in marker.starts)}):
        # One that is not among the topic's this time would be a new one, should it come back.
        position = replace(fresh, next_offset=marker.starts.get(tp.partition, 0))
        before = stored.get(tp)
        if before is None:
            yield from positions.writes(stream, {tp: position}, {})
        elif before.position.state is PositionState.CLOSED:
            position = replace(position, owner_epoch=before.position.owner_epoch + 1)
            yield from positions.writes(stream, {tp: position}, stored)


__all__ = ["finish", "initialise", "is_started", "settled"]
