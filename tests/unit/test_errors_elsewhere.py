"""Errors on their way to another process, and copies of them: each with its facts."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.pool import Pool
from typing import Any

import pytest

from kafka_stream.errors import (
    CauseElsewhere,
    DataLoss,
    KafkaStreamError,
    OwnershipLost,
    ProcessingError,
    RecordError,
    StoreUnavailable,
)
from kafka_stream.protocols import PositionLost
from kafka_stream.types import OffsetRange, Owner
from tests.architecture.code import SHIPPED, modules, name_of
from tests.fakes import ORDERS_0, ORDERS_1
from tests.refusing import refuse

RANGE = OffsetRange(ORDERS_0, 3, 7)
FACTS: Mapping[str, Any] = {
    "range": RANGE,
    "stored_offset": 9,
    "other": Owner("b", "host-b"),
    "partition": ORDERS_0,
    "wanted": 3,
    "available": (5, 9),
    "partitions": (ORDERS_0, ORDERS_1),
    "topic": "orders",
    "offset": 7,
    "attempt": 1,
    "attempts": 3,
    "age_s": 5_400.0,
    "lost": PositionLost(ORDERS_0, 3, truncated=False, reason="out of range"),
}
"""A value for each fact that an error carries: one that is missing here is a new one, to be added."""


def _raised_here() -> Iterator[type[BaseException]]:
    """Every exception class of the library, its private ones too."""
    for name in map(name_of, modules(*SHIPPED)):
        module = importlib.import_module(name)
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, BaseException) and found.__module__ == name:
                yield found


RAISED_HERE = sorted(set(_raised_here()), key=lambda kind: kind.__qualname__)


def _made(kind: type[BaseException]) -> BaseException:
    parameters = inspect.signature(kind.__init__).parameters.values()
    facts = {p.name: FACTS[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
    return kind("what happened, and where", **facts)


@pytest.fixture(params=RAISED_HERE, ids=lambda kind: kind.__qualname__)
def error(request: pytest.FixtureRequest) -> BaseException:
    return _made(request.param)


def test_there_are_errors_with_facts_among_them() -> None:
    assert len(RAISED_HERE) > 30
    assert sum(bool(_made(kind).__dict__) for kind in RAISED_HERE) > 8


def _pickled(protocol: int) -> Callable[[Any], Any]:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))


WAYS: Mapping[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle-{protocol}": _pickled(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_error_arrives_with_its_text_and_its_facts(error: BaseException, way: str) -> None:
    error.add_note("and a note")
    arrived = WAYS[way](error)
    assert arrived is not error
    assert (type(arrived), str(arrived), arrived.args) == (type(error), str(error), error.args)
    assert arrived.__dict__ == error.__dict__
    assert arrived.__cause__ is None


class NoPrice(RecordError):
    """A user's own, with a constructor of its own."""

    def __init__(self, number: int) -> None:
        super().__init__("no price", topic="orders", partition=0, offset=number)
        self.number = number


def test_an_error_of_a_users_own_arrives_too() -> None:
    for way in WAYS.values():
        arrived = way(NoPrice(7))
        assert (arrived.number, arrived.offset, str(arrived)) == (7, 7, "record orders[0]@7: no price")


class Unsendable(Exception):
    """What other libraries raise: dumps, and cannot be loaded."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


def _failed(cause: BaseException) -> BaseException:
    try:
        raise StoreUnavailable("the database is away") from cause
    except StoreUnavailable as error:
        return error


def test_a_cause_of_another_library_arrives_as_its_text() -> None:
    arrived = pickle.loads(pickle.dumps(_failed(Unsendable("host unreachable", code=7))))
    assert type(arrived.__cause__) is CauseElsewhere
    assert "Unsendable: host unreachable" in str(arrived.__cause__)
    assert arrived.__suppress_context__


def test_a_cause_of_ours_arrives_as_itself_with_what_is_behind_it() -> None:
    first = ProcessingError("the handler failed")
    first.__cause__ = KeyError("price")
    arrived = pickle.loads(pickle.dumps(_failed(first)))
    assert (type(arrived.__cause__), str(arrived.__cause__)) == (ProcessingError, "the handler failed")
    assert "KeyError: 'price'" in str(arrived.__cause__.__cause__)


def test_a_circle_of_causes_arrives() -> None:
    error = OwnershipLost("gone", stored_offset=9)
    error.__cause__ = error
    arrived = pickle.loads(pickle.dumps(error))
    assert arrived.__cause__ is arrived
    assert arrived.stored_offset == 9


def test_a_copy_keeps_the_very_cause() -> None:
    cause = Unsendable("host unreachable", code=7)
    error = _failed(cause)
    for copied in (copy.copy(error), copy.deepcopy(error)):
        assert copied.__cause__ is cause
        assert copied.__traceback__ is error.__traceback__


# In pools, as in a prepare that spreads its work


def _with_executor(number: int) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(refuse, number).result(60)


def _with_pool(number: int) -> None:
    with Pool(1, context=multiprocessing.get_context("spawn")) as pool:
        pool.apply_async(refuse, (number,)).get(60)


@pytest.mark.parametrize("run", [_with_executor, _with_pool])
def test_what_is_raised_in_a_pool_of_processes_arrives(run: Callable[[int], None]) -> None:
    with pytest.raises(RecordError, match=r"^record orders\[0\]@7: no JSON$") as caught:
        run(7)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("orders", 0, 7)
    assert "JSONDecodeError" in str(caught.value.__cause__)


def test_an_error_is_what_it_was_after_it_was_sent_on() -> None:
    loss = DataLoss("lost", partition=ORDERS_0, wanted=3, available=None)
    once: KafkaStreamError = pickle.loads(pickle.dumps(loss))
    assert pickle.dumps(once) == pickle.dumps(pickle.loads(pickle.dumps(once)))
