"""A running stream and an operator: what is moved, closed and remembered under it."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kafka_stream.admin.actions import new_action
from kafka_stream.admin.transfer import delete
from kafka_stream.engine.recorder import LONGEST_INTERVAL_S
from kafka_stream.engine.topic_look import LOOK_INTERVAL_S
from kafka_stream.errors import OwnershipLost, StoreUnavailable, StreamClosed
from kafka_stream.protocols import ActionKind, Change
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import Owner, Phase, TopicPartition
from tests.fakes import ORDERS_0, ORDERS_1
from tests.simulation import Simulation

OTHER = Owner("other", "elsewhere")
RECORDS = 20


@pytest.fixture
def kafka() -> MemoryKafka:
    """Two partitions of twenty records."""
    kafka = MemoryKafka({"orders": 2})
    for partition in (0, 1):
        for _ in range(RECORDS):
            kafka.produce("orders", "x", partition=partition)
    return kafka


@pytest.fixture
def store() -> MemoryOffsetStore:
    return MemoryOffsetStore()


def _run(kafka: MemoryKafka, store: Any, **settings: Any) -> Simulation:
    return Simulation(kafka, store, **{"max_records_per_batch": 6} | settings)


def _reset(store: MemoryOffsetStore, **offsets: int) -> None:
    partitions = {TopicPartition("orders", int(name.removeprefix("p"))): offset for name, offset in offsets.items()}
    store.change(
        "s", partitions, new_action(ActionKind.RESET), lambda _: [Change(*each) for each in partitions.items()]
    )


def _times_written(store: MemoryOffsetStore, partition: int) -> list[int]:
    """How often each offset is in the results."""
    written = Counter(offset for _, number, offset in store.rows if number == partition)
    return [written[offset] for offset in range(RECORDS)]


@pytest.mark.parametrize("assignment", ["static", "group"])
@pytest.mark.parametrize("phase", [Phase.AFTER_FETCH, Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE])
def test_a_stream_goes_on_from_where_it_was_reset_to_with_no_batch_half_applied(
    kafka: MemoryKafka, store: MemoryOffsetStore, phase: Phase, assignment: str
) -> None:
    run = _run(kafka, store, assignment=assignment)
    resets = [1]
    moved_from: list[int] = []

    def reset() -> None:
        if len(store.rows) > 10 and resets:
            resets.pop()
            moved_from.append(store.positions("s")[ORDERS_0].next_offset)
            _reset(store, p0=2)

    run.story.on[phase] = reset
    run.at(60, run.stop)
    run.run()
    (before,) = moved_from
    assert _times_written(store, 0) == [1, 1] + [2] * (before - 2) + [1] * (RECORDS - before)
    assert _times_written(store, 1) == [1] * RECORDS
    assert run.next_offsets() == {ORDERS_0: RECORDS, ORDERS_1: RECORDS}
    assert {position.owner for position in store.positions("s").values()} == {run.owner}


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_a_stream_that_has_nothing_to_read_notices_a_reset_all_the_same(
    kafka: MemoryKafka, store: MemoryOffsetStore, assignment: str
) -> None:
    run = _run(kafka, store, assignment=assignment)
    run.at(30, lambda: _reset(store, p1=15))
    run.at(30 + 2 * LOOK_INTERVAL_S, run.stop)
    run.run()
    assert _times_written(store, 0) == [1] * RECORDS
    assert _times_written(store, 1) == [1] * 15 + [2] * 5


def test_an_idle_partition_is_noticed_beside_a_busy_one(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    run = _run(kafka, store)
    for second in range(30, 60):
        run.at(second, lambda: kafka.produce("orders", "x", partition=0))
    run.at(35, lambda: _reset(store, p1=19))
    run.at(60, run.stop)
    run.run()
    assert _times_written(store, 1) == [1] * 19 + [2]
    assert run.next_offsets() == {ORDERS_0: RECORDS + 30, ORDERS_1: RECORDS}


def test_a_store_that_does_not_answer_an_idle_stream_is_no_concern_of_it(
    kafka: MemoryKafka, store: MemoryOffsetStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(kafka, store)

    def away(stream: str) -> Any:
        raise StoreUnavailable("away")

    run.at(30, lambda: monkeypatch.setattr(store, "positions", away))
    run.at(60, run.stop)
    with caplog.at_level(logging.WARNING, "kafka_stream"):
        run.run()
    assert run.story.retries == []
    assert "could not be looked at" in caplog.text


@pytest.mark.parametrize("when", ["idle", "busy"])
def test_a_stream_that_is_deleted_under_it_stops_and_commits_nothing_after(
    kafka: MemoryKafka, store: MemoryOffsetStore, when: str
) -> None:
    run = _run(kafka, store)
    deleted: list[int] = []

    def remove() -> None:
        if not deleted and len(store.rows) > 10:
            deleted.append(len(store.rows))
            delete(store, "s")

    if when == "idle":
        run.at(30, remove)
    else:
        run.story.on[Phase.AFTER_WRITE] = remove
    with pytest.raises(StreamClosed):
        run.run()
    assert [len(store.rows)] == deleted


@pytest.mark.parametrize("successor", ["has only resolved its start", "is at work", "has left"])
def test_a_stream_that_was_deleted_and_started_by_another_stops_and_takes_nothing_back(
    kafka: MemoryKafka, store: MemoryOffsetStore, successor: str
) -> None:
    run = _run(kafka, store)
    after: list[Any] = []

    def start_anew() -> None:
        delete(store, "s")
        if successor == "has only resolved its start":
            store.initialise("s", "orders", {0: 5, 1: 5}, None)
        elif successor == "is at work":
            store.initialise("s", "orders", {0: 5, 1: 5}, None)
            store.take_over("s", OTHER, [ORDERS_0, ORDERS_1], {})
        else:
            _run(kafka, store).run("latest")
            _reset(store, p0=5, p1=5)
        after.append((store.positions("s"), len(store.rows)))

    run.at(30, start_anew)
    with pytest.raises(OwnershipLost) as stopped:
        run.run()
    assert isinstance(stopped.value, StreamClosed) == (successor != "is at work")
    assert after == [(store.positions("s"), len(store.rows))]


# History --------------------------------------------------------------------------------------------------------------


def _told(store: MemoryOffsetStore) -> list[tuple[ActionKind, TopicPartition, int | None, int]]:
    oldest_first = sorted(store.history("s", 1_000), key=lambda e: e.at)
    return [(e.action.kind, e.topic_partition, e.from_offset, e.until_offset) for e in oldest_first]


def test_takeovers_batches_and_the_stop_are_remembered(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    before = datetime.now(UTC)
    run = _run(kafka, store, code_version="v7")
    run.run("latest")
    entries = store.history("s", 1_000)
    assert {before <= e.at <= datetime.now(UTC) for e in entries} == {True}
    assert {e.action.actor for e in entries} == {str(run.owner)}
    told = _told(store)
    for tp in (ORDERS_0, ORDERS_1):
        mine = [(kind, start, end) for kind, partition, start, end in told if partition == tp]
        assert mine[0] == (ActionKind.TAKEOVER, 0, 0)
        assert mine[-1] == (ActionKind.STOP, RECORDS, RECORDS)
        batches = [(start, end) for _, start, end in mine[1:-1]]
        assert [start for start, _ in batches] == [0, *(end for _, end in batches[:-1])]
        assert batches[-1][1] == RECORDS
    assert store.live_owners("s") == []
    batches_whole = {e.action.id: e for e in entries if e.action.kind is ActionKind.BATCH}.values()
    assert sum(e.records or 0 for e in batches_whole) == 2 * RECORDS


def test_an_owner_that_dies_has_not_stopped(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        run.request.drop_batch = True
        raise Killed

    run = _run(kafka, store)
    run.story.on[Phase.AFTER_WRITE] = die
    with pytest.raises(Killed):
        run.run("latest")
    assert store.live_owners("s") == [str(run.owner)]


def test_a_stream_that_never_rests_is_told_about_ever_less_often(
    kafka: MemoryKafka, store: MemoryOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[float] = []
    record = store.record

    def recording(*args: Any) -> None:
        written.append(run.clock())
        record(*args)

    monkeypatch.setattr(store, "record", recording)
    run = _run(kafka, store)
    for tenth in range(3_000):
        run.at(tenth / 10, lambda: kafka.produce("orders", "x", partition=0))
    run.at(300, run.stop)
    run.run()
    pauses = [later - earlier for earlier, later in itertools.pairwise(written)]
    assert min(pauses[:-1]) >= 1.0
    assert max(pauses) >= LONGEST_INTERVAL_S
    assert len(written) < 15
    batches = [(start, end) for kind, tp, start, end in _told(store) if kind is ActionKind.BATCH and tp == ORDERS_0]
    assert [start for start, _ in batches] == [0, *(end for _, end in batches[:-1])], "none is left out"


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ZeroDivisionError()])
def test_a_history_that_cannot_be_written_changes_nothing(
    kafka: MemoryKafka,
    store: MemoryOffsetStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fails(*args: object) -> None:
        raise error

    monkeypatch.setattr(store, "record", fails)
    run = _run(kafka, store)
    with caplog.at_level(logging.WARNING, "kafka_stream"):
        run.run("latest")
    assert (_times_written(store, 0), _times_written(store, 1)) == ([1] * RECORDS, [1] * RECORDS)
    assert run.story.retries == []
    assert caplog.text.count("is not recorded") == 1


def test_a_history_of_no_days_is_none(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    _run(kafka, store, history_days=0).run("latest")
    assert _told(store) == []


def test_what_is_recorded_after_a_failure_is_all_there(
    kafka: MemoryKafka, store: MemoryOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, failures = store.record, [StoreUnavailable("away"), StoreUnavailable("away")]

    def sometimes(*args: Any) -> None:
        if failures:
            raise failures.pop()
        record(*args)

    monkeypatch.setattr(store, "record", sometimes)
    run = _run(kafka, store)
    run.at(10 * LONGEST_INTERVAL_S, run.stop)
    run.run()
    batches = [(start, end) for kind, tp, start, end in _told(store) if kind is ActionKind.BATCH and tp == ORDERS_1]
    assert (batches[0][0], batches[-1][1]) == (0, RECORDS)


def test_a_reset_between_two_batches_is_not_told_as_one_batch(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    run = _run(kafka, store)
    actions: list[Callable[[], None]] = [lambda: _reset(store, p0=0, p1=0)]
    run.story.on[Phase.AFTER_FETCH] = lambda: len(store.rows) > 10 and actions and actions.pop()()
    run.at(60, run.stop)
    run.run()
    for kind, _, start, end in _told(store):
        assert kind is ActionKind.RESET or (start is not None and start <= end)
