"""Pure: what is known of partitions and streams as rows: exact ones for programs, short ones for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_stream.admin.describe import PartitionDescription
    from kafka_stream.admin.reset_plan import PartitionReset
    from kafka_stream.protocols import HistoryEntry
    from kafka_stream.types import StoredPosition, TopicPartition

Row = Mapping[str, Any]
_SHORT_ID = 8

PARTITION_FIELDS = (
    *("topic", "partition", "next_offset", "planned_until", "first_offset", "end_offset", "high_watermark", "lag"),
    *("lag_s", "owner", "host", "code_version", "epoch", "leader_epoch", "topic_id", "state", "changed_at", "marks"),
    "explanations",
)
STREAM_FIELDS = ("stream", "topics", "partitions", "owners", "lag", "last_commit_at", "marks")
RESET_FIELDS = (
    *("topic", "partition", "from_offset", "to_offset", "skipped", "repeated", "clamped_from", "note", "refusal"),
    *("not_rewound", "cleared"),
)
MOVE_FIELDS = ("topic", "partition", "from_offset", "to_offset")
HISTORY_FIELDS = (
    *("at", "action", "topic", "partition", "from_offset", "until_offset", "records", "duration_s", "actor"),
    *("code_version", "cleared", "id"),
)
LAST_KNOWN_FIELDS = ("at", "topic", "partition", "until_offset", "actor")
"""The keys of each kind of row, in order: those of JSON's objects, and the header of CSV."""

LESS_IMPORTANT_OF_PARTITIONS = (
    *(
        "topic_id",
        "leader_epoch",
        "epoch",
        "code_version",
        "high_watermark",
        "host",
        "changed",
        "planned_until",
        "state",
    ),
    *("end_offset", "owner", "lag_time"),
)
LESS_IMPORTANT_OF_STREAMS = ("partitions", "owners", "last_commit", "topics")
LESS_IMPORTANT_OF_HISTORY = ("id", "code_version", "duration_s", "cleared", "ago", "records", "actor", "from_offset")
LESS_IMPORTANT_OF_LAST_KNOWN = ("ago", "actor")
LESS_IMPORTANT_OF_RESETS = ("clamped_from",)
"""What a narrow terminal is spared, the first one first."""
_LONG_ID = re.compile(r"\b[0-9a-f]{32}\b")


def partition_row(described: PartitionDescription) -> Row:
    """Everything there is about a partition. ``lag`` is in offsets, ``lag_s`` in seconds, times are ISO 8601."""
    tp, stored, log, owner = described.topic_partition, described.stored, described.log, described.stored.owner
    return {
        "topic": tp.topic,
        "partition": tp.partition,
        "next_offset": stored.next_offset,
        "planned_until": stored.planned_until,
        "first_offset": log.first_offset if log else None,
        "end_offset": log.end_offset if log else None,
        "high_watermark": log.high_watermark if log else None,
        "lag": described.lag,
        "lag_s": None if described.lag_s is None else round(described.lag_s, 3),
        "owner": owner.id if owner else None,
        "host": owner.host if owner else None,
        "code_version": owner.code_version if owner else None,
        "epoch": stored.owner_epoch,
        "leader_epoch": stored.leader_epoch,
        "topic_id": stored.topic_id,
        "state": f"{stored.state}: {stored.state_reason}" if stored.state_reason else str(stored.state),
        "changed_at": iso(stored.changed_at),
        "marks": [str(finding.mark) for finding in described.findings],
        "explanations": [finding.explanation for finding in described.findings],
    }


def partition_for_people(described: PartitionDescription, now: datetime) -> Row:
    """The same in few columns: long ids cut, what is as usual left out, and how long ago it was changed."""
    from kafka_stream.admin.describe import duration

    row = dict(partition_row(described))
    lag_s = row.pop("lag_s")
    del row["first_offset"], row["explanations"]
    if row["high_watermark"] == row["end_offset"]:
        row["high_watermark"] = None
    for name in ("owner", "topic_id"):
        row[name] = None if row[name] is None else row[name][:_SHORT_ID]
    row["state"] = str(described.stored.state)
    row = _renamed(row, "changed_at", "changed", ago(described.stored.changed_at, now))
    row["marks"] = ", ".join(row["marks"]) or None
    behind = {"lag_time": None if lag_s is None else duration(lag_s)}
    return _after(row, "lag", behind)


def notes(described: Iterable[PartitionDescription]) -> Sequence[str]:
    """A line for each mark; partitions that share an explanation share the line."""
    told: dict[tuple[str, str], list[str]] = {}
    for each in described:
        for finding in each.findings:
            told.setdefault((finding.mark, finding.explanation), []).append(str(each.topic_partition))
    return [f"{', '.join(where)}: {mark}: {explanation}" for (mark, explanation), where in told.items()]


def stream_row(name: str, described: Sequence[PartitionDescription]) -> Row:
    """A stream of the store. ``lag`` is in offsets and of the partitions whose end is known."""
    from kafka_stream.admin.describe import total_lag

    positions = [each.stored for each in described]
    marks = {str(finding.mark) for each in described for finding in each.findings}
    return {
        "stream": name,
        "topics": sorted({each.topic_partition.topic for each in described}),
        "partitions": len(described),
        "owners": sorted({str(stored.owner) for stored in positions if stored.owner is not None}),
        "lag": total_lag(described),
        "last_commit_at": iso(last_change(positions)),
        "marks": sorted(marks),
    }


def stream_for_people(name: str, described: Sequence[PartitionDescription], now: datetime) -> Row:
    """The same with short ids, and how long ago it committed last."""
    row = dict(stream_row(name, described))
    owners = {each.stored.owner for each in described} - {None}
    row["owners"] = sorted(f"{owner.id[:_SHORT_ID]} on {owner.host}" for owner in owners if owner) or None
    row = _renamed(row, "last_commit_at", "last_commit", ago(last_change(each.stored for each in described), now))
    row["marks"] = row["marks"] or None
    return row


def reset_row(planned: PartitionReset) -> Row:
    """One partition of a reset's plan. ``skipped`` and ``repeated`` count offsets, of which records are a part."""
    tp = planned.topic_partition
    return {
        "topic": tp.topic,
        "partition": tp.partition,
        "from_offset": planned.from_offset,
        "to_offset": planned.to_offset,
        "skipped": planned.skipped,
        "repeated": planned.repeated,
        "clamped_from": planned.clamped_from,
        "note": planned.note,
        "refusal": planned.refusal,
    }


def reset_for_people(planned: PartitionReset) -> Row:
    """The same without sentences, which ``reset_notes`` gives."""
    row = dict(reset_row(planned))
    del row["note"], row["refusal"]
    return row


def reset_notes(planned: Iterable[PartitionReset]) -> Sequence[str]:
    """A line for each partition that is refused, or of which something is to be known."""
    told = ((str(p.topic_partition), p.refusal or p.note) for p in planned)
    return [sentence if sentence.startswith(tp) else f"{tp}: {sentence}" for tp, sentence in told if sentence]


def move_row(tp: TopicPartition, from_offset: int | None, to_offset: int | None) -> Row:
    """Where a partition was, and where it is or is to be; ``None`` for nowhere."""
    return {"topic": tp.topic, "partition": tp.partition, "from_offset": from_offset, "to_offset": to_offset}


def history_row(entry: HistoryEntry) -> Row:
    """One partition of something that happened; ``records``, ``duration_s`` and ``cleared`` are of all together."""
    tp = entry.topic_partition
    return {
        "at": iso(entry.at),
        "action": str(entry.action.kind),
        "topic": tp.topic,
        "partition": tp.partition,
        "from_offset": entry.from_offset,
        "until_offset": entry.until_offset,
        "records": entry.records,
        "duration_s": None if entry.duration_s is None else round(entry.duration_s, 3),
        "actor": entry.action.actor,
        "code_version": entry.code_version,
        "cleared": None if entry.cleared is None else tables_and_rows(entry.cleared),
        "id": entry.action.id,
    }


def history_for_people(entry: HistoryEntry, now: datetime) -> Row:
    """The same with a time to the second, how long ago that was, and ids cut."""
    actor = _LONG_ID.sub(lambda found: found[0][:_SHORT_ID], entry.action.actor)
    row = {**history_row(entry), "at": when(entry.at), "actor": actor, "id": entry.action.id[:_SHORT_ID]}
    return _after(row, "at", {"ago": ago(entry.at, now)})


def last_known_row(tp: TopicPartition, stored: StoredPosition) -> Row:
    """What a store without a history still knows: who owns a position, and when it was changed last."""
    return {
        "at": iso(stored.changed_at),
        "topic": tp.topic,
        "partition": tp.partition,
        "until_offset": stored.next_offset,
        "actor": str(stored.owner) if stored.owner is not None else None,
    }


def last_known_for_people(tp: TopicPartition, stored: StoredPosition, now: datetime) -> Row:
    """The same with a time to the second, and how long ago that was."""
    row = {**last_known_row(tp, stored), "at": when(stored.changed_at)}
    return _after(row, "at", {"ago": ago(stored.changed_at, now)})


def tables_and_rows(rows: Mapping[str, int]) -> list[str]:
    """How many rows of each table, as ``table=rows``."""
    return [f"{table}={count}" for table, count in sorted(rows.items())]


def last_change(positions: Iterable[StoredPosition]) -> datetime | None:
    """When any of them was changed last."""
    return max((stored.changed_at for stored in positions if stored.changed_at is not None), default=None)


def iso(at: datetime | None) -> str | None:
    """For programs: ISO 8601 in UTC, to the millisecond."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds")


def when(at: datetime | None) -> str | None:
    """For people: to the second, in UTC."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ago(at: datetime | None, now: datetime) -> str | None:
    """For people: how long ago; programs are told the time itself."""
    from kafka_stream.admin.describe import duration

    if at is None:
        return None
    seconds = (now - at).total_seconds()
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def _renamed(row: Row, name: str, to: str, value: Any) -> dict[str, Any]:
    """The row with another column in a column's place."""
    return {(to if key == name else key): (value if key == name else each) for key, each in row.items()}


def _after(row: Row, name: str, more: Row) -> Row:
    """The row with more columns behind one of its own."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        found[key] = value
        if key == name:
            found |= more
    return found


__all__ = [
    "HISTORY_FIELDS",
    "LAST_KNOWN_FIELDS",
    "LESS_IMPORTANT_OF_HISTORY",
    "LESS_IMPORTANT_OF_LAST_KNOWN",
    "LESS_IMPORTANT_OF_PARTITIONS",
    "LESS_IMPORTANT_OF_RESETS",
    "LESS_IMPORTANT_OF_STREAMS",
    "MOVE_FIELDS",
    "PARTITION_FIELDS",
    "RESET_FIELDS",
    "STREAM_FIELDS",
    "Row",
    "ago",
    "history_for_people",
    "history_row",
    "iso",
    "last_change",
    "last_known_for_people",
    "last_known_row",
    "move_row",
    "notes",
    "partition_for_people",
    "partition_row",
    "reset_for_people",
    "reset_notes",
    "reset_row",
    "stream_for_people",
    "stream_row",
    "tables_and_rows",
    "when",
]
