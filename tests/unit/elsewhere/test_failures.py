"""Workers that are lost, records that fail there, positions that are gone: as it is without workers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.errors import (
    ConfigurationError,
    FailedElsewhere,
    OffsetOutOfRange,
    RecordError,
    WorkerLost,
)
from kafka_stream.failures.breaker import DeadLetters
from kafka_stream.failures.strategies import FixedDelay
from kafka_stream.protocols import Slice
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import TopicPartition
from tests.unit.elsewhere.world import (
    PARTITIONS,
    RECORDS,
    TABLE,
    Away,
    StreamOf,
    assert_exactly_once,
    found,
    given,
)
from tests.workers import ThreadExecutor


@pytest.mark.parametrize("kind", ["lost", "cancelled"])
def test_a_task_whose_worker_is_lost_is_begun_again(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, kind: str
) -> None:
    seen: set[Any] = set()

    def fault(slices: Sequence[Slice]) -> None:
        if slices[0] not in seen:
            seen.add(slices[0])
            if kind == "lost":
                raise WorkerLost("worker 7 has gone")
            from concurrent.futures import CancelledError

            raise CancelledError

    stream_of(ThreadExecutor(kafka, fault=fault)).run(until="latest")
    assert_exactly_once(engine)


def test_a_task_that_hangs_is_begun_again_and_what_it_gives_is_let_go_of(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf
) -> None:
    hanging, seen = threading.Event(), list[Any]()

    def fault(slices: Sequence[Slice]) -> None:
        seen.append(slices[0])
        if seen.count(slices[0]) == 1 and slices[0].range.from_offset == 0:
            hanging.wait(20)

    executor = ThreadExecutor(kafka, slots=4, fault=fault, task_timeout_s=0.3)
    stream_of(executor).run(until="latest")
    hanging.set()
    assert_exactly_once(engine)
    assert executor.abandoned >= 1


def test_workers_that_are_lost_again_and_again_are_for_the_retry_strategy(
    kafka: MemoryKafka, stream_of: StreamOf
) -> None:
    def fault(slices: Sequence[Slice]) -> None:
        raise WorkerLost("worker 7 has gone")

    executor = ThreadExecutor(kafka, fault=fault)
    with pytest.raises(Exception, match="worker 7 has gone"):
        stream_of(executor, retry=FixedDelay(0.01, max_attempts=2)).run(until="latest")
    assert len(executor.tasks) >= 2 * 3


@pytest.mark.parametrize("word", ["broken", "refused"])
def test_a_record_that_fails_is_named_as_it_is_without_workers(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, word: str
) -> None:
    kafka.produce("orders", word, partition=1)
    with pytest.raises(RecordError) as alone:
        stream_of(None).run(until="latest")
    with engine.begin() as connection:
        connection.execute(TABLE.delete())
    with pytest.raises(RecordError) as elsewhere:
        stream_of(ThreadExecutor(kafka), name="again").run(until="latest")
    assert str(elsewhere.value) == str(alone.value)
    assert (elsewhere.value.partition, elsewhere.value.offset) == (1, RECORDS // PARTITIONS)


@pytest.mark.parametrize("word", ["broken", "refused", "rejected"])
@pytest.mark.parametrize("keeps_order", [False, True])
def test_dead_letters_are_set_aside_as_they_are_without_workers(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, word: str, keeps_order: bool
) -> None:
    kafka.produce("orders", word, key="bad", partition=1)
    for number in range(50):
        kafka.produce("orders", f"w{number}", key="bad" if number == 30 else "good", partition=1)
    limits = DeadLetters(keep_key_order=keeps_order)
    stream = stream_of(ThreadExecutor(kafka), on_error="dead-letter", dead_letters=limits)
    stream.run(until="latest")
    bad = [RECORDS // PARTITIONS, *([RECORDS // PARTITIONS + 31] if keeps_order else [])]
    letters = list(stream.store.letters("orders"))  # type: ignore[attr-defined]
    assert [letter.id.offset for letter in letters] == bad
    kept = [offset for partition, offset in found(engine) if partition == 1]
    assert kept == [n for n in range(RECORDS // PARTITIONS + 51) if n not in bad]


def test_what_fails_on_a_worker_only_goes_on(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(slices: Sequence[Slice]) -> None:
        if slices[0].range.from_offset == 0:
            raise FailedElsewhere("no module named model")

    stream_of(ThreadExecutor(kafka, fault=fault)).run(until="latest")
    assert_exactly_once(engine)
    assert "it failed on a worker only, and went well here: no module named model" in caplog.text


def test_work_that_cannot_be_done_there_stops_the_stream(kafka: MemoryKafka, stream_of: StreamOf) -> None:
    def fault(slices: Sequence[Slice]) -> None:
        raise ConfigurationError("worker 7 cannot import app:prepare")

    with pytest.raises(ConfigurationError, match="cannot import"):
        stream_of(ThreadExecutor(kafka, fault=fault)).run(until="latest")


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest"])
def test_records_that_are_gone_when_workers_come_are_data_loss(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, on_data_loss: str
) -> None:
    deleted = threading.Event()

    def fault(slices: Sequence[Slice]) -> None:
        if not deleted.is_set():
            deleted.set()
            kafka.delete_records("orders", 0, 50)

    stream = stream_of(ThreadExecutor(kafka, slots=1, fault=fault), on_data_loss=on_data_loss)
    if on_data_loss == "stop":
        with pytest.raises(OffsetOutOfRange) as lost:
            stream.run(until="latest")
        assert (lost.value.partition, lost.value.wanted) == (TopicPartition("orders", 0), 0)
        assert found(engine) == []
    else:
        stream.run(until="latest")
        assert_exactly_once(engine, without=[(0, n) for n in range(50)])


def test_a_store_that_is_away_for_a_while_costs_nothing(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf
) -> None:
    sink = Away(TABLE, given)
    stream_of(ThreadExecutor(kafka), sink=sink, retry=FixedDelay(0.01)).run(until="latest")
    assert_exactly_once(engine)
    assert sink.left == []
