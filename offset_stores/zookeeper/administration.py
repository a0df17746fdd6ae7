"""What operators look at: the streams, their topics, and who may still be at work."""

from __future__ import annotations

import logging

from kazoo.exceptions import NoAuthError

from kafka_stream.offset_stores.zookeeper import history
from kafka_stream.offset_stores.zookeeper.positions import Positions
from kafka_stream.offset_stores.zookeeper.znodes import Marker, names_in
from kafka_stream.offset_stores.zookeeper.znodes import TopicState as Stage
from kafka_stream.protocols import TopicState, TopicStatus

logger = logging.getLogger("kafka_stream")


def identity(positions: Positions) -> str:
    """What no two ensembles, and no two chroots, have in common."""
    positions.connection.sync()
    (stat,) = positions.connection.exist([positions.layout.root])
    return positions.connection.where if stat is None else f"{stat.czxid} {stat.ctime}"


def streams(positions: Positions) -> list[str]:
    """The names of all streams that have positions; one that may not be looked at is left out, and told of."""
    positions.connection.sync()
    (names,) = positions.connection.children([positions.layout.root])
    return [stream for stream in names_in(names) if _has_positions(positions, stream)]


def _has_positions(positions: Positions, stream: str) -> bool:
    try:
        return bool(positions.partitions(stream, positions.topics(stream)))
    except NoAuthError:
        logger.warning(
            "stream %r is left out: nobody has granted us to read %s", stream, positions.layout.stream(stream)
        )
        return False


def topics(positions: Positions, stream: str) -> dict[str, TopicStatus]:
    """The markers of a stream's topics."""
    positions.connection.sync()
    markers = positions.markers(stream, positions.topics(stream))
    return {topic: _status(found.marker) for topic, found in markers.items() if found.marker is not None}


def live_owners(positions: Positions, stream: str) -> list[str]:
    """The stored owners that have not recorded a stop, in words."""
    stored = positions.of_stream(stream).values()
    stopped = history.stopped(history.names(positions, stream))
    owners = {position.owner for position in stored if position.owner is not None}
    return sorted(str(owner) for owner in owners if owner.id not in stopped)


def _status(marker: Marker) -> TopicStatus:
    state = TopicState.OPEN if marker.state is Stage.STARTING else TopicState(marker.state)
    return TopicStatus(state, marker.state_reason, marker.topic_id, marker.started_at)


__all__ = ["identity", "live_owners", "streams", "topics"]
