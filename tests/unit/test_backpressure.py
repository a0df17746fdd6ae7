"""When a full inbox counts as stuck."""

from __future__ import annotations

import pytest

from kafka_stream.source.backpressure import Turnover
from kafka_stream.source.inbox import Inbox, SourceLimits
from kafka_stream.testing import message
from kafka_stream.types import OffsetRange, TopicPartition

P0 = TopicPartition("t", 0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox() -> Inbox:
    inbox = Inbox(SourceLimits(max_buffered_records=10))
    inbox.assigned([P0])
    inbox.reading(P0, inbox.start({P0: 0})[P0])
    return inbox


def let_in(inbox: Inbox, records: int) -> None:
    position = inbox.position(P0)
    assert position is not None
    inbox.add(P0, [message("v", topic="t", offset=position + n) for n in range(records)])


def take_all_but(inbox: Inbox, records: int) -> None:
    buffered = inbox.buffered()[P0]
    start = buffered.position - buffered.records
    inbox.take([OffsetRange(P0, start, buffered.position - records)])


def test_it_is_slow_after_a_window_in_which_little_was_let_in(inbox: Inbox, clock: Clock) -> None:
    turnover = Turnover(inbox, clock)
    let_in(inbox, 10)
    assert not turnover.is_slow()
    clock.now += 2
    assert turnover.is_slow()
    clock.now += 1
    assert turnover.is_slow()
    turnover.restart()
    assert not turnover.is_slow()


def test_it_is_not_slow_once_the_inbox_has_drained(inbox: Inbox, clock: Clock) -> None:
    turnover = Turnover(inbox, clock)
    let_in(inbox, 10)
    clock.now += 2
    assert turnover.is_slow()
    take_all_but(inbox, 4)
    assert not turnover.is_slow()
    let_in(inbox, 6)
    clock.now += 1.9
    assert not turnover.is_slow()


def test_it_is_not_slow_while_much_is_let_in(inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.source.backpressure._TURNOVER_RECORDS", 5)
    turnover = Turnover(inbox, clock)
    for _ in range(3):
        let_in(inbox, 5)
        clock.now += 2
        assert not turnover.is_slow()
    clock.now += 2
    assert turnover.is_slow()
