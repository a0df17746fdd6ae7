"""What librdkafka's consumer group metadata says, as far as a commit's safety rests on it."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable

from confluent_kafka import Consumer

_MAGIC = b"CGMDv2:"
_GENERATION = struct.Struct("<i" if sys.byteorder == "little" else ">i")


def is_member(metadata: bytes) -> bool:
    """Whether this is the metadata of a member of the group, rather than of a consumer that is not, or not any more.

    When a session ends, librdkafka forgets generation and member id at once, and says so only at the next poll. Kafka
    takes an offset commit without them for one of a consumer without a group, and accepts it (KIP-447 asks brokers to,
    for older clients): nothing would fence it. Of librdkafka's ``rd_kafka_consumer_group_metadata_write`` this reads
    what is fixed by its version: a magic, the generation, the group id and the member id, each ending in a zero byte.

    Raises:
        ValueError: the bytes are of another version.
    """
    if not metadata.startswith(_MAGIC):
        raise ValueError("this librdkafka's consumer group metadata is of another version than the one known here")
    (generation,) = _GENERATION.unpack_from(metadata, len(_MAGIC))
    return generation >= 0 and bool(_member_id(metadata))


def _member_id(metadata: bytes) -> str:
    _group_id, member_id, *_ = metadata[len(_MAGIC) + _GENERATION.size :].split(b"\0")
    return member_id.decode(errors="replace")


class Membership:
    """A consumer's membership in its group, as the thread that polls saw it last.

    It is noted before anybody asks: while that thread polls, the client makes others wait who ask the consumer.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.in_group = False
        self.metadata: bytes | None = None  # replaced, never changed: any thread may look
        self.waiting_since: float | None = None
        """Since when the group has been asked for partitions and has given none; any thread may look."""

    @property
    def member_id(self) -> str | None:
        """What the coordinator knows this member by, as long as it does."""
        metadata = self.metadata
        return None if metadata is None else _member_id(metadata)

    def joins(self) -> None:
        """The group is asked for partitions."""
        self.in_group = True
        self.waiting_since = self._clock()

    def waited(self) -> float | None:
        """The group has given some; how long that took, ``None`` if it had given some before."""
        since, self.waiting_since = self.waiting_since, None
        return None if since is None else self._clock() - since

    def note(self, consumer: Consumer) -> None:
        """Look at it again."""
        if self.in_group:
            metadata: bytes = consumer.consumer_group_metadata()
            self.metadata = metadata if is_member(metadata) else None

    def forget(self) -> None:
        """There is none any more."""
        self.metadata = None


__all__ = ["Membership", "is_member"]
