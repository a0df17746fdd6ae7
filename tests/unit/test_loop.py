"""The loop on a clock of its own: what a batch holds, when it is made, and where a bounded run ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.engine.planner import IDLE_COMMIT_S
from kafka_stream.engine.planning import FIRST_BATCH_RECORDS
from kafka_stream.engine.topic_look import LOOK_INTERVAL_S
from kafka_stream.errors import BoundNotReached, ConfigurationError, SinkUnavailable, TopicNotFound
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import OF_EVERY_BATCH, Guarantee, OffsetRange, Phase, TopicPartition
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2
from tests.simulation import ResultsStore, ResultsTransaction, Row, Simulation, write


def _produce(kafka: MemoryKafka, partition: int, count: int, topic: str = "orders") -> list[Row]:
    return [(topic, partition, kafka.produce(topic, "x", partition=partition)) for _ in range(count)]


# ------------------------------------------------------------------------------------------------------- bounded runs


def test_until_latest_reads_what_is_committed_now_once(kafka: MemoryKafka, store: ResultsStore) -> None:
    rows = _produce(kafka, 0, 3) + _produce(kafka, 1, 2)
    kafka.open_transaction("orders", ["aborted", "aborted"], partition=0).abort()
    rows += _produce(kafka, 0, 1)
    run = Simulation(kafka, store)
    summary = run.run("latest")
    assert sorted(store.rows) == sorted(rows)
    assert summary.records == 6
    assert summary.ranges == (OffsetRange(ORDERS_0, 0, 7), OffsetRange(ORDERS_1, 0, 2))
    assert summary.batches == len(run.story.batches)
    assert run.next_offsets() == {ORDERS_0: 7, ORDERS_1: 2}
    assert run.story.stopped == [None]


def test_until_latest_does_not_wait_for_open_transactions(kafka: MemoryKafka, store: ResultsStore) -> None:
    rows = _produce(kafka, 0, 3)
    transaction = kafka.open_transaction("orders", ["open"], partition=0)
    _produce(kafka, 0, 3)
    Simulation(kafka, store).run("latest")
    assert store.rows == rows
    transaction.commit()
    Simulation(kafka, store).run("latest")
    assert [offset for _, _, offset in store.rows] == list(range(7))


def test_a_second_bounded_run_has_nothing_to_do(kafka: MemoryKafka, store: ResultsStore) -> None:
    _produce(kafka, 0, 3)
    Simulation(kafka, store).run("latest")
    summary = Simulation(kafka, store).run("latest")
    assert (summary.batches, summary.records, summary.ranges) == (0, 0, ())


def test_an_empty_topic_is_at_its_end(kafka: MemoryKafka, store: ResultsStore) -> None:
    assert Simulation(kafka, store).run("latest").batches == 0


def test_markers_at_a_bounded_end_are_committed(kafka: MemoryKafka, store: ResultsStore) -> None:
    kafka.open_transaction("orders", ["aborted"] * 4, partition=0).abort()
    run = Simulation(kafka, store)
    summary = run.run("latest")
    assert (summary.batches, summary.records, summary.ranges) == (1, 0, (OffsetRange(ORDERS_0, 0, 5),))
    assert run.next_offsets()[ORDERS_0] == 5


def test_until_offsets_ends_exactly_there_and_leaves_the_unnamed_alone(kafka: MemoryKafka, store: ResultsStore) -> None:
    rows = _produce(kafka, 0, 10)
    _produce(kafka, 1, 5)
    run = Simulation(kafka, store, max_records_per_batch=3)
    run.run({ORDERS_0: 7})
    assert store.rows == rows[:7]
    assert run.next_offsets() == {ORDERS_0: 7, ORDERS_1: 0}
    Simulation(kafka, store).run({ORDERS_0: 2})
    assert store.rows == rows[:7], "an end that was passed is reached"


def test_until_an_offset_in_a_gap(kafka: MemoryKafka, store: ResultsStore) -> None:
    rows = _produce(kafka, 0, 2)
    kafka.skip("orders", 0, 5)
    _produce(kafka, 0, 2)
    run = Simulation(kafka, store)
    run.run({ORDERS_0: 4})
    assert store.rows == rows
    assert run.next_offsets()[ORDERS_0] == 4


def test_until_a_time(kafka: MemoryKafka, store: ResultsStore) -> None:
    for second in range(10):
        kafka.produce("orders", "x", partition=second % 2, timestamp_ms=1_767_225_600_000 + second * 1_000)
    Simulation(kafka, store).run(datetime(2026, 1, 1, 0, 0, 6, tzinfo=UTC))
    assert sorted(store.rows) == [("orders", p, o) for p in (0, 1) for o in range(3)]


@pytest.mark.parametrize(
    ("until", "sentence"),
    [
        ({ORDERS_0: 4}, r"until=4 of orders\[0\] lies beyond its end, which is 3"),
        ({ORDERS_2: 0}, r"until names orders\[2\], which is not a partition that this stream owns"),
    ],
)
def test_an_end_that_cannot_be_reached_is_refused(
    kafka: MemoryKafka, store: ResultsStore, until: Any, sentence: str
) -> None:
    _produce(kafka, 0, 3)
    with pytest.raises(ConfigurationError, match=sentence):
        Simulation(kafka, store).run(until)


def test_a_bounded_run_of_a_group_stream_owns_everything_and_joins_nothing(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    rows = _produce(kafka, 0, 2) + _produce(kafka, 1, 2)
    run = Simulation(kafka, store, assignment="group")
    run.story.on[Phase.AFTER_FETCH] = lambda: members.append(list(run.source.group_members()))
    members: list[list[str]] = []
    run.run("latest")
    assert sorted(store.rows) == rows
    assert members == [[]]


def test_a_bounded_run_is_refused_while_the_group_has_members(kafka: MemoryKafka, store: ResultsStore) -> None:
    live = Simulation(kafka, store, assignment="group")
    live.source.subscribe()
    with pytest.raises(ConfigurationError, match=r"group 's' has 1 member\(s\): .*; stop them first"):
        Simulation(kafka, store, assignment="group").run("latest")
    assert store.calls.count("initialise") == 0


def test_an_end_behind_an_open_transaction_is_reported_not_waited_for_for_ever(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    _produce(kafka, 0, 3)
    kafka.open_transaction("orders", ["open"], partition=0)
    run = Simulation(kafka, store)
    with pytest.raises(
        BoundNotReached, match=r"orders\[0\] is pinned at 3 by an open transaction, .*; end it"
    ) as caught:
        run.run({ORDERS_0: 4})
    assert caught.value.partitions == (ORDERS_0,)
    assert len(store.rows) == 3
    assert run.loop.status.state is StreamState.FAILED
    assert run.loop.status.error is caught.value


@pytest.mark.parametrize("pace", [{"interval_s": 90.0}, {"max_rate_per_partition": 1 / 100}])
def test_pauses_that_were_asked_for_are_no_lack_of_progress(
    kafka: MemoryKafka, store: ResultsStore, pace: dict[str, float]
) -> None:
    rows = _produce(kafka, 0, 4)
    Simulation(kafka, store, max_records_per_batch=2, **pace).run("latest")
    assert store.rows == rows


def test_a_batch_that_takes_long_and_is_repeated_is_no_lack_of_progress(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    rows = _produce(kafka, 0, 3)
    unavailable = [SinkUnavailable("not yet")]
    fetching: list[bool] = []

    def slowly(batch: Batch, transaction: ResultsTransaction) -> None:
        run.clock.sleep(90.0)
        if unavailable:
            fetching.append(True)
            raise unavailable.pop()
        write(batch, transaction)

    run = Simulation(kafka, store, sink=slowly)
    buffered = run.source.buffered
    # As with a broker, records that are read again are not there at once.
    run.source.__dict__["buffered"] = lambda: {} if fetching and fetching.pop() else buffered()
    run.run("latest")
    assert store.rows == rows


# --------------------------------------------------------------------------------------------------------- first start


def test_the_start_is_durable_before_the_first_batch(kafka: MemoryKafka, store: ResultsStore) -> None:
    _produce(kafka, 0, 3)
    run = Simulation(kafka, store, start="latest")
    run.at(0.1, run.stop)
    run.run()
    later = _produce(kafka, 0, 2)
    Simulation(kafka, store, start="latest").run("latest")
    assert store.rows == later


def test_a_missing_topic_is_named(kafka: MemoryKafka, store: ResultsStore) -> None:
    with pytest.raises(TopicNotFound, match="users"):
        Simulation(kafka, store, topics=["orders", "users"]).run("latest")


def test_several_topics(kafka: MemoryKafka, store: ResultsStore) -> None:
    kafka.create_topic("users", 1)
    rows = _produce(kafka, 1, 3) + _produce(kafka, 0, 2, topic="users")
    Simulation(kafka, store, topics=["users", "orders"]).run("latest")
    assert sorted(store.rows) == sorted(rows)


def test_a_shard_reads_its_own_partitions(kafka: MemoryKafka, store: ResultsStore) -> None:
    rows = [_produce(kafka, p, 2) for p in (0, 1)]
    Simulation(kafka, store, assignment="static:1/2").run("latest")
    assert store.rows == rows[1]
    Simulation(kafka, store, assignment="static:0/2").run("latest")
    assert store.rows == rows[1] + rows[0]


# ----------------------------------------------------------------------------------------------------- triggers, pacing


def _run_for(run: Simulation, seconds: float) -> None:
    run.at(seconds, run.stop)
    run.run()


def test_data_is_read_as_soon_as_it_is_there(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    for second in (1, 2, 3):
        run.at(second, lambda: _produce(kafka, 0, 1))
    _run_for(run, 5)
    assert run.story.times == [1.0, 2.0, 3.0]


def test_markers_are_committed_when_idle_and_not_before(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    run.at(1, lambda: _produce(kafka, 0, 1))
    run.at(1.1, lambda: kafka.skip("orders", 1, 3))
    _run_for(run, 10)
    assert run.story.sizes == [1, 0]
    assert run.story.times[1] >= 1 + IDLE_COMMIT_S
    assert run.next_offsets() == {ORDERS_0: 1, ORDERS_1: 3}


def test_idleness_writes_nothing(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    _run_for(run, 600)
    assert store.calls.count("begin") == 0


def test_markers_are_committed_at_a_stop(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store)
    run.at(1, lambda: _produce(kafka, 0, 1))
    run.at(1, lambda: kafka.skip("orders", 0, 3))
    run.at(1.1, lambda: kafka.skip("orders", 0, 2))
    _run_for(run, 1.2)
    assert run.next_offsets()[ORDERS_0] == 6


def test_an_interval_gathers(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store, interval_s=10.0)
    for second in range(40):
        run.at(second + 0.5, lambda: _produce(kafka, 0, 1))
    _run_for(run, 40)
    assert run.story.sizes == [1, 10, 10, 10]
    assert [round(b - a) for a, b in zip(run.story.times, run.story.times[1:], strict=False)] == [10, 10, 10]


def test_a_rate_holds_per_partition(kafka: MemoryKafka, store: ResultsStore) -> None:
    _produce(kafka, 0, 1_000)
    _produce(kafka, 1, 25)
    run = Simulation(kafka, store, max_rate_per_partition=10.0)
    _run_for(run, 20.0)
    read = [sum(1 for _, partition, _ in store.rows if partition == p) for p in (0, 1)]
    assert read[1] == 25
    assert 190 <= read[0] <= 210  # ten saved up, and ten a second


def test_records_per_partition_and_per_batch(kafka: MemoryKafka, store: ResultsStore) -> None:
    rows = _produce(kafka, 0, 10) + _produce(kafka, 1, 10)
    run = Simulation(kafka, store, max_records_per_batch=5, max_records_per_partition=3)
    run.run("latest")
    assert sorted(store.rows) == rows
    assert max(run.story.sizes) <= 5
    for progress in run.story.batches:
        assert all(len(r) <= 3 for r in progress.ranges)


def test_a_record_larger_than_a_batch_may_be_is_a_batch(kafka: MemoryKafka, store: ResultsStore) -> None:
    for size in (10, 500, 10):
        kafka.produce("orders", "x" * size, partition=0)
    run = Simulation(kafka, store, max_bytes_per_batch=100)
    run.run("latest")
    assert [progress.bytes for progress in run.story.batches] == [10, 500, 10]


def _slow(run: Callable[[], Simulation], per_record_s: float) -> Callable[[Batch, ResultsTransaction], None]:
    def slowly(batch: Batch, transaction: ResultsTransaction) -> None:
        write(batch, transaction)
        run().clock.sleep(len(batch) * per_record_s)

    return slowly


def test_batches_start_small_and_grow_to_their_limit_while_the_sink_is_fast(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    _produce(kafka, 0, 15_000)
    run = Simulation(kafka, store, max_records_per_batch=4_000)
    run.run("latest")
    assert run.story.sizes[:3] == [FIRST_BATCH_RECORDS, 2_000, 4_000]
    assert max(run.story.sizes) == 4_000


def test_batches_find_the_target_duration_and_shrink_when_the_sink_becomes_slow(
    kafka: MemoryKafka, store: ResultsStore
) -> None:
    _produce(kafka, 0, 30_000)
    speed = {"per_record_s": 1 / 5_000}

    def sink(batch: Batch, transaction: ResultsTransaction) -> None:
        _slow(lambda: run, speed["per_record_s"])(batch, transaction)
        if len(store.rows) > 15_000:
            speed["per_record_s"] = 1 / 500

    run = Simulation(kafka, store, sink=sink, target_batch_duration_s=1.0)
    run.run("latest")
    assert 4_000 <= max(run.story.sizes) <= 5_000
    assert 400 <= run.story.sizes[-2] <= 500
    assert sorted(store.rows) == [("orders", 0, offset) for offset in range(30_000)]


# ------------------------------------------------------------------------------------------------------ while running


def test_new_partitions_are_found_and_read_from_their_beginning(kafka: MemoryKafka, store: ResultsStore) -> None:
    _produce(kafka, 0, 1)
    run = Simulation(kafka, store, start="latest")
    rows: list[Row] = []

    def grow() -> None:
        kafka.add_partitions("orders", 3)
        rows.extend(_produce(kafka, 2, 4))

    run.at(1, grow)
    _run_for(run, 2 * LOOK_INTERVAL_S)
    assert store.rows == rows
    assert run.next_offsets()[ORDERS_2] == 4


def test_new_partitions_of_a_shard_are_its_own(kafka: MemoryKafka, store: ResultsStore) -> None:
    run = Simulation(kafka, store, assignment="static:1/2")
    run.at(1, lambda: kafka.add_partitions("orders", 4))
    _run_for(run, 2 * LOOK_INTERVAL_S)
    assert sorted(run.loop.status.positions) == [ORDERS_1, TopicPartition("orders", 3)]


def test_a_status_is_a_snapshot_of_the_stream(kafka: MemoryKafka, store: ResultsStore) -> None:
    _produce(kafka, 0, 3)
    run = Simulation(kafka, store)
    seen: dict[str, StreamStatus] = {}
    run.story.on[Phase.AFTER_CLAIM] = lambda: seen.setdefault("in hand", run.loop.status)
    run.at(1, lambda: seen.setdefault("between", run.loop.status))
    run.at(2, run.stop)
    before = run.loop.status
    run.run()
    assert before.state is StreamState.NEW
    assert (seen["in hand"].state, seen["in hand"].batches) == (StreamState.RUNNING, 0)
    assert seen["in hand"].batch_started_at is not None
    between = seen["between"]
    assert (between.batches, between.records, between.batch_started_at) == (1, 3, None)
    assert between.positions == {ORDERS_0: 3, ORDERS_1: 0}
    assert between.lag == {ORDERS_0: 0, ORDERS_1: 0}
    assert between.owner == run.owner
    assert between.guarantee is Guarantee.EXACTLY_ONCE
    assert between.committed_at is not None
    assert run.loop.status.state is StreamState.STOPPED


def test_lag_is_to_the_ends_of_the_last_look(kafka: MemoryKafka, store: ResultsStore) -> None:
    _produce(kafka, 0, 100)
    run = Simulation(kafka, store, max_records_per_batch=10)
    run.run("latest")
    assert [progress.lag[ORDERS_0] for progress in run.story.batches] == list(range(90, -1, -10))


def test_a_report_of_a_batch(kafka: MemoryKafka, store: ResultsStore) -> None:
    kafka.produce("orders", "12345", partition=0)
    kafka.skip("orders", 0, 2)
    run = Simulation(kafka, store, sink=_slow(lambda: run, 0.25))
    run.run("latest")
    (progress,) = run.story.batches
    assert (progress.stream, progress.batch, progress.records, progress.bytes) == ("s", 1, 1, 5)
    assert progress.ranges == (OffsetRange(ORDERS_0, 0, 3),)
    assert (progress.prepare_s, progress.claim_s, progress.write_s, progress.commit_s) == (0.0, 0.0, 0.25, 0.0)
    assert progress.guarantee is Guarantee.EXACTLY_ONCE
    assert progress.committed_at.tzinfo is not None
    assert run.story.phases == list(OF_EVERY_BATCH)
    assert run.story.positions == [{ORDERS_0: 0, ORDERS_1: 0}]
