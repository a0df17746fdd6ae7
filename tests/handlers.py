"""What users write, right and wrong: ``prepare``s that give records in every way, and handlers that use them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

from confluent_kafka import Message

from kafka_stream.batch import Batch

Place = tuple[int, int]
"""A record's partition and offset."""


def places_in(value: Any) -> Iterator[Place]:
    """All records of what a sink was given, however that holds them."""
    values = chain.from_iterable(value.values()) if isinstance(value, Mapping) else value
    for one in values:
        message = one[0] if isinstance(one, tuple) and isinstance(one[0], Message) else one
        yield place_of(message) if isinstance(message, Message) else message


def place_of(message: Message) -> Place:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


# What prepare gives


def listed(batch: Batch) -> list[Place]:
    return [place_of(message) for message in batch]


def generated(batch: Batch) -> Iterator[Place]:
    for message in batch:
        yield place_of(message)


async def awaited(batch: Batch) -> list[Place]:
    return listed(batch)


async def awaited_too_little(batch: Batch) -> Any:
    return awaited(batch)


async def generated_later(batch: Batch) -> AsyncIterator[Place]:
    for message in batch:
        yield place_of(message)


def emptying(batch: Batch) -> list[Place]:
    """What it takes away it means to have handed on."""
    kept = listed(batch)
    messages: Any = batch.messages
    while messages:
        del messages[:2]
    return kept


def clearing(batch: Batch) -> Batch:
    records: Any = batch.records
    records.clear()
    return batch


PREPARES: Sequence[Callable[[Batch], Any] | None] = [
    None,
    listed,
    generated,
    awaited,
    awaited_too_little,
    generated_later,
    emptying,
    clearing,
    lambda batch: batch,
    lambda batch: batch.messages,
    lambda batch: batch.records,
    lambda batch: batch.decoded(bytes),
    lambda batch: iter(batch),
    lambda batch: map(place_of, batch),
    lambda batch: filter(None, listed(batch)),
    lambda batch: (place for place in listed(batch)),
    lambda batch: tuple(listed(batch)),
    lambda batch: deque(listed(batch)),
    lambda batch: {place: [place] for place in listed(batch)},
    lambda batch: dict.fromkeys(listed(batch)).keys(),
    partial(generated),
]


# What a handler does with it


def reads(value: Any, add: Callable[[Place], None]) -> None:
    for place in places_in(value):
        add(place)


def reads_a_list_of_it(value: Any, add: Callable[[Place], None]) -> Any:
    places = list(places_in(value))
    for place in places:
        add(place)
    return places


def consumes(value: Any, add: Callable[[Place], None]) -> None:
    """As a queue is worked off."""
    if isinstance(value, list | deque):
        while value:
            add(value.pop())
        return
    reads(value, add)
    messages: Any = value.messages if isinstance(value, Batch) else value
    del messages[:1]


def reads_and_clears(value: Any, add: Callable[[Place], None]) -> None:
    reads(value, add)
    if hasattr(value, "clear"):
        value.clear()


def yields(value: Any, add: Callable[[Place], None]) -> Iterator[None]:
    for place in places_in(value):
        add(place)
        yield


async def waits(value: Any, add: Callable[[Place], None]) -> None:
    reads(value, add)


async def yields_later(value: Any, add: Callable[[Place], None]) -> AsyncIterator[None]:
    reads(value, add)
    yield


@contextmanager
def enters(value: Any, add: Callable[[Place], None]) -> Iterator[None]:
    reads(value, add)
    yield


HANDLERS: Sequence[Callable[[Any, Any], Any]] = [
    reads,
    reads_a_list_of_it,
    consumes,
    reads_and_clears,
    yields,
    waits,
    yields_later,
    enters,
    lambda value, add: map(add, places_in(value)),
    lambda value, add: (add(place) for place in places_in(value)),
    lambda value, add: yields(value, add),
    lambda value, add: waits(value, add),
    lambda value, add: enters(value, add),
    lambda value, add: partial(reads, value, add),
    lambda value, add: lambda: reads(value, add),
]
