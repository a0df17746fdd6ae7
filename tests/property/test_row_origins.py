"""From a row to its record: never a wrong one, and the very one where each record makes its own rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from math import ceil, log2
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_stream.batch import Batch
from kafka_stream.sinks.origins import origin_of, told
from kafka_stream.testing.messages import batch_of, message

Rows = list[int]
VALUES = st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=12)
"""The rows of each record."""


def batch(values: list[Rows], partitions: int = 2) -> Batch:
    return batch_of(
        [message(repr(rows), partition=number % partitions, offset=5 + number) for number, rows in enumerate(values)]
    )


def rows_of(one: Message) -> Rows:
    value = one.value()
    assert value is not None
    return [int(digit) for digit in value.decode() if digit.isdigit()]


def each(given: Iterable[Any]) -> list[int]:
    """The rows of each record, one record after the other."""
    return [row for item in given for row in rows_of(item if isinstance(item, Message) else item[0])]


def largest_first(given: Iterable[Any]) -> list[int]:
    return sorted(each(given), reverse=True)


def counted(given: Iterable[Any]) -> list[tuple[int, int]]:
    """A row for each value, of all the records with it."""
    return sorted(Counter(each(given)).items())


def total(given: Iterable[Any]) -> list[int]:
    return [sum(each(given))]


@pytest.mark.parametrize("form", [lambda b: b, lambda b: list(b), lambda b: [(m, "value") for m in b]])
@given(values=VALUES, data=st.data())
def test_where_each_record_makes_its_own_rows_the_record_is_known(
    form: Callable[[Batch], Any], values: list[Rows], data: st.DataObject
) -> None:
    source = form(batch(values))
    made = [m for m in (m if isinstance(m, Message) else m[0] for m in source) for _ in rows_of(m)]
    if made:
        number = data.draw(st.integers(0, len(made) - 1))
        assert origin_of(source, number, each) == [made[number]]


@settings(max_examples=300)
@given(values=VALUES, make=st.sampled_from([each, largest_first, counted, total]), data=st.data())
def test_a_record_that_is_named_makes_the_row_by_itself(
    values: list[Rows], make: Callable[[Any], list[Any]], data: st.DataObject
) -> None:
    source = batch(values)
    whole = make(source)
    if whole:
        number = data.draw(st.integers(0, len(whole) - 1))
        found = origin_of(source, number, make)
        assert found
        assert [m for m in source if m in found] == found, "in their order"
        if len(found) == 1:
            assert whole[number] in make([found[0]])


@given(values=VALUES, data=st.data())
def test_rows_in_another_order_are_found_by_their_values(values: list[Rows], data: st.DataObject) -> None:
    source = batch(values)
    whole = largest_first(source)
    if whole:
        number = data.draw(st.integers(0, len(whole) - 1))
        assert len(origin_of(source, number, largest_first)) == 1


@given(records=st.integers(2, 2_000), data=st.data())
def test_rows_are_made_few_times(records: int, data: st.DataObject) -> None:
    items = [(message(None, offset=number), number) for number in range(records)]
    sizes: list[int] = []

    def make(given: list[Any]) -> list[int]:
        sizes.append(len(given))
        return [number for _, number in given]

    number = data.draw(st.integers(0, records - 1))
    assert origin_of(items, number, make) == [items[number][0]]
    assert len(sizes) <= ceil(log2(records)) + 2
    assert sum(sizes) <= 2 * records + len(sizes)


def test_a_row_of_one_partition_is_of_its_records() -> None:
    source = batch([[1], [2], [3], [4]])

    def of_partitions(given: Batch) -> list[Any]:
        return [(r.partition, sum(each(given.partition(r.topic_partition)))) for r in given.ranges]

    assert [m.partition() for m in origin_of(source, 0, of_partitions)] == [0, 0]
    found = origin_of(source, 1, of_partitions)
    assert told(found) == "of one of the 2 records from topic[1]@6 to topic[1]@8, or of several of them"


def test_what_is_not_made_of_known_records() -> None:
    def only_all(given: Batch) -> list[int]:
        if len(given) < 3:
            raise ValueError("too few")
        return [1]

    assert len(origin_of(batch([[1], [2], [3]]), 0, only_all)) == 3
    assert not origin_of([1, 2], 0, lambda given: given)
    assert not origin_of({"a": 1}, 0, list)
    assert told([]) == "of a record that is not known"
