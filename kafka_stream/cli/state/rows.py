"""Pure: states, rows of keys and windows as rows: exact ones for programs, short ones for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import TYPE_CHECKING, Any

from kafka_stream.cli.offsets.rows import Row, iso, tables_and_rows, when

if TYPE_CHECKING:
    from kafka_stream.admin.state.kept import KeptState
    from kafka_stream.protocols import EventTime, LateRecords, OpenPane, WindowsNow

Told = Callable[[datetime | None], str | None]
"""How a time is written: ``iso`` for programs, ``when`` for people."""

DESCRIBE_FIELDS = (
    *("state", "kind", "table", "key", "rows", "beside", "details", "closed_until", "registered_at", "code", "notes"),
)
WINDOW_FIELDS = (
    *("state", "what", "topic", "partition", "event_time", "watermark", "idle", "holds_back", "closed_until"),
    *("start", "end", "keys", "late"),
)
"""The keys of each kind of row, in order: those of JSON's objects, and the header of CSV."""

LESS_IMPORTANT_OF_STATES = ("registered", "details", "closed_until", "beside", "key", "kind")
"""What a narrow terminal is spared, the first one first."""
_LONGEST_VALUE = 60
_TABLES = ("open=", "late_records=")  # details that are names of tables, which are told beside their rows
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def state_row(state: KeptState, *, has_code: bool) -> Row:
    """A sink's state. ``beside`` are the rows of its other tables; ``code`` is what the application says of it."""
    described, stored = state.described, state.stored
    return {
        "state": described.name,
        "kind": described.kind,
        "table": described.table,
        "key": list(described.key),
        "rows": state.rows.get(described.table, next(iter(state.rows.values()), None)),
        "beside": tables_and_rows({table: rows for table, rows in list(state.rows.items())[1:] if rows is not None}),
        "details": [f"{name}={_detail(value)}" for name, value in sorted(described.details.items())],
        "closed_until": None if stored is None else iso(moment(stored.closed_until_us)),
        "registered_at": iso(state.registered_at),
        "code": _code(state) if has_code else None,
        "notes": _notes(state),
    }


def state_for_people(state: KeptState, *, has_code: bool) -> Row:
    """The same with empty lists left out, and times to the second."""
    row = {name: None if value == [] else value for name, value in state_row(state, has_code=has_code).items()}
    stored = state.stored
    row["details"] = [each for each in row["details"] or () if not each.startswith(_TABLES)] or None
    row["closed_until"] = None if stored is None else when(moment(stored.closed_until_us))
    row["registered"] = when(state.registered_at)
    row["notes"] = row.pop("notes")
    del row["registered_at"]
    return row


def _code(state: KeptState) -> str:
    if state.declared is None:
        return "unknown to the code"
    if state.stored is None:
        return "not run yet"
    kept, declared = state.stored.described, state.declared
    of_another = kept.kind != declared.kind or (kept.kind != "seen" and kept.table != declared.table)
    return "changed" if of_another or dict(kept.details) != json.loads(json.dumps(dict(declared.details))) else "same"


def _notes(state: KeptState) -> list[str]:
    notes = [f"table {table} is not there" for table, rows in state.rows.items() if rows is None]
    if state.stored is not None and state.stored.also_of:
        notes.append(f"in the same table: {', '.join(state.stored.also_of)}")
    return notes


def _detail(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def plain(row: Mapping[str, Any]) -> Row:
    """A row of a table for programs: what JSON has as it is, bytes as text or ``0x…``, all else as text."""
    return {name: _plain(value) for name, value in row.items()}


def plain_for_people(row: Mapping[str, Any]) -> Row:
    """The same without what a terminal could take for a command, long values cut."""
    from kafka_stream.admin.dead_letters.words import printable

    def shown(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = printable(" ".join(value.split()) if value.strip() else value)
        return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"

    return {name: shown(value) for name, value in plain(row).items()}


def _plain(value: Any) -> Any:
    from kafka_stream.admin.dead_letters.words import plain_or_hex

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return plain_or_hex(value)
    if isinstance(value, datetime | date | time_of_day):
        return value.isoformat()
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)


def moment(microseconds: int | None) -> datetime | None:
    """The time; ``None`` of one that no calendar has."""
    if microseconds is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def window_rows(state: KeptState, now: WindowsNow) -> list[Row]:
    """The stream, its partitions, what is open and what was late, one behind the other; ``what`` tells which it is."""
    from kafka_stream.admin.state.windows import stream_watermark

    name, stored = state.described.name, state.stored
    all_of_it = stream_watermark(now.partitions)
    whole = {
        "watermark": iso(moment(all_of_it.watermark_us)),
        "closed_until": None if stored is None else iso(moment(stored.closed_until_us)),
        "keys": now.open_panes,
    }
    held = set(all_of_it.held_back_by)
    parts = [("partition", partition_row(it, holds_back=it.topic_partition in held)) for it in now.partitions]
    found = [("stream", whole), *parts]
    found += [("open", open_row(it)) for it in now.panes]
    found += [("late", late_row(it)) for it in now.late]
    empty = dict.fromkeys(WINDOW_FIELDS)
    return [{**empty, "state": name, "what": what, **row} for what, row in found]


def partition_row(it: EventTime, *, holds_back: bool) -> Row:
    """How far a partition has come."""
    tp = it.topic_partition
    return {
        "topic": tp.topic,
        "partition": tp.partition,
        "event_time": iso(moment(it.event_time_us)),
        "watermark": iso(moment(it.watermark_us)),
        "idle": it.is_idle,
        "holds_back": holds_back,
    }


def partition_for_people(it: EventTime, *, holds_back: bool) -> Row:
    """The same in words."""
    row = dict(partition_row(it, holds_back=holds_back))
    row |= {"event_time": when(moment(it.event_time_us)), "watermark": when(moment(it.watermark_us))}
    row["idle"] = "idle" if it.is_idle else None
    row["holds_back"] = ("holds it back" if it.watermark_us is not None else "no record yet") if holds_back else None
    return row


def open_row(it: OpenPane, told: Told = iso) -> Row:
    """What is open from a time on; ``end`` is of sessions, the last record's time."""
    return {"start": told(moment(it.start_us)), "end": told(moment(it.last_us)), "keys": it.keys}


def late_row(it: LateRecords, told: Told = iso) -> Row:
    """A window, and how many records came late for it."""
    return {"start": told(moment(it.start_us)), "end": told(moment(it.end_us)), "late": it.late}


def names(found: Sequence[Any], most: int = 3) -> str:
    """The first of them, in words."""
    return ", ".join(map(str, found[:most])) + (f" and {len(found) - most} more" if len(found) > most else "")


__all__ = [
    "DESCRIBE_FIELDS",
    "LESS_IMPORTANT_OF_STATES",
    "WINDOW_FIELDS",
    "late_row",
    "moment",
    "names",
    "open_row",
    "partition_for_people",
    "partition_row",
    "plain",
    "plain_for_people",
    "state_for_people",
    "state_row",
    "window_rows",
]
