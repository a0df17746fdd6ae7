"""Pure: what calling a function of the user's does: whether it runs, or only gives something that would run later."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

_DEFERRED = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)
_MOST_LAYERS = 20
_LAZY_MODULES = {"builtins", "itertools"}
"""Iterators of these run the user's code while they are read; a database's cursor is one too, and has run already."""


def deferring_kind(function: Any) -> str | None:
    """What kind of function it is, if a call runs nothing of it: async, or a generator; else ``None``.

    Looks through bound methods, ``functools.partial``, objects with ``__call__``, and decorators that say what they
    wrap.
    """
    for layer in _layers(function):
        if inspect.isasyncgenfunction(layer):
            return "an async generator function"
        if inspect.iscoroutinefunction(layer):
            return "an async function"
        if inspect.isgeneratorfunction(layer):
            return "a generator function"
    return None


def deferred(outcome: Any) -> str | None:
    """What a call has given, if something else would have to run it; else ``None``."""
    if outcome is None:
        return None
    if inspect.isawaitable(outcome):
        return "an awaitable"
    if inspect.isasyncgen(outcome):
        return "an async generator"
    if isinstance(outcome, Iterator) and type(outcome).__module__ in _LAZY_MODULES:
        return f"a {type(outcome).__name__}"
    named = type(outcome).__mro__  # by name only: results and transactions of databases can be entered as well
    if AbstractContextManager in named or AbstractAsyncContextManager in named:
        return "a context manager"
    if isinstance(outcome, Future):
        return "a Future"
    return "a function" if isinstance(outcome, _DEFERRED) else None


def discard(outcome: Any) -> None:
    """Give up what will not be run, so that nothing warns that it was not."""
    if inspect.iscoroutine(outcome) or inspect.isgenerator(outcome):
        outcome.close()


def refused_arguments(function: Any, *names: str) -> str | None:
    """Why it cannot be called with so many arguments by position; ``None`` if it can, or if it does not tell."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*names)
    except TypeError as error:
        return f"{name_of(function)}{signature} cannot be called with ({', '.join(names)}): {error}"
    return None


def name_of(function: Any) -> str:
    """What people call it."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def _layers(function: Any) -> Iterator[Any]:
    for _ in range(_MOST_LAYERS):  # some objects have an answer for every attribute
        if function is None:
            return
        yield function
        function = _beneath(function)


def _beneath(function: Any) -> Any:
    if isinstance(function, functools.partial):
        return function.func
    if isinstance(function, MethodType):
        return function.__func__
    if (wrapped := getattr(function, "__wrapped__", None)) is not None:
        return wrapped
    return None if isinstance(function, FunctionType | BuiltinFunctionType | type) else type(function).__call__


__all__ = ["deferred", "deferring_kind", "discard", "name_of", "refused_arguments"]
