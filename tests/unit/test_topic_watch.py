"""Looks at the topics on threads of their own: nobody waits for one, and no two are under way."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from kafka_stream.errors import BrokerUnavailable, TopicNotFound
from kafka_stream.protocols import Look, TopicInfo
from kafka_stream.source.topic_watch import TopicWatch
from kafka_stream.types import TopicPartition
from tests.fakes import ORDERS_0

SEEN = Look({"orders": TopicInfo(1, "id")}, {ORDERS_0: 7})


class Brokers:
    """They answer when the test says what."""

    def __init__(self) -> None:
        self.asked: list[Mapping[TopicPartition, int]] = []
        self.answers: list[Look | Exception] = []
        self._may_answer = threading.Semaphore(0)
        self.told = threading.Semaphore(0)
        self.watch = TopicWatch(self._ask, self.told.release, "look")

    def answer(self, answer: Look | Exception) -> None:
        self.answers.append(answer)
        self._may_answer.release()
        assert self.told.acquire(timeout=60)

    def _ask(self, positions: Mapping[TopicPartition, int]) -> Look:
        self.asked.append(positions)
        assert self._may_answer.acquire(timeout=60)
        answer = self.answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_an_answer_comes_once_and_nobody_waits_for_it() -> None:
    brokers = Brokers()
    assert brokers.watch.answer() is None
    brokers.watch.begin({ORDERS_0: 5})
    brokers.watch.begin({ORDERS_0: 5})
    assert brokers.watch.answer() is None
    brokers.answer(SEEN)
    assert (brokers.watch.answer(), brokers.watch.answer()) == (SEEN, None)
    assert brokers.asked == [{ORDERS_0: 5}], "a second look while one is under way"
    brokers.watch.begin({})
    brokers.answer(SEEN)
    assert brokers.watch.answer() == SEEN


def test_silence_is_trouble_until_somebody_answers() -> None:
    brokers = Brokers()
    silence = BrokerUnavailable("it did not answer")
    brokers.watch.begin({})
    brokers.answer(silence)
    assert brokers.watch.trouble is silence
    with pytest.raises(BrokerUnavailable):
        brokers.watch.answer()
    assert brokers.watch.answer() is None
    brokers.watch.begin({})
    assert brokers.watch.trouble is silence
    brokers.answer(SEEN)
    assert brokers.watch.trouble is None


def test_what_is_final_is_raised_and_no_trouble() -> None:
    brokers = Brokers()
    brokers.watch.begin({})
    brokers.answer(TopicNotFound("it is gone"))
    assert brokers.watch.trouble is None
    with pytest.raises(TopicNotFound):
        brokers.watch.answer()


def test_a_bug_on_the_way_does_not_end_the_looking() -> None:
    brokers = Brokers()
    brokers.watch.begin({})
    brokers.answer(ZeroDivisionError("a bug"))
    with pytest.raises(BrokerUnavailable, match="could not be looked at: ZeroDivisionError"):
        brokers.watch.answer()
    brokers.watch.begin({})
    brokers.answer(SEEN)
    assert brokers.watch.answer() == SEEN
