"""What user code gives back to the processor, and what several sinks share of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.errors import (
    ProcessingError,
)
from kafka_stream.user_code import FunctionSink
from tests.processing_bench import (
    BATCH,
    Bench,
    OverlappingStorySink,
    StorySink,
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.processor.close()


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ((row for row in [1]), "a generator, which nobody runs"),
        (map(print, [1]), "a map, which nobody runs"),
        (nullcontext(), "a context manager, which nobody runs"),
        (Future(), "a Future, which nobody runs"),
        (print, "a function, which nobody runs"),
    ],
)
@pytest.mark.parametrize("kind", [StorySink, OverlappingStorySink])
def test_a_write_that_returns_what_was_to_be_run_is_refused_and_rolled_back(
    bench: Bench, kind: type[StorySink], returned: Any, said: str
) -> None:
    bench.uses(sinks=[kind(bench, "sink", returns=returned)])
    with pytest.raises(ProcessingError, match=rf"^sink returned {said}: what it was to write was not written"):
        bench.run()
    assert bench.story[-1] == "rollback"


def test_a_write_may_return_what_it_likes_that_is_done(bench: Bench) -> None:
    for returned in (5, [1], {"rows": 2}, object()):
        bench.uses(sinks=[StorySink(bench, "sink", returns=returned)])
        bench.run()
        assert bench.story[-1] == "after_commit"


# What several sinks share


@pytest.mark.parametrize(
    "prepare",
    [
        iter,
        lambda batch: map(len, batch),
        lambda batch: (message for message in batch),
        lambda batch: filter(None, batch),
        lambda batch: zip(batch, batch, strict=True),
    ],
)
def test_what_can_be_read_only_once_is_for_one_sink(bench: Bench, prepare: Callable[[Any], Any]) -> None:
    bench.uses(prepare=prepare)
    bench.run()
    bench.uses(prepare=prepare, sinks=[bench.sink("one"), bench.sink("two")])
    bench.story.clear()
    with pytest.raises(ProcessingError, match=r"gives what can be read only once \(a \w+\) to 2 sinks") as caught:
        bench.run()
    assert bench.story == []
    assert "return a list, or batch.decoded" in str(caught.value)


def test_decoded_values_are_for_all_sinks(bench: Bench) -> None:
    class Reading(StorySink):
        def prepare(self, prepared: Any) -> Any:
            return [value for _, value in prepared]

    one, two = Reading(bench, "one"), Reading(bench, "two")
    bench.uses(prepare=lambda batch: batch.decoded(bytes.decode), sinks=[one, two])
    bench.run()
    assert one.written == two.written == [["a", "b"]]


@pytest.mark.parametrize("given", [list, dict.fromkeys, set, deque])
@pytest.mark.parametrize("in_prepare", [True, False])
def test_a_sink_that_leaves_less_for_the_next_one_is_found_out(bench: Bench, given: Any, in_prepare: bool) -> None:
    class Taking(StorySink):
        def prepare(self, prepared: Any) -> Any:
            if in_prepare:
                prepared.clear()
            return prepared

        def write(self, prepared: Any, transaction: Any) -> None:
            super().write(prepared, transaction)
            prepared.clear()

    bench.uses(prepare=lambda batch: given([1, 2]), sinks=[Taking(bench, "one"), FunctionSink(lambda p, t: None)])
    with pytest.raises(ProcessingError, match=r"gave had 2 items, and has 0 when function .* gets it: a sink before"):
        bench.run()
    assert "advance" not in bench.story
    bench.uses(prepare=lambda batch: given([1, 2]), sinks=[Taking(bench, "alone")])
    bench.run()


def test_a_sink_may_leave_more_for_the_next_one(bench: Bench) -> None:
    def note(prepared: Any, transaction: Any) -> None:
        prepared["ids"] = [7]

    got: list[Any] = []
    bench.uses(
        prepare=lambda batch: {"rows": [1]},
        sinks=[FunctionSink(note), FunctionSink(lambda prepared, transaction: got.append(prepared))],
    )
    bench.run()
    assert got == [{"rows": [1], "ids": [7]}]


# Awaitables


class Later:
    """Awaitable, and no coroutine."""

    def __await__(self) -> Generator[None, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "done"


def test_whatever_can_be_awaited_is(bench: Bench) -> None:
    bench.uses(prepare=lambda batch: Later())
    assert bench.processor.prepare(BATCH).values == [("sink", "done")]


async def _twice(batch: Batch) -> Any:
    return _once(batch)


async def _once(batch: Batch) -> Any:
    raise NotImplementedError


async def _yielding(batch: Batch) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("prepare", "what"), [(_twice, "an awaitable"), (lambda batch: _yielding(batch), "an async generator")]
)
def test_what_is_still_to_be_awaited_is_no_result_of_prepare(bench: Bench, prepare: Any, what: str) -> None:
    bench.uses(prepare=prepare)
    with pytest.raises(ProcessingError, match=f"^prepare gave {what}, which nobody awaits: await it"):
        bench.run()
    assert bench.story == []


def test_nor_of_a_sinks_prepare(bench: Bench) -> None:
    class Async(StorySink):
        def prepare(self, prepared: Any) -> Any:
            return _once(prepared)

    bench.uses(sinks=[Async(bench, "sink")])
    with pytest.raises(ProcessingError, match=r"^prepare of sink gave an awaitable; do async work in prepare"):
        bench.run()
