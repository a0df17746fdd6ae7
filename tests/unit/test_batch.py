"""What user code receives."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.errors import MissingExtra, RecordError
from kafka_stream.testing import message
from kafka_stream.types import OffsetRange, TopicPartition, timestamp_ms
from tests.fakes import ORDERS_0, ORDERS_1, record

USERS_0 = TopicPartition("users", 0)


def _batch() -> Batch:
    return Batch(
        (OffsetRange(ORDERS_0, 0, 5), OffsetRange(ORDERS_1, 3, 9), OffsetRange(USERS_0, 7, 8)),
        {
            USERS_0: [record(7, b"u", topic="users")],
            ORDERS_0: [record(0, b"a"), record(4, b"b")],
        },
    )


def test_messages_come_partition_by_partition_in_offset_order() -> None:
    batch = _batch()
    assert [(m.topic(), m.partition(), m.offset()) for m in batch] == [
        ("orders", 0, 0),
        ("orders", 0, 4),
        ("users", 0, 7),
    ]
    assert list(batch.messages) == list(batch)
    assert len(batch) == 3


def test_a_batch_of_one_partition_and_one_without_records() -> None:
    one = _batch().partition(ORDERS_0)
    assert [m.offset() for m in one] == [0, 4]
    assert one.ranges == (OffsetRange(ORDERS_0, 0, 5),)
    empty = _batch().partition(ORDERS_1)
    assert (len(empty), empty.ranges, list(empty)) == (0, (OffsetRange(ORDERS_1, 3, 9),), [])
    absent = _batch().partition(TopicPartition("orders", 9))
    assert (len(absent), absent.ranges, list(absent)) == (0, (), [])


def test_the_part_of_a_topic() -> None:
    orders = _batch().topic("orders")
    assert [r.topic_partition for r in orders.ranges] == [ORDERS_0, ORDERS_1]
    assert [m.value() for m in orders] == [b"a", b"b"]
    assert len(_batch().topic("nothing")) == 0
    assert _batch().topic("nothing").ranges == ()


def test_unsorted_or_repeated_ranges_are_refused() -> None:
    zero, one = OffsetRange(ORDERS_0, 0, 1), OffsetRange(ORDERS_1, 0, 1)
    with pytest.raises(ValueError, match="one range per partition, sorted"):
        Batch((one, zero), {})
    with pytest.raises(ValueError, match="one range per partition, sorted"):
        Batch((zero, zero), {})


def test_records_without_a_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"records of orders\[1\], but no range"):
        Batch((OffsetRange(ORDERS_0, 0, 1),), {ORDERS_1: [record(0, partition=1)]})
    assert len(Batch((OffsetRange(ORDERS_0, 0, 1),), {ORDERS_1: []})) == 0


def test_as_an_arrow_table() -> None:
    at = datetime(2025, 1, 31, 12, 30, 15, 123000, tzinfo=UTC)
    batch = Batch(
        (OffsetRange(ORDERS_0, 0, 5), OffsetRange(ORDERS_1, 3, 9), OffsetRange(USERS_0, 2**40, 2**40 + 1)),
        {
            ORDERS_0: [
                message(b"a", key=b"k", topic="orders", timestamp_ms=timestamp_ms(at)),
                message(None, key=b"", topic="orders", offset=4),
            ],
            USERS_0: [message("ü", topic="users", offset=2**40)],
        },
    )
    table = batch.to_arrow()
    assert [(row["topic"], row["partition"], row["offset"]) for row in table.to_pylist()] == [
        ("orders", 0, 0),
        ("orders", 0, 4),
        ("users", 0, 2**40),
    ]
    assert [(row["key"], row["value"]) for row in table.to_pylist()] == [
        (b"k", b"a"),
        (b"", None),
        (None, "ü".encode()),
    ]
    assert table.to_pylist()[0]["timestamp"] == at
    assert batch.partition(ORDERS_1).to_arrow().schema == table.schema
    assert Batch((), {}).to_arrow().num_rows == 0


def test_an_arrow_table_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"kafka-stream\[parquet\]"):
        _batch().to_arrow()


def test_decoded_pairs_and_tombstones() -> None:
    batch = Batch((OffsetRange(ORDERS_0, 0, 3),), {ORDERS_0: [record(0, b'{"a": 1}'), record(1, None)]})
    pairs = list(batch.decoded(json.loads))
    assert [(m.offset(), value) for m, value in pairs] == [(0, {"a": 1}), (1, None)]


def test_a_value_that_cannot_be_decoded_names_its_record() -> None:
    batch = Batch((OffsetRange(ORDERS_0, 0, 3),), {ORDERS_0: [record(0, b"1"), record(2, b"{oops")]})
    decoded = iter(batch.decoded(json.loads))
    assert next(decoded)[1] == 1
    with pytest.raises(RecordError, match=r"record orders\[0\]@2: its value could not be decoded") as caught:
        next(decoded)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("orders", 0, 2)
    assert isinstance(caught.value.__cause__, json.JSONDecodeError)


def test_an_error_of_the_consumer_of_the_pairs_is_not_taken_for_a_decoding_error() -> None:
    batch = Batch((OffsetRange(ORDERS_0, 0, 1),), {ORDERS_0: [record(0, b"1")]})
    with pytest.raises(ZeroDivisionError):
        for _, value in batch.decoded(json.loads):
            value / 0


def test_what_was_decoded_can_be_read_again_and_is_decoded_anew() -> None:
    batch = Batch((OffsetRange(ORDERS_0, 0, 3),), {ORDERS_0: [record(0, b'{"a": 1}'), record(1, None)]})
    decoded = batch.decoded(json.loads)
    for _, value in decoded:
        if value is not None:
            value.clear()
    assert [value for _, value in decoded] == [{"a": 1}, None]
    assert not isinstance(decoded, Iterator)


# What nobody can change


def _changes() -> list[Callable[[Any], object]]:
    def delete(batch: Any) -> None:
        del batch.messages[:1]

    def delete_of_a_partition(batch: Any) -> None:
        del batch.records[ORDERS_0][:1]

    def replace(batch: Any) -> None:
        batch.records[ORDERS_0] = []

    def forget(batch: Any) -> None:
        del batch.records[ORDERS_0]

    def assign(batch: Any) -> None:
        batch.ranges = ()

    return [
        delete,
        delete_of_a_partition,
        replace,
        forget,
        assign,
        lambda batch: batch.messages.clear(),
        lambda batch: batch.records.clear(),
        lambda batch: batch.records.pop(ORDERS_0),
        lambda batch: batch.records[ORDERS_0].pop(),
        lambda batch: batch.partition(ORDERS_0).messages.pop(),
        lambda batch: batch.topic("orders").messages.pop(),
    ]


@pytest.mark.parametrize("change", _changes())
@pytest.mark.parametrize("whole", [_batch(), _batch().partition(ORDERS_0)], ids=["three partitions", "one"])
def test_a_reader_cannot_change_what_others_read(change: Callable[[Any], object], whole: Batch) -> None:
    before = [*whole]
    with pytest.raises((TypeError, AttributeError)):
        change(whole)
    assert ([*whole], list(whole.messages), len(whole)) == (before, before, len(before))
    assert [message for messages in whole.records.values() for message in messages] != []
    assert whole.partition(ORDERS_0).messages == tuple(before[:2])


def test_nor_can_the_lists_that_it_was_made_of_change_how_much_there_is() -> None:
    lists = {ORDERS_0: [record(0), record(1)]}
    batch = Batch((OffsetRange(ORDERS_0, 0, 2),), lists)
    lists.clear()
    assert (len(batch), len(batch.messages), len(batch.records)) == (2, 2, 1)


def test_batches_are_equal_by_what_they_hold_and_show_no_record() -> None:
    assert _batch() == _batch() == Batch(_batch().ranges, _batch().records)
    assert _batch() != _batch().partition(ORDERS_0)
    assert repr(Batch((OffsetRange(ORDERS_0, 0, 1),), {ORDERS_0: [record(0, b"secret")]}).records) == (
        "<records of orders[0]>"
    )
