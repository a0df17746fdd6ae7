"""The order of keys in a batch: their own where they have one, and equal ones together where they have not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

from kafka_stream.sinks.sql.keys import order_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
SAME = NOON.astimezone(timezone(timedelta(hours=3)))


def ordered(keys: list[Any]) -> list[Any]:
    return [keys[number] for number in order_of(keys)]


def test_keys_have_their_order_and_equal_ones_keep_theirs() -> None:
    assert ordered([3, 1, 2]) == [1, 2, 3]
    assert list(order_of([2, 1, 2, 1])) == [1, 3, 0, 2]
    assert list(order_of([1, 1, 2])) == [0, 1, 2]


def test_equal_keys_are_together_where_they_have_no_order_and_are_written_otherwise() -> None:
    red, blue = Colour.RED, Colour.BLUE
    keys = [(red, SAME), (blue, NOON), (red, NOON + timedelta(hours=1)), (red, NOON), (blue, SAME)]
    assert NOON == SAME
    assert list(order_of(keys)) in ([1, 4, 0, 3, 2], [1, 4, 2, 0, 3])
    assert repr(NOON) < repr(NOON + timedelta(hours=1)) < repr(SAME), "or else it shows nothing"
