"""Pure: where positions and markers lie, and the readable JSON in them.

    <chroot>/kafka_stream/<stream>/<topic>               the topic's marker
    <chroot>/kafka_stream/<stream>/<topic>/<partition>   a position
    <chroot>/kafka_stream/<stream>/+history/<action>     what moved positions, or who may; see ``history_znodes``
    <chroot>/kafka_stream/<stream>/+commands/<action>    ephemeral: an admin command that holds topics
    <chroot>/kafka_stream/<stream>/+letters/<record>     a dead letter; see ``letter_znodes``

Names are percent-encoded, so that they may hold any character, and none begins with ``+``. What is ``None`` is left out
of the JSON.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import index
from typing import Any
from urllib.parse import quote, unquote

from kafka_stream.errors import SchemaMismatch
from kafka_stream.types import Owner, PlanKind, PositionState, StoredPosition, TopicPartition

_FORMAT = 1
_ROOT = "kafka_stream"


class Layout:
    """The paths of one chroot."""

    def __init__(self, chroot: str) -> None:
        self.chroot = chroot
        self.root = f"{chroot}/{_ROOT}"

    def stream(self, stream: str) -> str:
        """Whose children are the stream's topics."""
        return f"{self.root}/{escaped(stream)}"

    def topic(self, stream: str, topic: str) -> str:
        """The topic's marker, whose children are its partitions."""
        return f"{self.stream(stream)}/{escaped(topic)}"

    def partition(self, stream: str, tp: TopicPartition) -> str:
        """The partition's position."""
        return f"{self.topic(stream, tp.topic)}/{tp.partition}"

    def history(self, stream: str) -> str:
        """Whose children are what is remembered of the stream."""
        return f"{self.stream(stream)}/+history"

    def letters(self, stream: str) -> str:
        """Whose children are the stream's dead letters."""
        return f"{self.stream(stream)}/+letters"

    def replay(self, stream: str) -> str:
        """There while dead letters are being replayed."""
        return f"{self.stream(stream)}/+replay"

    def command(self, stream: str, action: str) -> str:
        """There as long as an admin command is at work that holds topics."""
        return f"{self.stream(stream)}/+commands/{escaped(action)}"


def escaped(name: str) -> str:
    """A name as one part of a path."""
    if name in {".", ".."}:
        return name.replace(".", "%2E")
    return quote(name, safe="", errors="surrogatepass")


def topics_in(names: Iterable[str]) -> list[str]:
    """The topics among the names of a stream's children, sorted."""
    return names_in(name for name in names if not name.startswith("+"))


def names_in(parts: Iterable[str]) -> list[str]:
    """The names that were escaped, sorted, without those of znodes that somebody else has put there."""
    found = []
    for part in parts:
        with suppress(UnicodeDecodeError):
            found.append(unescaped(part))
    return sorted(found)


def unescaped(part: str) -> str:
    """The name that was escaped."""
    return unquote(part, errors="surrogatepass")


class TopicState(enum.StrEnum):
    """What has become of a topic's first start.

    ``STARTING`` holds the starts of all partitions, and lasts until each of them has its znode.
    """

    STARTING = "starting"
    OPEN = "open"
    CLOSED = "closed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Marker:
    """What a topic's znode holds.

    ``started_at`` is when its start was decided. ``held_by`` is the admin command that nobody takes the topic's
    partitions over from, as long as the command's own znode is there.
    """

    state: TopicState
    topic_id: str | None = None
    state_reason: str | None = None
    starts: Mapping[int, int] = field(default_factory=dict)
    started_at: datetime | None = None
    held_by: str | None = None

    def encoded(self) -> bytes:
        """As readable JSON."""
        starts = {str(partition): offset for partition, offset in sorted(self.starts.items())}
        return json_of(
            state=self.state,
            topic_id=self.topic_id,
            state_reason=self.state_reason,
            starts=starts or None,
            started_at=self.started_at and self.started_at.astimezone(UTC).isoformat(),
            held_by=self.held_by,
            changed_at=datetime.now(UTC).isoformat(),
        )

    @classmethod
    def decoded(cls, data: bytes, path: str) -> Marker | None:
        """What was encoded; ``None`` if there is no marker, since the znode is there for its children alone.

        Raises:
            SchemaMismatch: it is something else.
        """
        if not data:
            return None
        with reading(path):
            found = fields_of(data)
            starts = {int(partition): int(offset) for partition, offset in found.get("starts", {}).items()}
            started_at = found.get("started_at")
            return cls(
                TopicState(found["state"]),
                found.get("topic_id"),
                found.get("state_reason"),
                starts,
                started_at and datetime.fromisoformat(started_at),
                found.get("held_by"),
            )


def encoded(position: StoredPosition) -> bytes:
    """A position as readable JSON."""
    owner = position.owner
    return json_of(
        next_offset=position.next_offset,
        planned_until=position.planned_until,
        plan_kind=position.plan_kind,
        leader_epoch=position.leader_epoch,
        topic_id=position.topic_id,
        owner=owner and {"id": owner.id, "host": owner.host, "code_version": owner.code_version},
        owner_epoch=position.owner_epoch,
        state=position.state,
        state_reason=position.state_reason,
        changed_at=position.changed_at and position.changed_at.astimezone(UTC).isoformat(),
    )


def decoded(data: bytes, path: str) -> StoredPosition:
    """What was encoded.

    Raises:
        SchemaMismatch: it is something else, or was written by a newer version.
    """
    with reading(path):
        found = fields_of(data)
        owner, kind, changed_at = found.get("owner"), found.get("plan_kind"), found.get("changed_at")
        return StoredPosition(
            next_offset=index(found["next_offset"]),
            owner_epoch=index(found["owner_epoch"]),
            owner=owner and Owner(owner["id"], owner["host"], owner.get("code_version")),
            planned_until=found.get("planned_until"),
            plan_kind=kind and PlanKind(kind),
            leader_epoch=found.get("leader_epoch"),
            topic_id=found.get("topic_id"),
            state=PositionState(found["state"]),
            state_reason=found.get("state_reason"),
            changed_at=changed_at and datetime.fromisoformat(changed_at),
        )


def json_of(**values: Any) -> bytes:
    """What a znode holds; the format rides along."""
    known = {name: value for name, value in values.items() if value is not None}
    return json.dumps({"format": _FORMAT, **known}, separators=(",", ":")).encode()


def fields_of(data: bytes) -> dict[str, Any]:
    """What ``json_of`` wrote; raises ``ValueError`` if it is of another format."""
    found = json.loads(data)
    if found["format"] != _FORMAT:
        raise ValueError(f"its format is {found['format']!r}, and this version knows {_FORMAT}")
    return dict(found)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what goes wrong while a znode is decoded into an error that names it."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchemaMismatch(
            f"what znode {path} holds is not what this version of kafka-stream keeps there "
            f"({type(error).__name__}: {error}); was it written by a newer version, or by something else?"
        ) from error


__all__ = [
    "Layout",
    "Marker",
    "TopicState",
    "decoded",
    "encoded",
    "escaped",
    "fields_of",
    "json_of",
    "reading",
    "topics_in",
    "unescaped",
]
