"""Streams with an executor: workers read and prepare, batches are committed here, in order, each record once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.errors import (
    ConfigurationError,
    FailedElsewhere,
)
from kafka_stream.protocols import Slice
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import TopicPartition
from tests.simulation import eventually
from tests.unit.elsewhere.world import (
    PARTITIONS,
    RECORDS,
    TABLE,
    Progress,
    StreamOf,
    assert_exactly_once,
    found,
    given,
    write,
)
from tests.workers import ThreadExecutor


@pytest.mark.parametrize("sink", ["table", "function"])
def test_workers_prepare_what_is_committed_here(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, sink: str
) -> None:
    executor, progress = ThreadExecutor(kafka), Progress()
    stream = stream_of(executor, listeners=[progress], **({"sink": write} if sink == "function" else {}))
    summary = stream.run(until="latest")
    assert_exactly_once(engine)
    assert summary.records == sum(each.records for each in progress.batches) == RECORDS
    assert sum(share.records for each in progress.batches for share in each.workers.values()) == RECORDS
    assert sum(each.bytes for each in progress.batches) == sum(len(f"v{n}") for n in range(RECORDS))
    assert executor.closed == 1
    assert stream.store.positions("orders")[TopicPartition("orders", 0)].leader_epoch == 0


def test_several_batches_are_with_workers_and_come_back_in_order(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf
) -> None:
    """The first slice comes back last: nothing is committed before it."""
    begun, first = threading.Event(), threading.Event()
    seen: list[Slice] = []

    def fault(slices: Sequence[Slice]) -> None:
        seen.extend(slices)
        if slices[0].range.from_offset == 0 and slices[0].range.partition == 0:
            begun.set()
            assert first.wait(20)

    executor = ThreadExecutor(kafka, slots=4, fault=fault)
    stream = stream_of(executor)
    stream.start()
    assert begun.wait(20)
    eventually(lambda: len(executor.tasks) >= 4 * 2, "four batches of two slices are under way")
    assert found(engine) == []
    first.set()
    eventually(lambda: len(found(engine)) == RECORDS, "all are committed")
    stream.stop()
    assert_exactly_once(engine)


def test_whole_ranges_are_whole_slices(kafka: MemoryKafka, stream_of: StreamOf, tmp_path: Path) -> None:
    executor = ThreadExecutor(kafka)
    sink = FileSink(tmp_path / "files", given)
    progress = Progress()
    stream_of(executor, sink=sink, guarantee="effectively-once", listeners=[progress]).run(until="latest")
    ranges = [r for each in progress.batches for r in each.ranges]
    assert {slices[0].range for slices in executor.tasks} >= set(ranges)
    lines = [line for path in sorted((tmp_path / "files").rglob("*.jsonl")) for line in path.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == RECORDS


def test_two_sinks_take_what_one_prepare_gave(kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf) -> None:
    counted: list[int] = []
    sinks = [SqlSink(TABLE, given), lambda rows, transaction: counted.append(len(rows))]
    stream_of(ThreadExecutor(kafka), sink=sinks).run(until="latest")
    assert_exactly_once(engine)
    assert sum(counted) == RECORDS


def test_members_of_a_group_share_the_work(kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf) -> None:
    members = [stream_of(ThreadExecutor(kafka), assignment="group") for _ in range(2)]
    members[0].start()
    eventually(lambda: len(found(engine)) >= 60, "the first member is at work")
    members[1].start()
    eventually(lambda: len(found(engine)) == RECORDS, "everything is committed")
    for number in range(40):
        kafka.produce("orders", "more", partition=number % PARTITIONS)
    eventually(lambda: len(found(engine)) == RECORDS + 40, "what came later, too")
    for member in members:
        member.stop()
    assert len(set(found(engine))) == RECORDS + 40


def test_a_stop_does_not_wait_for_workers_that_hang(kafka: MemoryKafka, stream_of: StreamOf) -> None:
    hanging, begun = threading.Event(), threading.Event()

    def fault(slices: Sequence[Slice]) -> None:
        begun.set()
        hanging.wait(20)

    stream = stream_of(ThreadExecutor(kafka, fault=fault))
    stream.start()
    assert begun.wait(20)
    assert stream.stop(timeout_s=0.2) or stream.stop(timeout_s=20)
    assert not hanging.is_set()
    hanging.set()


def test_a_stop_does_not_wait_for_records_that_are_read_here_and_do_not_come(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def fault(slices: Sequence[Slice]) -> None:
        raise FailedElsewhere("a worker's own")

    def waits(ranges: Any, look: Callable[[], None]) -> Any:
        begun.set()
        while True:
            look()

    monkeypatch.setattr(kafka, "read", waits)
    stream = stream_of(ThreadExecutor(kafka, fault=fault))
    stream.start()
    assert begun.wait(20)
    assert stream.stop(timeout_s=0.2) or stream.stop(timeout_s=20)
    assert found(engine) == []


def test_results_that_wait_are_bounded(kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf) -> None:
    executor = ThreadExecutor(kafka, max_result_bytes=1)
    stream_of(executor).run(until="latest")
    assert_exactly_once(engine)


def test_workers_with_nothing_to_do_are_refused(kafka: MemoryKafka, stream_of: StreamOf) -> None:
    with pytest.raises(ConfigurationError, match="workers have nothing to do"):
        stream_of(ThreadExecutor(kafka), prepare=None, sink=write)


@pytest.mark.parametrize("executor", ["threads", "processes:x", 7])
def test_what_is_no_executor_is_refused(stream_of: StreamOf, executor: Any) -> None:
    with pytest.raises(ConfigurationError, match="executor"):
        stream_of(executor)


def test_a_batch_of_markers_alone_is_progress(kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf) -> None:
    stream = stream_of(ThreadExecutor(kafka))
    stream.run(until="latest")
    opened = kafka.open_transaction()
    opened.produce("orders", "never", partition=1)
    opened.abort()
    stream.run(until="latest")
    assert stream.store.positions("orders")[TopicPartition("orders", 1)].next_offset == RECORDS // PARTITIONS + 2
    assert_exactly_once(engine)
