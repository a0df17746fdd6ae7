"""How far a stream's event time has come, and what holds it back."""

from __future__ import annotations

import pytest

from kafka_stream.admin.state.keys import meant_by
from kafka_stream.admin.state.windows import StreamWatermark, stream_watermark
from kafka_stream.protocols import EventTime
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2


def _at(*marks: int | str | None) -> list[EventTime]:
    """A watermark each; ``"idle"``, or ``"idle 5"``, of one that is idle."""
    found = []
    for tp, mark in zip((ORDERS_0, ORDERS_1, ORDERS_2), marks, strict=False):
        if isinstance(mark, str):
            number = mark.removeprefix("idle").strip()
            found.append(EventTime(tp, None, int(number) if number else None, is_idle=True))
        else:
            found.append(EventTime(tp, mark, mark))
    return found


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [
        (_at(), StreamWatermark(None, ())),
        (_at(5, 3, 9), StreamWatermark(3, [ORDERS_1])),
        (_at(3, 3, 9), StreamWatermark(3, [ORDERS_0, ORDERS_1])),
        (_at(5, None, 9), StreamWatermark(None, [ORDERS_1])),
        (_at(5, "idle 1", 9), StreamWatermark(5, [ORDERS_0])),
        (_at(5, "idle", 9), StreamWatermark(5, [ORDERS_0])),
        (_at("idle 7", "idle 1", "idle"), StreamWatermark(7, ())),
        (_at("idle"), StreamWatermark(None, ())),
    ],
)
def test_it_is_the_least_of_those_that_are_not_idle(partitions: list[EventTime], expected: StreamWatermark) -> None:
    assert stream_watermark(partitions) == expected


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ada", ["ada", b"ada"]),
        ("0x00ff", ["0x00ff", b"\x00\xff"]),
        ("7", ["7", b"7", 7]),
        ("a,7", ["a,7", b"a,7", ("a", "7"), ("a", b"7"), ("a", 7), (b"a", "7"), (b"a", b"7"), (b"a", 7)]),
    ],
)
def test_a_text_may_mean_several_keys(text: str, meant: list[object]) -> None:
    assert list(meant_by(text)) == meant
