"""Exported offsets as text, and as Kafka's own tool writes them."""

from __future__ import annotations

import json

import pytest

from kafka_stream.admin.offsets_file import ExportedPosition, parse_offsets, to_csv, to_json
from kafka_stream.errors import ConfigurationError
from kafka_stream.types import MAX_OFFSET, Owner, PlanKind, StoredPosition, TopicPartition
from tests.fakes import ORDERS_0, ORDERS_1

POSITIONS = {ORDERS_1: ExportedPosition(MAX_OFFSET), ORDERS_0: ExportedPosition(7, 3, "id-1", 12)}


def test_json_keeps_all_that_belongs_to_the_data() -> None:
    text = to_json("orders", POSITIONS)
    assert [entry["partition"] for entry in json.loads(text)["positions"]] == [0, 1]
    assert parse_offsets(text, "orders") == POSITIONS


def test_csv_is_what_kafkas_tool_takes() -> None:
    text = to_csv({tp: position.next_offset for tp, position in POSITIONS.items()})
    assert text == "orders,0,7\norders,1,9223372036854775807\n"
    assert parse_offsets(text, "any name") == {
        ORDERS_0: ExportedPosition(7),
        ORDERS_1: ExportedPosition(MAX_OFFSET),
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_what_kafkas_tool_writes_for_one_group_or_several(ending: str) -> None:
    assert parse_offsets(f'"orders",0,7{ending}', "s") == {ORDERS_0: ExportedPosition(7)}
    several = f"other,orders,0,99\ns,orders,0,7\n\ns,orders,1,8{ending}"
    assert parse_offsets(several, "s") == {ORDERS_0: ExportedPosition(7), ORDERS_1: ExportedPosition(8)}
    with pytest.raises(ConfigurationError, match="holds no offsets for stream 'absent'"):
        parse_offsets(several, "absent")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no offsets"),
        ("\n\n", "holds no offsets"),
        ("topic,partition,offset\n", "line 1 is neither topic,partition,offset nor"),
        ("orders,0,7\norders,zero,7", "line 2 is neither"),
        ("orders,0", "line 1 is neither"),
        ("a,b,c,0,7", "too many fields"),
        ("orders,0,-1", "-1 is no offset"),
        ("orders,-1,5", "-1 is no partition"),
        (",0,5", "'' cannot be the name of a topic"),
        (f"orders,0,{2**63}", "is no offset"),
        ("orders,0,7\norders,0,8", r"line 2 names orders\[0\] a second time"),
        ('"orders,0,7', "line 1 is no CSV"),
        ("{", "is no JSON of exported offsets"),
        ("{}", "is no JSON of exported offsets"),
        ('{"format": 2, "stream": "s", "positions": []}', "format is 2, and this version knows 1"),
        ('{"format": 1, "stream": "other", "positions": []}', "of stream 'other', not of 's'"),
        ('{"format": 1, "stream": "s", "positions": []}', "holds no offsets"),
        ('{"format": 1, "stream": "s", "positions": [{"topic": "t", "partition": 0}]}', "KeyError"),
        (
            '{"format": 1, "stream": "s", "positions": [{"topic": "t", "partition": 0, "next_offset": 1.5}]}',
            "no whole number",
        ),
        (
            '{"format": 1, "stream": "s", "positions": [{"topic": "t", "partition": true, "next_offset": 1}]}',
            "no topic and partition",
        ),
        (
            (
                '{"format": 1, "stream": "s", "positions": [{"topic": "t", "partition": 0, "next_offset": 1},'
                ' {"topic": "t", "partition": 0, "next_offset": 2}]}'
            ),
            "names a partition twice",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_offsets(text, "s")


def test_a_spreadsheets_mark_and_spaces_do_no_harm() -> None:
    assert parse_offsets("\ufefforders, 0, 7\n", "s") == {ORDERS_0: ExportedPosition(7)}


def test_odd_names_come_back() -> None:
    odd = {TopicPartition("...", 3): ExportedPosition(5), TopicPartition("_" * 249, 2**31 - 1): ExportedPosition(5)}
    assert parse_offsets(to_json("s", odd), "s") == odd
    assert parse_offsets(to_csv({tp: p.next_offset for tp, p in odd.items()}), "s") == odd


def test_what_belongs_to_the_store_is_left_out() -> None:
    stored = StoredPosition(7, 12, Owner("me", "here"), 9, PlanKind.RANGE, 3, "id-1")
    assert ExportedPosition.of(stored) == ExportedPosition(7, 3, "id-1", 12)
