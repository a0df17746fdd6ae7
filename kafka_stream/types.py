"""The values that everything else speaks in: frozen, self-checking, without I/O.

An offset always names the *next* record to read; ranges are half-open, as in Spark's direct stream (`OffsetRange`).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import lt
from typing import NamedTuple, Self

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_IN_GROUP = " in group "
_LONGEST_HOST = 255  # as stores keep it

MAX_OFFSET = 2**63 - 1
"""Kafka's offsets are signed 64-bit integers; every store keeps the whole range."""


MAX_NUMBER = 2**31 - 1
"""Of partitions and leader epochs, which are signed 32-bit integers."""

_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def why_no_topic(name: str) -> str | None:
    """Why Kafka can have no topic of this name; ``None`` if it can. It is Kafka's own rule."""
    if _TOPIC_NAME.fullmatch(name) and name not in {".", ".."}:
        return None
    shown = name if len(name) <= 249 else f"{name[:20]}…"
    return f"{shown!r} cannot be the name of a topic: up to 249 letters, digits, '.', '_' and '-' of ASCII"


def _check_offset(offset: int, what: str) -> None:
    if not 0 <= offset <= MAX_OFFSET:
        raise ValueError(f"{what} is {offset}; an offset lies between 0 and 2^63-1")


class _TopicPartition(NamedTuple):
    topic: str
    partition: int


class TopicPartition(_TopicPartition):
    """One partition of one topic: the key of every mapping in this library. Sorts by topic, then partition.

    A tuple, since every batch hashes and compares dozens of them: a dataclass takes three times as long.
    """

    __slots__ = ()

    def __new__(cls, topic: str, partition: int) -> Self:
        """A topic's name, which is not empty, and a number that is not negative."""
        if not topic:
            raise ValueError("a TopicPartition needs a topic name")
        if partition < 0:
            raise ValueError(f"partition {partition} of {topic!r} is negative")
        return super().__new__(cls, topic, partition)

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """The half-open range ``[from_offset, until_offset)`` of one partition, fixed before user code sees a record.

    It may hold fewer records than its length, or none: offsets have gaps (transaction markers, aborted records,
    compaction). The idea is Spark's direct stream (``OffsetRange``) and koeninger/kafka-exactly-once.
    """

    topic_partition: TopicPartition
    from_offset: int
    until_offset: int

    def __post_init__(self) -> None:
        if 0 <= self.from_offset <= self.until_offset <= MAX_OFFSET:  # nearly always: no text is made for it
            return
        _check_offset(self.from_offset, f"from_offset of {self.topic_partition}")
        _check_offset(self.until_offset, f"until_offset of {self.topic_partition}")
        raise ValueError(f"the range {self} ends before it starts")

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.topic_partition.topic

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self.topic_partition.partition

    def __len__(self) -> int:
        """How many offsets the range spans, which is at least the number of its records."""
        return self.until_offset - self.from_offset

    def __bool__(self) -> bool:
        return self.until_offset > self.from_offset

    def __contains__(self, offset: int) -> bool:
        return self.from_offset <= offset < self.until_offset

    def __str__(self) -> str:
        return f"{self.topic_partition} [{self.from_offset}, {self.until_offset})"


def is_strictly_ascending(partitions: Sequence[TopicPartition]) -> bool:
    """Whether they are sorted by topic and partition, and none comes twice."""
    return all(map(lt, partitions, islice(partitions, 1, None)))


def timestamp_ms(at: datetime) -> int:
    """An aware time in Kafka's milliseconds, rounded up: a record stamped with the millisecond it lies in came before.

    In whole numbers, since a float may fall short of a time that is exact to the millisecond.
    """
    return -((_EPOCH - at) // _MILLISECOND)


def is_before_all_records(at: datetime) -> bool:
    """Whether an aware time lies before Kafka's first, 1970: every record is at or after it.

    In Kafka's requests a negative time means something else (-1 the end).
    """
    return at < _EPOCH


class PositionState(enum.StrEnum):
    """Whether a stored position may be worked from."""

    OPEN = "open"
    CLOSED = "closed"


class PlanKind(enum.StrEnum):
    """Who left a planned range: a transaction in flight, or a sink that is idempotent by range (to be repeated)."""

    TRANSACTION = "transaction"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Owner:
    """One process start of a stream: a random ``id``, with host and code version for people to read."""

    id: str
    host: str
    code_version: str | None = None

    @classmethod
    def member(cls, id: str, host: str, code_version: str | None, group: str) -> Self:  # noqa: A002
        """One that is in a consumer group; stores keep the name as part of its host, which older code only shows."""
        said = f"{host}{_IN_GROUP}{group}"
        return cls(id, said if len(said) <= _LONGEST_HOST else host, code_version)

    @property
    def group(self) -> str | None:
        """The consumer group it is in; ``None`` if it is static, or does not say (older code)."""
        _, found, group = self.host.partition(_IN_GROUP)
        return group if found else None

    def __str__(self) -> str:
        version = f", version {self.code_version}" if self.code_version else ""
        return f"{self.id} on {self.host}{version}"


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """What a store keeps for one (stream, topic, partition).

    ``next_offset`` is the next record to read; ``planned_until`` the end of a range that was planned and not yet
    committed; ``owner_epoch`` only ever grows, also through delete.
    """

    next_offset: int
    owner_epoch: int
    owner: Owner | None = None
    planned_until: int | None = None
    plan_kind: PlanKind | None = None
    leader_epoch: int | None = None
    topic_id: str | None = None
    state: PositionState = PositionState.OPEN
    state_reason: str | None = None
    changed_at: datetime | None = None

    def __post_init__(self) -> None:
        _check_offset(self.next_offset, "next_offset")
        if self.planned_until is not None:
            _check_offset(self.planned_until, "planned_until")


@dataclass(frozen=True, slots=True)
class Claim:
    """What one transaction moves: sorted ranges, each under the owner epoch that this process took over with.

    ``leader_epochs`` ride along and replace what is stored of each range's partition: one that is not given is unknown
    from then on, since an older one would make the new offset look truncated. ``topic_ids`` (by topic) ride along too,
    and are kept where they are not given.
    ``plan_kind`` is ``RANGE`` if the ranges were made durable by ``OffsetStore.plan`` before. ``group_metadata`` is the
    consumer group membership that was captured when the batch was planned, for stores whose fence it is.
    """

    stream: str
    owner: Owner
    ranges: tuple[OffsetRange, ...]
    epochs: Mapping[TopicPartition, int]
    leader_epochs: Mapping[TopicPartition, int]
    topic_ids: Mapping[str, str]
    plan_kind: PlanKind = PlanKind.TRANSACTION
    group_metadata: object | None = None

    def __post_init__(self) -> None:
        partitions = [r.topic_partition for r in self.ranges]
        if not partitions:
            raise ValueError("a claim moves at least one partition")
        if not is_strictly_ascending(partitions):
            raise ValueError("a claim has one range per partition, sorted by topic and partition")
        if missing := [str(p) for p in partitions if p not in self.epochs]:
            raise ValueError(f"no owner epoch for {', '.join(missing)}")


class Guarantee(enum.StrEnum):
    """What a pairing of sink and store promises about each record's effect, strongest first."""

    EXACTLY_ONCE = "exactly-once"
    EFFECTIVELY_ONCE = "effectively-once"
    AT_LEAST_ONCE = "at-least-once"


class Writes(enum.StrEnum):
    """What a sink says its writes are; with the store's transaction this decides the guarantee."""

    THROUGH_TRANSACTION = "through the transaction"
    IDEMPOTENT_BY_RECORD = "idempotent by record"
    IDEMPOTENT_BY_RANGE = "idempotent by range"
    ANYTHING = "anything"


class Phase(enum.StrEnum):
    """The named points in a batch's life; fault tests kill a process at each.

    At ``AFTER_PLAN`` the planned ranges are durable, where a sink is idempotent by range. ``AFTER_ATTEMPT`` and
    ``AFTER_SET_ASIDE`` come only where records fail: a part of the batch was tried, the dead letters are written.
    """

    AFTER_FETCH = "after_fetch"
    AFTER_PREPARE = "after_prepare"
    AFTER_PLAN = "after_plan"
    AFTER_CLAIM = "after_claim"
    AFTER_ATTEMPT = "after_attempt"
    AFTER_SET_ASIDE = "after_set_aside"
    AFTER_WRITE = "after_write"
    AFTER_ADVANCE = "after_advance"
    AFTER_COMMIT = "after_commit"


OF_EVERY_BATCH = tuple(phase for phase in Phase if phase not in {Phase.AFTER_ATTEMPT, Phase.AFTER_SET_ASIDE})
"""The points that each batch with records comes to."""
