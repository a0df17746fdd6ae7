"""An admin command that holds topics: nobody takes their partitions over, or commits, while it decides.

A versioned write names the command in the topics' markers, which every takeover checks; then the owner epochs are
raised, so that no batch in flight commits. It lasts as long as the command's ephemeral znode: a command that was killed
holds nothing once its session is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from kazoo.exceptions import KazooException
from kazoo.protocol.serialization import Create, Delete, SetData

from kafka_stream.errors import KafkaStreamError, StoreUnavailable
from kafka_stream.offset_stores.zookeeper.operations import ANY_VERSION, Operation
from kafka_stream.offset_stores.zookeeper.positions import ATTEMPTS, Positions, StoredMarker, busy
from kafka_stream.offset_stores.zookeeper.znodes import Marker, TopicState
from kafka_stream.protocols import Action
from kafka_stream.types import TopicPartition

UNDIVIDED = 3
"""Attempts at a compare-and-set of many positions, before it is helped along."""

AT_ONCE = 50
"""Partitions in one request: the shorter the time since they were read, the fewer have changed."""

_EPHEMERAL = 1


class Hold:
    """What one command holds. Used as a context manager, at whose end nothing is held."""

    def __init__(self, positions: Positions, stream: str, action: Action) -> None:
        self._positions = positions
        self._stream = stream
        self._path = positions.layout.command(stream, action.id)
        self._action = action
        self.is_held = False
        self._was_held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._was_held:
            with suppress(KafkaStreamError, KazooException):  # it ends with the session at the latest
                self._positions.try_multi([Delete(self._path, ANY_VERSION)])

    def take(self, markers: Mapping[str, StoredMarker], partitions: Sequence[TopicPartition]) -> None:
        """Hold these topics, and end all batches with these partitions; nothing if a marker has changed meanwhile.

        Raises:
            StoreUnavailable: the partitions are changed all the time.
        """
        connection = self._positions.connection
        connection.create_missing(self._path.rpartition("/")[0])
        (left_over,) = connection.exist([self._path])
        holding: list[Operation] = [
            *([Delete(self._path, ANY_VERSION)] if left_over else []),
            Create(self._path, b"", connection.acl, _EPHEMERAL),
        ]
        for topic, found in markers.items():
            marker = replace(found.marker or Marker(TopicState.OPEN), held_by=self._action.id)
            path = self._positions.layout.topic(self._stream, topic)
            holding.append(SetData(path, marker.encoded(), found.version))
        self._was_held = True  # also if the answer is lost
        self.is_held = self._positions.try_multi(holding)
        if self.is_held:
            for begin in range(0, len(partitions), AT_ONCE):
                self._fence(partitions[begin : begin + AT_ONCE])

    def release(self) -> list[Operation]:
        """What goes out with the command's change, which fails if the topics were not held all the time."""
        return [Delete(self._path, ANY_VERSION)] if self.is_held else []

    def _fence(self, partitions: Sequence[TopicPartition]) -> None:
        """Raise the epochs: of all at once, or, where batches come in between all the time, in halves."""
        for attempt in range(ATTEMPTS):
            if attempt == UNDIVIDED and len(partitions) > 1:
                middle = len(partitions) // 2
                self._fence(partitions[:middle])
                self._fence(partitions[middle:])
                return
            self._positions.connection.sync()
            stored, now = self._positions.read(self._stream, partitions), datetime.now(UTC)
            after = {
                tp: replace(found.position, owner_epoch=found.position.owner_epoch + 1, changed_at=now)
                for tp, found in stored.items()
            }
            if not after or self._positions.try_write(self._stream, after, stored):
                return
        raise busy(self._stream, self._positions.connection.where)


def refuse_if_held(
    positions: Positions, stream: str, topic: str, marker: Marker | None, but_by: Action | None = None
) -> None:
    """Raise ``StoreUnavailable`` if a command that is still at work holds the topic; ask after a ``sync``."""
    if marker is None or marker.held_by is None or (but_by is not None and marker.held_by == but_by.id):
        return
    (found,) = positions.connection.exist([positions.layout.command(stream, marker.held_by)])
    if found is not None:
        raise StoreUnavailable(
            f"an admin command ({marker.held_by}) is moving the offsets of topic {topic!r} of stream {stream!r} in "
            f"{positions.connection.where}: wait until it has ended"
        )


__all__ = ["AT_ONCE", "UNDIVIDED", "Hold", "refuse_if_held"]
