"""``GroupOffsetMirror``: the group's offsets follow the stream's; a Kafka store needs none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from kafka_stream.admin.mirror import GroupOffsetMirror, mirror_offsets
from kafka_stream.errors import CommandRefused, ConfigurationError
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.protocols import OffsetMirror, TopicInfo
from kafka_stream.source.cluster import Cluster
from kafka_stream.stream import DirectStream
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import PositionState, StoredPosition, TopicPartition

A, B, C = (TopicPartition("orders", number) for number in range(3))


def write(batch: Any, transaction: Any) -> None:
    pass


def stream(kafka: MemoryKafka, **settings: Any) -> DirectStream:
    own = {"name": "s", "topics": ["orders"], "kafka": kafka, "store": MemoryOffsetStore(), "sink": write}
    return DirectStream(**{**own, "listeners": [GroupOffsetMirror()], **settings})


@pytest.mark.parametrize("group_id", [None, "another"])
def test_the_groups_offsets_are_the_streams_when_it_has_stopped(group_id: str | None) -> None:
    kafka = MemoryKafka({"orders": 2})
    for number in range(7):
        kafka.produce("orders", str(number), partition=number % 2)
    stream(kafka, group_id=group_id).run(until="latest")
    assert kafka.group_offsets(group_id or "s") == {A: 4, B: 3}


def test_it_is_never_read_back() -> None:
    kafka, store = MemoryKafka({"orders": 1}), MemoryOffsetStore()
    kafka.produce("orders", "one", partition=0)
    stream(kafka, store=store).run(until="latest")
    source: Any = kafka.source("s", ["orders"], None)  # type: ignore[arg-type]
    source.publish_offsets({A: 0})
    assert stream(kafka, store=store).run(until="latest").records == 0


def test_it_is_a_mirror_to_the_stream() -> None:
    assert isinstance(GroupOffsetMirror(), OffsetMirror)


def test_outside_a_run_it_does_nothing() -> None:
    GroupOffsetMirror().on_positions({A: 1})


def test_a_kafka_store_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a mirror has nothing to do, since the offsets in consumer group"):
        stream(cast("MemoryKafka", {"bootstrap.servers": "127.0.0.1:1"}), store=KafkaOffsetStore())


# --------------------------------------------------------------------------------------------------- when it is stopped


class Brokers:
    """A cluster with one topic of two partitions."""

    servers = "127.0.0.1:9092"

    def __init__(self) -> None:
        self.committed: dict[str, Mapping[TopicPartition, int]] = {}

    def existing_topics(self, names: list[str]) -> Mapping[str, TopicInfo]:
        return {"orders": TopicInfo(2, None)}

    def commit_group_offsets(self, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed[group_id] = offsets


def test_the_stored_offsets_of_what_is_open_and_exists_are_written() -> None:
    store, brokers = MemoryOffsetStore(), Brokers()
    store.put("s", A, StoredPosition(5, 1))
    store.put("s", B, StoredPosition(6, 1, state=PositionState.CLOSED))
    store.put("s", C, StoredPosition(7, 1))
    store.put("s", TopicPartition("gone", 0), StoredPosition(8, 1))
    assert mirror_offsets(store, "s", cast("Cluster", brokers), "group") == {A: 5}
    assert brokers.committed == {"group": {A: 5}}


def test_nothing_to_write_is_refused() -> None:
    brokers = Brokers()
    with pytest.raises(CommandRefused, match="there is nothing to mirror: stream 's' has no open partition in memory"):
        mirror_offsets(MemoryOffsetStore(), "s", cast("Cluster", brokers), "s")
    assert brokers.committed == {}


def test_a_kafka_stores_offsets_are_the_groups_already() -> None:
    with pytest.raises(ConfigurationError, match="there is nothing to mirror: the offsets in consumer groups at"):
        mirror_offsets(KafkaOffsetStore("kafka://127.0.0.1:1"), "s", cast("Cluster", Brokers()), "s")
