"""The breaker: however records are cut into batches, it trips at the same record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.errors import TooManyDeadLetters
from kafka_stream.failures.breaker import Breaker, DeadLetters

LIMITS = st.builds(
    DeadLetters,
    max_ratio=st.sampled_from([0.01, 0.1, 0.34, 1.0]),
    window=st.integers(1, 40),
    max_in_a_row=st.integers(1, 15),
)


def trips_at(limits: DeadLetters, records: list[bool]) -> int | None:
    """The definition: the number of the first record that is too much."""
    for number in range(len(records)):
        seen = records[: number + 1]
        row = len(seen) if all(seen) else seen[::-1].index(False)
        if records[number] and (
            row > limits.max_in_a_row or sum(seen[-limits.window :]) > int(limits.max_ratio * limits.window)
        ):
            return number
    return None


@given(LIMITS, st.lists(st.booleans(), max_size=120), st.data())
def test_it_trips_by_its_definition_wherever_batches_are_cut(
    limits: DeadLetters, records: list[bool], data: st.DataObject
) -> None:
    expected = trips_at(limits, records)
    breaker, begin = Breaker(limits), 0
    while begin < len(records):
        end = begin + data.draw(st.integers(1, len(records) - begin))
        failed = [place for place, bad in enumerate(records[begin:end]) if bad]
        if expected is not None and begin <= expected < end:
            with pytest.raises(TooManyDeadLetters):
                breaker.after(end - begin, failed)
            return
        breaker = breaker.after(end - begin, failed)
        begin = end
    assert expected is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_ratio": 0},
        {"max_ratio": 1.5},
        {"max_ratio": True},
        {"window": 0},
        {"max_in_a_row": 1.5},
        {"max_per_key": 0},
    ],
    ids=str,
)
def test_limits_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DeadLetters(**wrong)  # type: ignore[arg-type]
