"""The Kafka in memory keeps the sources' contract, and does what users' tests ask of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kafka_stream.errors import TopicNotFound
from kafka_stream.protocols import Source
from kafka_stream.setting_checks import SourceFactory
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.testing import MemoryKafka, batch_of, message
from kafka_stream.testing.memory.kafka import MemoryTransaction
from kafka_stream.testing.source_contract import SourceContract
from kafka_stream.testing.source_reader import Reader
from kafka_stream.types import OffsetRange, TopicPartition


class MemoryHarness:
    def __init__(self) -> None:
        self.kafka = MemoryKafka()
        self._topics = 0

    def create_topic(self, partitions: int) -> str:
        self._topics += 1
        return self.kafka.create_topic(f"topic-{self._topics}", partitions)

    def recreate_topic(self, topic: str) -> None:
        self.kafka.recreate_topic(topic)

    def add_partitions(self, topic: str, total: int) -> None:
        self.kafka.add_partitions(topic, total)

    def produce(self, topic: str, partition: int, values: Sequence[str]) -> None:
        for value in values:
            self.kafka.produce(topic, value, partition=partition)

    def abort(self, topic: str, partition: int, values: Sequence[str]) -> None:
        self.open_transaction(topic, partition, values).abort()

    def open_transaction(self, topic: str, partition: int, values: Sequence[str]) -> MemoryTransaction:
        return self.kafka.open_transaction(topic, values, partition=partition)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        self.kafka.delete_records(topic, partition, before_offset)

    def source(self, group_id: str, topics: Sequence[str], limits: SourceLimits) -> Source:
        return self.kafka.source(group_id, topics, limits)


class TestMemorySource(SourceContract):
    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()


def read(kafka: MemoryKafka, topic: str) -> list[tuple[int, int, bytes | None]]:
    """All visible records: (partition, offset, value)."""
    reader = Reader(kafka.source("readers", [topic], SourceLimits()))
    partitions = kafka.partitions([topic])
    reader.assign(partitions)
    reader.source.start_reading(dict.fromkeys(partitions, (0, None)))
    ranges = [OffsetRange(p, 0, b.position) for p, b in sorted(reader.source.buffered().items())]
    taken = reader.source.take(ranges)
    return [(p.partition, m.offset() or 0, m.value()) for p, messages in taken.items() for m in messages]


def test_it_is_what_a_stream_takes_for_kafka() -> None:
    assert isinstance(MemoryKafka(), SourceFactory)


def test_keys_decide_the_partition_and_keyless_records_take_turns() -> None:
    kafka = MemoryKafka({"orders": 3})
    for _ in range(2):
        kafka.produce("orders", "keyed", key="customer-1")
    keyed = {partition for partition, _, _ in read(kafka, "orders")}
    assert len(keyed) == 1
    for _ in range(3):
        kafka.produce("orders", "keyless")
    assert {partition for partition, _, _ in read(kafka, "orders")} == {0, 1, 2}


def test_messages_carry_what_was_produced() -> None:
    kafka = MemoryKafka({"orders": 1})
    assert kafka.produce("orders", "v", key="k", headers=[("h", b"1")], timestamp_ms=1234) == 0
    assert kafka.produce("orders", None, key="k") == 1
    source = kafka.source("group", ["orders"], SourceLimits())
    partition = TopicPartition("orders", 0)
    source.assign([partition])
    source.start_reading({partition: (0, None)})
    assert source.buffered()[partition].records == 2
    first, tombstone = source.take([OffsetRange(partition, 0, 2)])[partition]
    assert (first.topic(), first.partition(), first.offset()) == ("orders", 0, 0)
    assert (first.key(), first.value(), first.headers()) == (b"k", b"v", [("h", b"1")])
    assert first.timestamp()[1] == 1234
    assert tombstone.value() is None
    assert tombstone.error() is None


def test_skipped_offsets_are_a_gap() -> None:
    kafka = MemoryKafka({"orders": 1})
    kafka.produce("orders", "a")
    kafka.skip("orders", 0, 5)
    kafka.produce("orders", "b")
    assert read(kafka, "orders") == [(0, 0, b"a"), (0, 6, b"b")]


def test_a_transaction_spans_partitions() -> None:
    kafka = MemoryKafka({"orders": 2})
    transaction = kafka.open_transaction()
    transaction.produce("orders", "a", partition=0)
    transaction.produce("orders", "b", partition=1)
    kafka.produce("orders", "c", partition=1)
    assert read(kafka, "orders") == []
    transaction.commit()
    assert read(kafka, "orders") == [(0, 0, b"a"), (1, 0, b"b"), (1, 1, b"c")]


def test_a_truncated_log_is_noticed_by_its_leader_epoch() -> None:
    kafka = MemoryKafka({"orders": 1})
    partition = TopicPartition("orders", 0)
    for n in range(10):
        kafka.produce("orders", str(n))
    kafka.truncate("orders", 0, 6)
    for n in range(10):
        kafka.produce("orders", f"new {n}")
    reader = Reader(kafka.source("group", ["orders"], SourceLimits()))
    reader.assign([partition])
    reader.source.start_reading({partition: (8, 0)})
    reader.look()
    assert [(lost.offset, lost.truncated) for lost in reader.lost] == [(8, True)]
    reader.positions[partition] = 6
    reader.source.start_reading({partition: (6, 0)})
    reader.look()
    assert reader.values[partition][0] == "new 0"


def test_a_topic_that_is_not_there_is_named() -> None:
    kafka = MemoryKafka({"orders": 1})
    with pytest.raises(TopicNotFound, match="'shipments' does not exist"):
        kafka.produce("shipments", "a")
    with pytest.raises(TopicNotFound, match=r"orders\[7\] does not exist"):
        kafka.produce("orders", "a", partition=7)
    with pytest.raises(ValueError, match="exists already"):
        kafka.create_topic("orders")


def test_a_batch_of_values_is_one_range() -> None:
    batch = batch_of(["a", b"b", None], topic="orders", partition=2, offset=10)
    assert batch.ranges == (OffsetRange(TopicPartition("orders", 2), 10, 13),)
    assert [(m.offset(), m.value()) for m in batch] == [(10, b"a"), (11, b"b"), (12, None)]
    assert len(batch_of([])) == 0


def test_a_batch_of_messages_has_a_range_per_partition() -> None:
    messages = [
        message("a", topic="t", partition=1, offset=5),
        message("b", topic="t"),
        message("c", topic="t", partition=1, offset=9),
    ]
    batch = batch_of(messages)
    assert [str(r) for r in batch.ranges] == ["t[0] [0, 1)", "t[1] [5, 10)"]
    assert [m.value() for m in batch] == [b"b", b"a", b"c"]
    with pytest.raises(ValueError, match="not in offset order"):
        batch_of(reversed(messages))
