"""One tree, grouped by what the caller does."""

from __future__ import annotations

import inspect
import re

import pytest

from kafka_stream import errors
from kafka_stream.errors import (
    BoundNotReached,
    ConfigurationError,
    DataLoss,
    KafkaStreamError,
    OutstandingPlan,
    OwnershipLost,
    ProcessingError,
    RecordError,
    TransientError,
)
from kafka_stream.types import OffsetRange, Owner
from tests.fakes import ORDERS_0, record

GROUPS = {
    ConfigurationError: {
        "UnsupportedGuarantee",
        "UnknownStore",
        "UnknownSink",
        "MissingExtra",
        "SchemaMismatch",
        "TopicNotFound",
        "NotAuthorized",
        "RecordTooLarge",
    },
    TransientError: {
        "BrokerUnavailable",
        "PartitionsHeld",
        "StoreSuperseded",
        "StoreUnavailable",
        "SinkUnavailable",
        "HandlerUnavailable",
        "WorkerLost",
    },
    OwnershipLost: {"StreamClosed"},
    DataLoss: {"OffsetOutOfRange", "LogTruncated", "TopicRecreated"},
    ProcessingError: {
        "RecordError",
        "TransactionEscaped",
        "StatementRefused",
        "SpoiledTransaction",
        "FailedElsewhere",
        "TooManyDeadLetters",
    },
}


def _all_errors() -> list[type[BaseException]]:
    return [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, BaseException) and value.__module__ == errors.__name__
    ]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_each_group_holds_what_is_answered_alike(group: type[KafkaStreamError]) -> None:
    found = {error.__name__ for error in _all_errors() if issubclass(error, group) and error is not group}
    assert found == GROUPS[group]


def test_every_error_has_one_root_and_stands_in_the_tree_of_the_module() -> None:
    tree = errors.__doc__ or ""
    for error in _all_errors():
        assert issubclass(error, KafkaStreamError)
        assert re.search(rf"\b{error.__name__}\b", tree), f"{error.__name__} is missing in the tree"


def test_groups_do_not_overlap() -> None:
    for error in _all_errors():
        assert sum(issubclass(error, group) for group in GROUPS) <= 1


def test_facts_ride_along() -> None:
    r = OffsetRange(ORDERS_0, 3, 7)
    other = Owner("b", "host-b")
    lost = OwnershipLost("gone", range=r, stored_offset=9, other=other)
    assert (lost.range, lost.stored_offset, lost.other, str(lost)) == (r, 9, other, "gone")
    assert OwnershipLost("gone").other is None
    assert OutstandingPlan("look", range=r).range is r
    loss = DataLoss("lost", partition=ORDERS_0, wanted=3, available=(5, 9))
    assert (loss.partition, loss.wanted, loss.available) == (ORDERS_0, 3, (5, 9))
    assert BoundNotReached("stuck", partitions=(ORDERS_0,)).partitions == (ORDERS_0,)


def test_a_record_error_names_its_record() -> None:
    error = RecordError.of(record(42, b"x", partition=3), "no price")
    assert str(error) == "record orders[3]@42: no price"
    assert (error.topic, error.partition, error.offset) == ("orders", 3, 42)
    assert isinstance(error, ProcessingError)


def test_a_record_error_of_a_subclass_stays_one() -> None:
    class NoPrice(RecordError):
        pass

    assert type(NoPrice.of(record(1), "no price")) is NoPrice
