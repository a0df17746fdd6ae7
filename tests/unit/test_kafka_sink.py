"""What ``KafkaSink`` makes of messages, without a broker."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.testing import message
from kafka_stream.testing.sink_backend import batch_from
from kafka_stream.testing.sink_contract import SinkFunctionContract, SinkOf
from kafka_stream.types import Writes


class Recorder:
    """A transaction that only remembers."""

    def __init__(self) -> None:
        self.produced: list[tuple[str, dict[str, Any]]] = []

    def produce(self, topic: str, **fields: Any) -> None:
        self.produced.append((topic, {name: value for name, value in fields.items() if value is not None}))


def produced(given: Any) -> list[tuple[str, dict[str, Any]]]:
    sink, transaction = KafkaSink("enriched", lambda _: given), Recorder()
    sink.write(sink.prepare(None), transaction)
    return transaction.produced


class TestKafkaSinkFunction(SinkFunctionContract):
    @pytest.fixture
    def sink_of(self) -> SinkOf:
        def build(function: Callable[[Any], Any]) -> KafkaSink:
            return KafkaSink("enriched", function)

        return build


class Pair(NamedTuple):
    key: str
    value: bytes


def test_all_shapes_go_out_in_order() -> None:
    given = [
        ("a", b"1"),
        Pair("b", b"2"),
        {"value": b"3"},
        UserDict({"value": "4", "key": "d", "partition": 2, "headers": [("h", b"x")], "topic": "others"}),
        message(b"5", key="e", headers=[("h", b"y")]),
        b"6",
        "7",
        ("h", b"8"),
    ]
    assert produced(iter(given)) == [
        ("enriched", {"key": "a", "value": b"1"}),
        ("enriched", {"key": "b", "value": b"2"}),
        ("enriched", {"value": b"3"}),
        ("others", {"value": "4", "key": "d", "partition": 2, "headers": [("h", b"x")]}),
        ("enriched", {"value": b"5", "key": b"e", "headers": [("h", b"y")]}),
        ("enriched", {"value": b"6"}),
        ("enriched", {"value": "7"}),
        ("enriched", {"key": "h", "value": b"8"}),
    ]


def test_a_batch_itself_is_copied() -> None:
    sink, transaction = KafkaSink("copy", lambda batch: batch), Recorder()
    sink.write(sink.prepare(batch_from([1, None, 3])), transaction)
    assert [fields.get("value") for _, fields in transaction.produced] == [b"1", None, b"3"]


def test_a_tombstone_has_a_key_and_no_value() -> None:
    assert produced([("a", None), {"key": b"b", "value": None}]) == [
        ("enriched", {"key": "a"}),
        ("enriched", {"key": b"b"}),
    ]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("a", b"1", b"2"), "tuple of 3"),
        (("a", 1), "int"),
        ({"key": "a"}, "'value'"),
        ({"value": b"1", "timestamp": 3}, "'timestamp'"),
        ({"value": 1.5}, "float"),
        ({"value": b"1", "partition": -1}, "partition=-1"),
        ({"value": b"1", "partition": True}, "partition=True"),
        ({"value": b"1", "topic": ""}, "topic=''"),
        ({"value": b"1", "headers": "x"}, "headers of str"),
        (7, "int"),
        (None, "a bare None"),
    ],
)
def test_what_is_no_message_is_refused_by_name(given: Any, named: str) -> None:
    with pytest.raises(ProcessingError, match="topic enriched") as refused:
        produced([("fine", b"1"), given])
    assert named in str(refused.value)


def test_a_mapping_in_place_of_an_iterable_is_refused() -> None:
    with pytest.raises(ProcessingError, match="dict"):
        produced({"value": b"1"})


@pytest.mark.parametrize("topic", ["", None, 7, "x" * 250])
def test_what_is_no_topic_is_refused(topic: Any) -> None:
    with pytest.raises(ConfigurationError, match="topic"):
        KafkaSink(topic, lambda batch: batch)


def test_it_writes_through_a_kafka_transaction() -> None:
    sink = KafkaSink("enriched", lambda batch: batch)
    assert (sink.writes, sink.needs, sink.describe()) == (Writes.THROUGH_TRANSACTION, "kafka", "topic enriched")
