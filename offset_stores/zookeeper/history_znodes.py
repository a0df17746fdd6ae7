"""Pure: what is remembered of a stream, as znodes: their names, the readable JSON in them, and which may go.

An action is one znode, or several where it has many partitions. Its name begins with its time, and tells all that is
needed to find it, to count it and to forget it without reading it:

    <microseconds since 1970>-<kind>-<partitions>-<part>-<id of the action>
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from kafka_stream.offset_stores.zookeeper.znodes import escaped, fields_of, json_of, reading, unescaped
from kafka_stream.protocols import Action, ActionKind, HistoryEntry
from kafka_stream.types import TopicPartition

MOST_ZNODES = 500
MOST_PARTITIONS = 50_000
"""Of each sort of actions; an ensemble keeps all of it in memory. An action's partition takes about 50 bytes."""

_PART_BYTES = 32 * 1024  # small enough for the smallest request that an ensemble may be set to
_LONGEST_TEXT = 255  # of what is stored for people only
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SORTS = {ActionKind.BATCH: "batches", ActionKind.TAKEOVER: "owners", ActionKind.STOP: "owners"}  # else: commands


@dataclass(frozen=True, slots=True)
class Name:
    """A znode's name; sorted as ``order``, the newest come first, and the parts of an action together."""

    at: datetime
    kind: ActionKind
    partitions: int
    part: int
    action_id: str

    def __str__(self) -> str:
        at = (self.at - _EPOCH) // _MICROSECOND
        return f"{at:017d}-{self.kind}-{self.partitions}-{self.part}-{escaped(self.action_id)}"

    @classmethod
    def parsed(cls, text: str) -> Name | None:
        """``None`` if it is something else, such as what a newer version keeps here."""
        try:
            at, kind, partitions, part, action_id = text.split("-", 4)
            return cls(
                _EPOCH + int(at) * _MICROSECOND, ActionKind(kind), int(partitions), int(part), unescaped(action_id)
            )
        except (ValueError, OverflowError):
            return None

    @property
    def action(self) -> tuple[timedelta, ActionKind, str]:
        """What the parts of one action have in common; sorts the newest first."""
        return _EPOCH - self.at, self.kind, self.action_id


def in_order(names: Iterable[Name], kinds: Collection[ActionKind] = tuple(ActionKind)) -> list[list[Name]]:
    """The names of these kinds, action by action, the newest first."""
    ordered = sorted((name for name in names if name.kind in kinds), key=lambda name: (name.action, name.part))
    return [list(parts) for _, parts in groupby(ordered, key=lambda name: name.action)]


def superfluous(names: Iterable[Name], before: datetime | None = None) -> list[Name]:
    """What may go: what is older, and what is too much of its sort. The latest of each sort is never too much."""
    znodes: dict[str, int] = {}
    partitions: dict[str, int] = {}
    going = []
    for parts in in_order(names):
        sort = _SORTS.get(parts[0].kind, "commands")
        is_first = sort not in znodes
        znodes[sort] = znodes.get(sort, 0) + len(parts)
        partitions[sort] = partitions.get(sort, 0) + sum(name.partitions for name in parts)
        too_much = not is_first and (znodes[sort] > MOST_ZNODES or partitions[sort] > MOST_PARTITIONS)
        if too_much or (before is not None and parts[0].at < before):
            going += parts
    return going


def encoded(entries: Iterable[HistoryEntry]) -> Iterator[tuple[Name, bytes]]:
    """Each action's znodes."""
    ordered = sorted(entries, key=lambda e: (e.at, e.action.id, e.action.kind, e.topic_partition))
    for _, of_one in groupby(ordered, key=lambda e: (e.at, e.action)):
        for part, some in enumerate(_parts(list(of_one))):
            first = some[0]
            name = Name(first.at.astimezone(UTC), first.action.kind, len(some), part, first.action.id)
            yield (
                name,
                json_of(
                    at=name.at.isoformat(),
                    action=first.action.id,
                    kind=first.action.kind,
                    actor=first.action.actor[:_LONGEST_TEXT],
                    records=first.records,
                    duration_s=first.duration_s,
                    attempt=first.attempt,
                    dead_letters=first.dead_letters,
                    code_version=first.code_version and first.code_version[:_LONGEST_TEXT],
                    moves=[_move(entry) for entry in some],
                ),
            )


def decoded(data: bytes, path: str) -> list[HistoryEntry]:
    """What was encoded.

    Raises:
        SchemaMismatch: it is something else, or was written by a newer version.
    """
    with reading(path):
        found = fields_of(data)
        action = Action(found["action"], ActionKind(found["kind"]), found["actor"])
        return [
            HistoryEntry(
                at=datetime.fromisoformat(found["at"]),
                action=action,
                topic_partition=TopicPartition(topic, partition),
                from_offset=from_offset,
                until_offset=until_offset,
                leader_epoch=(*before, None)[0],
                topic_id=(*before, None, None)[1],
                records=found.get("records"),
                duration_s=found.get("duration_s"),
                attempt=found.get("attempt"),
                dead_letters=found.get("dead_letters"),
                code_version=found.get("code_version"),
            )
            for topic, partition, from_offset, until_offset, *before in found["moves"]
        ]


def _parts(entries: Sequence[HistoryEntry]) -> Iterator[list[HistoryEntry]]:
    some: list[HistoryEntry] = []
    left = _PART_BYTES
    for entry in entries:
        size = len(json.dumps(_move(entry)))
        if size > left and some:
            yield some
            some, left = [], _PART_BYTES
        some.append(entry)
        left -= size
    yield some


def _move(entry: HistoryEntry) -> list[object]:
    tp = entry.topic_partition
    move = [tp.topic, tp.partition, entry.from_offset, entry.until_offset, entry.leader_epoch, entry.topic_id]
    while move[-1] is None:
        move.pop()
    return move


__all__ = ["MOST_PARTITIONS", "MOST_ZNODES", "Name", "decoded", "encoded", "in_order", "superfluous"]
