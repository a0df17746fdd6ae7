"""``StateSink``: what it is given, and what it makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pytest
import sqlalchemy as sa

from kafka_stream.offset_stores.sql import SqlTransaction
from kafka_stream.protocols import OverlappingSink, StatefulSink
from kafka_stream.sinks.sql import UNCHANGED, SqlSink, StateSink
from kafka_stream.testing import batch_of, message
from kafka_stream.testing.store_backend import P0, P1, TOPIC
from tests.state_tables import LOG, OF_PARTITIONS, PAIRS, TOTALS, counted, opened_transaction, pairs, rows, written


@pytest.fixture
def transaction(tmp_path: Path) -> Iterator[SqlTransaction]:
    with opened_transaction(tmp_path) as opened:
        yield opened


def test_each_key_is_updated_once_in_key_order_with_its_records_in_order(transaction: SqlTransaction) -> None:
    calls: list[Any] = []

    def update(key: str, records: list[Any], row: Any) -> Any:
        calls.append((key, records, row))
        return counted(key, records, row)

    sink = StateSink(TOTALS, lambda value: value[0], update)
    written(sink, transaction, pairs(("b", 1), ("a", 2), ("b", 3)))
    written(sink, transaction, pairs(("b", 4)))
    assert calls == [
        ("a", [("a", 2)], None),
        ("b", [("b", 1), ("b", 3)], None),
        ("b", [("b", 4)], {"name": "b", "number": 2, "note": "none"}),
    ]
    assert rows(transaction, TOTALS) == [("a", 1, "none", 2), ("b", 3, "none", 6)]


def test_without_a_prepare_messages_are_the_values(transaction: SqlTransaction) -> None:
    sink = StateSink(TOTALS, lambda it: it.value().decode(), counted)
    written(sink, transaction, batch_of([message(b"x", topic=TOPIC, offset=0), message(b"x", topic=TOPIC, offset=1)]))
    assert rows(transaction, TOTALS) == [("x", 2, "none", 4)]


def test_a_row_may_go_and_may_stay_as_it_is(transaction: SqlTransaction) -> None:
    answers: dict[str, Any] = {"goes": None, "stays": UNCHANGED, "was never there": None, "will never be": UNCHANGED}
    transaction.connection.execute(sa.insert(TOTALS), [{"name": name, "number": 1} for name in ("goes", "stays")])
    sink = StateSink(TOTALS, lambda value: value, lambda key, records, row: answers[key])
    written(sink, transaction, pairs(*answers))
    assert rows(transaction, TOTALS) == [("stays", 1, "none", 2)]


def test_what_a_row_leaves_out_stays(transaction: SqlTransaction) -> None:
    transaction.connection.execute(sa.insert(TOTALS), [{"name": "a", "number": 1, "note": "kept"}])
    sink = StateSink(TOTALS, lambda value: value, counted)
    written(sink, transaction, pairs("a", "b"))
    assert rows(transaction, TOTALS) == [("a", 2, "kept", 4), ("b", 1, "none", 2)]


def test_a_key_of_two_columns_is_a_tuple(transaction: SqlTransaction) -> None:
    sink = StateSink(PAIRS, lambda value: value, counted)
    written(sink, transaction, pairs((1, "a"), (2, "a"), (1, "a")))
    written(sink, transaction, pairs((2, "a")))
    assert rows(transaction, PAIRS) == [(1, "a", 2), (2, "a", 2)]


def test_partitions_have_rows_of_their_own(transaction: SqlTransaction) -> None:
    seen: list[Any] = []

    def update(key: str, records: list[Any], row: Any) -> Any:
        seen.append(key)
        return counted(key, records, row)

    sink = StateSink(
        OF_PARTITIONS, lambda value: value, update, scope="partition", partition_columns=("source", "place")
    )
    written(sink, transaction, pairs("a", "b", "a") + pairs("a", partition=1))
    assert rows(transaction, OF_PARTITIONS) == [(0, "a", TOPIC, 2), (0, "b", TOPIC, 1), (1, "a", TOPIC, 1)]
    assert seen == ["a", "b", "a"]
    assert sink.clear(transaction, [P1]) == {"of_partitions": 1}
    assert rows(transaction, OF_PARTITIONS) == [(0, "a", TOPIC, 2), (0, "b", TOPIC, 1)]


@dataclass
class Total:
    name: str
    number: int


class Checked(pydantic.BaseModel):
    name: str
    number: int


@pytest.mark.parametrize("kind", [Total, Checked])
def test_rows_may_have_a_type(kind: Any, transaction: SqlTransaction) -> None:
    def update(key: str, records: list[Any], row: Any) -> Any:
        assert row is None or type(row) is kind
        return kind(name=key, number=(row.number if row else 0) + len(records))

    sink = StateSink(TOTALS, lambda value: value, update, row=kind)
    written(sink, transaction, pairs("a"))
    written(sink, transaction, pairs("a", "a"))
    assert rows(transaction, TOTALS) == [("a", 3, "none", 6)]


def test_what_is_emitted_goes_to_other_sinks_of_the_batch(transaction: SqlTransaction) -> None:
    got: list[Any] = []

    def update(key: str, records: list[Any], row: Any, emit: Any) -> Any:
        emit({"line": f"{key}: {len(records)}"})
        return UNCHANGED

    then = [SqlSink(LOG, lambda given: given), lambda given, transaction: got.append(given)]
    written(StateSink(TOTALS, lambda value: value, update, then=then), transaction, pairs("b", "a", "b"))
    assert got == [[{"line": "a: 1"}, {"line": "b: 2"}]]
    assert [line for _, line in rows(transaction, LOG)] == ["a: 1", "b: 2"]


def test_it_is_known_as_state(transaction: SqlTransaction) -> None:
    inner = StateSink(PAIRS, lambda value: value, counted, name="inner")

    def update(key: str, records: list[Any], row: Any, emit: Any) -> Any:
        return counted(key, records, row)

    sink = StateSink(TOTALS, lambda value: value, update, then=[inner])
    assert isinstance(sink, StatefulSink)
    assert isinstance(sink, OverlappingSink)
    assert [(it.name, it.kind, it.table, it.key) for it in sink.states()] == [
        ("totals", "state", "totals", ("name",)),
        ("inner", "state", "pairs", ("shop", "name")),
    ]
    written(sink, transaction, pairs("a"))
    written(inner, transaction, pairs((1, "a")))
    registered = transaction.connection.execute(sa.select(transaction.tables.states.c.state)).scalars().all()
    assert sorted(registered) == ["inner", "totals"]
    assert sink.clear(transaction, [P0]) == {"totals": 1, "pairs": 1}
    assert rows(transaction, TOTALS) == rows(transaction, PAIRS) == []
