"""Poison for users' tests, and the assertion that a stream survives it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kafka_stream import Batch, DirectStream
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore, assert_survives, batch_of, poison


def write(batch: Batch, transaction: Any) -> None:
    transaction.rows += [json.loads(message.value() or b"") for message in batch]


def stream(**options: Any) -> DirectStream:
    given: dict[str, Any] = {"name": "s", "topics": ["orders"], "kafka": MemoryKafka(), "store": MemoryOffsetStore()}
    return DirectStream(**(given | {"sink": write} | options))


def test_a_poisoned_function_fails_only_with_its_records() -> None:
    seen: list[int] = []
    write_all = poison(at={1})(lambda batch, transaction: seen.append(len(batch)))
    write_all(batch_of(["a"]), None)
    with pytest.raises(ValueError, match="a poison record"):
        write_all(batch_of(["a", "b"]), None)
    with pytest.raises(KeyError):
        poison(at={0}, error=KeyError("price"))(batch_of(["a"]))
    assert seen == [1]
    batch = batch_of(["a"])
    assert poison(at={7})(batch) is batch


def test_a_stream_that_sets_bad_records_aside_survives() -> None:
    store = assert_survives(stream(), good=["1", "2", "3"], bad=["no JSON", b"\xff"])
    assert isinstance(store, MemoryOffsetStore)
    assert store.rows == [1, 2, 3]


def test_a_stream_that_swallows_a_bad_record_does_not() -> None:
    def swallow(batch: Batch, transaction: Any) -> None:
        """Nothing."""

    with pytest.raises(AssertionError, match=r"1 bad record.* were taken for good ones: b'no JSON'"):
        assert_survives(stream(sink=swallow), good=["1"], bad=["no JSON"])


def test_a_stream_that_fails_with_good_records_does_not() -> None:
    with pytest.raises(AssertionError, match=r"1 good record.* were set aside: b'2'"):
        assert_survives(stream(prepare=poison(at={1})), good=["1", "2", "3"], bad=[])


def test_a_stream_that_stops_does_not() -> None:
    def broken(batch: Batch, transaction: Any) -> None:
        raise KeyError("price")

    with pytest.raises(AssertionError, match=r"the stream stopped instead of setting a record aside: .*KeyError"):
        assert_survives(stream(sink=broken), good=["1", "2"], bad=["no JSON"])
