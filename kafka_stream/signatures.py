"""Pure: whether a listener can be told what it will be told, before it is: at construction, in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from kafka_stream.callables import deferring_kind

_LISTENER: Mapping[str, Sequence[str]] = {
    "on_start": ("stream", "owner", "guarantee"),
    "on_positions": ("positions",),
    "on_phase": ("phase", "ranges"),
    "on_batch": ("progress",),
    "on_retry": ("error", "delay_s"),
    "on_pinned": ("pinned",),
    "on_stop": ("error",),
}
"""The methods of ``protocols.Listener``, and what they are called with."""


def _why_not_called(function: Any, *parameters: str) -> str | None:
    """Why a call with these positional arguments fails; ``None`` if it does not, or nobody can tell."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # of some built-in callables nobody knows
        return None
    try:
        signature.bind(*parameters)
    except TypeError as error:
        name = getattr(function, "__qualname__", type(function).__name__)
        return f"it is called with ({', '.join(parameters)}), and {name}{signature} does not take that: {error}"
    return None


def why_no_listener(listener: Any) -> str | None:
    """Why it cannot be told about a stream's life."""
    if isinstance(listener, type):
        return f"{listener.__qualname__} is a class; give an instance of it"
    for method, parameters in _LISTENER.items():
        try:
            found = getattr(listener, method, None)
        except Exception:  # noqa: BLE001 - its own fault, which is logged when it is told
            return None
        if not callable(found):
            return (
                f"{listener!r} has no {method}({', '.join(parameters)}): subclass kafka_stream.progress.StreamListener"
            )
        if (why := _why_not_called(found, *parameters)) is not None:
            return f"{method}: {why}"
        if (kind := deferring_kind(found)) is not None:
            return (
                f"{method} is {kind}, of which a call runs nothing: it is called on the stream's thread, so hand what "
                "is async over to an event loop (asyncio.run_coroutine_threadsafe)"
            )
    return None


__all__ = ["why_no_listener"]
