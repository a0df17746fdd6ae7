"""A plain program that reads the topic once, and says what has to be in each table. It uses nothing of the sinks.

Only which version of the code has processed a record is not for it to know: it is told.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integration_tests.results import CommittedRecord

LATENESS_MS, TUMBLING_MS, SLIDING_MS, EVERY_MS, GAP_MS, WITHIN_MS = 4_000, 10_000, 20_000, 5_000, 2_000, 60_000
MILESTONE, MODULUS = 50, 1_000_003

Place = tuple[int, int]
Rows = Counter[tuple[Any, ...]]
Span = tuple[int, int]
"""A window's start and end, in milliseconds."""


@dataclass(frozen=True)
class Record:
    """One of the topic; ``doubled`` is what version 2 makes of it, ``None`` where version 1 has processed it."""

    partition: int
    offset: int
    id: str
    key: str
    shared: str
    amount: int
    t: int
    doubled: int | None


def records_of(committed: Iterable[CommittedRecord], versions: Mapping[Place, int]) -> list[Record]:
    """By partition, in offset order."""
    found = []
    for partition, offset, _, value in sorted(committed, key=lambda it: it[:2]):
        fields = json.loads(value or b"")
        doubled = 2 * fields["amount"] if versions.get((partition, offset), 1) > 1 else None
        found.append(Record(partition, offset, **fields, doubled=doubled))
    return found


def expected(records: Sequence[Record]) -> dict[str, Rows]:
    """What has to be in each table, row by row; times in milliseconds."""
    tumbling, late = _windows(records, TUMBLING_MS, TUMBLING_MS)
    sliding, late_for_sliding = _windows(records, SLIDING_MS, EVERY_MS)
    sessions, late_for_sessions = _sessions(records)
    windows = {"tumbling": tumbling, "sliding": sliding, "sessions": sessions}
    closed = {name: _closed(found, records) for name, found in windows.items()}
    return {
        "totals": Counter(_totals(records)),
        "shared": Counter(_shared(records)),
        "milestones": Counter(_milestones(records)),
        "chains": Counter(_chains(records)),
        "passed": _passed(records),
        **{name: Counter(_aggregated(found, doubled=name == "tumbling")) for name, found in closed.items()},
        "closes": Counter((name, *window, len(it)) for name, found in closed.items() for window, it in found.items()),
        "tumbling_late": Counter(late),
        "sliding_late": Counter(late_for_sliding),
        "sessions_late": Counter(late_for_sessions),
    }


def _by(name: str, records: Iterable[Record]) -> dict[Any, list[Record]]:
    found: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        found[getattr(record, name)].append(record)
    return found


def _totals(records: Iterable[Record]) -> Iterator[tuple[Any, ...]]:
    for key, of_key in _by("key", records).items():
        amounts = [it.amount for it in of_key]
        last_t = max(it.t for it in of_key)
        last_id = [it.id for it in of_key if it.t == last_t][-1]
        yield key, len(of_key), sum(amounts), max(amounts), min(amounts), last_t, last_id, _doubled(of_key)


def _doubled(records: Iterable[Record]) -> int | None:
    found = [it.doubled for it in records if it.doubled is not None]
    return sum(found) if found else None


def _shared(records: Iterable[Record]) -> Iterator[tuple[Any, ...]]:
    for key, of_key in _by("shared", records).items():
        yield key, len(of_key), sum(it.amount for it in of_key), _doubled(of_key)


def _milestones(records: Iterable[Record]) -> Iterator[tuple[Any, ...]]:
    for key, of_key in _by("shared", records).items():
        yield from ((key, passed) for passed in range(MILESTONE, len(of_key) + 1, MILESTONE))


def _chains(records: Iterable[Record]) -> Iterator[tuple[Any, ...]]:
    for partition, of_partition in _by("partition", records).items():
        for key, of_key in _by("key", of_partition).items():
            digest = 0
            for record in of_key:
                digest = (digest * 31 + record.amount) % MODULUS
            yield partition, key, len(of_key), digest


def _passed(records: Iterable[Record]) -> Rows:
    """Records of one id that are near each other are all of one time, or come one behind the other."""
    found: Rows = Counter()
    for name, of_id in _by("id", records).items():
        last: int | None = None
        for record in sorted(of_id, key=lambda it: it.t):
            if last is None or record.t - last >= WITHIN_MS:
                last = record.t
                found[(name, record.t)] += 1
    return found


# ------------------------------------------------------------------------------------------------------------- windows


def _on_time(records: Iterable[Record], deadline: Any) -> Iterator[tuple[Record, bool]]:
    """Each record, and whether it is on time: its deadline lies behind the watermark of its own partition."""
    largest: dict[int, int] = {}
    for record in records:
        seen = largest.get(record.partition)
        yield record, seen is None or deadline(record.t) > seen - LATENESS_MS
        largest[record.partition] = record.t if seen is None else max(seen, record.t)


Windows = dict[tuple[str, int, int], list[Record]]
Late = list[tuple[int, int]]


def _windows(records: Sequence[Record], size: int, every: int) -> tuple[Windows, Late]:
    found: Windows = defaultdict(list)
    late: Late = []
    for record, is_on_time in _on_time(records, lambda t: t - t % every + every):
        if not is_on_time:
            late.append((record.partition, record.offset))
            continue
        pane = record.t - record.t % every
        for end in range(pane + every, pane + size + 1, every):
            found[(record.shared, end - size, end)].append(record)
    return found, late


def _sessions(records: Sequence[Record]) -> tuple[Windows, Late]:
    found: Windows = {}
    late: Late = []
    taken: list[Record] = []
    for record, is_on_time in _on_time(records, lambda t: t + 0.001):  # late if it is before the watermark
        if is_on_time:
            taken.append(record)
        else:
            late.append((record.partition, record.offset))
    for key, of_key in _by("key", taken).items():
        for session in _stretches(sorted(of_key, key=lambda it: it.t)):
            found[(key, session[0].t, session[-1].t + GAP_MS)] = session
    return found, late


def _stretches(in_order: Sequence[Record]) -> Iterator[list[Record]]:
    session: list[Record] = []
    for record in in_order:
        if session and record.t - session[-1].t >= GAP_MS:
            yield session
            session = []
        session.append(record)
    if session:
        yield session


def _closed(windows: Windows, records: Sequence[Record]) -> Windows:
    """In the end all partitions are idle, or as far as the one that is furthest."""
    watermark = max(it.t for it in records) - LATENESS_MS
    return {window: it for window, it in windows.items() if window[2] <= watermark}


def _aggregated(windows: Windows, *, doubled: bool) -> Iterator[tuple[Any, ...]]:
    for window, of_window in windows.items():
        amounts = [it.amount for it in of_window]
        more = (_doubled(of_window),) if doubled else ()
        yield *window, len(of_window), sum(amounts), max(amounts), min(amounts), *more


__all__ = ["Record", "expected", "records_of"]
