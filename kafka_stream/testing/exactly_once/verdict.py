"""Pure: results and what they have to be, into the first record that is lost or repeated."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from kafka_stream.testing.exactly_once.expectations import Expectation
from kafka_stream.testing.exactly_once.findings import (
    NotExactlyOnce,
    RecordLost,
    RecordRepeated,
    ResultsDiffer,
    WrittenOutside,
)
from kafka_stream.testing.exactly_once.results import Results

_MOST_SHOWN = 3
_MOST_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, with the number of the first record that it shows in, if that is known."""

    kind: type[NotExactlyOnce]
    record: int | None
    said: str


@dataclass(frozen=True, slots=True)
class Case:
    """Results at one moment: ``committed`` of the records, in order, and so many of them to a batch."""

    found: Results
    wanted: Results
    committed: int
    records: int
    batch_records: int


def verdict(case: Case, expectation: Expectation) -> Verdict | None:
    """``None`` if the results are as they have to be."""
    lost, more = case.wanted - case.found, case.found - case.wanted
    if not lost and not more:
        return None
    missing = [_lost(item, case, expectation) for item in list(lost)[:_MOST_LOOKED_AT]]
    found = [_more(item, case, expectation) for item in list(more)[:_MOST_LOOKED_AT]]
    plain: list[Verdict] = [*missing, *(each for each in found if each is not None)]
    if None in found:  # one result in place of another, as sums are: what was done to the records may explain it
        return _by_repeating_a_batch(case, expectation) or _different(lost, more, plain)
    return min(plain, key=lambda each: (each.record is None, each.record or 0))


def _lost(item: Hashable, case: Case, expectation: Expectation) -> Verdict:
    there = case.found[item]
    record = _first(case.committed, lambda count: (expectation.after(count) or Results())[item] > there, expectation)
    said = f"its result {item!r} is {'not there' if not there else f'there {_times(there)}'}"
    return Verdict(RecordLost, record, f"{said}, and has to be there {_times(case.wanted[item])}")


def _more(item: Hashable, case: Case, expectation: Expectation) -> Verdict | None:
    there, wanted = case.found[item], case.wanted[item]
    after_all = expectation.after(case.records) or Results()
    if after_all[item] > wanted:
        record = _first(case.records, lambda count: (expectation.after(count) or Results())[item] > wanted, expectation)
        return Verdict(WrittenOutside, record, f"its result {item!r} is there, although its batch was not committed")
    if not wanted:
        return None
    record = _first(case.committed, lambda count: (expectation.after(count) or Results())[item] > 0, expectation)
    return Verdict(
        RecordRepeated, record, f"its result {item!r} is there {_times(there)}, and has to be there {_times(wanted)}"
    )


def _first(count: int, holds: Callable[[int], bool], expectation: Expectation) -> int | None:
    """The number of the record with which something begins to hold that holds after ``count`` records."""
    known = expectation.known(count)
    low, high = 0, len(known) - 1
    if high < 1 or not holds(known[high]):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(known[middle]) else (middle, high)
    return known[low]


def _by_repeating_a_batch(case: Case, expectation: Expectation) -> Verdict | None:
    """Whether the results are those of the records with one batch, or one record, twice, or left out."""
    so_far = list(range(case.committed))
    for size in dict.fromkeys((case.batch_records, 1)):
        before = so_far[max(0, case.committed - size) :]
        ahead = list(range(case.committed, min(case.records, case.committed + size)))
        for kind, numbers, suspect in (
            (WrittenOutside, [*so_far, *ahead], ahead),
            (WrittenOutside, [*so_far, *ahead, *ahead], ahead),
            (RecordRepeated, [*so_far, *before], before),
            (RecordLost, so_far[: max(0, case.committed - size)], before),
        ):
            if suspect and expectation.of(numbers) == case.found:
                return Verdict(kind, suspect[0], _explained(kind, case))
    return None


def _explained(kind: type[NotExactlyOnce], case: Case) -> str:
    lost, more = case.wanted - case.found, case.found - case.wanted
    how = {
        RecordLost: "the results are what the other records come to",
        RecordRepeated: "the results are what the records come to with its batch twice",
        WrittenOutside: "the results are what the records come to with its batch, which was not committed",
    }
    return f"{how[kind]}: {_shown(more)} in place of {_shown(lost)}"


def _different(lost: Results, more: Results, plain: Sequence[Verdict]) -> Verdict:
    found = f"there is {_shown(more)}, and should be {_shown(lost)}"
    records = [each.record for each in plain if each.record is not None]
    return Verdict(ResultsDiffer, min(records, default=None), found)


def _shown(items: Results) -> str:
    shown = [repr(item) for item in list(items)[:_MOST_SHOWN]]
    return ", ".join(shown) + (", …" if len(items) > len(shown) else "") if shown else "nothing"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


__all__ = ["Case", "Verdict", "verdict"]
