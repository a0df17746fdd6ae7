"""What a command on the Kafka store makes of a commit that got no answer, from what is stored afterwards."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kafka_stream.offset_stores.kafka.administration import outcome
from kafka_stream.offset_stores.kafka.group import Found
from kafka_stream.offset_stores.kafka.metadata import Stored, decode, encode
from kafka_stream.types import StoredPosition, TopicPartition

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def kept(offset: int, *marks: str, epoch: int = 1, ours: bool = True) -> Found:
    position = StoredPosition(offset, epoch, changed_at=_AT if ours else None)
    return {TopicPartition("orders", 0): Stored(position, marks=marks)}


@pytest.mark.parametrize(
    ("before", "after", "took_effect"),
    [
        pytest.param(kept(9), kept(5, "mine"), True, id="it is there"),
        pytest.param(kept(9), kept(7, "mine", epoch=3), True, id="an owner has gone on from it"),
        pytest.param(kept(9, "a"), kept(1, "b", "mine", "a"), True, id="another command has moved it since"),
        pytest.param({}, kept(5, "mine"), True, id="it was the first to store anything"),
        pytest.param(kept(9, "a"), kept(9, "a"), False, id="nothing has happened"),
        pytest.param(kept(9, ours=False), kept(9, ours=False), False, id="nothing has happened to a plain group"),
        pytest.param({}, {}, False, id="nothing is stored"),
        pytest.param(kept(9), kept(12, epoch=2), False, id="an owner has taken over instead"),
        pytest.param(kept(9, "a"), kept(1, "b", "a"), False, id="another command came instead"),
        pytest.param(kept(9), kept(1, "c", "b"), False, id="two others came instead"),
        pytest.param({}, kept(1, "b"), False, id="another command was the first"),
        pytest.param(kept(9), kept(1, "d", "c", "b"), None, id="more others came than marks are kept"),
        pytest.param(kept(9, "a"), kept(1, "d", "c", "b"), None, id="others came, and what was there is forgotten"),
        pytest.param(kept(9, "a"), kept(12, ours=False), None, id="a plain consumer has committed"),
    ],
)
def test_what_has_become_of_a_command(before: Found, after: Found, took_effect: bool | None) -> None:
    assert outcome(before, after, "mine") is took_effect


def test_the_marks_of_the_last_commands_are_kept() -> None:
    (stored,) = kept(5).values()
    for mark in "abcd":
        stored = stored.marked(mark)
    assert stored.marks == ("d", "c", "b")
    assert decode(TopicPartition("orders", 0), 5, None, encode(stored)) == stored
