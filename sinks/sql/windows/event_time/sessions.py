"""Pure: sessions. Those of one key that are less than the gap apart are one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import localcontext
from operator import attrgetter
from typing import Any

from kafka_stream.sinks.sql.windows.event_time.aggregates import Part
from kafka_stream.sinks.sql.windows.event_time.combining import Columns, Parts, combined, folded
from kafka_stream.sinks.sql.windows.event_time.values import EXACT


@dataclass(frozen=True, slots=True)
class Stretch:
    """A session as it is so far: the times of its first and last record, and its parts."""

    first: int
    last: int
    parts: Parts


def merged(stretches: Iterable[Stretch], gap_us: int, parts: Sequence[Part]) -> list[Stretch]:
    """Those of one key, in order of time, and those that are less than the gap apart as one."""
    found: list[Stretch] = []
    with localcontext(EXACT):
        for one in sorted(stretches, key=attrgetter("first")):
            if not found or one.first - found[-1].last >= gap_us:
                found.append(one)
                continue
            before = found.pop()
            both = folded(before.parts, one.parts, parts)
            found.append(Stretch(before.first, max(before.last, one.last), both))
    return found


def sessions_of(records: Columns, gap_us: int, parts: Sequence[Part]) -> dict[Any, list[Stretch]]:
    """The sessions of a batch's records by key."""
    by_key: dict[Any, list[Stretch]] = {}
    found = combined(list(zip(records.starts, records.keys, strict=True)), records.columns, parts)
    for (time, key), *of in zip(found.cells, *found.parts, strict=True):
        by_key.setdefault(key, []).append(Stretch(time, time, of))
    return {key: merged(stretches, gap_us, parts) for key, stretches in by_key.items()}
