"""What a user hands over to be called, and what is refused of it when a stream is built."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from kafka_stream import Batch
from kafka_stream.callables import name_of
from kafka_stream.errors import ConfigurationError
from kafka_stream.settings import StreamSettings
from kafka_stream.sinks.files import FileSink
from kafka_stream.types import OffsetRange, Owner, TopicPartition, Writes
from tests.declared_sinks import declared_sink
from tests.function_kinds import (
    DEFERRING,
    RUNNING,
    plain,
    timed,
)


def _refusal(**settings: Any) -> str:
    values = {"name": "s", "topics": ["orders"], "kafka": {"bootstrap.servers": "x"}, "store": "sqlite://"}
    with pytest.raises(ConfigurationError) as caught:
        StreamSettings.checked({**values, "sink": plain, **settings})
    return str(caught.value)


def _accepted(**settings: Any) -> None:
    values = {"name": "s", "topics": ["orders"], "kafka": {"bootstrap.servers": "x"}, "store": "sqlite://"}
    StreamSettings.checked({**values, "sink": plain, **settings})


@pytest.mark.parametrize(("function", "kind"), DEFERRING)
def test_as_a_sink_it_is_refused_when_the_stream_is_built(function: Any, kind: str) -> None:
    said = "a sink cannot be async" if "async" in kind else f"is {kind}, of which a call runs nothing"
    assert said in _refusal(sink=function)
    assert said in _refusal(sink=[plain, function])


@pytest.mark.parametrize("function", RUNNING, ids=name_of)
def test_what_runs_is_accepted(function: Any) -> None:
    _accepted(sink=function)
    _accepted(sink=[plain, function])


# Arguments


class OfOne:
    writes, needs = Writes.THROUGH_TRANSACTION, None

    def describe(self) -> str:
        return "of one"

    def prepare(self, prepared: Any) -> Any:
        return prepared

    def write(self, prepared: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        (lambda batch: None, "cannot be called with (prepared, transaction): too many positional arguments"),
        (lambda: None, "cannot be called with (prepared, transaction): too many positional arguments"),
        (lambda a, b, c: None, "cannot be called with (prepared, transaction): missing a required argument: 'c'"),
        (OfOne(), "OfOne.write(prepared: 'Any') -> 'None' cannot be called with (prepared, transaction)"),
        (OfOne, "sink is the class OfOne; give an object of it, or a function"),
        (FileSink, "sink is the class FileSink; give an object of it, or a function"),
    ],
)
def test_a_sink_that_cannot_be_called_as_one_is_refused(sink: Any, said: str) -> None:
    assert said in _refusal(sink=sink)


def test_what_is_nearly_a_sink_is_told_what_it_lacks() -> None:
    class Nearly:
        def write(self, prepared: Any, transaction: Any) -> None:
            raise NotImplementedError

        def prepare(self, prepared: Any) -> Any:
            return prepared

    assert _refusal(sink=Nearly()).endswith("Nearly lacks writes, needs, describe")


class AsyncTakeover:
    writes, needs = Writes.IDEMPOTENT_BY_RANGE, None

    def describe(self) -> str:
        return "files"

    def prepare(self, prepared: Any) -> Any:
        return prepared

    def write(self, prepared: Any, transaction: Any) -> None:
        raise NotImplementedError

    async def take_over(self, stream: str, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
        raise NotImplementedError

    def discard(self, planned: OffsetRange) -> None:
        raise NotImplementedError


class AsyncPrepare(OfOne):
    async def prepare(self, prepared: Any) -> Any:
        return prepared


@pytest.mark.parametrize(("sink", "name"), [(AsyncTakeover(), "take_over"), (AsyncPrepare(), "prepare")])
def test_no_method_of_a_sink_may_be_async(sink: Any, name: str) -> None:
    assert f"{type(sink).__name__}.{name}" in _refusal(sink=sink)


# prepare


def rows(batch: Batch) -> Iterator[Any]:
    yield from batch


async def rows_later(batch: Batch) -> AsyncIterator[Any]:
    for message in batch:
        yield message


def test_a_prepare_that_cannot_be_called_with_a_batch_is_refused() -> None:
    assert "prepare is called with the batch, and" in _refusal(prepare=lambda: None)
    assert "missing a required argument: 'transaction'" in _refusal(prepare=plain)
    _accepted(prepare=list)
    _accepted(prepare=functools.partial(plain, 1))


def test_an_async_generator_is_no_prepare() -> None:
    assert "rows_later is an async generator function, and no sink can read what it gives" in _refusal(
        prepare=rows_later
    )


def test_a_generator_for_more_than_one_sink_is_refused_before_anything_is_read() -> None:
    files = declared_sink(Writes.IDEMPOTENT_BY_RANGE)
    said = "rows gives what can be read only once (a generator function) to 2 sinks"
    assert said in _refusal(prepare=rows, sink=[plain, plain])
    assert said in _refusal(prepare=functools.partial(timed(rows)), sink=[files, plain, files])
    _accepted(prepare=rows)
    _accepted(prepare=rows, sink=[plain])
    _accepted(prepare=rows, sink=[plain, files])  # for which it runs once each
    _accepted(prepare=list, sink=[plain, plain])


def test_what_was_checked_of_a_start_is_what_is_used() -> None:
    start = {TopicPartition("orders", 0): 5}
    values = {"name": "s", "topics": ["orders"], "kafka": {"bootstrap.servers": "x"}, "store": "sqlite://"}
    settings = StreamSettings.checked({**values, "start": start})
    start.clear()
    assert settings.start == {TopicPartition("orders", 0): 5}
