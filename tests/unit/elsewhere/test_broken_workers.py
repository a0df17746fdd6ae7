"""Workers that tell what is not so, give what cannot be loaded, or never come back: the stream goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.batch import Batch
from kafka_stream.errors import WorkerLost
from kafka_stream.failures.strategies import FixedDelay
from kafka_stream.protocols import PositionLost, Slice
from kafka_stream.protocols.executors import PositionGone
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import TopicPartition
from tests.unit.elsewhere.world import TABLE, Away, StreamOf, assert_exactly_once, given, prepared, write
from tests.workers import ThreadExecutor


@pytest.mark.parametrize("at", [0, 7])
def test_a_position_that_is_there_after_all_is_read_again(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, at: int
) -> None:
    told = threading.Event()

    def fault(slices: Sequence[Slice]) -> None:
        if not told.is_set():
            told.set()
            lost = PositionLost(TopicPartition("orders", 0), at, False, "out of range")
            raise PositionGone("orders[0] cannot be read: out of range", lost=lost)

    stream_of(ThreadExecutor(kafka, slots=1, fault=fault)).run(until="latest")
    assert_exactly_once(engine)


def test_a_loss_of_what_is_not_ours_any_more_drops_the_batch_and_nothing_else(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf
) -> None:
    told = threading.Event()

    def fault(slices: Sequence[Slice]) -> None:
        if not told.is_set():
            told.set()
            raise PositionGone("out of range", lost=PositionLost(TopicPartition("orders", 9), 0, False, "out of range"))

    stream_of(ThreadExecutor(kafka, slots=1, fault=fault)).run(until="latest")
    assert_exactly_once(engine)


def test_a_task_that_hangs_does_not_keep_its_worker_when_its_batch_is_dropped(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf
) -> None:
    begun = threading.Event()

    def fault(slices: Sequence[Slice]) -> None:
        if slices[0].range.from_offset > 0 and not begun.is_set():
            begun.set()
            assert executor.hangs.wait(30)
            raise WorkerLost("it was ended")

    class Late(Away):
        """Its server is away when the task hangs."""

        def write_overlapping(self, prepared: Any, transaction: Any, go_on: Callable[[], None]) -> None:
            assert begun.wait(30)
            super().write_overlapping(prepared, transaction, go_on)

    executor = ThreadExecutor(kafka, slots=1, fault=fault, task_timeout_s=0.5)
    stream_of(executor, sink=Late(TABLE, given), retry=FixedDelay(0.01, max_attempts=4)).run(until="latest")
    assert executor.hangs.is_set()
    assert_exactly_once(engine)


class Unloadable(str):
    """A text that can be sent, and not be received."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def unloadable(batch: Batch) -> list[dict[str, Any]]:
    """Rows that cannot be received."""
    return [{**row, "value": Unloadable(row["value"])} for row in prepared(batch)]


def test_what_cannot_be_loaded_here_is_prepared_here(
    kafka: MemoryKafka, engine: sa.Engine, stream_of: StreamOf, caplog: pytest.LogCaptureFixture
) -> None:
    stream_of(ThreadExecutor(kafka), prepare=unloadable, sink=[write]).run(until="latest")
    assert_exactly_once(engine)
    assert "cannot be loaded here: ValueError" in caplog.text
