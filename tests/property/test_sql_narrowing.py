"""The first change that is refused is found in few parts, with all before it written, whatever is said of it."""

from __future__ import annotations

from math import ceil, log2

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_stream.sinks.sql.narrowing import Narrowing, Part, parts_of

COUNTS = st.integers(1, 300)


def narrow(
    count: int, bad: set[int], odd: set[int], words: list[int | None], size: int = 1_000
) -> tuple[int | None, list[int], int]:
    """Which change was refused by itself, which were written, in how many parts.

    Parts with ``odd`` changes are refused as well, but not these by themselves; ``words`` are what is said of each
    refusal.
    """
    said = iter(words)
    narrowing, written, parts = Narrowing(parts_of(count, size)), list[int](), 0
    while (part := narrowing.next()) is not None:
        parts += 1
        inside = range(part.begin, part.end)
        if len(part) == 1 and part.begin in bad:
            return part.begin, written, parts
        if len(part) > 1 and not (bad | odd).isdisjoint(inside):
            narrowing.refused(part, next(said, None))
        else:
            written += inside
    return None, written, parts


@settings(max_examples=500)
@given(count=COUNTS, data=st.data())
def test_the_first_refused_change_is_found(count: int, data: st.DataObject) -> None:
    numbers = st.sets(st.integers(0, count - 1), max_size=5)
    words = data.draw(st.lists(st.none() | st.integers(-1, count), max_size=30))
    bad, odd = data.draw(numbers), data.draw(numbers)
    found, written, _ = narrow(count, bad, odd, words, data.draw(st.integers(1, 400)))
    first = min(bad, default=None)
    assert found == first
    assert written == list(range(count if first is None else first)), "in order, each once"


@given(count=COUNTS, data=st.data())
def test_it_takes_few_parts(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, count - 1))
    _, _, parts = narrow(count, {bad}, set(), [])
    assert parts <= 1 + ceil(log2(max(count, 2))) + 8
    _, _, parts = narrow(count, {bad}, set(), [bad])
    assert parts <= 3, "all, those before it, and itself"


@given(count=COUNTS, data=st.data())
def test_as_many_changes_are_written_again_as_there_are(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, count - 1))
    sizes: list[int] = []
    narrowing = Narrowing(parts_of(count, count))
    while (part := narrowing.next()) is not None and part != Part(bad, bad + 1):
        sizes.append(len(part))
        if part.begin <= bad < part.end:
            narrowing.refused(part)
    assert sum(sizes) <= 2 * count


@given(count=COUNTS)
def test_where_all_statements_of_many_are_refused_each_goes_by_itself_soon(count: int) -> None:
    found, written, parts = narrow(count, set(), set(range(count)), [])
    assert (found, written) == (None, list(range(count)))
    assert parts <= count + 5 * ceil(log2(max(count, 2))) + 4


def test_a_part_has_its_size() -> None:
    assert len(Part(3, 7)) == 4
    assert parts_of(5, 2) == [Part(0, 2), Part(2, 4), Part(4, 5)]
