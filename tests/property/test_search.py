"""Bisecting: whatever fails by itself is found, what does not is kept once, and the number of attempts is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.failures.search import Part, Search, most_attempts

SIZES = st.integers(1, 300)


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, frozenset[int]]:
    """How many records, and the places of those that fail: at least one."""
    size = draw(SIZES)
    return size, draw(st.frozensets(st.integers(0, size - 1), min_size=1, max_size=min(size, 12)))


def hunted(search: Search, fails: Callable[[Sequence[int]], Iterable[int] | None]) -> list[int]:
    """Drive it to its end: ``fails`` gives None where all went well, else the places that are named."""
    kept: list[int] = []
    while (part := search.next()) is not None:
        places = search.places(part)
        named = fails(places)
        if named is None:
            kept += places
            search.went_well()
        else:
            search.has_failed(named)
    return kept


@given(batches())
def test_records_that_fail_by_themselves_are_found_within_the_bound(batch: tuple[int, frozenset[int]]) -> None:
    size, bad = batch
    search = Search(size)
    search.begin()
    kept = hunted(search, lambda places: () if bad & set(places) else None)
    assert sorted(search.failed) == sorted(bad)
    assert kept == [place for place in range(size) if place not in bad], "each good one once, in order"
    assert search.attempts <= most_attempts(size, len(bad))


@given(batches())
def test_records_that_are_named_take_two_attempts_each_at_most(batch: tuple[int, frozenset[int]]) -> None:
    size, bad = batch
    search = Search(size)
    search.begin([min(bad)])
    kept = hunted(search, lambda places: sorted(bad & set(places))[:1] or None)
    assert sorted(search.failed) == sorted(bad)
    assert kept == [place for place in range(size) if place not in bad]
    assert search.attempts <= 2 * len(bad)


@given(batches(), st.data())
def test_what_is_lost_with_its_transaction_is_tried_again(
    batch: tuple[int, frozenset[int]], data: st.DataObject
) -> None:
    """Parts that fail are found out at once, or only after others went well, and take these with them."""
    size, bad = batch
    search = Search(size)
    search.begin()
    kept: list[Sequence[int]] = []
    suspects: list[int] = []
    for _ in range(20 * size + 100):
        part = search.next()
        is_end = part is None
        if part is not None:
            places = search.places(part)
            if bad & set(places):
                if data.draw(st.booleans()):
                    search.has_failed()
                    continue
                suspects.append(len(kept))
            kept.append(places)
            search.went_well()
        if suspects and (is_end or data.draw(st.booleans())):
            search.is_spoiled(suspects[0])
            kept, suspects = [], []
        elif is_end:
            break
    assert sorted(search.failed) == sorted(bad)
    assert [place for places in kept for place in places] == [place for place in range(size) if place not in bad]


@given(batches(), st.integers(1, 5))
def test_those_that_follow_one_that_failed_are_left_out_and_never_tried_after_it(
    batch: tuple[int, frozenset[int]], keys: int
) -> None:
    size, bad = batch

    def followers(place: int) -> Iterable[int]:
        return range(place + keys, size, keys)

    search = Search(size, followers)
    search.begin()
    kept = hunted(search, lambda places: () if bad & set(places) else None)
    first_bad = {key: min((p for p in bad if p % keys == key), default=size) for key in range(keys)}
    assert kept == [place for place in range(size) if place < first_bad[place % keys]]
    assert sorted(search.failed) == sorted(place for place in first_bad.values() if place < size)
    assert set(search.left_out) == {place for place in range(size) if place >= first_bad[place % keys]}


@given(st.integers(2, 300), st.data())
def test_two_that_fail_only_together_leave_nobody_to_blame(size: int, data: st.DataObject) -> None:
    pair = data.draw(st.sets(st.integers(0, size - 1), min_size=2, max_size=2))
    search = Search(size)
    search.begin()
    kept = hunted(search, lambda places: () if pair <= set(places) else None)
    assert search.failed == []
    assert kept == list(range(size))


@given(batches(), st.data())
def test_what_is_rejected_without_a_failure_is_set_apart(
    batch: tuple[int, frozenset[int]], data: st.DataObject
) -> None:
    size, bad = batch
    rejected = data.draw(st.frozensets(st.integers(0, size - 1), max_size=5)) - bad
    search = Search(size)
    search.begin()
    while (part := search.next()) is not None:
        places = set(search.places(part))
        if places & bad:
            search.has_failed()
        else:
            search.went_well(rejected & places)
    assert sorted(search.failed) == sorted(bad | rejected)


def test_a_part_that_never_was_is_an_error() -> None:
    search = Search(4)
    search.begin()
    while search.next() is not None:
        search.went_well()
    assert search.done == [Part(0, 2), Part(2, 4)]
    for attempt in (2, 3):
        try:
            search.is_spoiled(attempt)
        except LookupError:
            continue
        raise AssertionError(attempt)
