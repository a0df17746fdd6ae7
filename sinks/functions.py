"""A function of the user's that makes what a sink writes: called in ``prepare``, and plain."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

from kafka_stream.errors import ProcessingError


def async_belongs(sink: str) -> str:
    """Where async work belongs; ``sink`` is how one is built with a plain function."""
    return (
        "what has to be awaited belongs in the stream's prepare, which may be async def: "
        f"DirectStream(prepare=an_async_function, sink={sink})"
    )


def refuse_awaitable(given: Any, function: str, belongs: str) -> None:
    """Raise ``ProcessingError`` if what the function gave is still to be awaited; ``function`` says which one it is."""
    if isinstance(given, Awaitable):
        if inspect.iscoroutine(given):
            given.close()
        raise ProcessingError(f"{function} is async; {belongs}")


__all__ = ["async_belongs", "refuse_awaitable"]
