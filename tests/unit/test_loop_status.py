"""What a status says of a stream that has failed, or is trying again."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_stream.errors import ProcessingError, SinkUnavailable
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from tests.fakes import ORDERS_0
from tests.simulation import ResultsStore, Simulation


def _simulation(failures: list[Exception]) -> Simulation:
    """A stream that has read three records, looked at their end, and then cannot write a fourth."""

    def write(batch: Any, transaction: Any) -> None:
        if failures and any(message.offset() == 3 for message in batch):
            raise failures.pop()

    kafka = MemoryKafka({"orders": 1})
    for _ in range(3):
        kafka.produce("orders", "v", partition=0)
    run = Simulation(kafka, ResultsStore(MemoryOffsetStore()), sink=write)
    run.at(1.0, lambda: kafka.produce("orders", "v", partition=0))
    run.at(3.0, run.stop)
    return run


def test_a_record_that_was_read_and_not_written_is_lag_of_a_stream_that_failed() -> None:
    run = _simulation([ValueError("the handler's own")])
    with pytest.raises(ProcessingError):
        run.run()
    status = run.loop.status
    assert (status.state, status.positions, status.lag) == (StreamState.FAILED, {ORDERS_0: 3}, {ORDERS_0: 1})
    assert status.batch_started_at is None


def test_and_of_one_that_tries_again() -> None:
    run = _simulation([SinkUnavailable("away")])
    seen: list[StreamStatus] = []
    run.story.on_retry = lambda error, delay_s: seen.append(run.loop.status)  # type: ignore[method-assign]
    run.run()
    assert [(status.state, status.lag) for status in seen] == [(StreamState.RETRYING, {ORDERS_0: 1})]
    assert run.loop.status.lag == {ORDERS_0: 0}
