"""Pure: what a soak's results should be, by what an independent reader finds and which resets there were; and are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Read(NamedTuple):
    """A record, in the topic or in the results."""

    partition: int
    offset: int
    key: str | None
    value: str | None


class Move(NamedTuple):
    """A partition that a command has moved, from the offset that was stored to another one."""

    partition: int
    from_offset: int
    to_offset: int


@dataclass(frozen=True)
class Verdict:
    """How the results differ from what they should be; all but the first two are to be 0.

    ``unexpected`` are results that are no committed record, ``disordered`` the keys whose records were processed in
    another order than their partition has them.
    """

    records: int
    results: int
    lost: int
    repeated: int
    unexpected: int
    disordered: int

    @property
    def is_exactly_once(self) -> bool:
        """Every committed record's result is there as often as it should be, in order, and nothing else."""
        return self.records > 0 and not (self.lost or self.repeated or self.unexpected or self.disordered)


def expected(committed: Iterable[Read], moves: Sequence[Move]) -> Mapping[int, Sequence[Read]]:
    """What the stream has to process of each partition, in order: up to each move, on from it, up to the end."""
    by_partition: dict[int, list[Read]] = defaultdict(list)
    for record in sorted(committed):
        by_partition[record.partition].append(record)
    return {
        number: [record for first, until in _stretches(number, moves) for record in _between(records, first, until)]
        for number, records in by_partition.items()
    }


def _stretches(partition: int, moves: Sequence[Move]) -> Iterable[tuple[int, int | None]]:
    first = 0
    for move in moves:
        if move.partition == partition:
            yield first, move.from_offset
            first = move.to_offset
    yield first, None


def _between(records: Sequence[Read], first: int, until: int | None) -> Iterable[Read]:
    return (record for record in records if first <= record.offset and (until is None or record.offset < until))


def judge(committed: Iterable[Read], results: Iterable[Read], moves: Sequence[Move] = ()) -> Verdict:
    """Compare. ``results`` come in the order in which they were written, at least those of a key."""
    wanted, found = expected(committed, moves), list(results)
    should = Counter(record for records in wanted.values() for record in records)
    there = Counter(found)
    return Verdict(
        records=len(should),
        results=len(found),
        lost=(should - there).total(),
        repeated=sum(times - should[it] for it, times in there.items() if should[it] and times > should[it]),
        unexpected=sum(times for it, times in there.items() if not should[it]),
        disordered=_disordered(wanted, found),
    )


def _disordered(wanted: Mapping[int, Sequence[Read]], found: Sequence[Read]) -> int:
    """Keys whose results are what they should be, but in another order; what is lost or repeated is counted there."""
    should = _by_key(record for records in wanted.values() for record in records)
    there = _by_key(found)
    return sum(
        sorted(offsets) == sorted(there[key]) and offsets != there[key]
        for key, offsets in should.items()
        if key in there
    )


def _by_key(records: Iterable[Read]) -> Mapping[tuple[int, str | None], list[int]]:
    found: dict[tuple[int, str | None], list[int]] = defaultdict(list)
    for record in records:
        found[record.partition, record.key].append(record.offset)
    return found


__all__ = ["Move", "Read", "Verdict", "expected", "judge"]
