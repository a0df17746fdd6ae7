"""Batches through user code and a SQL store, one after the other, as the loop does it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.engine.processing import BatchDropped, BatchProcessor
from kafka_stream.errors import KafkaStreamError
from kafka_stream.failures.results import Results
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.progress import Listeners
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of
from kafka_stream.types import OffsetRange
from kafka_stream.user_code import FunctionSink
from tests.fakes import record

Handler = Callable[[Any, SqlTransaction], object]


def run(store: SqlOffsetStore, *handlers: Handler, prepare: Callable[[Any], Any] | None = None) -> None:
    """A batch of one record per handler, one after the other, as the loop does."""
    for handler in handlers:
        claim = claim_of(OLDER, {P0: (0, 1)}, store.take_over(STREAM, OLDER, [P0], {}))
        batch = Batch((OffsetRange(P0, 0, 1),), {P0: [record(0, b"a")]})
        processor = BatchProcessor(store=store, prepare=prepare, sinks=[FunctionSink(handler)], listeners=Listeners([]))
        is_last = handler is handlers[-1]
        try:
            results = processor.prepare(batch)
            again = partial(_never, results)
            processor.commit(results, claim, lambda: None, partial(bool, is_last), again)
        except BatchDropped:
            assert not is_last
        finally:
            processor.close()


def _never(results: Results, part: Batch | None) -> Results:
    return results


def failure_of(store: SqlOffsetStore, *handlers: Handler, prepare: Callable[[Any], Any] | None = None) -> Exception:
    with pytest.raises(KafkaStreamError) as raised:
        run(store, *handlers, prepare=prepare)
    _no_circle(raised.value)
    return raised.value


def _no_circle(error: BaseException) -> None:
    seen = set()
    current: BaseException | None = error
    while current is not None:
        assert id(current) not in seen, "an error must not be its own cause"
        seen.add(id(current))
        current = current.__cause__
