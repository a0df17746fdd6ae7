"""Functions of every kind: those that a call runs, and those of which it runs nothing."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import MagicMock, Mock


def plain(prepared: Any, transaction: Any) -> None:
    raise NotImplementedError


def yielding(prepared: Any, transaction: Any) -> Iterator[None]:
    yield


async def waiting(prepared: Any, transaction: Any) -> None:
    raise NotImplementedError


async def yielding_later(prepared: Any, transaction: Any) -> AsyncIterator[None]:
    yield


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as most are written."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


class Methods:
    def plain(self, prepared: Any, transaction: Any) -> None:
        raise NotImplementedError

    def yielding(self, prepared: Any, transaction: Any) -> Iterator[None]:
        yield

    async def waiting(self, prepared: Any, transaction: Any) -> None:
        raise NotImplementedError


class Called:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, prepared: Any, transaction: Any) -> Any:
        return self.function(prepared, transaction)


class CalledYielding:
    def __call__(self, prepared: Any, transaction: Any) -> Iterator[None]:
        yield


class AnswersEverything:
    def __getattr__(self, name: str) -> Any:
        return AnswersEverything()

    def __call__(self, *arguments: Any) -> None:
        raise NotImplementedError


DEFERRING = [
    (yielding, "a generator function"),
    (waiting, "an async function"),
    (yielding_later, "an async generator function"),
    (Methods().yielding, "a generator function"),
    (Methods().waiting, "an async function"),
    (functools.partial(yielding), "a generator function"),
    (functools.partial(functools.partial(Methods().waiting)), "an async function"),
    (CalledYielding(), "a generator function"),
    (functools.partial(CalledYielding()), "a generator function"),
    (timed(yielding), "a generator function"),
    (timed(timed(waiting)), "an async function"),
    (functools.partial(timed(yielding_later)), "an async generator function"),
    (contextmanager(yielding), "a generator function"),
    (asynccontextmanager(yielding_later), "an async generator function"),
    (functools.lru_cache(yielding), "a generator function"),
]
RUNNING = [plain, Methods().plain, timed(plain), Called(plain), functools.partial(plain), Mock(), MagicMock()]
