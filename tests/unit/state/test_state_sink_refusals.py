"""``StateSink``: what it refuses, of a record or when it is built, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.errors import ConfigurationError, HandlerUnavailable, ProcessingError, RecordError
from kafka_stream.offset_stores.sql import SqlTransaction
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.sql import Delete, SqlSink, StateSink
from tests.state_tables import (
    LOG,
    NOWHERE,
    PAIRS,
    PRICES,
    TOTALS,
    WITHOUT_KEY,
    counted,
    opened_transaction,
    pairs,
    written,
)


@pytest.fixture
def transaction(tmp_path: Path) -> Iterator[SqlTransaction]:
    with opened_transaction(tmp_path) as opened:
        yield opened


@dataclass
class Total:
    name: str
    number: int


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (lambda value: _raise(KeyError("x")), "its key could not be told"),
        (lambda value: [value], "its key could not be told"),
        (lambda value: None, "its key is None"),
    ],
)
def test_a_key_that_is_none_is_an_error_of_its_record(key: Any, words: str, transaction: SqlTransaction) -> None:
    sink = StateSink(TOTALS, lambda value: value if value == "good" else key(value), counted)
    with pytest.raises(RecordError, match=words) as raised:
        sink.prepare(pairs("good", "bad", "good"))
    assert raised.value.offset == 1


@pytest.mark.parametrize("bad", ["text", (1,), (1, "a", 2), (1, None)])
def test_so_is_one_of_other_columns(bad: Any) -> None:
    with pytest.raises(RecordError, match=r"@1: its key is"):
        StateSink(PAIRS, lambda value: value, counted).prepare(pairs((1, "a"), bad))


@pytest.mark.parametrize("bad", [7, b"a", 1.5, ("a", "b")])
def test_so_is_one_of_another_type(bad: Any, transaction: SqlTransaction) -> None:
    with pytest.raises(RecordError, match=r"@1: its key .*is of another type than the key \(name\)"):
        written(StateSink(TOTALS, lambda value: value, counted), transaction, pairs("a", bad))


def test_an_error_of_update_is_of_its_record_if_that_is_one(transaction: SqlTransaction) -> None:
    def update(key: str, records: list[Any], row: Any) -> Any:
        return {"a": 1}[key]

    with pytest.raises(RecordError, match=r"@1: update failed on it \(KeyError\)") as raised:
        written(StateSink(TOTALS, lambda value: value, update), transaction, pairs("b", "c", "b", "b")[1:2])
    assert isinstance(raised.value.__cause__, KeyError)
    with pytest.raises(KeyError):
        written(StateSink(TOTALS, lambda value: value, update), transaction, pairs("b", "b"))


def test_a_server_that_update_calls_is_no_fault_of_a_record(transaction: SqlTransaction) -> None:
    sink = StateSink(TOTALS, lambda value: value, lambda key, records, row: _raise(HandlerUnavailable("away")))
    with pytest.raises(HandlerUnavailable):
        written(sink, transaction, pairs("a"))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (5, "update gave a int; it gives a mapping, None or UNCHANGED"),
        ({"number": 1, "colour": 2}, "'colour', which is no column of table totals"),
        ({"number": 1, "twice": 2}, "'twice', which is no column of table totals that can be written"),
        ({"name": "another", "number": 1}, "with another key"),
        ({"note": "x"}, "the database refused its row for table totals: IntegrityError"),
    ],
)
def test_what_is_no_row_of_the_key_is_an_error_of_its_record(
    outcome: Any, words: str, transaction: SqlTransaction
) -> None:
    sink = StateSink(TOTALS, lambda value: value, lambda key, records, row: outcome)
    with pytest.raises(RecordError, match=words):
        written(sink, transaction, pairs("a"))
    with pytest.raises((ProcessingError, sa.exc.IntegrityError)) as raised:
        written(sink, transaction, pairs("a", "a"))
    assert not isinstance(raised.value, RecordError)


def test_a_type_of_rows_has_to_be_given_back(transaction: SqlTransaction) -> None:
    sink = StateSink(TOTALS, lambda value: value, lambda key, records, row: {"number": 1}, row=Total)
    with pytest.raises(RecordError, match="update gave a dict; it gives a Total"):
        written(sink, transaction, pairs("a"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (PRICES, r"'price', of the key of table prices, is of a type whose values Python cannot tell apart"),
        (NOWHERE, r"table nowhere is not in the database"),
    ],
)
def test_a_table_that_does_not_suit_is_refused_when_it_is_seen(
    table: sa.Table, words: str, transaction: SqlTransaction
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        written(StateSink(table, lambda value: value, counted), transaction, pairs("a"))


@dataclass
class Coloured:
    name: str
    colour: str


async def _async(*_: Any) -> Any: ...


def _generator(*_: Any) -> Any:
    yield 1


def _takes(key: Any, records: Any) -> Any: ...


def _emits(key: Any, records: Any, row: Any, emit: Any) -> Any: ...


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"table": "totals"}, "StateSink writes to a sqlalchemy Table or an ORM class"),
        ({"table": WITHOUT_KEY}, "needs a key, but the table has no primary key"),
        ({"key": 5}, "key of the StateSink for table totals is a int, not a function"),
        ({"key": _async}, "is an async function, of which a call runs nothing"),
        ({"key": lambda: 1}, r"is called with \(value\)"),
        ({"update": _async}, "is an async function"),
        ({"update": _generator}, "is a generator function"),
        ({"update": _takes}, r"is called with \(key, records, row\)"),
        ({"update": _emits}, r"it gets emit as well where then"),
        ({"update": counted, "then": [SqlSink(LOG, list)]}, r"is called with \(key, records, row, emit\)"),
        ({"row": Coloured}, "row=Coloured has 'colour', which is no column of table totals"),
        ({"row": dict}, "row=dict cannot be a row of table totals"),
        ({"scope": "topic"}, "scope='topic' .* is unknown"),
        ({"scope": "partition"}, r"'topic' is not of its key \(name\)"),
        ({"scope": "partition", "partition_columns": "ab"}, "are not the names of two columns"),
        ({"cached_rows": -1}, "cached_rows=-1 .* is no number of rows"),
        ({"name": ""}, "is no text of 1 to 255 characters"),
        ({"then": [5], "update": _emits}, "has 5, which is neither a sink nor a function"),
        ({"then": 5, "update": _emits}, "then of the StateSink for table totals is a int"),
        ({"then": [_async], "update": _emits}, r"a plain function write\(rows, transaction\): it is an async function"),
        ({"then": [Delete], "update": _emits}, "neither a sink nor a function"),
        ({"then": [FileSink("x", list)], "update": _emits}, "does not write through the SQL transaction"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    options = {"table": TOTALS, "key": lambda value: value, "update": counted, **given}
    with pytest.raises(ConfigurationError, match=words):
        StateSink(options.pop("table"), options.pop("key"), options.pop("update"), **options)
