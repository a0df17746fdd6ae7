"""What calling a function does, as far as that can be told before and after."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
import sqlalchemy as sa

from kafka_stream.callables import deferred, deferring_kind, name_of, refused_arguments
from tests.function_kinds import (
    DEFERRING,
    RUNNING,
    AnswersEverything,
    Called,
    Methods,
    plain,
    yielding,
    yielding_later,
)


@pytest.mark.parametrize(("function", "kind"), DEFERRING)
def test_what_a_call_would_not_run_is_told_by_its_kind(function: Any, kind: str) -> None:
    assert deferring_kind(function) == kind


@pytest.mark.parametrize("function", [*RUNNING, print, list, dict, len], ids=name_of)
def test_what_runs_when_it_is_called_has_no_such_kind(function: Any) -> None:
    assert deferring_kind(function) is None


def test_an_object_with_an_answer_for_everything_is_looked_at_for_a_while_only() -> None:
    assert deferring_kind(AnswersEverything()) is None
    assert name_of(AnswersEverything()) == "AnswersEverything"


# What a call has given


@contextmanager
def entering() -> Iterator[None]:
    yield


@asynccontextmanager
async def entering_later() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("outcome", "what"),
    [
        (yielding(1, 2), "a generator"),
        (yielding_later(1, 2), "an async generator"),
        (map(print, [1]), "a map"),
        (filter(None, [1]), "a filter"),
        ((n for n in [1]), "a generator"),
        (iter([1]), "a list_iterator"),
        (entering(), "a context manager"),
        (entering_later(), "a context manager"),
        (Future(), "a Future"),
        (plain, "a function"),
        (functools.partial(plain), "a function"),
        (Methods().plain, "a function"),
    ],
)
def test_what_somebody_else_would_have_to_run_is_no_result(outcome: Any, what: str) -> None:
    assert deferred(outcome) == what


def test_what_a_statement_gives_is_a_result_though_it_can_be_read_and_entered() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        assert deferred(connection.execute(sa.text("SELECT 1"))) is None
        assert deferred(connection.exec_driver_sql("SELECT 1").cursor) is None
        with connection.begin_nested() as savepoint:
            assert deferred(savepoint) is None
    engine.dispose()
    assert [deferred(value) for value in (None, 0, [], {}, "rows", object(), MagicMock())] == [None] * 7


def test_arguments_that_nobody_can_tell_are_not_refused() -> None:
    assert refused_arguments(type, "batch") is None
    assert refused_arguments(dict.fromkeys, "batch") is None
    assert refused_arguments(functools.partial(plain, 1), "transaction") is None


def test_a_function_is_called_by_the_name_that_it_was_given() -> None:
    assert name_of(functools.partial(functools.partial(plain), 1)) == "plain"
    assert name_of(Methods().plain) == "Methods.plain"
    assert name_of(Called(plain)) == "Called"
