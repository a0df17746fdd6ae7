"""What the loop makes of looks at the topics: an answer that does not come holds up nothing, and lag is not made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from kafka_stream.engine.topic_look import LOOK_INTERVAL_S
from kafka_stream.errors import BrokerUnavailable, KafkaStreamError, StoreUnavailable, TopicNotFound
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.protocols import Look, TopicInfo
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import TopicPartition
from tests.fakes import ORDERS_0, ORDERS_1
from tests.simulation import ResultsStore, Simulation

SILENCE = BrokerUnavailable("nobody answered")
TOPICS = {"orders": TopicInfo(2, None)}


class Looks:
    """Stands for what a source does on threads of its own; a test says when what is answered."""

    def __init__(self, run: Simulation) -> None:
        self.begun: list[float] = []
        self.answers: list[Look | KafkaStreamError] = []
        self.known: KafkaStreamError | None = None
        self._clock = run.clock
        for method in (self.begin_look, self.look, self.trouble):
            setattr(run.source, method.__name__, method)

    def begin_look(self, positions: Mapping[TopicPartition, int]) -> None:
        self.begun.append(self._clock.now)

    def look(self) -> Look | None:
        if not self.answers:
            return None
        answer = self.answers.pop(0)
        if isinstance(answer, KafkaStreamError):
            raise answer
        return answer

    def trouble(self) -> KafkaStreamError | None:
        return self.known

    def seen(self, *ends: int) -> None:
        self.answers.append(Look(TOPICS, dict(zip((ORDERS_0, ORDERS_1), ends, strict=False))))


def statuses(run: Simulation, *moments: tuple[float, Callable[[], object]]) -> list[StreamStatus]:
    """The status a little after each of these moments, in each of which something happens; then the run is stopped."""
    found: list[StreamStatus] = []
    for at, action in moments:
        run.at(at, action)
        run.at(at + 1.5, lambda: found.append(run.loop.status))
    run.at(moments[-1][0] + 2, run.stop)
    run.run()
    return found


def test_batches_do_not_wait_for_a_look(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    looks = Looks(run)
    for second in range(1, 31):
        run.at(second, lambda: kafka.produce("orders", "x", partition=0))
    run.at(32, run.stop)
    run.run()
    assert [offset for _, _, offset in store.rows] == list(range(30))
    assert len(run.story.batches) == 30
    assert looks.begun == pytest.approx([looks.begun[0] + LOOK_INTERVAL_S * n for n in range(len(looks.begun))], abs=1)
    assert run.loop.status.lag == {ORDERS_0: None, ORDERS_1: None}


def test_lag_is_unknown_where_the_end_is_older_than_what_was_read(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    looks = Looks(run)

    def three_more() -> None:
        for _ in range(3):
            kafka.produce("orders", "x", partition=0)

    found = statuses(
        run,
        (1, lambda: looks.seen(2, 4)),
        (5, three_more),
        (9, lambda: looks.seen(3, 0)),
        (13, lambda: looks.answers.append(SILENCE)),
    )
    assert [status.lag for status in found] == [
        {ORDERS_0: 2, ORDERS_1: 4},
        {ORDERS_0: None, ORDERS_1: 4},
        {ORDERS_0: 0, ORDERS_1: 0},
        {ORDERS_0: None, ORDERS_1: None},
    ]


def test_the_status_tells_of_trouble_that_the_source_knows(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    looks = Looks(run)
    other = BrokerUnavailable("still nobody")
    found = statuses(
        run,
        (1, lambda: setattr(looks, "known", SILENCE)),
        (5, lambda: setattr(looks, "known", other)),
        (9, lambda: setattr(looks, "known", None)),
    )
    assert [(status.state, status.error) for status in found] == [
        (StreamState.RETRYING, SILENCE),
        (StreamState.RETRYING, other),
        (StreamState.RUNNING, None),
    ]
    assert run.story.retries == [], "the loop itself retries nothing"


def test_what_the_loop_retries_is_told_before_the_sources_trouble(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    looks = Looks(run)
    seen: list[tuple[StreamState, BaseException | None]] = []
    failure = StoreUnavailable("the database is away")
    run.story.on_retry = lambda error, delay_s: seen.append((run.loop.status.state, run.loop.status.error))  # type: ignore[method-assign]

    def fail() -> None:
        store.failures["begin"] = [failure]
        kafka.produce("orders", "x", partition=0)

    found = statuses(run, (1, lambda: setattr(looks, "known", SILENCE)), (5, fail))
    assert seen == [(StreamState.RETRYING, failure)]
    assert (found[-1].state, found[-1].error, found[-1].batches) == (StreamState.RETRYING, SILENCE, 1)


def test_what_a_look_finds_is_dealt_with_again_until_it_is_done(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    looks = Looks(run)
    checked: list[object] = []

    def check(topics: object) -> None:
        checked.append(topics)
        if len(checked) < 3:
            raise StoreUnavailable("the database is away")

    run.loop._ownership.check_topics = check  # type: ignore[method-assign]
    statuses(run, (1, lambda: looks.seen(0, 0)), (20, lambda: None))
    assert checked == [TOPICS] * 3


def test_a_topic_that_is_gone_stops_the_stream(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    looks = Looks(run)
    run.at(1, lambda: looks.answers.append(TopicNotFound("it is gone")))
    with pytest.raises(TopicNotFound):
        run.run()
