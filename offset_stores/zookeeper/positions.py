"""Reading positions and markers, and changing what a claim names by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from kazoo.protocol.serialization import CheckVersion, Create, SetData
from kazoo.protocol.states import ZnodeStat

from kafka_stream.errors import KafkaStreamError, StoreUnavailable
from kafka_stream.offset_stores.zookeeper.connection import Connection
from kafka_stream.offset_stores.zookeeper.errors import CHANGED_MEANWHILE
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.offset_stores.zookeeper.requests import failure_in
from kafka_stream.offset_stores.zookeeper.znodes import Layout, Marker, decoded, encoded, topics_in
from kafka_stream.types import Claim, OffsetRange, StoredPosition, TopicPartition

REMOVED = "its znode was removed"
ATTEMPTS = 30
"""At a compare-and-set: each one that fails is somebody else's that succeeded."""


Refusal: TypeAlias = Callable[[Mapping[TopicPartition, StoredPosition]], KafkaStreamError | None]
"""Says why something cannot be done on what is stored, if it cannot."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A position, and the version of its znode that it was read at."""

    position: StoredPosition
    version: int


@dataclass(frozen=True, slots=True)
class StoredMarker:
    """A topic's marker, if there is one, and the version of the topic's znode that it was read at."""

    marker: Marker | None
    version: int


class Positions:
    """The positions in one ensemble, below one chroot.

    What was read or written last is kept with its versions. It may be out of date, so nothing is concluded from it that
    does not go out together with those versions, in a ``multi`` that fails if it is.
    """

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self.connection = connection
        self.layout = layout
        self._kept: dict[tuple[str, TopicPartition], Stored] = {}

    def read(self, stream: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Stored]:
        """What is stored for these partitions, as far as the server that we read from has seen it."""
        paths = [self.layout.partition(stream, tp) for tp in partitions]
        znodes = zip(partitions, paths, self.connection.read(paths), strict=True)
        stored = {tp: Stored(decoded(found[0], path), found[1].version) for tp, path, found in znodes if found}
        self._kept.update({(stream, tp): found for tp, found in stored.items()})
        return stored

    def partitions(self, stream: str, topics: Sequence[str]) -> list[TopicPartition]:
        """The partitions of some topics that something is stored for, sorted."""
        found = self.connection.children(self.layout.topic(stream, topic) for topic in topics)
        return sorted(
            TopicPartition(topic, int(name))
            for topic, names in zip(topics, found, strict=True)
            for name in names
            if name.isascii() and name.isdecimal()
        )

    def topics(self, stream: str) -> list[str]:
        """The topics of a stream that there is a znode for, sorted."""
        (names,) = self.connection.children([self.layout.stream(stream)])
        return topics_in(names)

    def of_stream(self, stream: str) -> dict[TopicPartition, StoredPosition]:
        """All that is stored for a stream."""
        self.connection.sync()
        return positions_of(self.read(stream, self.partitions(stream, self.topics(stream))))

    def markers(self, stream: str, topics: Iterable[str]) -> dict[str, StoredMarker]:
        """What the topics' own znodes hold, where there is one."""
        names = list(topics)
        paths = [self.layout.topic(stream, topic) for topic in names]
        znodes = zip(names, paths, self.connection.read(paths), strict=True)
        return {
            topic: StoredMarker(Marker.decoded(found[0], path), found[1].version)
            for topic, path, found in znodes
            if found
        }

    def claimed(self, claim: Claim, refusal: Refusal) -> dict[TopicPartition, Stored]:
        """What is stored for a claim's partitions, unless it says no."""
        for stored, is_current in self._seen(claim):
            if (error := refusal(positions_of(stored))) is not None:
                if is_current:
                    raise error
            elif is_current or self.try_multi(self._checks(claim.stream, stored)):
                return stored
        raise busy(claim.stream, self.connection.where)

    def change(
        self, claim: Claim, refusal: Refusal, changed: Callable[[OffsetRange, StoredPosition], Mapping[str, Any]]
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Change all of a claim's positions at once, by compare-and-set, unless what is stored says no."""
        for stored, is_current in self._seen(claim):
            if (error := refusal(positions_of(stored))) is not None:
                if is_current:
                    raise error
                continue
            now = datetime.now(UTC)
            ranges = {r.topic_partition: r for r in claim.ranges}
            changes = {tp: changed(ranges[tp], found.position) for tp, found in stored.items()}
            after = {
                tp: replace(stored[tp].position, **change, changed_at=now) for tp, change in changes.items() if change
            }
            beside = self._checks(claim.stream, {tp: stored[tp] for tp in stored if tp not in after})
            if self.try_write(claim.stream, after, stored, beside):
                return {**positions_of(stored), **after}
        raise busy(claim.stream, self.connection.where)

    def _seen(self, claim: Claim) -> Iterator[tuple[dict[TopicPartition, Stored], bool]]:
        """What was kept, if there is something for every partition; then what is stored, each time it is asked for."""
        partitions = [r.topic_partition for r in claim.ranges]
        kept = {tp: found for tp in partitions if (found := self._kept.get((claim.stream, tp))) is not None}
        if len(kept) == len(partitions):
            yield kept, False
        for _ in range(ATTEMPTS):
            self.connection.sync()
            yield self.read(claim.stream, partitions), True

    def _checks(self, stream: str, stored: Mapping[TopicPartition, Stored]) -> list[Operation]:
        return [CheckVersion(self.layout.partition(stream, tp), found.version) for tp, found in stored.items()]

    def writes(
        self, stream: str, after: Mapping[TopicPartition, StoredPosition], before: Mapping[TopicPartition, Stored]
    ) -> list[Create | SetData]:
        """What changes or creates positions, if those are as they were read; new ones are protected as their topics."""
        acls = {
            topic: self.connection.acl_like(self.layout.topic(stream, topic))
            for topic in {tp.topic for tp in after if tp not in before}
        }
        return [
            SetData(self.layout.partition(stream, tp), encoded(position), before[tp].version)
            if tp in before
            else Create(self.layout.partition(stream, tp), encoded(position), acls[tp.topic], 0)
            for tp, position in after.items()
        ]

    def written(self, stream: str, after: Mapping[TopicPartition, StoredPosition], results: Sequence[object]) -> None:
        """Keep what was written, with the versions that the ensemble gave it."""
        for (tp, position), result in zip(after.items(), results, strict=True):
            self._kept[stream, tp] = Stored(position, result.version if isinstance(result, ZnodeStat) else 0)

    def try_write(
        self,
        stream: str,
        after: Mapping[TopicPartition, StoredPosition],
        before: Mapping[TopicPartition, Stored],
        beside: Sequence[Operation] = (),
    ) -> bool:
        """Change or create positions, if those, and what is checked beside them, are still as they were read."""
        operations = [*beside, *self.writes(stream, after, before)]
        results = self.connection.multi(operations)
        if not _was_done(results):
            return False
        self.written(stream, after, results[len(beside) :])
        return True

    def try_multi(self, operations: Sequence[Operation]) -> bool:
        """Whether everything was as it was read; if not, nothing was changed.

        Raises:
            kazoo.exceptions.ZookeeperError: the server refused an operation for another reason.
        """
        return _was_done(self.connection.multi(operations))


def _was_done(results: Sequence[object]) -> bool:
    failure = failure_in(results)
    if failure is not None and not isinstance(failure[1], CHANGED_MEANWHILE):
        raise failure[1]
    return failure is None


def positions_of(stored: Mapping[TopicPartition, Stored]) -> dict[TopicPartition, StoredPosition]:
    """Without the versions."""
    return {tp: found.position for tp, found in stored.items()}


def busy(stream: str, where: str) -> StoreUnavailable:
    """The error for a compare-and-set that others have always come before."""
    return StoreUnavailable(
        f"the positions of stream {stream!r} in {where} were changed by others each of {ATTEMPTS} times that they were "
        "to be changed"
    )


__all__ = ["ATTEMPTS", "Positions", "Stored", "StoredMarker", "busy", "positions_of"]
