"""What is kept beside a committed offset in Kafka, and whose transactional ids are."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from kafka_stream.errors import ConfigurationError, SchemaMismatch
from kafka_stream.offset_stores.kafka.fencing import ids_to_fence
from kafka_stream.offset_stores.kafka.metadata import Stored, decode, encode
from kafka_stream.offset_stores.kafka.transactional_ids import of_member, of_shard, of_start, shards_of
from kafka_stream.types import Owner, PlanKind, PositionState, StoredPosition, TopicPartition

TP = TopicPartition("orders", 3)
OWNER = Owner("o-1", "host-a", "v1")
WHEN = datetime(2026, 5, 1, 12, 30, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize("text", [None, "", "by another tool", "{", '{"a":1}', "[1]", "7", '{"kafka": 1}'])
def test_an_offset_without_our_metadata_is_a_position_that_nobody_owns(text: str | None) -> None:
    assert decode(TP, 42, 5, text) == Stored(StoredPosition(42, 0, leader_epoch=5))


def test_it_is_readable_and_leaves_out_what_is_not_known() -> None:
    stored = Stored(StoredPosition(7, 3, OWNER, 9, PlanKind.RANGE, 1, "id-1", changed_at=WHEN), "orders:static:0/1", 4)
    assert json.loads(encode(stored)) == {
        "kafka-stream": 1,
        "epoch": 3,
        "owner": "o-1",
        "host": "host-a",
        "code_version": "v1",
        "transactional_id": "orders:static:0/1",
        "planned_until": 9,
        "plan_kind": "range",
        "topic_id": "id-1",
        "started_with": 4,
        "changed_at": "2026-05-01T12:30:00.123456+00:00",
    }
    assert json.loads(encode(Stored(StoredPosition(7, 0)))) == {"kafka-stream": 1, "epoch": 0}


def test_what_a_later_version_wrote_is_refused_by_name() -> None:
    with pytest.raises(SchemaMismatch, match=r"orders\[3\].*format 2"):
        decode(TP, 0, None, '{"kafka-stream":2,"epoch":1}')


@pytest.mark.parametrize(
    "text",
    [
        '{"kafka-stream":1}',
        '{"kafka-stream":1,"epoch":"x"}',
        '{"kafka-stream":1,"epoch":1,"owner":"o"}',
        '{"kafka-stream":1,"epoch":1,"state":"ajar"}',
        '{"kafka-stream":1,"epoch":1,"planned_until":-4}',
        '{"kafka-stream":1,"epoch":1,"changed_at":"yesterday"}',
    ],
)
def test_damaged_metadata_is_refused_by_name(text: str) -> None:
    with pytest.raises(SchemaMismatch, match=r"orders\[3\].*damaged"):
        decode(TP, 0, None, text)


def test_text_for_people_is_cut_and_what_is_still_too_long_refused() -> None:
    wide = Owner("o", "\N{GRINNING FACE}" * 5_000, "v" * 5_000)
    closed = StoredPosition(
        0, 0, wide, 9, PlanKind.RANGE, topic_id="t" * 22, state=PositionState.CLOSED, state_reason="r" * 5_000
    )
    assert len(encode(Stored(closed, "s" * 250, 10_000)).encode()) < 4_000
    with pytest.raises(ConfigurationError, match=r"4,096"):
        encode(Stored(closed, "s" * 5_000))


# Transactional ids ----------------------------------------------------------------------------------------------------


def test_a_stream_has_ids_of_its_own() -> None:
    assert of_start("orders") == "orders:start"
    assert of_shard("orders", "static") == of_shard("orders", "static:0/1") == "orders:static:0/1"
    assert of_shard("orders", "static:2/4") == "orders:static:2/4"
    assert of_member("orders", OWNER) == "orders:member:o-1"
    assert shards_of("orders", "orders:static:2/4") == 4
    others = ["orders:start", "orders:member:o-1", "orders2:static:0/4", "xorders:static:0/4", "", "orders:static:0/4 "]
    assert [each for each in others if shards_of("orders", each) is not None] == []
    assert shards_of("a.b", "axb:static:0/4") is None


def _found(**ids: str | None) -> dict[TopicPartition, Stored]:
    return {TopicPartition("orders", int(name[1:])): Stored(StoredPosition(0, 0), each) for name, each in ids.items()}


def test_a_static_owner_fences_whoever_may_commit_what_it_wants_but_no_sibling() -> None:
    wanted = [TopicPartition("orders", 0), TopicPartition("orders", 3)]
    own = "orders:static:0/3"
    stored = _found(p0="orders:static:0/2", p1="orders:static:1/3", p2="orders:member:m", p3=own, p4=None, p5="theirs")
    assert ids_to_fence("orders", own, wanted, stored) == {"orders:static:0/2", "orders:member:m", "theirs"}
    assert ids_to_fence("orders", own, wanted, _found(p0="orders:static:1/3")) == {"orders:static:1/3"}


def test_a_member_fences_static_owners_only() -> None:
    own = "orders:member:m"
    stored = _found(p0=own, p1="orders:member:other", p2="orders:static:0/1", p3=None, p4="orders:static:1/2")
    wanted = [TopicPartition("orders", 0)]
    assert ids_to_fence("orders", own, wanted, stored) == {"orders:static:0/1", "orders:static:1/2"}
