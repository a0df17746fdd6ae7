"""The records that a batch, or what ``prepare`` made of one, consists of; and what users' functions get of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.errors import ProcessingError

Record: TypeAlias = tuple[Message, Any]
"""A record, and its value as users' functions get it."""


def records_of(prepared: Any, taker: str) -> Sequence[Record]:
    """Each record with its value, in the order given: a message alone is its own value.

    ``prepared`` is a ``Batch``, or an iterable of messages or of ``(message, value)`` pairs, such as
    ``batch.decoded(…)``. ``taker`` is who asks, for the error.

    Raises:
        ProcessingError: it is something else.
    """
    if isinstance(prepared, Batch):
        return [(message, message) for message in prepared]
    if not isinstance(prepared, Iterable) or isinstance(prepared, str | bytes):
        raise ProcessingError(f"{taker} got a {type(prepared).__name__}; {_TAKES}")
    items = prepared if isinstance(prepared, list) else list(prepared)
    if _are_pairs(items):
        return items
    return [_record(item, number, taker) for number, item in enumerate(items)]


def _are_pairs(items: Sequence[Any]) -> bool:
    """Whether all are, found without a look at each by itself, which takes several times as long."""
    return (
        set(map(type, items)) == {tuple}
        and set(map(len, items)) == {2}
        and {type(one) for one, _ in items} == {Message}
    )


_TAKES = "it takes the batch, or pairs of a message and a value, as list(batch.decoded(…)) gives"


def _record(item: Any, number: int, taker: str) -> Record:
    if isinstance(item, Message):
        return item, item
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Message):
        return item
    raise ProcessingError(f"item {number} that {taker} got is a {type(item).__name__}; {_TAKES}")


__all__ = ["Record", "records_of"]
