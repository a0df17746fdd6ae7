"""From a row to the records that it was made of, found by making the rows of parts once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.types import OffsetRange, TopicPartition

RowsOf: TypeAlias = Callable[[Any], Iterable[Any]]
"""Makes rows: pure. Of a part of something it is given what it would be given if there was nothing else."""

Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Items:
    """Something that consists of items: the records that an item is of, and a part that is made of some of them."""

    records: Sequence[Sequence[Message]]
    part: Callable[[int, int], Any]


def origin_of(source: Any, number: int, rows_of: RowsOf) -> Sequence[Message]:
    """The fewest records that the row of this number can be of, in their order; none if they are not known.

    ``source`` is a batch, or a sequence of messages or of tuples with one. A row is of one record if this record alone
    makes it, at its place among the rows of the others, or as one of as many equal rows as the records make one by one.
    Rows are made of the source about twice, and a few times more if they are not in the order of the records.
    """
    items = _items_of(source)
    if items is None:
        return ()
    begin, end = 0, len(items.records)
    with suppress(Exception):  # of the user's function, which may need more than one record
        begin, end = _narrowed(end, number, lambda first, last: list(rows_of(items.part(first, last))))
    return [message for records in items.records[begin:end] for message in records]


def told(records: Sequence[Message]) -> str:
    """Which records these are, for an error about a row that is of one of them, or of several."""
    if not records:
        return "of a record that is not known"
    places = [_place(record) for record in (records[0], records[-1])]
    return f"of one of the {len(records):,} records from {places[0]} to {places[1]}, or of several of them"


def _place(message: Message) -> str:
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"


def _items_of(source: Any) -> Items | None:
    if isinstance(source, Batch):
        return Items([(message,) for message in source], lambda begin, end: _part_of(source, begin, end))
    if not isinstance(source, Sequence) or isinstance(source, str | bytes):
        return None
    records = [
        [it for it in (item if isinstance(item, tuple) else (item,)) if isinstance(it, Message)] for item in source
    ]
    return Items(records, lambda begin, end: source[begin:end]) if any(records) else None


def _part_of(batch: Batch, begin: int, end: int) -> Batch:
    """The batch as it would be if these were all records of its ranges, of those that have any."""
    ranges, records = list[OffsetRange](), dict[TopicPartition, Sequence[Message]]()
    for r in batch.ranges:
        messages = batch.records.get(r.topic_partition, ())
        if part := messages[max(begin, 0) : max(end, 0)]:
            ranges.append(r)
            records[r.topic_partition] = part
        begin, end = begin - len(messages), end - len(messages)
    return Batch(tuple(ranges), records)


def _narrowed(count: int, number: int, made: Callable[[int, int], list[Any]]) -> Span:
    """The fewest consecutive items that a row can be of."""
    whole = made(0, count)
    if count < 2:
        return 0, count
    in_order = _by_place(whole, number, count, made)
    if in_order[1] - in_order[0] == 1:
        return in_order
    return min(in_order, _by_value(whole, number, count, made), key=lambda span: span[1] - span[0])


def _by_place(whole: list[Any], number: int, count: int, made: Callable[[int, int], list[Any]]) -> Span:
    """Where the rows of some items follow those of the items before them."""
    begin, end, before = 0, count, 0
    while end - begin > 1:
        middle = (begin + end) // 2
        rows = made(begin, middle)
        if rows != whole[before : before + len(rows)]:
            break
        if number < before + len(rows):
            end = middle
        else:
            begin, before = middle, before + len(rows)
    rows = made(begin, end)
    is_there = before <= number < before + len(rows) and rows == whole[before : before + len(rows)]
    return (begin, end) if is_there else (0, count)


def _by_value(whole: list[Any], number: int, count: int, made: Callable[[int, int], list[Any]]) -> Span:
    """Where each row that equals this one comes from items that make it whatever the others are; in their order."""
    wanted = whole[number]
    begin, end, equal, nth = 0, count, whole.count(wanted), whole[:number].count(wanted)
    while end - begin > 1:
        middle = (begin + end) // 2
        left, right = (made(*span).count(wanted) for span in ((begin, middle), (middle, end)))
        if left + right != equal:
            break
        if nth < left:
            end, equal = middle, left
        else:
            begin, equal, nth = middle, right, nth - left
    return begin, end


__all__ = ["Items", "RowsOf", "origin_of", "told"]
