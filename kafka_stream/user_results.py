"""What user code has given: refused if it is still to be run, or cannot be shared by the sinks that get it."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from kafka_stream.callables import deferred, discard
from kafka_stream.errors import ProcessingError
from kafka_stream.protocols import Sink
from kafka_stream.user_code import one_shot

_ASYNC_BELONGS = "do async work in prepare (async def prepare(batch)) and write in the transaction with plain calls"
_EMPTIABLE = (list, dict, set, deque, bytearray)


class Untouched:
    """The containers that several sinks get, one after the other, and how much was in them at first.

    A sink that consumes what it gets (``while rows: rows.pop()``) leaves nothing for the next one.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        self._sizes = [(value, len(value)) for value in values if isinstance(value, _EMPTIABLE)]

    def check(self, taker: Callable[[], str]) -> None:
        """Raise ``ProcessingError`` if something was taken out of one before this sink gets it."""
        for value, size in self._sizes:
            if len(value) < size:
                raise ProcessingError(
                    f"what prepare gave had {size} items, and has {len(value)} when {taker()} gets it: a sink before "
                    "it took some out; nothing of the batch was committed"
                )


def check_prepared(prepared: Any, name: str, takers: int) -> None:
    """Raise ``ProcessingError`` if it is still to be run, or only the first of so many sinks could read it."""
    if inspect.isawaitable(prepared) or inspect.isasyncgen(prepared):
        what = deferred(prepared)
        discard(prepared)
        raise ProcessingError(f"prepare gave {what}, which nobody awaits: await it, and return what it gives")
    if takers > 1 and isinstance(prepared, Iterator):
        raise ProcessingError(one_shot(name, f"a {type(prepared).__name__}", takers))


def description_of(sink: Any) -> Callable[[], str]:
    """What says where a sink's results go; what stands for one on a worker may not say it."""
    described: Callable[[], str] | None = getattr(sink, "describe", None)
    return described or (lambda: type(sink).__qualname__)


def prepared_by(sink: Any, value: Any) -> Any:
    """What a sink, or what stands for it, takes of a value; ``ProcessingError`` if it has not been made yet."""
    prepared = sink.prepare(value)
    if inspect.isawaitable(prepared) or inspect.isasyncgen(prepared):
        what = deferred(prepared)
        discard(prepared)
        raise ProcessingError(f"prepare of {description_of(sink)()} gave {what}; {_ASYNC_BELONGS}")
    return prepared


def refuse_deferred(outcome: Any, sink: Sink) -> None:
    """What ``write`` returned, unless it is a plain value (such as what a statement gives)."""
    what = deferred(outcome)
    if what is None:
        return
    discard(outcome)
    if inspect.isawaitable(outcome) or inspect.isasyncgen(outcome):
        raise ProcessingError(f"{sink.describe()} returned {what}, which nobody awaits: {_ASYNC_BELONGS}")
    raise ProcessingError(
        f"{sink.describe()} returned {what}, which nobody runs: what it was to write was not written, and nothing of "
        "the batch was committed; write with plain calls before it returns"
    )


async def awaited(awaitable: Awaitable[Any]) -> Any:
    """A coroutine of whatever can be awaited."""
    return await awaitable
