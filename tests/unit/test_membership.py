"""What of librdkafka's consumer group metadata makes a commit safe."""

from __future__ import annotations

import struct

import pytest
from confluent_kafka import Consumer

from kafka_stream.errors import OwnershipLost
from kafka_stream.protocols import Revoked
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.source.membership import is_member
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import TopicPartition


def _metadata(generation: int, member_id: str) -> bytes:
    return b"CGMDv2:" + struct.pack("=i", generation) + b"orders\0" + member_id.encode() + b"\0\1"


def test_a_member_has_a_generation_and_a_member_id() -> None:
    assert is_member(_metadata(0, "rdkafka-1"))
    assert is_member(_metadata(2**31 - 1, "rdkafka-1"))


def test_a_forgotten_generation_or_member_id_is_no_membership() -> None:
    assert not is_member(_metadata(-1, "rdkafka-1"))
    assert not is_member(_metadata(7, ""))


def test_zero_bytes_in_the_generation_do_not_end_the_group_id() -> None:
    assert is_member(_metadata(256, "rdkafka-1"))


def test_a_consumer_that_has_not_joined_is_no_member() -> None:
    consumer = Consumer({"bootstrap.servers": "localhost:1", "group.id": "orders", "log_level": 0})
    try:
        assert not is_member(consumer.consumer_group_metadata())
    finally:
        consumer.close()


def test_a_source_in_memory_keeps_the_same_rules() -> None:
    kafka = MemoryKafka({"orders": 2})
    both = [TopicPartition("orders", 0), TopicPartition("orders", 1)]
    first, second = (kafka.source("group", ["orders"], SourceLimits()) for _ in range(2))
    first.assign(both)
    assert first.group_metadata(both) is None, "outside the group"
    first.close()
    first = kafka.source("group", ["orders"], SourceLimits())
    first.subscribe()
    assert first.group_metadata(both) is not None
    second.subscribe()
    (revoked,) = (event for event in first.events() if isinstance(event, Revoked))
    with pytest.raises(OwnershipLost):
        first.group_metadata(both)
    assert first.group_metadata([tp for tp in both if tp not in revoked.partitions]) is not None
    first.release(revoked.partitions)
    with pytest.raises(OwnershipLost):
        first.group_metadata(revoked.partitions)
    assert second.group_metadata(revoked.partitions) is not None
    for source in (first, second):
        assert source.cluster_id() is None
        source.close()


def test_another_version_of_the_metadata_is_refused() -> None:
    with pytest.raises(ValueError, match="another version"):
        is_member(b"CGMDv3:" + bytes(20))
