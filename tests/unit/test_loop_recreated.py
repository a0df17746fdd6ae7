"""A topic that was deleted and created again under a running stream: smaller, and with what its store has forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kafka_stream.engine.topic_look import LOOK_INTERVAL_S
from kafka_stream.errors import OwnershipLost, StoreUnavailable, StreamClosed, TopicRecreated
from kafka_stream.protocols import Action, ActionKind, Change
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import Owner, TopicPartition
from tests.simulation import ResultsStore, Simulation

PARTITIONS = [TopicPartition("orders", number) for number in range(3)]
SOON = 4 * LOOK_INTERVAL_S


@pytest.fixture
def kafka() -> MemoryKafka:
    """Three partitions of twenty records."""
    kafka = MemoryKafka({"orders": 3})
    _produce(kafka, 3, 20)
    return kafka


def _produce(kafka: MemoryKafka, partitions: int, count: int) -> None:
    for number in range(partitions):
        for _ in range(count):
            kafka.produce("orders", "x", partition=number)


def _recreate(kafka: MemoryKafka, partitions: int, count: int = 20) -> None:
    kafka.recreate_topic("orders", partitions)
    _produce(kafka, partitions, count)


def _forget(store: ResultsStore) -> None:
    """Do what Kafka does with the offsets of a group when their topic is deleted."""
    assert isinstance(store.inner, MemoryOffsetStore)
    store.inner._positions.clear()


def _new_rows(store: ResultsStore) -> list[tuple[str, int, int]]:
    return sorted(store.rows[60:])


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("assignment", ["static", "group"])
@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_a_topic_with_fewer_partitions_is_read_on_by_choice(
    kafka: MemoryKafka,
    store: ResultsStore,
    caplog: pytest.LogCaptureFixture,
    assignment: str,
    partitions: int,
    forgotten: bool,
) -> None:
    run = Simulation(kafka, store, on_data_loss="earliest", assignment=assignment)

    def recreate() -> None:
        _recreate(kafka, partitions)
        if forgotten:
            _forget(store)

    run.at(1, recreate)
    run.at(SOON, run.stop)
    run.run()
    assert _new_rows(store) == [("orders", number, offset) for number in range(partitions) for offset in range(20)]
    assert run.loop.status.positions == dict.fromkeys(PARTITIONS[:partitions], 20)
    source: Any = run.source
    assert assignment == "group" or source._inner._assigned == frozenset(PARTITIONS[:partitions])
    gone = re.findall(r"created again with \d partition\(s\): (orders\[\d\])", caplog.text)
    assert gone == ([str(tp) for tp in PARTITIONS[partitions:]] if assignment == "static" else gone)


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_topic_with_fewer_partitions_stops_and_says_so(
    kafka: MemoryKafka, store: ResultsStore, forgotten: bool
) -> None:
    run = Simulation(kafka, store)

    def recreate() -> None:
        _recreate(kafka, 1)
        if forgotten:
            _forget(store)

    run.at(1, recreate)
    with pytest.raises(
        TopicRecreated, match=r"created again with 1 partition\(s\): orders\[1\], .* up to offset 20 of"
    ):
        run.run()
    assert _new_rows(store) == []


def test_a_partition_that_comes_back_is_read_from_its_start(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store, on_data_loss="earliest")

    def grow() -> None:
        kafka.add_partitions("orders", 3)
        kafka.produce("orders", "x", partition=2)

    run.at(1, lambda: _recreate(kafka, 2))
    run.at(SOON, grow)
    run.at(2 * SOON, run.stop)
    run.run()
    assert run.next_offsets() == {PARTITIONS[0]: 20, PARTITIONS[1]: 20, PARTITIONS[2]: 1}
    assert ("orders", 2, 0) in _new_rows(store)


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest", "latest"])
def test_what_the_store_has_forgotten_with_the_topic_is_a_loss_all_the_same(
    kafka: MemoryKafka, store: ResultsStore, on_data_loss: str
) -> None:
    run = Simulation(kafka, store, on_data_loss=on_data_loss)

    def recreate() -> None:
        _recreate(kafka, 3)
        _forget(store)

    run.at(1, recreate)
    run.at(SOON, lambda: _produce(kafka, 3, 1))
    run.at(2 * SOON, run.stop)
    if on_data_loss == "stop":
        with pytest.raises(TopicRecreated, match=r"orders\[0\] was read up to offset 20 of the old topic"):
            run.run()
        assert store.positions("s") == {}, "nothing is begun anew before somebody has chosen"
        return
    run.run()
    first = 0 if on_data_loss == "earliest" else 20
    assert _new_rows(store) == [("orders", tp.partition, offset) for tp in PARTITIONS for offset in range(first, 21)]
    assert run.story.retries == []


@pytest.mark.parametrize("answered", [0, 1])
@pytest.mark.parametrize("on_data_loss", ["earliest", "latest"])
def test_a_move_that_fails_after_the_takeover_is_made_before_anything_is_read(
    kafka: MemoryKafka, store: ResultsStore, caplog: pytest.LogCaptureFixture, on_data_loss: str, answered: int
) -> None:
    """The store has begun the positions anew by then: it must not take them for those of the new topic."""
    run = Simulation(kafka, store, on_data_loss=on_data_loss)

    def recreate() -> None:
        _recreate(kafka, 3)
        _forget(store)
        store.failures["reposition"] = [*[None] * answered, StoreUnavailable("away")]

    run.at(1, recreate)
    run.at(SOON, lambda: _produce(kafka, 3, 1))
    run.at(2 * SOON, run.stop)
    run.run()
    first = 0 if on_data_loss == "earliest" else 20
    assert _new_rows(store) == [("orders", tp.partition, offset) for tp in PARTITIONS for offset in range(first, 21)]
    assert len(run.story.retries) == 1
    assert set(re.findall(r"was read up to offset (\d+)", caplog.text)) == {"20"}


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest", "latest"])
def test_nor_does_who_starts_after_a_crash_there_take_them_for_the_new_topics(
    kafka: MemoryKafka, store: ResultsStore, on_data_loss: str
) -> None:
    def recreate() -> None:
        _recreate(kafka, 3)
        _forget(store)
        store.failures["reposition"] = [KeyboardInterrupt()]

    run = Simulation(kafka, store, on_data_loss="latest")
    run.at(1, recreate)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    after = Simulation(kafka, store, on_data_loss=on_data_loss)
    if on_data_loss == "stop":
        with pytest.raises(TopicRecreated):
            after.run("latest")
        return
    after.run("latest")
    assert after.next_offsets() == dict.fromkeys(PARTITIONS, 20)
    assert len(_new_rows(store)) == (60 if on_data_loss == "earliest" else 0)


@pytest.mark.parametrize("recreated", [False, True])
def test_a_position_that_only_the_store_has_lost_is_none_of_the_topics(
    kafka: MemoryKafka, store: ResultsStore, recreated: bool
) -> None:
    """Who has removed rows, or taken them over, is asked before any loss is answered."""
    run = Simulation(kafka, store, on_data_loss="earliest")

    def meanwhile() -> None:
        if recreated:
            _recreate(kafka, 3)
            store.inner.take_over("s", Owner("other", "elsewhere"), PARTITIONS, {})
        else:
            _forget(store)

    run.at(1, meanwhile)
    expected: type[OwnershipLost] = OwnershipLost if recreated else StreamClosed
    with pytest.raises(expected):
        run.run()
    assert _new_rows(store) == []


def test_where_it_goes_on_after_a_loss_is_remembered(kafka: MemoryKafka) -> None:
    store: Any = MemoryOffsetStore()
    run = Simulation(kafka, store, on_data_loss="earliest")
    run.at(1, lambda: _recreate(kafka, 3, count=0))
    run.at(SOON, run.stop)
    run.run()
    losses = [entry for entry in store.history("s", 1_000) if entry.action.kind is ActionKind.DATA_LOSS]
    assert sorted((each.topic_partition, each.from_offset, each.until_offset) for each in losses) == [
        (tp, 20, 0) for tp in PARTITIONS
    ], "each once, and none that moves nothing"
    assert {each.action.actor for each in losses} == {str(run.owner)}


@pytest.mark.parametrize("assignment", ["static", "group"])
@pytest.mark.parametrize("partitions", [1, 2])
@pytest.mark.parametrize("on_data_loss", ["stop", "earliest"])
def test_who_is_fenced_by_a_command_just_then_is_told_of_the_topic(
    kafka: MemoryKafka, store: ResultsStore, on_data_loss: str, partitions: int, assignment: str
) -> None:
    """It takes over again what it owned, and that is more than there is."""
    run = Simulation(kafka, store, on_data_loss=on_data_loss, assignment=assignment)

    def meanwhile() -> None:
        _recreate(kafka, partitions)
        reset = Action("r", ActionKind.RESET, "operator")
        assert isinstance(store.inner, MemoryOffsetStore)
        store.inner.change("s", PARTITIONS, reset, lambda _: [Change(tp, 0) for tp in PARTITIONS])

    run.at(1, meanwhile)
    run.at(SOON, run.stop)
    if on_data_loss == "stop":
        with pytest.raises(TopicRecreated):
            run.run()
        assert _new_rows(store) == []
        return
    run.run()
    assert _new_rows(store) == [("orders", number, offset) for number in range(partitions) for offset in range(20)]
    assert run.loop.status.positions == dict.fromkeys(PARTITIONS[:partitions], 20)


# A bounded run --------------------------------------------------------------------------------------------------------

UNTIL = {"latest": "latest", "offsets": dict.fromkeys(PARTITIONS, 20), "time": datetime.now(UTC) + timedelta(days=1)}


def _bounded(kafka: MemoryKafka, store: ResultsStore, recreate: Callable[[], object], **settings: Any) -> Simulation:
    """Still has records to read, and its next look to come, when ``recreate`` is called."""
    run = Simulation(kafka, store, max_records_per_batch=6, interval_s=3.0, **settings)
    run.at(4, recreate)
    return run


@pytest.mark.parametrize("count", [5, 20, 30])
@pytest.mark.parametrize("partitions", [1, 2, 3])
@pytest.mark.parametrize("on_data_loss", ["earliest", "latest"])
@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("until", UNTIL)
def test_a_bounded_run_goes_on_by_choice_to_its_end_in_what_there_is(
    kafka: MemoryKafka, store: ResultsStore, until: str, forgotten: bool, on_data_loss: str, partitions: int, count: int
) -> None:
    def recreate() -> None:
        _recreate(kafka, partitions, count)
        if forgotten:
            _forget(store)

    run = _bounded(kafka, store, recreate, on_data_loss=on_data_loss)
    run.run(UNTIL[until])
    before = len(store.rows) - partitions * min(count, 20) if on_data_loss == "earliest" else len(store.rows)
    reached = count if on_data_loss == "latest" else min(count, 20)
    assert run.loop.status.positions == dict.fromkeys(PARTITIONS[:partitions], reached)
    assert sorted(store.rows[before:]) == [
        ("orders", number, offset) for number in range(partitions) for offset in range(reached)
    ] * (on_data_loss == "earliest")
    assert run.story.retries == []


def test_a_bounded_run_stops_at_a_topic_with_fewer_partitions_and_says_so(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    run = _bounded(kafka, store, lambda: _recreate(kafka, 1))
    with pytest.raises(TopicRecreated, match=r"created again with 1 partition\(s\): orders\[1\], .* of the old topic"):
        run.run("latest")


def test_a_bounded_run_ends_where_a_log_that_was_truncated_does(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = _bounded(kafka, store, lambda: kafka.truncate("orders", 0, 1), on_data_loss="latest")
    run.run("latest")
    assert run.next_offsets() == {PARTITIONS[0]: 1, PARTITIONS[1]: 20, PARTITIONS[2]: 20}
